"""Confidence against truth: order within spans, order by time alone, and bands from sure to unsure."""

import numpy as np
import pytest

from model.confidence import confidence_of, expected_error, row_most_worth_a_key
from model.evaluation import MethodScore
from model.reliability import rank_correlation, reliabilities, reliability


def score(expected_percent, true_percent):
    """A clip of two spans of five scored frames each, keys at rows 0, 6 and 12."""
    rows = np.array([1, 2, 3, 4, 5, 7, 8, 9, 10, 11])
    sure = confidence_of(np.asarray(expected_percent, float) / 100)
    true = np.asarray(true_percent, float)
    return MethodScore(
        "clip", "all", 6, "model", rows, true[::-1].copy(), 0 * true, true, sure, np.zeros((13, 4, 2))
    )


def test_confidence_leads_back_to_the_error_it_came_from():
    errors = np.array([0.0, 0.001, 0.016, 0.3])
    assert np.allclose(expected_error(confidence_of(errors)), errors)


def test_order_is_judged_within_spans_and_against_time_alone():
    true = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    right = reliability([score(true, true)])
    assert (right.gap, right.method) == (6, "model")
    assert right.within_spans == pytest.approx(1)
    assert right.over_frames == pytest.approx(1)
    assert right.time_alone == pytest.approx(0, abs=1e-9)
    by_span = reliability([score([5, 4, 3, 2, 1, 10, 9, 8, 7, 6], true)])
    assert by_span.within_spans == pytest.approx(-1)
    assert by_span.over_frames > 0.4
    assert right.gain is None
    assert reliability([score(true, true)] * 2).gain.mean == pytest.approx(1)


def test_masks_are_a_truth_of_their_own():
    true = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]  # and backwards by the masks
    found = reliabilities([score(true, true)], "model")
    assert [(one.truth, one.within_spans) for one in found] == [
        ("outline", pytest.approx(1)),
        ("mask", pytest.approx(-1)),
    ]


def test_bands_tell_whether_errors_are_as_large_as_expected():
    expected = np.arange(1.0, 11.0)
    bands = reliability([score(expected, 1.5 * expected)]).bands
    assert [band.frames for band in bands] == [2, 2, 2, 2, 2]
    assert [band.expected for band in bands] == pytest.approx([1.5, 3.5, 5.5, 7.5, 9.5])
    assert all(band.found == pytest.approx(1.5 * band.expected) for band in bands)
    assert {(band.within, band.within_twice) for band in bands} == {(0.0, 1.0)}


def test_too_little_to_say():
    assert reliability([]) is None
    assert reliability([score(np.ones(10), np.ones(10))]) is None
    assert rank_correlation(np.array([1.0, 1.0]), np.array([1.0, 2.0])) == 0
    assert rank_correlation(np.array([1.0, 1.0, 2.0]), np.array([3.0, 3.0, 4.0])) == pytest.approx(1)


def test_a_key_goes_where_much_is_off_and_many_frames_gain():
    known = np.isin(np.arange(12), [0, 3, 11])
    error = np.full(12, 1.0)
    error[[1, 7]] = 1.6, 1.2
    assert row_most_worth_a_key(error, known) == 7  # seven frames gain there, two at the other
    error[1] = 2.4
    assert row_most_worth_a_key(error, known) == 1
    assert row_most_worth_a_key(error, np.ones(12, bool)) is None
