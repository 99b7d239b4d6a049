"""Classical methods: exact at keys, closed, and at home with missing pictures and strange keys."""

import numpy as np
import pytest

from model import trackers
from model.errors import KeyframeError
from model.frames import ArrayFrames
from model.keyframes import Keyed
from model.pictures import Pictures
from model.trackers_dis import filled
from model.trackers_lk import lk_chain
from model.trackers_planar import planar_chain
from model.tracks import track_span

METHODS = [trackers.lk_closed, trackers.dis_closed, trackers.planar_closed]
KEYS = [0, 8]


@pytest.fixture
def frames(disc):
    return ArrayFrames(disc[0])


@pytest.mark.parametrize("method", METHODS)
def test_a_textured_disc_is_followed_and_keys_are_exact(disc, frames, method):
    _, outlines = disc
    points = method(frames, KEYS, outlines[KEYS])
    assert points.shape == outlines.shape
    assert np.array_equal(points[KEYS], outlines[KEYS])
    assert np.abs(points - outlines).max() < 0.6


@pytest.mark.parametrize("method", METHODS)
def test_acceleration_is_seen_in_the_pictures_not_in_the_keys(disc, method):
    pictures, outlines = disc
    order = [0, 1, 2, 4, 6, 7, 8]  # the middle runs twice as fast
    frames = ArrayFrames([pictures[i] for i in order])
    truth = outlines[order]
    keys = [0, len(order) - 1]
    tracked = np.abs(method(frames, keys, truth[keys]) - truth).max()
    straight = np.abs(trackers.linear(keys, truth[keys]) - truth).max()
    assert straight > 1.0
    assert tracked < 0.6 * straight


@pytest.mark.parametrize("method", METHODS)
def test_the_artists_offset_from_the_edge_is_kept(disc, frames, method):
    _, outlines = disc
    wider = outlines + 2.0 * (outlines - outlines.mean(axis=1, keepdims=True)) / 18
    assert np.abs(method(frames, KEYS, wider[KEYS]) - wider).max() < 0.8


@pytest.mark.parametrize("method", METHODS)
def test_missing_pictures_are_bridged(disc, method):
    pictures, outlines = disc
    holed = ArrayFrames([None if i in (3, 4) else p for i, p in enumerate(pictures)])
    assert np.abs(method(holed, KEYS, outlines[KEYS]) - outlines).max() < 0.8


@pytest.mark.parametrize("method", METHODS)
def test_without_the_picture_of_a_key_the_span_is_interpolated(disc, method):
    pictures, outlines = disc
    holed = ArrayFrames([None, *pictures[1:]])
    points = method(holed, [0, 4, 8], outlines[[0, 4, 8]])
    expected = Keyed.smooth([0, 4, 8], outlines[[0, 4, 8]]).sample([1, 2, 3])
    assert np.allclose(points[1:4], expected)


def test_keys_outside_the_plate_are_interpolated_not_refused(disc, frames):
    _, outlines = disc
    points = trackers.lk_closed(frames, [-4, 0, 8, 12], outlines[[0, 0, 8, 8]])
    assert points.shape[0] == 17
    assert np.isfinite(points).all()


@pytest.mark.parametrize("method", METHODS)
def test_outlines_far_outside_the_picture_stay_finite_and_unclamped(frames, disc, method):
    _, outlines = disc
    away = outlines[KEYS] + [[[-500.0, 900.0]]]
    points = method(frames, KEYS, away)
    assert np.array_equal(points[KEYS], away)
    assert np.isfinite(points).all()
    assert points[..., 0].max() < -300


@pytest.mark.parametrize("chain", [lk_chain, planar_chain])
def test_closing_takes_the_miss_out_and_reports_it(disc, frames, chain):
    _, outlines = disc
    slipped = outlines[8] + [3.0, 0.0]
    keys = np.stack([outlines[0], slipped])
    straight = trackers.linear([0, 8], keys)[1:-1]
    tracks = track_span(Pictures(frames), chain, 0, 8, keys, straight)
    assert np.allclose(tracks.left_miss, 3.0, atol=0.7)
    assert np.allclose(tracks.right_miss, 3.0, atol=0.7)
    expected = outlines[1:-1] + (np.arange(1, 8) / 8)[:, None, None] * [3.0, 0.0]
    assert np.abs(tracks.left - expected).max() < 0.6


def test_two_neighbouring_keys_need_no_tracking(disc, frames):
    _, outlines = disc
    assert np.array_equal(trackers.lk_closed(frames, [3, 4], outlines[[3, 4]]), outlines[[3, 4]])


@pytest.mark.parametrize(
    ("keys", "shape", "hint"),
    [
        ([3], (1, 8, 2), "at least two"),
        ([5, 3], (2, 8, 2), "not increasing"),
        ([3, 3], (2, 8, 2), "not increasing"),
        ([0, 3], (3, 8, 2), "need"),
        ([0, 3], (2, 2, 2), "at least 3"),
    ],
)
def test_keys_that_cannot_be_interpolated_are_refused(keys, shape, hint):
    with pytest.raises(KeyframeError, match=hint):
        trackers.smooth(keys, np.zeros(shape))


def test_points_that_are_not_finite_are_refused():
    with pytest.raises(KeyframeError, match="NaN"):
        trackers.linear([0, 2], np.full((2, 8, 2), np.nan))


def test_the_fill_counts_pixel_centres_and_does_not_paint_the_outline():
    square = np.array([[1.5, 1.5], [4.5, 1.5], [4.5, 4.5], [1.5, 4.5]])
    assert filled(square, 8, 8).sum() == 9
    assert filled(square + 100, 8, 8).sum() == 0
    assert filled(square * 50 - 100, 8, 8).all()


def test_the_cache_forgets_but_does_not_change_results(disc, frames):
    _, outlines = disc
    small = Pictures(frames, cache_bytes=1)
    assert np.array_equal(
        trackers.dis_closed(small, KEYS, outlines[KEYS]), trackers.dis_closed(frames, KEYS, outlines[KEYS])
    )
    assert len(small._kept) == 1


class CountedFrames(ArrayFrames):
    """Counts how often a picture is read."""

    def __init__(self, frames):
        super().__init__(frames)
        self.reads = []

    def working(self, frame):
        """The picture, counted."""
        self.reads.append(frame)
        return super().working(frame)


def test_each_picture_is_read_from_disk_once(disc):
    pictures, outlines = disc
    counted = CountedFrames([None if i == 3 else p for i, p in enumerate(pictures)])
    shown = Pictures(counted)
    for method in METHODS:
        method(shown, KEYS, outlines[KEYS])
    assert sorted(counted.reads) == list(range(9))
