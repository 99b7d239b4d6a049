import math
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from dp_accounting import dp_event, rdp
from dp_accounting.pld import privacy_loss_distribution
from dp_accounting.privacy_accountant import NeighboringRelation
from hypothesis import given, settings
from hypothesis import strategies as st

from federation import privacy
from federation.config import PlanDefaults, StudioPolicy, default_size_tiers
from federation.errors import PlanError
from federation.privacy import (
    RENYI_ORDERS,
    PrivacyEvent,
    RenyiFilter,
    epsilon,
    order_for,
    renyi_divergence,
    renyi_epsilon,
)

ROOT = Path(__file__).parents[2]
DELTA = 1e-5
POINTS = [
    ([PrivacyEvent(0.1, 1.2, 50)], 1e-5),
    ([PrivacyEvent(0.01, 0.8, 500)], 1e-5),
    ([PrivacyEvent(0.02, 1.0, 300)], 1e-6),
    ([PrivacyEvent(1.0, 8.0, 20)], 1e-5),
    ([PrivacyEvent(1.0, 4.0, 3), PrivacyEvent(1.0, 8.0, 5)], 1e-5),
    ([PrivacyEvent(0.1, 1.2, 50), PrivacyEvent(0.1, 1.68, 100), PrivacyEvent(1.0, 4.0, 5)], 1e-5),
    ([PrivacyEvent(0.3, 3.0, 40), PrivacyEvent(0.05, 0.9, 200)], 1e-6),
]
EVENTS = st.builds(
    PrivacyEvent,
    sample_rate=st.sampled_from([0.01, 0.1, 0.25, 0.5, 1.0]),
    noise_multiplier=st.sampled_from([0.8, 1.0, 2.0, 4.0, 8.0]),
    steps=st.integers(0, 60),
)


def pld_epsilon(events, delta, *, pessimistic: bool, interval: float) -> float:
    """Epsilon by dp-accounting's privacy loss distributions: from above (pessimistic) or from below."""
    whole = None
    for event in events:
        one = privacy_loss_distribution.from_gaussian_mechanism(
            event.noise_multiplier,
            pessimistic_estimate=pessimistic,
            value_discretization_interval=interval,
            sampling_prob=event.sample_rate,
            neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
        ).self_compose(event.steps)
        whole = one if whole is None else whole.compose(one)
    return whole.get_epsilon_for_delta(delta)


def check_against_pld(events, delta, interval: float) -> None:
    ours = epsilon(events, delta)
    assert ours >= pld_epsilon(events, delta, pessimistic=True, interval=interval) - 0.05
    assert ours >= pld_epsilon(events, delta, pessimistic=False, interval=1e-3)
    assert ours <= renyi_epsilon(events, delta) + 0.02  # and no looser than the bound that never fails


@pytest.mark.parametrize(("events", "delta"), POINTS)
def test_epsilon_is_never_below_a_privacy_loss_distribution(events, delta):
    check_against_pld(events, delta, 1e-3 if events[0].sample_rate == 1 else 2e-4)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(280))
def test_epsilon_is_never_below_a_privacy_loss_distribution_at_many_points(seed):
    rng = random.Random(seed)
    events = [
        PrivacyEvent(
            rng.choice([0.001, 0.01, 0.02, 0.05, 0.1, 0.25, 0.3, 0.5, 1.0]),
            rng.choice([0.8, 0.9, 1.0, 1.3, 1.68, 2.0, 2.7, 4.0, 8.0]),
            rng.choice([1, 5, 20, 50, 100, 300, 1000]),
        )
        for _ in range(1 if seed % 3 else rng.choice([2, 3, 5]))
    ]
    delta = rng.choice([1e-4, 1e-5, 1e-6])
    if renyi_epsilon(events, delta) > privacy.NUMERIC_EPSILON_MAX:
        pytest.skip("reported by the Rényi bound")
    check_against_pld(events, delta, 1e-3 if any(e.sample_rate == 1 for e in events) else 1e-4)


def test_no_steps_cost_nothing_and_a_step_without_noise_costs_everything():
    assert epsilon([], DELTA) == 0
    assert epsilon([PrivacyEvent(0.1, 1.0, 0)], DELTA) == 0
    assert epsilon([PrivacyEvent(0.1, 0.0, 0)], DELTA) == 0
    assert epsilon([PrivacyEvent(0.1, 1.0, 5), PrivacyEvent(0.1, 0.0, 1)], DELTA) == math.inf
    assert renyi_epsilon([PrivacyEvent(0.1, 0.0, 1)], DELTA) == math.inf


def test_a_campaign_at_the_defaults_costs_less_than_epsilon_3_and_a_fifth_of_a_lifetime():
    plan, policy = PlanDefaults(), StudioPolicy()
    delta = default_size_tiers(plan.sample_rate)["s"].delta
    one = PrivacyEvent(plan.sample_rate, plan.noise_multiplier, plan.steps_per_round)
    campaign = PrivacyEvent(plan.sample_rate, plan.noise_multiplier, plan.rounds * plan.steps_per_round)
    assert epsilon([campaign], delta) == pytest.approx(2.95, abs=0.01)
    order = order_for(one, policy.epsilon_lifetime, delta)
    assert RenyiFilter(order, policy.epsilon_lifetime, delta).fraction([campaign]) < 0.2


def test_a_rate_of_one_is_the_exact_gaussian_mechanism():
    # delta(epsilon) of a Gaussian mechanism of shift 1, solved by hand: epsilon 4.3772 at 1e-5
    assert epsilon([PrivacyEvent(1.0, 1.0, 1)], DELTA) == pytest.approx(4.37718, abs=1e-4)
    # four steps at twice the noise are the same mechanism
    assert epsilon([PrivacyEvent(1.0, 2.0, 4)], DELTA) == pytest.approx(
        epsilon([PrivacyEvent(1.0, 1.0, 1)], DELTA), abs=1e-8
    )


def test_what_would_overflow_gets_the_larger_renyi_bound():
    heavy = [PrivacyEvent(0.5, 0.8, 5000)]
    assert epsilon(heavy, DELTA) == renyi_epsilon(heavy, DELTA) > privacy.NUMERIC_EPSILON_MAX


def test_a_numeric_failure_falls_back_to_the_renyi_bound(monkeypatch):
    from opacus.accountants import PRVAccountant

    def fail(*_, **__):
        raise RuntimeError("Discrete mean differs significantly from continuous mean.")

    monkeypatch.setattr(PRVAccountant, "get_epsilon", fail)
    events = [PrivacyEvent(0.123, 1.7, 13)]
    assert epsilon(events, DELTA) == renyi_epsilon(events, DELTA)


@pytest.mark.parametrize(
    "bad", [(0.0, 1.0, 1), (1.1, 1.0, 1), (0.5, -1.0, 1), (0.5, math.nan, 1), (0.5, 1.0, -1)]
)
def test_impossible_events_are_refused(bad):
    with pytest.raises(PlanError):
        PrivacyEvent(*bad)


@pytest.mark.parametrize("delta", [0.0, 1.0, -1e-5, math.nan])
def test_impossible_deltas_are_refused(delta):
    with pytest.raises(PlanError, match="delta"):
        epsilon([PrivacyEvent(0.1, 1.0, 1)], delta)


def test_order_and_splitting_of_a_history_do_not_matter():
    a, b = PrivacyEvent(0.1, 1.2, 20), PrivacyEvent(0.25, 2.0, 7)
    whole = epsilon([a, b], DELTA)
    parts = [b, PrivacyEvent(0.1, 1.2, 5), PrivacyEvent(0.1, 1.2, 15)]
    assert epsilon(parts, DELTA) == whole


@given(st.lists(EVENTS, max_size=4), EVENTS)
@settings(max_examples=25, deadline=None)
def test_one_more_event_never_makes_anything_cheaper(events, more):
    assert renyi_epsilon([*events, more], DELTA) >= renyi_epsilon(events, DELTA)


@pytest.mark.parametrize(
    "event", [PrivacyEvent(0.1, 1.2, 50), PrivacyEvent(0.02, 0.8, 7), PrivacyEvent(1.0, 3.0, 4)]
)
def test_divergences_agree_with_dp_accounting(event):
    orders = [2, 3, 5, 8, 16, 32, 64]
    accountant = rdp.RdpAccountant(orders=orders)
    accountant.compose(
        dp_event.PoissonSampledDpEvent(event.sample_rate, dp_event.GaussianDpEvent(event.noise_multiplier)),
        event.steps,
    )
    for order, theirs in zip(orders, accountant._rdp, strict=True):
        assert privacy.renyi_divergence(event, order) == pytest.approx(theirs, rel=1e-6)


@pytest.mark.parametrize("shift", [1, 5, 40])
@pytest.mark.parametrize("rate", [1.0, 0.2])
def test_noise_on_a_grid_has_the_gaussians_divergences_at_shifts_by_whole_steps(shift, rate):
    deviation = 30.0
    support = np.arange(-1500, 1501)

    def log_density(centre):
        weights = -((support - centre) ** 2) / (2 * deviation**2)
        return weights - np.logaddexp.reduce(weights)

    without, mixture = log_density(0), log_density(shift)
    if rate < 1:
        mixture = np.logaddexp(math.log(1 - rate) + without, math.log(rate) + mixture)
    for order in (2, 3, 8, 16):
        counted = np.logaddexp.reduce(order * mixture - (order - 1) * without) / (order - 1)
        event = PrivacyEvent(rate, deviation / shift, 1)
        assert counted == pytest.approx(renyi_divergence(event, order), rel=1e-6, abs=1e-12)


def test_noise_on_a_grid_keeps_to_epsilon_along_every_direction_of_the_lattice():
    # the tightest figure, one unsampled step: what leaks beyond epsilon is at most delta, for shifts of equal length
    deviation, delta = 24.0, 1e-3
    line = np.arange(-300, 301)
    for shift in ((12.0, 5.0), (13.0, 0.0)):
        claimed = epsilon([PrivacyEvent(1.0, deviation / 13.0, 1)], delta)
        one, two = (np.exp(-((line - by) ** 2) / (2 * deviation**2)) for by in shift)
        nought = np.exp(-(line**2) / (2 * deviation**2))
        with_shot = np.outer(one, two) / np.outer(one, two).sum()
        without = np.outer(nought, nought) / np.outer(nought, nought).sum()
        leaked = np.maximum(with_shot - math.exp(claimed) * without, 0).sum()
        assert leaked <= delta * 1.02  # a coarse grid of 24 steps to a deviation; the product's has 2^30


@given(st.lists(EVENTS, min_size=1, max_size=5), st.sampled_from([1.0, 3.0, 8.0]))
@settings(max_examples=60, deadline=None)
def test_what_the_filter_admits_is_within_the_cap_by_every_accountant(events, cap):
    first = next((event for event in events if event.steps), events[0])
    lifetime = RenyiFilter(order_for(first, cap, DELTA), cap, DELTA)
    if lifetime.admits(events):
        assert renyi_epsilon(events, DELTA) <= cap + 1e-9
        assert lifetime.epsilon_of(events) <= cap + 1e-9
        assert lifetime.fraction(events) <= 1 + 1e-12
    else:
        assert lifetime.fraction(events) > 1


def test_the_filter_is_a_meter_that_adds_up():
    event = PrivacyEvent(0.25, 2.0, 5)
    lifetime = RenyiFilter(order_for(event, 8.0, DELTA), 8.0, DELTA)
    one = lifetime.fraction([event])
    assert 0 < one < 1
    assert lifetime.fraction([event] * 7) == pytest.approx(7 * one)
    count = math.floor(1 / one)
    assert lifetime.admits([event] * count)
    assert not lifetime.admits([event] * (count + 1))
    assert lifetime.fraction([]) == lifetime.epsilon_of([]) == 0


def test_the_chosen_order_fits_most_of_the_first_event():
    event = PrivacyEvent(0.1, 1.68, 1)
    chosen = order_for(event, 3.0, DELTA)

    def fits(order: int) -> float:
        lifetime = RenyiFilter(order, 3.0, DELTA)
        return lifetime.allowance / lifetime.spent([event])

    assert fits(chosen) == max(fits(order) for order in RENYI_ORDERS)
    assert (
        fits(chosen) > 60
    )  # the numerical accountant allows 100 such steps; the filter must not waste half of them


def test_a_cap_that_is_too_small_admits_nothing():
    lifetime = RenyiFilter(2, 0.5, DELTA)
    assert lifetime.allowance < 0
    assert not lifetime.admits([PrivacyEvent(0.01, 8.0, 1)])
    assert lifetime.fraction([PrivacyEvent(0.01, 8.0, 1)]) == math.inf


def test_the_gaussian_dp_accountant_is_never_used():
    for folder in ("federation", "studio_node", "aggregator", "model", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text()
            assert "GaussianAccountant" not in text, path
            assert "accountants.gdp" not in text, path


def test_importing_the_module_loads_neither_opacus_nor_torch():
    code = (
        "import sys, federation.privacy as p; p.accountant_name(); p.renyi_epsilon([p.PrivacyEvent(.1, 1., 3)], 1e-5); "
        "sys.exit('opacus' in sys.modules or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
