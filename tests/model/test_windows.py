"""Training windows: bounded, repeatable, dead frames weigh nothing, and only the two keys are given away."""

import numpy as np
import pytest

from model.candidates import span_evidence, with_smooth
from model.draft import span_reference
from model.errors import ShapeError
from model.evidence import CANDIDATES, column
from model.frames import ArrayFrames
from model.pictures import Pictures
from model.windows import WINDOW_POINTS, Window, choose_spans, cut_windows, resample_circular, sequence_bytes


def cut(disc, weight=None, seed=0, **options):
    pictures, outlines = disc
    settings = {"matcher": None, "count": 3, "gaps": (4, 8)} | options
    weight = np.ones(len(outlines), np.float32) if weight is None else weight
    return cut_windows(ArrayFrames(pictures), outlines, weight, rng=np.random.default_rng(seed), **settings)


def test_windows_have_one_size_and_the_truth_in_the_evidences_units(disc):
    windows = cut(disc)
    assert len(windows) == 3
    for window in windows:
        frames = len(window.weight)
        assert 3 <= frames <= 7
        assert window.truth.shape == (frames, WINDOW_POINTS, 2)
        assert np.abs(window.evidence.points[:, :, column("lk_left")] - window.truth).max() < 0.05
        radius = np.linalg.norm(window.truth - window.truth.mean(axis=1, keepdims=True), axis=2)
        assert np.allclose(radius, 1 / np.sqrt(np.pi), atol=0.01)
    assert sequence_bytes(windows) < 3 * 300_000


def test_cutting_repeats_exactly_with_the_same_generator(disc):
    one, two, other = cut(disc, seed=1), cut(disc, seed=1), cut(disc, seed=2)
    for a, b in zip(one, two, strict=True):
        assert all(
            np.array_equal(x, y)
            for x, y in zip(a.to_tensors().values(), b.to_tensors().values(), strict=True)
        )
    assert sequence_bytes(one) != sequence_bytes(other) or not np.array_equal(one[0].truth, other[0].truth)


def test_dead_frames_weigh_nothing_and_are_never_keys(disc):
    weight = np.array([0, 1, 1, 0, 2, 1, 1, 1, 0], np.float32)
    for window in cut(disc, weight, count=8, gaps=(4, 6)):
        gap = round(float(window.evidence.context[0]))
        assert len(window.weight) == gap - 1
        assert 0 in window.weight
    assert not cut(disc, np.zeros(9, np.float32))


def test_frames_outside_the_lifetime_may_hold_anything(disc):
    pictures, outlines = disc
    weight = np.array([0, 0, 1, 1, 1, 1, 1, 0, 0], np.float32)
    spoiled = outlines.copy()
    spoiled[weight == 0] = 1e6
    one = cut((pictures, outlines), weight, gaps=(4, 4), count=1)
    two = cut((pictures, spoiled), weight, gaps=(4, 4), count=1)
    assert np.array_equal(one[0].truth, two[0].truth)


def test_the_truth_between_the_keys_does_not_reach_the_evidence(disc):
    pictures, outlines = disc
    moved = outlines.copy()
    moved[1:-1] += 30
    one, two = (cut((pictures, o), gaps=(8, 8), count=1)[0] for o in (outlines, moved))
    for name, array in one.to_tensors().items():
        assert np.array_equal(array, two.to_tensors()[name]) == (name != "truth")


def test_a_window_without_the_picture_of_a_key_still_has_finite_arrays(disc):
    pictures, outlines = disc
    holed = [None, *pictures[1:4], None, *pictures[5:]]
    windows = cut((holed, outlines), count=6)
    assert all(np.isfinite(array).all() for window in windows for array in window.to_tensors().values())


def test_tensors_round_trip_and_strangers_are_refused(window_of):
    window = window_of(np.random.default_rng(0))
    back = Window.from_tensors(window.to_tensors())
    assert all(np.array_equal(array, window.to_tensors()[name]) for name, array in back.to_tensors().items())
    extra = window.to_tensors() | {"path": np.zeros(1, np.float32)}
    with pytest.raises(ShapeError, match="path"):
        Window.from_tensors(extra)
    for name in window.to_tensors():
        short = {n: a for n, a in window.to_tensors().items() if n != name}
        with pytest.raises(ShapeError, match="do not match"):
            Window.from_tensors(short)


@pytest.mark.parametrize(
    "name", ["time", "points", "log_scale", "available", "miss", "keys", "truth", "weight"]
)
def test_wrong_shapes_types_and_nan_are_refused(window_of, name):
    good = window_of(np.random.default_rng(0)).to_tensors()
    wrong_type = good[name].astype(np.float64)
    not_finite = good[name].copy()
    not_finite.flat[0] = np.nan
    for bad in (wrong_type, not_finite, good[name][:-1]):
        with pytest.raises(ShapeError):
            Window.from_tensors(good | {name: bad})


def test_negative_weights_are_refused(window_of):
    good = window_of(np.random.default_rng(0)).to_tensors()
    with pytest.raises(ShapeError, match="negative"):
        Window.from_tensors(good | {"weight": -good["weight"]})


def test_spans_have_living_ends_and_gaps_within_bounds():
    rng = np.random.default_rng(0)
    alive = rng.random(60) > 0.3
    spans = choose_spans(alive, rng, count=50, gaps=(4, 24))
    assert len(spans) == 50
    gaps = np.array([right - left for left, right in spans])
    assert gaps.min() >= 4
    assert gaps.max() <= 24
    assert gaps.max() > 15
    assert all(alive[left] and alive[right] for left, right in spans)


def test_resampling_keeps_the_first_sample_and_points_on_the_polygon():
    corners = np.array([[0.0, 0.0], [8.0, 0.0], [8.0, 8.0], [0.0, 8.0]])
    fine = resample_circular(corners, 16)
    assert np.array_equal(fine[::4], corners)
    assert np.array_equal(fine[1], [2.0, 0.0])
    assert np.array_equal(resample_circular(fine, 4), corners)


def test_evidence_says_which_candidates_exist(disc):
    pictures, outlines = disc
    evidence, _ = span_evidence(Pictures(ArrayFrames(pictures)), 0, 8, outlines[[0, 8]])
    there = {name for name in CANDIDATES if evidence.available[:, column(name)].all()}
    assert there == set(CANDIDATES) - {"match_left", "match_right"}
    blind, _ = span_evidence(Pictures(ArrayFrames([None, *pictures[1:]])), 0, 8, outlines[[0, 8]])
    there = {name for name in CANDIDATES if blind.available[:, column(name)].all()}
    assert there == {"smooth", "linear", "rigid_left", "rigid_right"}


def test_wrong_places_look_different_from_the_keys(disc):
    pictures, outlines = disc
    shown = Pictures(ArrayFrames(pictures))
    keys = outlines[[0, 8]]
    evidence, reference = span_evidence(shown, 0, 8, keys)
    off = with_smooth(evidence, reference, shown, 0, keys, np.add(outlines[1:8], [14.0, 0.0]))
    wrong, right = (off.appearance[:, :, column(name)].mean() for name in ("smooth", "lk_left"))
    assert wrong > 2 * right


def test_the_reference_of_a_thin_outline_is_not_zero():
    line = np.stack([np.linspace(0, 100, 16), np.zeros(16)], axis=1)
    reference = span_reference(np.stack([line, line]))
    assert reference.size == pytest.approx(25.0)
