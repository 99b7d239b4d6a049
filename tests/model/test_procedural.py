"""Procedural shots: repeatable, exact, and made of figures that move as their shapes say."""

import dataclasses

import numpy as np
import pytest

from model.curves import outline, smooth_points
from model.errors import ShapeError
from model.frames import ArrayFrames
from model.procedural import make_shot, thinned
from model.procedural_figures import grown, random_outline
from model.procedural_lens import Lens
from model.procedural_motion import random_motion
from model.procedural_settings import ShotSettings, studio_settings
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


@pytest.mark.parametrize("lens", [0.0, 2.0])
def test_the_picture_changes_exactly_where_the_shape_is(lens):
    """The same shot without its figure differs inside the outline and nowhere else."""
    found = []
    for seed in range(6):
        shot = make_shot(np.random.default_rng(seed), dataclasses.replace(PLAIN, lens=lens))
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


@pytest.mark.parametrize("bend", [0.2, -0.15])
def test_a_lens_there_and_back_is_the_identity_and_its_slope_is_its_derivative(bend):
    lens = Lens(np.array([80.0, 60.0]), 100.0, bend)
    plate = np.random.default_rng(0).uniform([0, 0], [160, 120], (40, 2))
    straight = lens.straightened(plate)
    assert np.abs(straight - plate).max() > 3
    assert np.allclose(lens.seen(straight), plate, atol=1e-6)
    step = 1e-4
    along = [(lens.seen(straight + d) - lens.seen(straight - d)) / (2 * step) for d in step * np.eye(2)]
    assert np.allclose(lens.slope(straight), np.stack(along, axis=-1), atol=1e-5)


def test_a_lens_darkens_the_corners():
    light = Lens(np.array([8.0, 6.0]), 10.0, 0.1, 0.4).light(16, 12)
    assert light.shape == (12, 16, 1)
    assert light[5:7, 7:9].min() > 0.99
    assert light[0, 0, 0] == pytest.approx(1 - 0.4 * (7.5**2 + 5.5**2) / 100)


def test_tangents_are_the_derivative_of_the_motion_under_a_lens():
    rng = np.random.default_rng(5)
    motion = random_motion(rng, np.arange(3.0), centre=np.array([80, 60]), size=40, amount=1.5, deformation=2)
    bent = dataclasses.replace(motion, lens=Lens(np.array([80.0, 60.0]), 100.0, 0.2))
    rest = random_outline(rng)
    step = 1e-5
    for row in range(3):
        carried = bent.controls(row, rest)
        ahead, behind = (bent.to_plate(row, rest[:, 1] + s * step * rest[:, 2]) for s in (1, -1))
        assert np.allclose(carried[:, 2], (ahead - behind) / (2 * step), atol=1e-4)
        assert np.allclose(bent.controls(np.arange(3), rest)[row], carried)


def test_the_artists_offset_keeps_its_distance_from_the_painted_edge():
    circle = random_outline(np.random.default_rng(1))
    for distance in (0.05, -0.05):
        moved = grown(circle, distance)
        edge, drawn = (outline(c, "bezier", True, 24) for c in (circle, moved))
        away = np.linalg.norm(drawn[:, None] - edge[None], axis=2).min(axis=1)
        assert np.median(away) == pytest.approx(0.05, rel=0.1)
        width = [np.ptp(e[:, 0]) for e in (edge, drawn)]
        assert (width[1] > width[0]) == (distance > 0)
    both = [make_shot(np.random.default_rng(3), ShotSettings(frames=1, offset_px=px)) for px in (0.0, 4.0)]
    assert np.array_equal(both[0].frames[0], both[1].frames[0])
    assert not np.allclose(both[0].truth[0], both[1].truth[0], atol=1)


def test_something_passes_over_the_figure_in_the_middle_of_the_shot_only():
    settings = ShotSettings(**{**vars(PLAIN), "frames": 25, "motion": 0.0, "deformation": 0.0, "light": 0.0})
    passed, free = (
        make_shot(np.random.default_rng(6), dataclasses.replace(settings, passing_chance=chance))
        for chance in (1.0, 0.0)
    )
    assert np.array_equal(passed.truth[0], free.truth[0])
    hidden = []
    for frame in range(25):
        inside = coverage(outline(free.truth[0][frame], "bezier", True, 8), 160, 160) > 0.5
        shot = passed.frames[frame] / passed.frames[0].mean() - free.frames[frame] / free.frames[0].mean()
        hidden.append((np.abs(shot).max(axis=2) > 0.05)[inside].mean())
    assert max(hidden[9:16]) > 0.2
    assert max(hidden[0], hidden[-1]) < 0.05


def test_leaving_figures_end_outside_and_turning_ones_slide_under_their_outline():
    left = make_shot(np.random.default_rng(2), dataclasses.replace(PLAIN, frames=25, leaving=1.0, motion=0.3))
    centre = left.truth[0][:, :, 1].mean(axis=1)
    assert ((centre[0] > 0) & (centre[0] < 160)).all()
    assert ((centre[-1] < 0) | (centre[-1] > 160)).any()
    still = dataclasses.replace(PLAIN, motion=0.0, deformation=0.0, turning=1.0)
    turned, flat = (
        make_shot(np.random.default_rng(3), dataclasses.replace(still, turning=angle)) for angle in (1.0, 0.0)
    )
    assert np.allclose(turned.truth[0][0, :, 1], turned.truth[0][-1, :, 1], atol=1e-6)
    inside = coverage(outline(flat.truth[0][0], "bezier", True, 8), 160, 160) > 0.9
    change = [np.abs(s.frames[-1] - s.frames[0])[inside].mean() for s in (turned, flat)]
    assert change[0] > 3 * change[1]


def test_invented_studios_differ_and_are_always_the_same():
    usual = ShotSettings(width=96, height=64, frames=3)
    studios = [studio_settings(number, usual) for number in range(8)]
    assert len({(s.motion, s.contrast, s.grain, s.lens, s.tint) for s in studios}) == 8
    assert studios == [studio_settings(number, usual) for number in range(8)]
    assert all((s.width, s.height, s.frames) == (96, 64, 3) for s in studios)
    assert make_shot(np.random.default_rng(0), studios[1]).frames[0].shape == (64, 96, 3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"passing_chance": 1.5}, "between 0 and 1"),
        ({"lens": 3.0}, "lens above 2"),
        ({"motion": -1.0}, "below 0"),
        ({"patterns": (1.0, 1.0, 0.0, 0.0)}, "not to 1"),
    ],
)
def test_amounts_that_cannot_be_are_refused(change, said):
    with pytest.raises(ShapeError, match=said):
        ShotSettings(**change)
