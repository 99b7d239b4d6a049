"""From a plan to an update, by the real network: every constant is the plan's."""

import numpy as np
import pytest

from federation.plan import PrivacyConstants, TrainingPlan
from model.weights import pack
from studio_node.audit import made_up
from studio_node.audit.outward import rehearsal_plan
from studio_node.roto_training import train_update


def unnoised_plan(**changes) -> TrainingPlan:
    """A research plan, so that an update is exactly what the shots made it."""
    privacy = PrivacyConstants(
        sample_rate=1.0, windows_per_shot=2, max_grad_norm=0.05, noise_multiplier=0.0, steps_per_round=1
    )
    noised = rehearsal_plan(privacy.model_copy(update={"noise_multiplier": 1.0})).payload()
    tier = {"shots_max": 20, "weight": 1.0, "update_denominator": 8.0, "delta": 1e-5}
    fields = {"mode": "research", "privacy": privacy.model_dump(), "size_tiers": {"audit": tier}}
    return TrainingPlan.from_payload(noised | fields | changes)


def shots(count: int):
    windows = [made_up.window(k) for k in range(2)]
    return [lambda: windows] * count


def test_the_denominator_is_the_size_tiers_and_not_the_number_of_shots():
    weights = pack(made_up.fusion(1))
    one, many = (train_update(unnoised_plan(), "audit", weights, shots(count)) for count in (1, 6))
    np.testing.assert_allclose(many, 6 * one, atol=1e-5)
    assert np.linalg.norm(one) == pytest.approx(
        0.05 / 8.0, rel=1e-3
    )  # one clipped gradient over the constant


def test_steps_and_learning_rate_are_the_plans():
    weights = pack(made_up.fusion(1))
    longer = unnoised_plan(learning_rate=0.5)
    steps = longer.privacy.model_copy(update={"steps_per_round": 3})
    update = train_update(longer.model_copy(update={"privacy": steps}), "audit", weights, shots(1))
    assert np.linalg.norm(update) == pytest.approx(3 * 0.5 * 0.05 / 8.0, rel=0.05)
