"""Weights on the real public benchmark, from evidence that is gathered once."""

import pytest

from aggregator.public_measure import PublicMeasure
from aggregator.round_check import verdict
from federation.model_spec import base_model_spec, pack_trainable
from model import public_benchmark
from model.benchmark_evidence import dumps, loads
from model.candidates import CANDIDATES
from model.errors import PredictionError
from model.evidence import column
from model.network import RotoModel
from model.public_benchmark import build_clip, evaluate, of_method
from model.weights import base_path, load


@pytest.fixture(scope="module")
def tensors():
    return load(base_path()).tensors


@pytest.fixture
def told(monkeypatch):
    """What is told while evidence is gathered, of a benchmark of one clip: one that bad weights cannot place well."""
    build = public_benchmark.build_clip
    monkeypatch.setattr(public_benchmark, "build_clip", lambda matcher, _: build(matcher, 1))
    monkeypatch.setattr(
        public_benchmark.build_clips, "__kwdefaults__", {"count": 1, "progress": None, "spread": map}
    )
    return []


def test_it_is_the_benchmarks_own_error_and_gathers_evidence_once(tmp_path, tensors, told):
    spec = base_model_spec(tensors)
    packed = pack_trainable(tensors, spec)

    def errors_of(weights):
        return PublicMeasure(tmp_path, spec, lambda: tensors, told.append)(weights)

    first = errors_of(packed)
    (file,) = (tmp_path / "benchmark").iterdir()
    scores = evaluate(
        {"model": RotoModel.from_tensors(tensors)}, loads(file.read_bytes().partition(b"\n")[2])
    )
    assert first == pytest.approx(of_method(scores, "model"), rel=1e-6)
    bias = tensors["fusion.head.bias"].copy()
    bias[: len(CANDIDATES)] = -100  # as little trust as the network can have in every tracker,
    bias[[column("linear"), column("smooth")]] = 100
    bias[len(CANDIDATES) : len(CANDIDATES) + 2] = 100  # and every point pushed aside as far as it can
    ruined = pack_trainable(tensors | {"fusion.head.bias": bias}, spec)
    assert verdict(first * 24, first * 24, errors_of(ruined) * 24).rolled_back
    assert len(told) == 1
    file.write_bytes(file.read_bytes()[:1000])  # damaged: gathered anew
    assert errors_of(packed) == pytest.approx(first, rel=1e-9)
    assert len(told) == 2


@pytest.mark.parametrize(
    "damage", [lambda d: b"", lambda d: d[:-5], lambda d: d.replace(b"procedural", b"provincial")]
)
def test_damaged_evidence_is_not_believed(damage):
    data = dumps([build_clip(None, 0)])
    assert loads(data)[0].name
    with pytest.raises(PredictionError):
        loads(damage(data))
