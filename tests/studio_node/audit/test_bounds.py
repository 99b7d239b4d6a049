"""The audit's statistics against closed forms, a second library, and simulated honest and dishonest mechanisms."""

import math

import numpy as np
import pytest
from scipy import stats

from federation.privacy import PrivacyEvent, epsilon
from studio_node.audit.bounds import (
    at_most,
    cosine_ceiling,
    distance_ceiling,
    gaussian_delta,
    gaussian_epsilon,
    gaussian_shift,
    independent_epsilon,
    independent_gaussian_epsilon,
    normal_distance,
    one_run_epsilon,
    rate_ceiling,
    spread_floor,
)


@pytest.mark.parametrize(
    ("successes", "trials", "rate"), [(0, 10, 0.3), (7, 10, 0.3), (10, 10, 0.9), (93, 400_000, 3e-4)]
)
def test_the_binomial_tail_is_that_of_another_library(successes, trials, rate):
    assert at_most(successes, trials, rate) == pytest.approx(
        stats.binom.cdf(successes, trials, rate), rel=1e-6
    )


@pytest.mark.parametrize(("successes", "trials"), [(0, 5000), (17, 5000), (4990, 5000), (5000, 5000)])
def test_the_rate_ceiling_is_clopper_and_pearsons(successes, trials):
    expected = stats.beta.ppf(1 - 1e-3, successes + 1, trials - successes) if successes < trials else 1.0
    assert rate_ceiling(successes, trials, 1e-3) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("count", [15, 200, 200_000])
@pytest.mark.parametrize("alarm", [1e-3, 1e-8])
def test_the_spread_floor_promises_no_more_than_the_chi_square_distribution_keeps(count, alarm):
    floor = spread_floor(count, alarm)
    assert 0 < floor < 1
    assert stats.chi2.cdf(floor * count, count) <= alarm
    assert stats.chi2.cdf(floor * count, count) > alarm / 1e3  # and is no empty promise


def test_distance_and_cosine_ceilings_hold_on_honest_draws_and_not_on_dishonest_ones():
    rng = np.random.default_rng(5)
    honest = rng.standard_normal((2000, 100))
    distances = np.array([normal_distance(row) for row in honest[:300]])
    assert np.mean(distances > distance_ceiling(100, 0.1)) <= 0.15
    first, second = honest[:1000], honest[1000:]
    cosines = (first * second).sum(1) / (np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1))
    assert np.mean(np.abs(cosines) > cosine_ceiling(100, 0.1)) <= 0.1
    assert normal_distance(1.3 * rng.standard_normal(100_000)) > distance_ceiling(100_000, 1e-8)
    assert normal_distance(honest[0]) == pytest.approx(stats.kstest(honest[0], "norm").statistic)


@pytest.mark.parametrize("shift", [0.1, 0.75, 1.0, 3.0])
def test_the_gaussian_curve_is_the_accountants(shift):
    expected = epsilon([PrivacyEvent(1.0, 1 / shift, 1)], 1e-5)
    assert gaussian_epsilon(shift, 1e-5) == pytest.approx(expected, abs=1e-6)
    assert gaussian_shift(expected, 1e-5) == pytest.approx(shift, abs=1e-6)
    assert gaussian_delta(shift, expected) == pytest.approx(1e-5, rel=1e-3)


def test_chance_says_nothing_and_certainty_says_the_ceiling():
    assert one_run_epsilon(10_000, 1000, 505, delta=1e-5, significance=0.05) == 0
    certain = one_run_epsilon(10_000, 4000, 4000, delta=1e-5, significance=0.05)
    assert 6 < certain < 16
    assert independent_epsilon(500, 5000, 500, 5000, delta=1e-5, significance=0.05) == 0
    assert independent_gaussian_epsilon(500, 5000, 500, 5000, delta=1e-5, significance=0.05) == 0
    assert independent_epsilon(4000, 5000, 0, 5000, delta=1e-5, significance=0.05) == pytest.approx(
        math.log((1 - rate_ceiling(1000, 5000, 0.025) - 1e-5) / rate_ceiling(0, 5000, 0.025))
    )


def test_the_one_run_bound_grows_with_right_guesses_and_starts_where_it_is_told():
    found = [
        one_run_epsilon(10_000, 500, right, delta=1e-5, significance=0.05)
        for right in (250, 320, 400, 480, 500)
    ]
    assert found == sorted(found)
    assert found[0] == 0 < found[2]
    assert one_run_epsilon(10_000, 500, 400, delta=1e-5, significance=0.05, at_least=9.0) == 9.0
    assert one_run_epsilon(10_000, 0, 0, delta=1e-5, significance=0.05) == 0


@pytest.mark.parametrize("shift", [0.3, 0.75, 1.5])
def test_no_bound_passes_the_true_epsilon_of_a_gaussian_mechanism(shift):
    """The exact mechanism whose curve the bounds assume: the hardest honest case there is."""
    rng = np.random.default_rng(int(100 * shift))
    true = gaussian_epsilon(shift, 1e-5)
    passed = {"one run": 0, "independent": 0, "gaussian": 0}
    best_gaussian = 0.0
    for _ in range(60):
        included = rng.random(4000) < 0.5
        order = np.argsort(-(rng.standard_normal(4000) + shift * included))
        guesses = 400
        hits = int(included[order[:guesses]].sum())
        counts = (hits, int(included.sum()), guesses - hits, int((~included).sum()))
        limits = {"delta": 1e-5, "significance": 0.05}
        gaussian = independent_gaussian_epsilon(*counts, **limits)
        best_gaussian = max(best_gaussian, gaussian)
        passed["one run"] += one_run_epsilon(4000, guesses, hits, **limits) > true
        passed["independent"] += independent_epsilon(*counts, **limits) > true
        passed["gaussian"] += gaussian > true
    assert max(passed.values()) <= 10  # 3 expected of 60 at most; ten have a chance below one in a thousand
    assert passed["one run"] == passed["independent"] == 0  # these two leave a margin
    assert best_gaussian > 0.6 * true  # and the closest bound is worth something
