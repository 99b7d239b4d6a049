"""Two releases side by side: by what was recorded when they were made, and by measuring both again."""

from datetime import UTC, datetime

import numpy as np
import pytest
import torch

from aggregator.benchmark_clips import evidence_file
from aggregator.campaign_run import open_registry
from aggregator.release_check import BenchmarkRun, check_candidate
from aggregator.release_comparison import compare_releases
from aggregator.release_draft import Draft
from federation import set_up
from federation.config import FederationConfig
from federation.documents import digest
from federation.durable import make_private_dir
from federation.homes import CoordinatorHome
from federation.model_spec import frozen_digest
from model import benchmark_evidence
from model.network import Fusion, RotoModel
from model.public_benchmark import build_clips
from model.weights import load, save

CLIPS = tuple(f"clip {number}" for number in range(12))


@pytest.fixture
def home(tmp_path):
    """A coordinator with two releases of real weights, the second far off, and two clips of the public benchmark."""
    root = tmp_path / "fed"
    set_up.init_coordinator(root, FederationConfig(name="north", hosts=("localhost",)), now=datetime.now(UTC))
    torch.manual_seed(5)
    tensors, generator = RotoModel(Fusion()).to_tensors(), np.random.default_rng(5)
    far = {
        name: value + generator.normal(0, 0.5, value.shape).astype(np.float32)
        for name, value in tensors.items()
    }
    for error, weights in ((2.0, tensors), (1.0, far)):  # as recorded, the second one is the better
        save(tmp_path / "weights.safetensors", weights, {})
        run = BenchmarkRun("procedural/1", CLIPS, {"model": (error,) * 12, "smooth": (4.0,) * 12})
        frozen = frozen_digest(load(tmp_path / "weights.safetensors").tensors)
        draft = Draft(
            tmp_path / "weights.safetensors", check_candidate(run, None), "fusion-1", frozen, 1_800_000_000
        )
        open_registry(root).publish(draft, CoordinatorHome(root).release_private_key)
    evidence = benchmark_evidence.dumps(build_clips(None, count=2))
    file = evidence_file(root, frozen)
    make_private_dir(file.parent)
    file.write_bytes(digest(evidence).encode() + b"\n" + evidence)
    return root


def test_recorded_numbers_are_compared_unless_both_are_to_be_measured_again(home):
    recorded = compare_releases(home, 1, 2, progress=lambda _: None)
    assert not recorded.measured_now
    assert (recorded.old.error, recorded.new.error, recorded.clips_better) == (2.0, 1.0, 12)
    again = compare_releases(home, 1, 2, again=True, progress=lambda _: None)
    assert again.measured_now
    assert again.clips == 2
    assert again.new.error > again.old.error > 0
    assert again.difference.mean == pytest.approx(again.new.error - again.old.error)
    assert again.weights_moved == recorded.weights_moved > 0.1
