import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "end_to_end"))
from real_federation import real_federation  # a fixture of the whole session, used in several folders

from tests import static_checks

__all__ = ["real_federation"]


def pytest_collection_finish(session):
    """Start the checks that were chosen, beside the tests."""
    if not session.config.option.collectonly:
        chosen = [item for item in session.items if item.path.name == "test_static_checks.py"]
        static_checks.start(item.callspec.params["check"] for item in chosen)


@pytest.fixture
def plan_fields():
    """A small valid training plan as a JSON object."""
    return {
        "schema": "fedroto.plan/1",
        "federation": "north",
        "campaign": "autumn",
        "mode": "private",
        "created_at": 1_800_000_000,
        "expires_at": 1_800_100_000,
        "base_release": 1,
        "model": {
            "architecture": "fusion-1",
            "trainable": [{"name": "fusion.a", "shape": [2, 3]}, {"name": "fusion.b", "shape": []}],
            "frozen_digest": "ab" * 32,
        },
        "privacy": {
            "unit": "shot",
            "neighboring_relation": "add_or_remove_one",
            "sample_rate": 0.25,
            "windows_per_shot": 8,
            "max_grad_norm": 1.0,
            "noise_multiplier": 2.0,
            "steps_per_round": 5,
        },
        "learning_rate": 0.1,
        "update": {"norm_max": 1.0, "grid": 2.0**-20},
        "rounds": 3,
        "quorum": 2,
        "deadline_s": 60,
        "staleness_max": 1,
        "aggregation": "norm_clipped_mean",
        "size_tiers": {"s": {"shots_max": 200, "weight": 1.0, "update_denominator": 25.0, "delta": 1e-5}},
        "studios": {"alpha": "s", "beta": "s"},
    }
