"""Procedural shots: repeatable, exact, and made of figures that move as their shapes say."""

import numpy as np
import pytest

from model.curves import outline, smooth_points
from model.errors import ShapeError
from model.frames import ArrayFrames
from model.procedural import ShotSettings, make_shot, thinned
from model.procedural_figures import random_outline
from model.procedural_motion import random_motion
from model.rasteriser import coverage
from model.trackers import lk_closed
from model.working import to_working

PLAIN = ShotSettings(frames=9, occluder_chance=0, blur_chance=0, parts_chance=0, grain=0, contrast=0.8)


def test_the_same_generator_gives_the_same_shot():
    one, two, other = (make_shot(np.random.default_rng(s), ShotSettings(frames=3)) for s in (4, 4, 5))
    assert all(np.array_equal(a, b) for a, b in zip(one.frames, two.frames, strict=True))
    assert one.shapes == two.shapes
    assert not np.array_equal(one.frames[0], other.frames[0])


@pytest.mark.parametrize("seed", range(4))
def test_plates_are_scene_linear_and_shapes_have_a_key_on_every_frame(seed):
    settings = ShotSettings(width=200, height=120, frames=4, figures=2, first_frame=11)
    shot = make_shot(np.random.default_rng(seed), settings)
    assert [f.shape for f in shot.frames] == [(120, 200, 3)] * 4
    assert all(f.dtype == np.float32 and np.isfinite(f).all() for f in shot.frames)
    assert 2 <= len(shot.shapes.shapes) <= 6
    for shape, truth in zip(shot.shapes.shapes, shot.truth, strict=True):
        assert shape.key_frames == (11, 12, 13, 14)
        assert 12 <= shape.points <= 30
        assert np.array_equal(shape.at(13), truth[2])


def test_some_plates_hold_highlights_above_one():
    brightest = [
        make_shot(np.random.default_rng(s), ShotSettings(frames=1)).frames[0].max() for s in range(12)
    ]
    assert max(brightest) > 1.2


def test_the_picture_changes_exactly_where_the_shape_is():
    """The same shot without its figure differs inside the outline and nowhere else."""
    found = []
    for seed in range(6):
        shot = make_shot(np.random.default_rng(seed), PLAIN)
        matte = coverage(outline(shot.truth[0][4], "bezier", True, 24), 160, 160)
        luma = np.log(shot.frames[4].mean(axis=2) + 1e-3)
        step = np.abs(np.diff(luma, axis=1))
        edge = np.abs(np.diff(matte, axis=1)) > 0.4
        if edge.sum() > 40:
            found.append(step[edge].mean() / (step[~edge].mean() + 1e-6))
    assert len(found) >= 3
    assert np.median(found) > 2.5


def test_the_material_moves_with_the_shape():
    errors, straight = [], []
    for seed in range(5):
        shot = make_shot(np.random.default_rng(seed), PLAIN)
        truth = outline(shot.truth[0], "bezier", True, 4)
        frames = ArrayFrames([to_working(f) for f in shot.frames])
        inner = truth.mean(axis=1, keepdims=True) + 0.6 * (truth - truth.mean(axis=1, keepdims=True))
        errors.append(np.abs(lk_closed(frames, [0, 8], inner[[0, 8]]) - inner).mean())
        straight.append(np.abs(inner - np.linspace(inner[0], inner[-1], 9)).mean())
    assert np.median(errors) < 0.6
    assert np.median(errors) < np.median(straight)


def test_smooth_points_stay_smooth_and_corners_stay_corners():
    rng = np.random.default_rng(2)
    rest = random_outline(rng)
    motion = random_motion(rng, np.arange(9.0), centre=np.array([80, 80]), size=40, amount=1.5, deformation=2)
    carried = np.stack([motion.controls(t, rest) for t in range(9)])
    assert np.array_equal(smooth_points(rest), smooth_points(carried))
    assert 0 < smooth_points(rest).sum() < len(rest)


def test_motion_there_and_back_is_the_identity():
    rng = np.random.default_rng(3)
    motion = random_motion(rng, np.arange(5.0), centre=np.array([80, 60]), size=40, amount=1.5, deformation=2)
    rest = rng.uniform(-1.2, 1.2, (50, 2))
    for frame in range(5):
        assert np.allclose(motion.to_rest(frame, motion.to_plate(frame, rest)), rest, atol=1e-6)


def test_thinned_shapes_keep_the_keys_they_are_given():
    shot = make_shot(np.random.default_rng(1), ShotSettings(frames=9))
    shape = shot.shapes.shapes[0]
    few = thinned(shape, np.array([1001, 1005, 1009]))
    assert few.key_frames == (1001, 1005, 1009)
    assert np.array_equal(few.at(1005), shape.at(1005))


def test_settings_that_make_no_picture_are_refused():
    with pytest.raises(ShapeError, match="at least 32x32"):
        ShotSettings(width=16)
