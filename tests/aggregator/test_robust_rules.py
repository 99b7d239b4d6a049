"""The rules that bear liars: closed forms, a second method, and the least number of studios."""

from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator import robust_rules
from aggregator.aggregation import Contribution, norm_clipped_mean
from aggregator.robust_rules import aggregate
from federation.errors import RoundError
from federation.plan import STUDIOS_MIN, Aggregation

RULES = get_args(Aggregation)
ROBUST = [rule for rule in RULES if rule != "norm_clipped_mean"]


def contributions(rows, weights=None):
    weights = [1.0] * len(rows) if weights is None else weights
    return [
        Contribution(f"s{index:02d}", 1, weight, lambda row=row: np.asarray(row, np.float32))
        for index, (row, weight) in enumerate(zip(rows, weights, strict=True))
    ]


def run(rule, rows, weights=None, norm_max=100.0):
    return aggregate(rule, contributions(rows, weights), parameters=len(rows[0]), norm_max=norm_max)


def drawn(studios, parameters, seed=0):
    return np.random.default_rng(seed).standard_normal((studios, parameters)).astype(np.float32)


@pytest.mark.parametrize("rule", RULES)
def test_equal_updates_give_themselves(rule):
    row = drawn(1, 40)[0]
    np.testing.assert_allclose(run(rule, [row] * 5), row, atol=1e-6)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("short", [True, False])
def test_each_rule_has_its_least_number_of_studios(rule, short):
    studios = STUDIOS_MIN[rule] - short
    if studios == 0:
        return
    rows = drawn(studios, 6)
    if short:
        with pytest.raises(RoundError, match=f"{rule} needs updates of {STUDIOS_MIN[rule]} studios"):
            run(rule, rows)
    else:
        assert np.isfinite(run(rule, rows)).all()


@pytest.mark.parametrize("studios", [3, 4, 7, 10])
def test_the_median_of_equal_weights_is_numpys(studios):
    rows = drawn(studios, 200)
    np.testing.assert_allclose(run("median", rows), np.median(rows.astype(np.float64), axis=0), atol=1e-7)


def test_a_weight_counts_as_so_many_studios():
    rows = drawn(4, 100)
    for rule in ("median", "trimmed_mean", "geometric_median"):
        heavy = run(rule, rows, [3.0, 1.0, 1.0, 1.0])
        np.testing.assert_allclose(heavy, run(rule, [rows[0]] * 3 + list(rows[1:])), atol=2e-3)


def test_the_trimmed_mean_of_equal_weights_is_the_mean_of_what_is_left():
    rows = drawn(9, 50).astype(np.float64)
    np.testing.assert_allclose(
        run("trimmed_mean", rows), np.sort(rows.astype(np.float32), axis=0)[3:6].mean(axis=0), atol=1e-6
    )


def test_the_geometric_median_minimises_the_sum_of_distances():
    rows = drawn(7, 5, seed=3).astype(np.float64)
    center = run("geometric_median", rows)
    cost = lambda point: np.linalg.norm(rows - point, axis=1).sum()  # noqa: E731
    rng = np.random.default_rng(1)
    assert all(cost(center) <= cost(center + 0.05 * rng.standard_normal(5)) + 1e-6 for _ in range(200))


@pytest.mark.parametrize("rule", ROBUST)
@pytest.mark.parametrize("studios", [4, 10, 30])
def test_a_third_that_lies_moves_it_less_than_the_mean(rule, studios):
    honest = 0.1 * drawn(studios, 300) + 1.0
    liars = (studios - 1) // 3
    rows = honest.copy()
    rows[:liars] = -5.0
    truth = honest[liars:].mean(axis=0)
    miss = np.linalg.norm(run(rule, rows, norm_max=1e6) - truth)
    assert miss < 0.5 * np.linalg.norm(run("norm_clipped_mean", rows, norm_max=1e6) - truth)


@settings(max_examples=30, deadline=None)
@given(st.integers(4, 12), st.integers(1, 30), st.integers(0, 2**31), st.sampled_from(RULES))
def test_order_and_blocks_do_not_matter_and_the_norm_holds(studios, parameters, seed, rule):
    rows = 10 * drawn(studios, parameters, seed)
    given_order = contributions(rows)
    result = aggregate(rule, given_order, parameters=parameters, norm_max=2.0)
    assert np.linalg.norm(result) <= 2.0 + 1e-9
    whole = robust_rules.BLOCK_VALUES
    try:
        robust_rules.BLOCK_VALUES = studios * 3
        again = aggregate(rule, given_order[::-1], parameters=parameters, norm_max=2.0)
    finally:
        robust_rules.BLOCK_VALUES = whole
    np.testing.assert_allclose(again, result, atol=1e-9)
    np.testing.assert_array_equal(
        aggregate(rule, given_order[::-1], parameters=parameters, norm_max=2.0), result
    )


def test_a_studio_has_one_voice_whatever_came_late():
    rows = drawn(3, 20)
    late = Contribution("s00", 0, 0.5, lambda: np.full(20, 9, np.float32))
    result = aggregate("median", [*contributions(rows), late], parameters=20, norm_max=100.0)
    voice = (rows[0] + 0.5 * 9) / 1.5
    expected = np.median(np.stack([voice, rows[1], rows[2]]), axis=0)
    np.testing.assert_allclose(result, expected, atol=1e-6)
    with pytest.raises(RoundError, match="needs updates of 3 studios, there are 2"):
        aggregate("median", [*contributions(rows[:2]), late], parameters=20, norm_max=100.0)


def test_the_default_is_the_norm_clipped_mean_bit_for_bit():
    rows = drawn(5, 77)
    expected = norm_clipped_mean(contributions(rows), parameters=77, norm_max=1.0)
    np.testing.assert_array_equal(run("norm_clipped_mean", rows, norm_max=1.0), expected)


@pytest.mark.parametrize("rule", RULES)
def test_what_is_not_finite_never_gets_in(rule):
    rows = drawn(5, 10)
    rows[2, 3] = np.nan
    with pytest.raises(RoundError, match="not finite"):
        run(rule, rows)
