"""Level 2 stays silent on the real pipeline and fires on each planted bug that it can see."""

import numpy as np
import planted_bugs
import pytest
from scipy import stats

from federation.errors import PlanError
from studio_node.audit import canaries
from studio_node.audit.canaries import (
    CanaryResult,
    CanaryRun,
    Claim,
    audit_claim,
    judge,
    likelihood_ratio,
    rehearsals,
)

EPSILON_3, EPSILON_1 = rehearsals()


SMALL = Claim.of(
    "two steps", EPSILON_3.privacy.model_copy(update={"noise_multiplier": 1.1}), 2, 1e-5, "2 steps"
)


def check_honest(claim: Claim) -> None:
    result = audit_claim(claim)
    assert result.canaries == 10_000
    assert 4700 < result.included < 5300
    assert not result.fires
    assert 0 < result.one_run < result.claim.epsilon < result.ceiling
    assert result.surest > 55  # the attack works: it is only not allowed to work better


def test_the_real_pipeline_is_within_its_claim():
    check_honest(SMALL)


@pytest.mark.long
@pytest.mark.parametrize("claim", [EPSILON_3, EPSILON_1], ids=["epsilon 3", "epsilon 1"])
def test_the_real_pipeline_is_within_each_rehearsed_claim(claim):
    check_honest(claim)


def test_the_rehearsed_claims_are_epsilon_3_and_1():
    assert 2.9 < EPSILON_3.epsilon <= 3
    assert 0.95 < EPSILON_1.epsilon <= 1
    assert 2.5 < SMALL.epsilon <= 3


def test_noise_halved_is_caught(monkeypatch):
    planted_bugs.noise_scaled(monkeypatch, 0.5)
    assert audit_claim(SMALL).fires


def test_noise_missing_is_caught(monkeypatch):
    planted_bugs.noise_scaled(monkeypatch, 0.0)
    result = audit_claim(SMALL)
    assert result.fires
    assert result.surest == 100


def test_window_level_clipping_is_caught(monkeypatch):
    planted_bugs.window_level_clipping(monkeypatch)
    assert audit_claim(SMALL).fires


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("claim", [EPSILON_3, EPSILON_1], ids=["epsilon 3", "epsilon 1"])
@pytest.mark.parametrize(
    "plant",
    [
        lambda patch: planted_bugs.noise_scaled(patch, 0.5),
        lambda patch: planted_bugs.noise_scaled(patch, 0.0),
        planted_bugs.window_level_clipping,
    ],
    ids=["noise halved", "noise missing", "window-level clipping"],
)
def test_each_bug_is_caught_at_each_rehearsal(monkeypatch, claim, plant):
    plant(monkeypatch)
    assert audit_claim(claim).fires


def simulated(claim: Claim, *, noise: float = 1.0, reach: float = 1.0, seed: int = 3) -> CanaryResult:
    """The same attack on a mechanism written down in five lines: fast, and a second implementation."""
    rng = np.random.default_rng(seed)
    included = rng.random(10_000) < 0.5
    scores = np.zeros(10_000)
    for _ in range(claim.steps):
        drawn = included & (rng.random(10_000) < claim.privacy.sample_rate)
        released = reach * drawn + noise * claim.privacy.noise_multiplier * rng.standard_normal(10_000)
        scores += likelihood_ratio(released, claim.privacy)
    return judge(claim, CanaryRun(included, scores))


@pytest.mark.parametrize("claim", [EPSILON_3, EPSILON_1], ids=["epsilon 3", "epsilon 1"])
def test_an_honest_mechanism_is_never_accused_and_a_bug_by_two_always(claim):
    honest = [simulated(claim, seed=seed) for seed in range(6)]
    assert not any(result.fires for result in honest)
    largest = max(max(r.one_run, r.independent, r.independent_gaussian) for r in honest)
    assert largest < 0.75 * claim.epsilon  # with room to spare
    assert all(simulated(claim, noise=0.5, seed=seed).fires for seed in range(2))
    assert all(simulated(claim, reach=2.0, seed=seed).fires for seed in range(2))


def test_the_score_is_the_likelihood_ratio_of_the_subsampled_gaussian():
    privacy = EPSILON_3.privacy
    at = np.array([-3.0, 0.0, 0.4, 5.0])
    rate, noise = privacy.sample_rate, privacy.noise_multiplier
    inside, outside = stats.norm.pdf(at, 1, noise), stats.norm.pdf(at, 0, noise)
    np.testing.assert_allclose(
        likelihood_ratio(at, privacy), np.log((rate * inside + (1 - rate) * outside) / outside)
    )
    whole = privacy.model_copy(update={"sample_rate": 1.0})
    np.testing.assert_allclose(likelihood_ratio(at, whole), np.log(inside / outside))
    quiet = privacy.model_copy(update={"noise_multiplier": 1e-3})
    assert np.isfinite(likelihood_ratio(at, quiet)).all()


def test_a_plan_without_noise_has_nothing_to_audit():
    loud = EPSILON_3.privacy.model_copy(update={"noise_multiplier": 0.0})
    with pytest.raises(PlanError, match="without noise"):
        Claim.of("loud", loud, 1, 1e-5, "1 step")


def test_a_long_plan_is_rehearsed_as_far_as_it_fits():
    def claim(**changes) -> Claim:
        privacy = EPSILON_3.privacy.model_copy(update={"noise_multiplier": 4.0, **changes})
        return canaries.production_claim("autumn", privacy, 20, 1e-5)

    whole = claim(steps_per_round=5)
    assert (whole.steps, whole.scope) == (100, "20 of 20 rounds, 5 steps each")
    assert claim(steps_per_round=50).scope == "2 of 20 rounds, 50 steps each"
    assert claim(steps_per_round=1000).steps == 150_000 // 1250
