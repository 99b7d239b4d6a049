"""Metrics: a perfect prediction scores perfectly, and known errors give known numbers."""

import numpy as np
import pytest

from model.errors import ShapeError
from model.metrics import (
    boundary_distance_px,
    chatter_px,
    iou,
    outline_distance_max_px,
    outline_distance_px,
    point_error_px,
)
from model.rasteriser import coverage


def box(x0, y0, x1, y1, size=(60, 80)):
    mask = np.zeros(size, bool)
    mask[y0:y1, x0:x1] = True
    return mask


def circle(radius, centre=(50, 40), points=200):
    angle = 2 * np.pi * np.arange(points) / points
    return centre + radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def tracks(rng, frames=12, points=5):
    return np.cumsum(rng.normal(size=(frames, points, 2)), axis=0) * 10


def test_a_perfect_prediction_scores_perfectly():
    rng = np.random.default_rng(1)
    matte, points = coverage(circle(20.3), 80, 100), tracks(rng)
    assert iou(matte, matte) == 1
    assert boundary_distance_px(matte, matte) == 0
    assert outline_distance_px(circle(20), circle(20)) == pytest.approx(0, abs=1e-12)
    assert outline_distance_max_px(circle(20), circle(20)) == pytest.approx(0, abs=1e-12)
    assert point_error_px(points, points) == 0
    assert chatter_px(points, points) == 0


def test_iou_of_shifted_boxes_is_the_ratio_of_areas():
    assert iou(box(10, 10, 30, 30), box(20, 10, 40, 30)) == pytest.approx(1 / 3)
    assert iou(box(0, 0, 5, 5), box(20, 20, 30, 30)) == 0


def test_two_empty_masks_agree_and_a_lost_shape_costs_the_diagonal():
    empty = np.zeros((30, 40), bool)
    assert iou(empty, empty) == 1
    assert boundary_distance_px(empty, empty) == 0
    assert boundary_distance_px(empty, box(5, 5, 9, 9, (30, 40))) == 50
    assert boundary_distance_px(empty, ~empty) == 50


def test_soft_mattes_count_their_shares():
    assert iou(np.full((2, 2), 0.5), np.full((2, 2), 1.0)) == pytest.approx(0.5)


def test_boundary_distance_of_concentric_circles_is_their_gap():
    small, large = (coverage(circle(r), 80, 100) for r in (20, 24))
    assert boundary_distance_px(small, large) == pytest.approx(4, abs=0.3)


def test_boundary_distance_does_not_count_the_border_of_the_picture():
    half, more = box(0, 0, 40, 60), box(0, 0, 42, 60)
    assert boundary_distance_px(half, more) == pytest.approx(2)


def test_outline_distance_ignores_where_the_samples_lie_on_the_outline():
    coarse = np.array([[0, 0], [10, 0], [10, 10], [0, 10.0]])
    dense = np.concatenate([a + (b - a) * np.linspace(0, 1, 7, endpoint=False)[:, None]
                            for a, b in zip(coarse, np.roll(coarse, -1, axis=0), strict=True)])  # fmt: skip
    assert outline_distance_px(coarse, dense) == pytest.approx(0, abs=1e-12)
    assert outline_distance_px(circle(20), circle(24)) == pytest.approx(4, abs=0.01)


def test_an_open_outline_has_no_edge_from_its_end_to_its_start():
    path, probe = np.array([[0, 0], [10, 0], [10, 10.0]]), np.array([[5, 5.0]])
    assert outline_distance_max_px(path, probe, closed=False) == pytest.approx(np.hypot(5, 5))
    assert outline_distance_px(probe, path, closed=True) < outline_distance_px(probe, path, closed=False)


def test_point_error_is_the_mean_distance_where_frames_count():
    truth = np.zeros((4, 3, 2))
    predicted = truth + np.array([3.0, 4.0]) * np.array([0, 1, 1, 100])[:, None, None]
    assert point_error_px(predicted[:3], truth[:3]) == pytest.approx(10 / 3)
    assert point_error_px(predicted, truth, [1, 1, 1, 0]) == pytest.approx(10 / 3)
    assert point_error_px(predicted, truth, [0, 0, 0, 0]) == 0


def test_chatter_counts_flicker_and_neither_offset_nor_drift():
    truth = tracks(np.random.default_rng(2), frames=20)
    drift = np.array([1.0, -2.0]) + 0.3 * np.arange(20)[:, None, None]
    assert chatter_px(truth + drift, truth) == pytest.approx(0, abs=1e-9)
    flicker = np.where(np.arange(20) % 2 == 0, 0.5, -0.5)[:, None, None] * np.array([1.0, 0.0])
    assert chatter_px(truth + flicker, truth) == pytest.approx(2)
    assert chatter_px(truth[:2] + 5, truth[:2]) == 0


def test_chatter_skips_triples_with_a_frame_outside_the_lifetime():
    truth = np.zeros((7, 1, 2))
    jump = truth.copy()
    jump[5:] += 50
    assert chatter_px(jump, truth, [1, 1, 1, 1, 1, 0, 0]) == 0


def test_shapes_that_differ_are_refused():
    with pytest.raises(ShapeError, match="must agree"):
        iou(np.zeros((2, 2)), np.zeros((2, 3)))
    with pytest.raises(ShapeError, match="frame weights"):
        point_error_px(np.zeros((3, 1, 2)), np.zeros((3, 1, 2)), [1, 1])
