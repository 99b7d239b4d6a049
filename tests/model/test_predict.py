"""Prediction: exact at keys, the artist's points in the artist's order, honest where pictures are missing."""

import dataclasses

import numpy as np
import pytest
import torch

from model.curves import outline, smooth_points
from model.errors import KeyframeError, PredictionError
from model.frames import ArrayFrames
from model.keyframes import Keyed
from model.network import Fusion, RotoModel
from model.pictures import Pictures
from model.predict import SpanMemory, carried_feather, predict_outline, predict_shape, refined
from model.procedural import make_shot
from model.procedural_settings import ShotSettings
from model.shapes import Shape
from model.transforms import Transform
from model.working import to_working

KEYS = [0, 4, 8]


@pytest.fixture(scope="module")
def model():
    """A small random network: what holds for it holds for any weights."""
    torch.manual_seed(0)
    fusion = Fusion()
    for parameter in fusion.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    return RotoModel(fusion)


@pytest.fixture(scope="module")
def frames(disc):
    return ArrayFrames(disc[0])


def circle(centre, points=8, radius=18.0):
    """Bezier controls [N, 3, 2] of a circle."""
    angle = 2 * np.pi * np.arange(points) / points
    arm = 4 / 3 * np.tan(np.pi / (2 * points)) * radius
    along = np.stack([-np.sin(angle), np.cos(angle)], axis=1) * arm
    places = np.stack([np.cos(angle), np.sin(angle)], axis=1) * radius + centre
    return np.stack([-along, places, along], axis=1)


@pytest.fixture
def shape():
    centres = [np.array([36.0 + 2 * t, 40.0 + t]) for t in KEYS]
    return Shape.from_keys("disc", KEYS, np.stack([circle(c) for c in centres]))


def test_keys_are_exact_and_the_disc_is_followed(model, frames, disc):
    _, outlines = disc
    found = predict_outline(model, frames, KEYS, outlines[KEYS])
    assert np.array_equal(found.points[KEYS], outlines[KEYS])
    assert np.abs(found.points - outlines).max() < 1.0
    assert found.frames.tolist() == list(range(9))
    assert np.array_equal(found.confidence[KEYS], np.ones(3))
    assert ((found.confidence > 0) & (found.confidence <= 1)).all()
    assert found.next_key not in KEYS
    assert found.next_key == found.frames[found.confidence.argmin()]
    assert found.log_scale.shape == outlines.shape[:2]


def test_the_result_repeats_exactly(model, frames, disc):
    _, outlines = disc
    one, two = (predict_outline(model, frames, KEYS, outlines[KEYS]) for _ in range(2))
    assert np.array_equal(one.points, two.points)
    assert np.array_equal(one.log_scale, two.log_scale)


def test_point_order_is_kept_wherever_the_outline_begins(model, frames, disc):
    _, outlines = disc
    plain = predict_outline(model, frames, KEYS, outlines[KEYS]).points
    turned = predict_outline(model, frames, KEYS, np.roll(outlines[KEYS], 5, axis=1)).points
    assert np.allclose(np.roll(plain, 5, axis=1), turned, atol=0.02)


def test_memory_changes_nothing_and_saves_unchanged_spans(model, frames, disc, monkeypatch):
    _, outlines = disc
    memory = SpanMemory()
    pictures = Pictures(frames)
    predict_outline(model, pictures, KEYS, outlines[KEYS], memory=memory)
    assert len(memory.kept) == 2
    more = [0, 4, 6, 8]
    fresh = predict_outline(model, frames, more, outlines[more])
    kept = predict_outline(model, pictures, more, outlines[more], memory=memory)
    assert len(memory.kept) == 4
    assert np.array_equal(fresh.points, kept.points)


def test_missing_pictures_lower_the_confidence(model, disc):
    pictures, outlines = disc
    whole = predict_outline(model, ArrayFrames(pictures), [0, 8], outlines[[0, 8]])
    holed = ArrayFrames([None if i == 3 else p for i, p in enumerate(pictures)])
    found = predict_outline(model, holed, [0, 8], outlines[[0, 8]])
    assert np.abs(found.points - outlines).max() < 1.5
    assert found.confidence[3] < whole.confidence[3]
    assert found.confidence[3] < min(found.confidence[2], found.confidence[4])


def test_without_any_picture_the_interpolation_is_given_with_little_confidence(model, disc):
    pictures, outlines = disc
    blind = ArrayFrames([pictures[0]] + [None] * 8)
    found = predict_outline(RotoModel(Fusion()), blind, [0, 8], outlines[[0, 8]])
    assert np.abs(found.points - outlines).max() < 0.1
    seen = predict_outline(RotoModel(Fusion()), ArrayFrames(pictures), [0, 8], outlines[[0, 8]])
    assert found.confidence[1:-1].max() < seen.confidence[1:-1].mean()


def test_points_outside_the_picture_are_not_clamped(model, frames, disc):
    _, outlines = disc
    away = outlines[[0, 8]] - [60.0, 0.0]
    found = predict_outline(model, frames, [0, 8], away)
    assert np.isfinite(found.points).all()
    assert found.points[4].min() < -30


def test_a_shot_where_every_frame_is_a_key_needs_nothing(model, frames, disc):
    _, outlines = disc
    found = predict_outline(model, frames, list(range(9)), outlines)
    assert np.array_equal(found.points, outlines)
    assert found.next_key is None


def test_few_points_are_refined_inside_and_given_back_in_order(model, frames):
    square = np.array([[24.0, 28.0], [48.0, 28.0], [48.0, 52.0], [24.0, 52.0]])
    keys = np.stack([square, np.add(square, [16.0, 8.0])])
    found = predict_outline(model, frames, [0, 8], keys)
    assert found.points.shape == (9, 4, 2)
    assert np.array_equal(found.points[[0, 8]], keys)
    assert np.abs(found.points[4] - np.add(square, [8.0, 4.0])).max() < 3


def test_refining_keeps_the_old_samples():
    rng = np.random.default_rng(0)
    coarse = rng.random((2, 5, 2))
    fine = refined(coarse, 4)
    assert np.array_equal(fine[:, ::4], coarse)
    assert np.allclose(fine[:, 2], (coarse[:, 0] + coarse[:, 1]) / 2)


def test_progress_ends_at_all_frames(model, frames, disc):
    _, outlines = disc
    calls = []
    predict_outline(model, frames, KEYS, outlines[KEYS], lambda done, total: calls.append((done, total)))
    assert calls == [(5, 9), (9, 9)]


def test_one_key_is_refused(model, frames, disc):
    with pytest.raises(KeyframeError, match="at least two"):
        predict_outline(model, frames, [3], disc[1][[3]])


@pytest.mark.parametrize("kind", ["bezier", "bspline", "polygon"])
def test_a_shape_keeps_its_points_and_its_keys_exactly(model, frames, disc, shape, kind):
    shape = dataclasses.replace(shape, kind=kind)
    found = predict_shape(model, frames, shape)
    assert found.controls.shape == (9, 8, 3, 2)
    for key in KEYS:
        assert np.array_equal(found.controls[key], shape.at(key))
        assert found.confidence[key] == 1
    truth = np.stack([circle(np.array([36.0 + 2 * t, 40.0 + t])) for t in range(9)])
    assert np.abs(outline(found.controls - truth, kind, True, 8)).max() < 1.5


def test_a_shape_under_a_moving_layer_is_predicted_on_screen(model, frames, shape):
    layer = Transform(
        pivot=Keyed.constant([0.0, 0.0]),
        translate=Keyed.smooth([0, 8], [[0.0, 0.0], [16.0, 8.0]]),
        rotate_deg=Keyed.constant(0.0),
        scale=Keyed.constant([1.0, 1.0]),
    )
    still = np.repeat(shape.controls[:1], 3, axis=0)
    carried = dataclasses.replace(Shape.from_keys("disc", KEYS, still), transforms=(layer,))
    found = predict_shape(model, frames, carried)
    for key in KEYS:
        assert np.array_equal(found.controls[key], carried.at(key))
    assert np.allclose(found.controls[8, :, 1], shape.at(8)[:, 1])
    assert np.abs(found.controls[:, :, 1] - predict_shape(model, frames, shape).controls[:, :, 1]).max() < 0.5


def test_feather_is_carried_and_exact_at_keys(model, frames, shape):
    offsets = np.zeros((3, 8, 3, 2))
    offsets[:, :, 1, 0] = [[2.0], [4.0], [6.0]]
    feathered = dataclasses.replace(shape, feather=Keyed.smooth(KEYS, offsets))
    found = predict_shape(model, frames, feathered)
    assert found.feather.shape == found.controls.shape
    for key in KEYS:
        assert np.allclose(found.feather[key], feathered.feather_at(key), atol=1e-9)
    assert np.abs(found.feather[2, :, 1] - feathered.feather_at(2)[:, 1]).max() < 0.5
    assert predict_shape(model, frames, shape).feather is None


def test_feather_follows_the_affine_motion_of_its_outline(shape):
    """A stretch and a shear that only the prediction sees: between the keys, not at them."""
    linear = np.array([[1.3, 0.2], [-0.1, 0.8]])
    offsets = np.random.default_rng(3).normal(0, 4, (3, 8, 3, 2))
    feathered = dataclasses.replace(shape, feather=Keyed.smooth(KEYS, offsets))
    frames = np.arange(9)
    before = np.stack([feathered.at(frame) for frame in frames])
    after = before.copy()
    after[2] = before[2] @ linear.T
    carried = carried_feather(feathered, frames, before, after)
    plain = np.stack([feathered.feather_at(frame) for frame in frames])
    assert np.abs(carried[2] - plain[2] @ linear.T).max() < 0.05
    assert np.array_equal(np.delete(carried, 2, axis=0), np.delete(plain, 2, axis=0))


@pytest.mark.parametrize("closed", [True, False])
def test_artists_shapes_stay_smooth_sharp_and_in_order_in_every_predicted_frame(model, closed):
    """Bezier shapes of 12 to 30 points, drawn on a figure that bends, predicted by the whole chain."""
    shot = make_shot(np.random.default_rng(4), ShotSettings(width=128, height=96, frames=9, figures=2))
    frames = ArrayFrames([to_working(plate) for plate in shot.frames])
    for truth in shot.truth:
        shape = Shape.from_keys("figure", KEYS, truth[KEYS], closed=closed)
        found = predict_shape(model, frames, shape)
        smooth = smooth_points(truth[KEYS])
        assert smooth.any()
        assert not smooth.all()
        assert np.array_equal(smooth_points(found.controls[1:4]), smooth)
        shift = np.linalg.norm(found.controls[:, :, 1] - truth[:, :, 1], axis=-1)
        size = np.ptp(truth[0, :, 1], axis=0).max()
        assert np.median(shift) < 0.1 * size  # no point has taken another's place


def test_a_shape_with_one_key_is_refused(model, frames, shape):
    still = Shape.from_keys("still", [4], shape.controls[:1])
    with pytest.raises(PredictionError, match="at least two"):
        predict_shape(model, frames, still)


def test_a_shape_of_one_point_is_refused(model, frames):
    dot = Shape.from_keys("dot", [0, 4], np.zeros((2, 1, 3, 2)))
    with pytest.raises(PredictionError, match="no outline"):
        predict_shape(model, frames, dot)
