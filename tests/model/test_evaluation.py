"""Measuring on clips: keys spread, frames between scored, pairs compared, the artist played."""

import numpy as np
import pytest

from model.errors import PredictionError
from model.evaluation import (
    EvaluationClip,
    difference,
    groups_of,
    means,
    measure,
    spread_keys,
)
from model.frames import ArrayFrames
from model.hard_cases import CASES, case_clips, case_gap
from model.methods import CLASSICAL
from model.played_artist import play_artist
from model.predict import OutlinePrediction
from model.rasteriser import coverage


@pytest.fixture
def clip(disc):
    pictures, outlines = disc
    return EvaluationClip("disc", "round", ArrayFrames(pictures, first_frame=7), outlines)


def perfect(clip, off=0.0):
    """A method that knows the answer, but for a shift of the frames between the keys."""

    def place(frames, key_frames, key_points, progress=None, *, interpolation=None):
        points = clip.outline + np.array([off, 0.0])
        rows = np.array(key_frames) - clip.frames.first_frame
        points[rows] = key_points
        sure = np.ones(len(points))
        return OutlinePrediction(np.arange(len(points)) + 7, points, sure, 0 * points[..., 0], None)

    return place


@pytest.mark.parametrize(
    ("frames", "gap", "keys"),
    [(9, 4, [0, 4, 8]), (9, 5, [0, 4, 8]), (10, 20, None), (3, 20, None), (22, 10, [0, 10, 21])],
)
def test_keys_are_spread_evenly_or_the_clip_is_too_short(frames, gap, keys):
    found = spread_keys(frames, gap)
    assert (found is None) == (keys is None)
    assert keys is None or np.abs(found - keys).max() <= 1


def test_the_truth_scores_perfectly_and_a_shift_costs_its_length(clip):
    right, off = measure(clip, 4, {"right": perfect(clip), "off": perfect(clip, 2.0)})
    assert right.mean_boundary == pytest.approx(0, abs=1e-9)
    assert right.mean_iou == pytest.approx(1)
    assert right.rows.tolist() == [1, 2, 3, 5, 6, 7]
    size = np.sqrt(np.pi) * 18
    assert off.mean_boundary == pytest.approx(
        100 * 2 * 2 / np.pi / size, rel=0.05
    )  # mean of |cos| times the shift
    assert off.mean_iou < 0.95


def test_masks_are_the_truth_where_there_are_any_and_unseen_frames_do_not_count(clip, disc):
    wider = 1.1 * (clip.outline - clip.outline.mean(axis=1, keepdims=True)) + clip.outline.mean(
        axis=1, keepdims=True
    )

    def mask(frame):
        return None if frame == 8 else coverage(wider[frame - 7], 96, 96) > 0.5

    visible = np.ones(9, bool)
    visible[2] = False
    masked = EvaluationClip("disc", "round", clip.frames, clip.outline, visible=visible, masks=mask)
    (score,) = measure(masked, 4, {"right": perfect(clip)})
    assert score.rows.tolist() == [1, 3, 5, 6, 7]
    assert score.boundary[0] == pytest.approx(0, abs=1e-9)  # no mask there: the outline is the truth
    assert score.boundary[1:].min() > 3


def test_pairs_are_compared_clip_by_clip_and_by_group(clip):
    clips = [
        EvaluationClip(f"disc{i}", "round" if i < 2 else "other", clip.frames, clip.outline) for i in range(4)
    ]
    scores = [
        score
        for index, one in enumerate(clips)
        for score in measure(one, 4, {"near": perfect(clip, 0.5), "far": perfect(clip, 1.0 + index)})
    ]
    assert groups_of(scores) == ["all", "round", "other"]
    found = difference(scores, "near", "far", gap=4)
    assert (found.clips, found.won) == (4, 4)
    assert found.boundary.low < found.boundary.mean < found.boundary.high < 0
    assert found.iou.mean > 0
    assert difference(scores, "near", "far", group="round", gap=4).clips == 2
    assert difference(scores, "near", "nobody", gap=4) is None
    assert means(scores, "round", 4)["near"][2] == 2


def test_the_played_artist_sets_keys_until_all_frames_are_near_enough(clip):
    def added(off, **tolerance):
        played = play_artist(clip, perfect(clip, off), **tolerance)
        assert (played.looks, len(played.keys)) == (played.added, played.added + 2)
        return played.added

    assert added(0.0, tolerance_px=0.1) == 0
    assert added(3.0, tolerance_px=0.5) == 7
    assert added(1.0, tolerance_px=0.1, tolerance_percent=10) == 0
    still = EvaluationClip("still", "x", clip.frames, clip.outline[:1])
    with pytest.raises(PredictionError, match="two or more"):
        play_artist(still, perfect(clip), tolerance_px=1)


def test_the_artist_looks_where_the_rule_says_and_keys_what_is_off(clip):
    def only_rows_2_and_5_are_off(frames, key_frames, key_points, progress=None, *, interpolation=None):
        found = perfect(clip)(frames, key_frames, key_points)
        for row in (2, 5):
            found.points[row, :, 0] += 0.0 if row + 7 in key_frames else 3.0
        # First it is sure of all but row 3, which is good; then of all but row 5.
        found.confidence[:] = np.linspace(0.5, 0.9, 9)
        found.confidence[5 if 9 in key_frames else 3] = 0.1
        found.confidence[2] = 0.2
        return found

    rules = {"worst": ([0, 2, 5, 8], 2), "suggested": ([0, 2, 5, 8], 3), "halving": ([0, 2, 5, 8], 3)}
    for rule, (keys, looks) in rules.items():
        played = play_artist(clip, only_rows_2_and_5_are_off, tolerance_px=0.5, rule=rule)
        assert (played.keys.tolist(), played.looks) == (keys, looks), rule


def test_hard_cases_are_the_same_whatever_their_number_and_unlike_each_other():
    one, again = (next(case_clips("low texture", count)) for count in (1, 2))
    assert np.array_equal(one.outline, again.outline)
    assert np.array_equal(one.frames.working(3), again.frames.working(3))
    assert not np.array_equal(one.outline, next(case_clips("usual", 1)).outline)
    assert len(one.outline) == 25
    assert case_gap("long gaps") == 32
    assert len(CASES) == 10
    assert measure(one, case_gap("low texture"), {"smooth": CLASSICAL["smooth"]})[0].group == "low texture"
