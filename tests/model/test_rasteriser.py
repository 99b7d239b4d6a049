"""Coverage against closed forms and against counting many points per pixel."""

import time

import numpy as np
import pytest

from model.errors import ShapeError
from model.rasteriser import coverage, coverage_patch


def counted(points, height, width, side=24):
    """Winding number averaged over side x side points of each pixel: another method, and no clever one."""
    y, x = (np.mgrid[: height * side, : width * side] + 0.5) / side
    winding = np.zeros(x.shape)
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
        if y0 != y1:
            right = x0 + (y - y0) / (y1 - y0) * (x1 - x0) <= x
            winding += np.where((y0 <= y) & (y < y1) & right, 1, 0) - np.where(
                (y1 <= y) & (y < y0) & right, 1, 0
            )
    return np.minimum(np.abs(winding.reshape(height, side, width, side).mean(axis=(1, 3))), 1)


def star(rng, points, centre, low, high):
    angle = np.sort(rng.uniform(0, 2 * np.pi, points))
    radius = rng.uniform(low, high, points)
    return centre + radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def test_an_off_grid_square_covers_its_area_and_parts_of_pixels():
    matte = coverage([[10.3, 5.25], [30.3, 5.25], [30.3, 15.25], [10.3, 15.25]], 50, 60)
    assert matte.dtype == np.float32
    assert matte.sum(dtype=np.float64) == pytest.approx(200, abs=1e-4)
    assert matte[5, 10] == pytest.approx(0.7 * 0.75)
    assert matte[10, 10] == pytest.approx(0.7)
    assert matte[10, 20] == 1
    assert matte[10, 30] == pytest.approx(0.3)
    assert matte[4].max() == matte[16].max() == 0


def test_the_sense_of_the_outline_makes_no_difference():
    points = star(np.random.default_rng(3), 9, [20, 20], 5, 18)
    assert np.allclose(coverage(points, 40, 40), coverage(points[::-1], 40, 40), atol=1e-6)


def test_both_lobes_of_a_bow_tie_are_filled():
    assert coverage([[10, 10], [40, 40], [40, 10], [10, 40.0]], 50, 50).sum() == pytest.approx(450)


@pytest.mark.parametrize("seed", range(4))
def test_random_polygons_agree_with_counting_points(seed):
    rng = np.random.default_rng(seed)
    points = star(rng, 11, rng.uniform(8, 22, 2), 2, 35)  # partly outside the picture
    assert np.abs(coverage(points, 26, 30) - counted(points, 26, 30)).max() < 2 / 24


def test_area_of_an_inscribed_circle_is_exact_for_its_polygon():
    angle = 2 * np.pi * np.arange(512) / 512
    points = [300, 240] + 200 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    exact = 200**2 / 2 * 512 * np.sin(2 * np.pi / 512)
    assert coverage(points, 480, 640).sum(dtype=np.float64) == pytest.approx(exact, rel=1e-7)


def test_a_shape_over_the_border_is_cut_by_it_and_not_bent():
    points = np.array([[-30, 20], [50, -40], [90, 30], [40, 130.0]])
    large = coverage(points + 100, 300, 300)
    assert np.allclose(coverage(points, 60, 70), large[100:160, 100:170], atol=1e-6)


@pytest.mark.parametrize("shift", [(-500, 0), (500, 0), (0, -500), (0, 500)])
def test_a_shape_outside_the_picture_covers_nothing(shift):
    points = np.array([[10, 10], [40, 12], [30, 40.0]]) + shift
    assert not coverage(points, 50, 50).any()


def test_a_shape_much_larger_than_the_picture_fills_it():
    far = 1e9 * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1.0]])
    assert coverage(far, 20, 30).min() == 1


def test_edges_on_pixel_borders_leave_no_seam():
    matte = coverage([[3, 2], [8, 2], [8, 7], [3, 7.0]], 10, 10)
    expected = np.zeros((10, 10))
    expected[2:7, 3:8] = 1
    assert np.array_equal(matte, expected)


@pytest.mark.parametrize("points", [np.zeros((0, 2)), [[1, 1], [5, 5.0]], [[1, 1], [5, 5], [9, 9.0]]])
def test_outlines_without_area_cover_nothing(points):
    assert not coverage(points, 12, 12).any()


def test_a_small_shape_in_a_large_picture_is_computed_in_its_own_box():
    x, y, patch = coverage_patch([[1000.5, 500], [1010, 505.5], [1002, 512]], 1556, 2048)
    assert (x, y, patch.shape) == (1000, 500, (12, 10))
    start = time.process_time()
    for _ in range(20):
        coverage_patch([[1000.5, 500], [1010, 505.5], [1002, 512]], 1556, 2048)
    assert (time.process_time() - start) / 20 < 0.02


def test_points_that_are_not_finite_are_refused():
    with pytest.raises(ShapeError, match="finite"):
        coverage([[0, 0], [np.nan, 1], [2, 2]], 10, 10)
