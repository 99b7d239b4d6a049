"""Weights files: what goes in comes out, the same bytes for the same content, and nothing damaged is accepted."""

import json

import numpy as np
import pytest
import safetensors.numpy

from model import weights
from model.errors import WeightsError
from model.network import Fusion, RotoModel
from model.weights import TensorSpec, load, loads, pack, save, unpack


@pytest.fixture
def tensors():
    rng = np.random.default_rng(1)
    return {"a.weight": rng.standard_normal((3, 4), np.float32), "b": rng.standard_normal(5, np.float32)}


def test_a_file_round_trip_keeps_tensors_and_metadata(tmp_path, tensors):
    save(tmp_path / "w.safetensors", tensors, {"kind": "base", "seed": "3"})
    back = load(tmp_path / "w.safetensors")
    assert back.metadata == {"kind": "base", "seed": "3"}
    assert set(back.tensors) == set(tensors)
    assert all(np.array_equal(back.tensors[name], tensors[name]) for name in tensors)
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


def test_the_same_content_gives_the_same_bytes_in_any_order(tmp_path, tensors):
    note = {str(i): "x" for i in range(20)}
    save(tmp_path / "one", tensors, note)
    save(tmp_path / "two", dict(reversed(tensors.items())), dict(reversed(note.items())))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_infinity_are_refused_both_ways(tmp_path, tensors, bad):
    tensors["b"][2] = bad
    with pytest.raises(WeightsError, match="'b' holds NaN or infinity"):
        save(tmp_path / "w", tensors)
    with pytest.raises(WeightsError, match="'b' holds NaN or infinity"):
        loads(safetensors.numpy.save(tensors))
    assert list(tmp_path.iterdir()) == []


def test_other_types_than_float32_are_refused(tensors):
    with pytest.raises(WeightsError, match="float64, expected float32"):
        loads(safetensors.numpy.save({"b": tensors["b"].astype(np.float64)}))


def test_an_oversized_file_is_refused_before_it_is_parsed(tmp_path, tensors, monkeypatch):
    save(tmp_path / "w", tensors)
    monkeypatch.setattr(weights, "FILE_BYTES_MAX", 50)
    with pytest.raises(WeightsError, match="larger than the limit of 50 bytes"):
        load(tmp_path / "w")
    with pytest.raises(WeightsError, match="over the limit"):
        save(tmp_path / "v", tensors)


@pytest.mark.parametrize(
    "data", [b"", b"not a safetensors file", b"\xff" * 64, b"\0" * 64, b"PK\3\4" + b"\0" * 64]
)
def test_foreign_bytes_are_refused(data):
    with pytest.raises(WeightsError, match="not a safetensors file"):
        loads(data)


@pytest.mark.parametrize("cut", [1, 9, 100, 200])
def test_a_cut_file_is_refused(tmp_path, tensors, cut):
    save(tmp_path / "w", tensors)
    with pytest.raises(WeightsError):
        loads((tmp_path / "w").read_bytes()[:-cut])


def test_metadata_that_is_no_object_is_refused(tensors):
    data = safetensors.numpy.save(tensors, metadata={"fedroto": json.dumps([1])})
    with pytest.raises(WeightsError, match="metadata"):
        loads(data)


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(WeightsError, match="check the path"):
        load(tmp_path / "none.safetensors")


def test_packing_round_trip_keeps_every_weight():
    first, second = Fusion(), Fusion()
    assert not np.array_equal(pack(first), pack(second))
    unpack(second, pack(first))
    assert np.array_equal(pack(first), pack(second))
    assert pack(first).shape == (RotoModel.trainable_spec().size,)


@pytest.mark.parametrize(
    "broken",
    [
        lambda p: p[:-1],
        lambda p: np.append(p, np.float32(0)),
        lambda p: p * np.nan,
        lambda p: p.astype(np.float64),
    ],
)
def test_packed_weights_that_do_not_fit_are_refused(broken):
    fusion = Fusion()
    before = pack(fusion)
    with pytest.raises(WeightsError):
        unpack(fusion, broken(pack(fusion)))
    assert np.array_equal(before, pack(fusion))


def test_the_spec_names_order_shapes_and_a_digest_of_both():
    spec = TensorSpec.of(Fusion())
    assert spec == RotoModel.trainable_spec()
    assert 50_000 < spec.size < 300_000
    turned = TensorSpec(spec.names[::-1], spec.shapes[::-1])
    assert len({spec.digest(), turned.digest()}) == 2
    assert spec.digest() == RotoModel.trainable_spec().digest()


def test_a_spec_refuses_doubled_names():
    with pytest.raises(WeightsError, match="distinct name"):
        TensorSpec(("a", "a"), ((1,), (2,)))


def _renamed(arrays):
    arrays["fusion.other"] = arrays.pop("fusion.head.bias")


def _reshaped(arrays):
    arrays["fusion.head.bias"] = arrays["fusion.head.bias"][:-1]


def _foreign(arrays):
    arrays["stranger.x"] = np.zeros(1, np.float32)


def _infinite(arrays):
    arrays["fusion.head.bias"] = arrays["fusion.head.bias"] + np.float32(np.inf)


@pytest.mark.parametrize("spoil", [_renamed, _reshaped, _foreign, _infinite])
def test_a_model_refuses_tensors_that_are_not_its_own(spoil):
    arrays = RotoModel(Fusion()).to_tensors()
    RotoModel.from_tensors(arrays)
    spoil(arrays)
    with pytest.raises(WeightsError):
        RotoModel.from_tensors(arrays)


def test_the_shipped_base_weights_load_and_are_small():
    path = weights.base_path()
    assert path.stat().st_size < 8 * 2**20
    RotoModel.from_tensors(load(path).tensors)
