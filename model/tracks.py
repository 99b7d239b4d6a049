"""Tracks of an outline from a key through the pictures, closed on the other key."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.pictures import Pictures

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Track:
    """An outline carried from the first of a list of frames to the last.

    Attributes:
        points: [F, M, 2] plate pixels, the first as given.
        drift: [F, M] forward-backward disagreement gathered on the way, pixels; 0 where the tracker has no such check.
    """

    points: Points
    drift: Points


Chain = Callable[[Pictures, list[int], Points], Track]
"""Carries an outline along a list of frames whose pictures exist."""


@dataclass(frozen=True)
class SpanTracks:
    """Both directions of one tracker over the T in-between frames of a span, each closed on the other key.

    Attributes:
        left, right: [T, M, 2] carried from the left and from the right key, plate pixels.
        left_open, right_open: [T + 2, M, 2] the same before closing, both keys' frames included.
        left_drift, right_drift: [T + 2, M] pixels.
        left_miss, right_miss: [M] distance to the other key before closing, pixels.
    """

    left: Points
    right: Points
    left_open: Points
    right_open: Points
    left_drift: Points
    right_drift: Points
    left_miss: Points
    right_miss: Points


def track_span(
    pictures: Pictures, chain: Chain, first: int, last: int, keys: Points, interpolated: Points
) -> SpanTracks | None:
    """Track both keys of a span towards each other and close each on the other.

    Frames without a picture are bridged: between the tracked frames around them the track keeps its offset from the
    interpolation, changing linearly.

    Args:
        pictures: the shot.
        chain: the tracker.
        first: frame of the left key.
        last: frame of the right key, at least ``first + 2``.
        keys: [2, M, 2] outlines there, plate pixels.
        interpolated: [T, M, 2] interpolation of the keys at the frames between.

    Returns:
        The tracks, or None where the picture of a key is missing.
    """
    if not (pictures.has(first) and pictures.has(last)):
        return None
    order = [frame for frame in range(first, last + 1) if pictures.has(frame)]
    forward = chain(pictures, order, keys[0])
    backward = chain(pictures, order[::-1], keys[1])
    left_gap = keys[1] - forward.points[-1]
    right_gap = keys[0] - backward.points[-1]
    whole = np.concatenate([keys[:1], interpolated, keys[1:]])
    times = np.array(order) - first
    every = np.arange(last - first + 1)
    left = whole + _in_time(forward.points - whole[times], times, every)
    right = whole + _in_time(backward.points[::-1] - whole[times], times, every)
    share = (every / every[-1])[:, None, None]
    return SpanTracks(
        left=(left + share * left_gap)[1:-1],
        right=(right + (1 - share) * right_gap)[1:-1],
        left_open=left,
        right_open=right,
        left_drift=_in_time(forward.drift, times, every),
        right_drift=_in_time(backward.drift[::-1], times, every),
        left_miss=np.linalg.norm(left_gap, axis=1),
        right_miss=np.linalg.norm(right_gap, axis=1),
    )


def blend(tracks: SpanTracks) -> Points:
    """Blend both directions by temporal distance [T, M, 2]."""
    count = len(tracks.left)
    share = (np.arange(1, count + 1) / (count + 1))[:, None, None]
    return np.asarray((1 - share) * tracks.left + share * tracks.right)


def _in_time(values: Points, times: NDArray[np.int64], wanted: NDArray[np.int64]) -> Points:
    """Values [F, ...] at increasing ``times`` interpolated linearly at the ``wanted`` times."""
    if len(times) == len(wanted):
        return values
    high = np.clip(np.searchsorted(times, wanted), 1, len(times) - 1)
    low = high - 1
    share = ((wanted - times[low]) / (times[high] - times[low])).reshape(-1, *([1] * (values.ndim - 1)))
    return np.asarray((1 - share) * values[low] + share * values[high])
