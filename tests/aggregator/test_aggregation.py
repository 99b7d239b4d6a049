import itertools
import math

import numpy as np
import pytest

from aggregator.aggregation import Contribution, apply_mean, norm_clipped_mean, stale_weight
from federation.errors import RoundError


def contribution(studio, update, weight=1.0, server_round=1):
    array = np.asarray(update, np.float32)
    return Contribution(studio, server_round, weight, lambda: array)


def mean(*contributions, norm_max=10.0, parameters=2):
    return norm_clipped_mean(contributions, parameters=parameters, norm_max=norm_max)


def test_one_update_is_its_own_mean():
    np.testing.assert_array_equal(mean(contribution("a", [3, 4])), [3, 4])


def test_weights_are_those_of_the_size_tiers():
    result = mean(contribution("a", [1, 0], weight=3), contribution("b", [0, 1], weight=1))
    np.testing.assert_array_equal(result, [0.75, 0.25])


def test_an_update_beyond_the_norm_counts_as_if_it_were_at_the_norm():
    result = mean(contribution("a", [30, 40]), contribution("b", [0, 0]), norm_max=5.0)
    np.testing.assert_allclose(result, [1.5, 2.0], rtol=1e-15)


def test_nobody_moves_the_mean_by_more_than_his_share():
    honest = [contribution(f"s{i}", [0.1, 0]) for i in range(4)]
    attacked = mean(*honest, contribution("z", [-3e38, 3e38]), norm_max=1.0)
    assert np.linalg.norm(attacked - [0.08, 0]) <= 0.2 + 1e-7


def test_the_order_of_arrival_does_not_change_a_bit():
    rng = np.random.default_rng(5)
    arrays = [rng.standard_normal(1000).astype(np.float32) for _ in range(4)]
    results = [
        mean(*(contribution(f"s{i}", arrays[i], 0.1 + i) for i in order), parameters=1000, norm_max=20.0)
        for order in itertools.permutations(range(4))
    ]
    assert all(np.array_equal(results[0], other) for other in results)


def test_the_mean_agrees_with_numpy_on_many_updates():
    rng = np.random.default_rng(6)
    arrays = rng.standard_normal((30, 500)).astype(np.float32)
    weights = rng.uniform(0.5, 5, 30)
    result = mean(
        *(contribution(f"s{i}", a, w) for i, (a, w) in enumerate(zip(arrays, weights, strict=True))),
        parameters=500,
        norm_max=1e9,
    )
    np.testing.assert_allclose(
        result, np.average(arrays.astype(np.float64), axis=0, weights=weights), atol=1e-6
    )


def test_only_one_update_is_in_memory_at_a_time():
    loaded = []

    def load(index):
        loaded.append(index)
        return np.full(2, index, np.float32)

    norm_clipped_mean(
        (Contribution(f"s{i}", 1, 1.0, lambda i=i: load(i)) for i in (2, 0, 1)), parameters=2, norm_max=9.0
    )
    assert loaded == [0, 1, 2]


def test_a_late_and_a_fresh_update_of_one_studio_may_both_count():
    late = contribution("a", [1, 0], stale_weight(1.0, 1), server_round=1)
    fresh = contribution("a", [0, 1], server_round=2)
    share = 1 / math.sqrt(2) / (1 + 1 / math.sqrt(2))
    np.testing.assert_allclose(mean(late, fresh), [share, 1 - share])


def test_a_studio_cannot_count_twice_for_one_round():
    with pytest.raises(RoundError, match="studio a would count twice for round 1"):
        mean(contribution("a", [1, 0]), contribution("a", [1, 0]))


def test_no_update_is_an_error_and_not_a_mean_of_nothing():
    with pytest.raises(RoundError, match="no update"):
        mean()


@pytest.mark.parametrize("weight", [0.0, -1.0, math.nan, math.inf])
def test_a_weight_that_is_not_positive_is_refused(weight):
    with pytest.raises(RoundError, match="weight of studio a"):
        mean(contribution("a", [1, 0], weight))


@pytest.mark.parametrize("update", [[1], [1, 2, 3], [np.nan, 0], [np.inf, 0]])
def test_an_update_that_validation_let_through_wrongly_still_never_reaches_the_mean(update):
    with pytest.raises(RoundError, match="studio bad"):
        mean(contribution("a", [1, 0]), contribution("bad", update))


def test_new_weights_are_base_plus_mean_in_float32():
    base = np.array([1.0, 1e8], np.float32)
    moved = apply_mean(base, np.array([2.0**-30, 3.0]))
    assert moved.dtype == np.float32
    np.testing.assert_array_equal(moved, np.float32([np.float32(1 + 2.0**-30), np.float32(100000003.0)]))


def test_weights_that_would_overflow_are_refused():
    with pytest.raises(RoundError, match="infinite"):
        apply_mean(np.float32([3.4e38]), np.array([3.4e38]))


def test_base_and_mean_must_have_one_length():
    with pytest.raises(RoundError, match="3 values, the weights have 2"):
        apply_mean(np.zeros(2, np.float32), np.zeros(3))
