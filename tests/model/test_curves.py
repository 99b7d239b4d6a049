"""Splines as linear maps, and fitting them to samples that moved."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.curves import (
    fit_controls,
    outline,
    polygon_controls,
    sample_count,
    sampling_matrix,
    smooth_points,
)
from model.errors import ShapeError

PER_SEGMENT = 8
BEZIER = {"kind": "bezier", "closed": True, "samples_per_segment": PER_SEGMENT}


def blob(rng, points=10, size=200.0):
    """A closed outline with smooth points; tangent lengths differ on the two sides."""
    angle = 2 * np.pi * np.arange(points) / points
    radius = size * rng.uniform(0.8, 1.2, points)
    centre = [500, 400] + radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    along = np.stack([-np.sin(angle), np.cos(angle)], axis=1) * (radius * 2 / points)[:, None]
    sides = rng.uniform(0.6, 1.4, (2, points, 1))
    return np.stack([-along * sides[0], centre, along * sides[1]], axis=1)


def similarity(controls, angle, scale, shift):
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    moved = controls @ np.array([[c, s], [-s, c]])
    moved[..., 1, :] += shift
    return moved


def displacement(before, after, **kind):
    return outline(after, **kind) - outline(before, **kind)


def de_casteljau(points, u):
    while len(points) > 1:
        points = points[:-1] * (1 - u) + points[1:] * u
    return points[0]


@pytest.mark.parametrize("closed", [True, False])
def test_bezier_samples_are_those_of_de_casteljau(closed):
    controls = blob(np.random.default_rng(1), 5)
    samples = outline(controls, "bezier", closed, 6)
    assert len(samples) == sample_count(5, "bezier", closed, 6) == (30 if closed else 25)
    for i in range(5 if closed else 4):
        a, b = controls[i], controls[(i + 1) % 5]
        hull = np.array([a[1], a[1] + a[2], b[1] + b[0], b[1]])
        for j in range(6):
            assert samples[6 * i + j] == pytest.approx(de_casteljau(hull, j / 6))
    if not closed:
        assert samples[-1] == pytest.approx(controls[-1, 1])


def test_bspline_samples_at_the_knots_are_a_sixth_four_sixths_a_sixth():
    centres = np.random.default_rng(2).normal(size=(7, 2))
    samples = outline(polygon_controls(centres), "bspline", True, 4)
    expected = (np.roll(centres, 1, axis=0) + 4 * centres + np.roll(centres, -1, axis=0)) / 6
    assert samples[::4] == pytest.approx(expected)


def test_a_bspline_of_eight_points_on_a_circle_draws_the_radius_measured_in_nuke():
    angle = 2 * np.pi * np.arange(8) / 8
    circle = 200 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    radii = np.linalg.norm(outline(polygon_controls(circle), "bspline", True, 1), axis=1)
    assert radii == pytest.approx(np.full(8, 180.47), abs=0.01)


def test_bspline_segments_join_without_a_corner():
    samples = outline(polygon_controls(np.random.default_rng(3).normal(size=(6, 2))), "bspline", True, 2000)
    steps = np.diff(np.concatenate([samples, samples[:1]]), axis=0)
    assert np.abs(np.diff(steps, axis=0)).max() < 0.01 * np.abs(steps).max()


def test_an_open_bspline_ends_on_its_end_points():
    centres = np.random.default_rng(4).normal(size=(5, 2))
    samples = outline(polygon_controls(centres), "bspline", False, 3)
    assert samples[[0, -1]] == pytest.approx(centres[[0, -1]])


def test_a_polygon_is_its_vertices():
    vertices = np.random.default_rng(5).normal(size=(6, 2))
    assert np.array_equal(outline(polygon_controls(vertices), "polygon", True, 9), vertices)


@pytest.mark.parametrize("kind", ["bezier", "bspline", "polygon"])
@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize("points", [1, 2, 5])
def test_every_kind_follows_a_shift_exactly(kind, closed, points):
    controls = np.random.default_rng(6).normal(size=(points, 3, 2))
    shifted = controls.copy()
    shifted[:, 1] += [3, -4]
    moved = outline(shifted, kind, closed, 5) - outline(controls, kind, closed, 5)
    assert moved == pytest.approx(np.broadcast_to([3, -4], moved.shape))


def test_frames_are_sampled_together_as_apart():
    frames = np.stack([blob(np.random.default_rng(s), 6) for s in range(3)])
    together = outline(frames, "bezier", True, 4)
    assert all(np.array_equal(together[t], outline(frames[t], "bezier", True, 4)) for t in range(3))


def test_the_matrix_is_shared_and_cannot_be_changed():
    matrix = sampling_matrix(5, "bezier", True, 4)
    assert matrix is sampling_matrix(5, "bezier", True, 4)
    assert matrix.shape == (20, 15)
    with pytest.raises(ValueError, match="read-only"):
        matrix[0, 0] = 1


@given(
    st.integers(0, 1000),
    st.floats(-3, 3),
    st.floats(0.5, 2),
    st.sampled_from(["bezier", "bspline", "polygon"]),
)
@settings(max_examples=25, deadline=None)
def test_fitting_a_shift_turn_and_scale_gives_exactly_that(seed, angle, scale, kind):
    before = blob(np.random.default_rng(seed))
    if kind != "bezier":
        before[:, ::2] = 0
    after = similarity(before, angle, scale, [30, -20])
    how = BEZIER | {"kind": kind}
    fitted = fit_controls(before, displacement(before, after, **how), **how)
    assert np.allclose(fitted, after, atol=1e-6)


@pytest.mark.parametrize(
    "linear", [[[1.35, 0.3], [-0.1, 0.75]], [[0.6, 0.0], [0.0, 1.4]], [[1.0, 0.5], [0.0, 1.0]]]
)
def test_fitting_a_stretch_and_shear_carries_centres_and_tangents_by_it(linear):
    before = blob(np.random.default_rng(12))
    after = before @ np.transpose(linear)
    after[:, 1] += [30, -20]
    fitted = fit_controls(before, displacement(before, after, **BEZIER), **BEZIER)
    assert np.linalg.norm(fitted - after, axis=-1).max() < 0.1
    assert np.array_equal(smooth_points(fitted), smooth_points(before))


def test_fitting_a_bend_follows_the_samples():
    rng = np.random.default_rng(7)
    before = blob(rng)
    after = before.copy()
    after[:, 1] += rng.normal(0, 6, (10, 2))
    after[:, 2] *= rng.uniform(0.8, 1.25, (10, 1))
    fitted = fit_controls(before, displacement(before, after, **BEZIER), **BEZIER)
    missed = np.linalg.norm(displacement(fitted, after, **BEZIER), axis=1)
    assert missed.mean() < 0.11
    assert missed.max() < 0.6


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_smooth_points_stay_smooth_under_any_displacement(seed):
    rng = np.random.default_rng(seed)
    before = blob(rng)
    fitted = fit_controls(before, rng.normal(0, 15, (80, 2)), **BEZIER)
    into, out = fitted[:, 0], fitted[:, 2]
    sine = (
        (into[:, 0] * out[:, 1] - into[:, 1] * out[:, 0])
        / np.linalg.norm(into, axis=1)
        / np.linalg.norm(out, axis=1)
    )
    assert np.abs(sine).max() < 1e-9
    assert ((into * out).sum(axis=1) < 0).all()


def test_points_smooth_at_the_keys_are_put_back_on_the_line_in_between():
    before = blob(np.random.default_rng(8))
    smooth = smooth_points(before)
    before[3, 2] += [2, 5]  # an in-between of two smooth keys is a little off
    assert not smooth_points(before)[3]
    fitted = fit_controls(before, np.zeros((80, 2)), smooth=smooth, **BEZIER)
    assert smooth_points(fitted).all()


def test_a_cusp_stays_a_cusp_and_zero_tangents_stay_zero():
    rng = np.random.default_rng(9)
    before = blob(rng)
    before[2, 2] = [25, -60]
    before[5] = [[0, 0], before[5, 1], [0, 0]]
    before[6, 0] = 0
    after = similarity(before, 0.2, 1.05, [5, 5])
    fitted = fit_controls(
        before, displacement(before, after, **BEZIER) + rng.normal(0, 0.5, (80, 2)), **BEZIER
    )
    assert not smooth_points(fitted)[2]
    assert not fitted[5, ::2].any()
    assert not fitted[6, 0].any()
    assert np.linalg.norm(fitted - after, axis=-1).max() < 5


def test_a_tiny_segment_follows_its_neighbours_under_noise():
    rng = np.random.default_rng(10)
    before = blob(rng)
    twin = before[3].copy()
    twin[1] += [0.01, 0.02]
    twin[::2] *= 1e-4
    before = np.insert(before, 4, twin, axis=0)
    after = similarity(before, 0.3, 1.0, [8, 3])
    noisy = displacement(before, after, **BEZIER) + rng.normal(0, 0.5, (88, 2))
    fitted = fit_controls(before, noisy, **BEZIER)
    assert np.linalg.norm(fitted[4] - after[4], axis=-1).max() < 2
    assert np.linalg.norm(fitted[4, ::2], axis=-1).max() < 0.1


def test_samples_without_trust_pull_nothing():
    rng = np.random.default_rng(11)
    before = blob(rng)
    after = similarity(before, 0.1, 1.0, [4, 4])
    moves = displacement(before, after, **BEZIER)
    trust = np.ones(80)
    wrong = slice(16, 20)
    moves[wrong] += 300
    trust[wrong] = 0
    fitted = fit_controls(before, moves, trust=trust, **BEZIER)
    assert np.linalg.norm(fitted - after, axis=-1).max() < 0.1
    assert np.linalg.norm(fit_controls(before, moves, **BEZIER) - after, axis=-1).max() > 10


def test_fitting_many_frames_is_fitting_each():
    rng = np.random.default_rng(12)
    before = np.stack([blob(rng, 5) for _ in range(3)])
    moves = rng.normal(0, 3, (3, 40, 2))
    together = fit_controls(before, moves, **BEZIER)
    assert np.allclose(together[1], fit_controls(before[1], moves[1], **BEZIER))


@pytest.mark.parametrize("points", [1, 2, 3])
@pytest.mark.parametrize("kind", ["bezier", "bspline"])
def test_collapsed_and_very_short_shapes_fit_without_breaking(points, kind):
    before = np.zeros((points, 3, 2))
    how = BEZIER | {"kind": kind}
    fitted = fit_controls(before, np.full((points * PER_SEGMENT, 2), 5.0), **how)
    assert np.allclose(fitted[:, 1], 5, atol=1e-3)


def test_wrong_sizes_and_values_are_refused():
    before = blob(np.random.default_rng(13))
    with pytest.raises(ShapeError, match="displacements have shape"):
        fit_controls(before, np.zeros((79, 2)), **BEZIER)
    with pytest.raises(ShapeError, match="finite"):
        fit_controls(before, np.full((80, 2), np.nan), **BEZIER)
    with pytest.raises(ShapeError, match="nurbs"):
        sampling_matrix(3, "nurbs", True, 2)
    with pytest.raises(ShapeError, match="no outline"):
        sampling_matrix(3, "bezier", True, 0)
