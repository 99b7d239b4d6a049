"""Interpolation as Nuke does it: from stored slopes, and the rule by which Nuke makes slopes."""

import re
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.errors import KeyframeError
from model.keyframes import Keyed, default_slopes, insert_keys, stack

EXCERPTS = Path(__file__).parents[3] / "shared" / "roto_files" / "excerpts"


@st.composite
def curves(draw, trailing=()):
    keys = draw(st.integers(1, 6))
    gaps = draw(st.lists(st.sampled_from([0.5, 1.0, 3.0, 10.0]), min_size=keys, max_size=keys))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    shape = (keys, *trailing)
    return Keyed(1000 + np.cumsum(gaps), *(rng.normal(0, scale, shape) for scale in (100, 10, 10)))


def test_between_two_keys_it_is_the_cubic_through_both_slopes():
    # f(t) = t^3 - 2 t on 0..2: values 0 and 4, slopes -2 and 10.
    curve = Keyed([0, 2], [0.0, 4.0], [0.0, 10.0], [-2.0, 0.0])
    for t in (0.0, 0.3, 1.0, 1.7, 2.0):
        assert curve.at(t) == pytest.approx(t**3 - 2 * t, abs=1e-12)


def test_stored_slopes_are_used_and_not_recomputed():
    frames, values = [0, 10, 20], [0.0, 5.0, 40.0]
    stale = Keyed(frames, values, [0, 9.0, 0], [0, -9.0, 0])
    assert abs(stale.at(5) - Keyed.smooth(frames, values).at(5)) > 1


@given(curves((2, 3)))
@settings(max_examples=30, deadline=None)
def test_keys_come_back_to_the_last_bit(curve):
    for frame, value in zip(curve.frames, curve.values, strict=True):
        assert np.array_equal(curve.at(frame), value)


def test_outside_the_keys_the_end_values_hold_whatever_the_outer_slopes():
    curve = Keyed([10, 20], [1.0, 3.0], [7.0, 0.0], [0.0, 7.0])
    assert curve.at(-100) == 1
    assert curve.at(100) == 3
    assert Keyed([5], [2.0], [9.0], [9.0]).at(50) == 2


def test_default_slopes_inside_are_the_difference_over_both_neighbours():
    into, out = default_slopes([0, 10, 30], [0.0, 5.0, 45.0])
    assert into[1] == out[1] == pytest.approx(45 / 30)


def test_default_slopes_are_zero_at_an_extremum_and_beside_a_level_stretch():
    into, _ = default_slopes([0, 1, 2, 3, 4], [0.0, 5.0, 2.0, 2.0, 9.0])
    assert into[1] == into[2] == into[3] == 0


def test_default_slopes_at_the_ends_are_natural():
    into, out = default_slopes([0, 10, 30], [0.0, 5.0, 45.0])
    assert out[0] == pytest.approx(1.5 * 0.5 - 0.5 * 1.5)
    assert into[2] == pytest.approx(1.5 * 2.0 - 0.5 * 1.5)
    assert into[0] == out[2] == 0


def test_two_default_keys_make_a_straight_line():
    curve = Keyed.smooth([10, 20], [[0.0, 100.0], [10.0, 0.0]])
    assert curve.at(13) == pytest.approx([3, 70])


def test_default_curves_never_overshoot_their_own_extremes():
    values = np.array([0.0, 10.0, -4.0, -4.0, 7.0, 0.0])
    curve = Keyed.smooth(np.arange(6) * 7, values)
    inside = curve.sample(np.linspace(7, 28, 200))
    assert inside.min() >= -4 - 1e-9
    assert inside.max() <= 10 + 1e-9


@given(curves((2,)), st.lists(st.floats(-20, 60), min_size=1, max_size=5, unique=True))
@settings(max_examples=60, deadline=None)
def test_inserting_keys_keeps_the_curve_everywhere(curve, extra):
    times = curve.frames[0] + np.array(extra)
    more = insert_keys(curve, times)
    assert set(times) <= set(more.frames)
    at = np.linspace(curve.frames[0] - 30, curve.frames[-1] + 30, 97)
    # Two keys a hair apart have steep cubics between them; rounding grows with the slope times the gap.
    assert np.allclose(more.sample(at), curve.sample(at), atol=1e-6)


def test_stacked_curves_keep_their_own_course_over_the_union_of_key_times():
    one, two = Keyed.smooth([0, 10], [0.0, 10.0]), Keyed([3, 4, 5], [1.0, 2.0, 9.0], [5, 5, 5], [4, 4, 4])
    block = stack([one, two], (2,))
    assert block.frames.tolist() == [0, 3, 4, 5, 10]
    for t in np.linspace(-2, 12, 29):
        assert block.at(t) == pytest.approx([one.at(t), two.at(t)], abs=1e-12)


def test_keys_out_of_order_say_which_ones():
    with pytest.raises(KeyframeError, match="12 and 12"):
        Keyed([10, 12, 12], np.zeros(3), np.zeros(3), np.zeros(3))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_value_that_is_not_finite_is_refused(bad):
    with pytest.raises(KeyframeError, match="finite"):
        Keyed([1, 2], [0.0, bad], np.zeros(2), np.zeros(2))


def test_keyed_arrays_cannot_be_changed_later():
    values = np.zeros(2)
    curve = Keyed([1, 2], values, np.zeros(2), np.zeros(2))
    values[0] = 5
    assert curve.at(1) == 0
    with pytest.raises(ValueError, match="read-only"):
        curve.values[0] = 1


def test_a_level_curve_is_constant_but_one_that_leaves_and_returns_is_not():
    assert Keyed([1, 5], [2.0, 2.0], [9.0, 0.0], [0.0, 9.0]).is_constant
    assert not Keyed([1, 5], [2.0, 2.0], [0.0, 0.0], [1.0, 0.0]).is_constant


@pytest.mark.skipif(not EXCERPTS.is_dir(), reason="no reference scripts beside the project")
def test_default_slopes_are_those_that_nuke_itself_stored():
    """Four curves of a four-key script; one was edited after keying and the last key of others too: stale slopes."""

    def number(word: str) -> float:
        return struct.unpack(">f", bytes.fromhex(word[1:]))[0] if word.startswith("x") else float(word)

    text = next(EXCERPTS.glob("*nuke12*")).read_text()
    matching = 0
    for block in re.findall(r"((?:\{x4[0-9a-f]{7} [^{}]*\}\s*){4})", text):
        keys = [k.split() for k in re.findall(r"\{([^}]*)\}", block)]
        stored = np.array([(0, 0) if k[1] == "-" else (number(k[1]), number(k[3])) for k in keys])
        slopes = np.stack(default_slopes([32, 62, 103, 184], [number(k[0]) for k in keys]), axis=1)
        matching += np.allclose(slopes[:3], stored[:3], atol=1e-6)
    assert matching == 3
