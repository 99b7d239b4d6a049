"""The classical methods, as an artist or an application would use them: the baselines to beat.

All take keys of one outline in plate pixels and give every frame from the first to the last key. "Closed": a track
from each key runs on to the other key, its miss there is taken out linearly in time, and both are blended by
temporal distance.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.errors import KeyframeError
from model.frames import FrameSource
from model.keyframes import Keyed
from model.pictures import Pictures
from model.trackers_dis import dis_chain
from model.trackers_lk import lk_chain
from model.trackers_planar import planar_chain
from model.tracks import Chain, Points, SpanTracks, blend, track_span

KeyFrames = Sequence[int] | NDArray[np.int64]
SHORTEST_SPAN: Final = 2


def smooth(key_frames: KeyFrames, key_points: Points) -> Points:
    """Nuke's own smooth interpolation of the keys [K, M, 2]: what an artist gets without any picture.

    Returns:
        [T, M, 2] from the first to the last key.
    """
    check_keys(key_frames, key_points)
    wanted = np.arange(key_frames[0], key_frames[-1] + 1)
    return np.asarray(Keyed.smooth(key_frames, key_points).sample(wanted), np.float64)


def linear(key_frames: KeyFrames, key_points: Points) -> Points:
    """Straight interpolation between keys [T, M, 2]; the weakest baseline."""
    check_keys(key_frames, key_points)
    times = np.asarray(key_frames)
    wanted = np.arange(times[0], times[-1] + 1)
    high = np.clip(np.searchsorted(times, wanted), 1, len(times) - 1)
    share = ((wanted - times[high - 1]) / (times[high] - times[high - 1]))[:, None, None]
    return np.asarray((1 - share) * key_points[high - 1] + share * key_points[high])


def lk_closed(frames: FrameSource | Pictures, key_frames: KeyFrames, key_points: Points) -> Points:
    """Pyramidal Lucas-Kanade on the outline's points, closed: the baseline to beat."""
    return track_closed(frames, key_frames, key_points, lk_chain)


def dis_closed(frames: FrameSource | Pictures, key_frames: KeyFrames, key_points: Points) -> Points:
    """Dense inverse search flow inside the object, closed."""
    return track_closed(frames, key_frames, key_points, dis_chain)


def planar_closed(frames: FrameSource | Pictures, key_frames: KeyFrames, key_points: Points) -> Points:
    """Planar (affine) tracking of the object's inside, closed."""
    return track_closed(frames, key_frames, key_points, planar_chain)


def track_closed(
    frames: FrameSource | Pictures, key_frames: KeyFrames, key_points: Points, chain: Chain
) -> Points:
    """Run one tracker over all spans; where a key's picture is missing, Nuke's interpolation stands in."""
    pictures = frames if isinstance(frames, Pictures) else Pictures(frames)
    points = smooth(key_frames, key_points)
    for between, tracks in closed_spans(pictures, key_frames, key_points, chain):
        if tracks is not None:
            points[between] = blend(tracks)
    return points


def closed_spans(
    pictures: Pictures, key_frames: KeyFrames, key_points: Points, chain: Chain
) -> Iterator[tuple[slice, SpanTracks | None]]:
    """Track every span that has frames between its keys: its rows, and its tracks or None without a key's picture."""
    straight = linear(key_frames, key_points)
    origin = int(key_frames[0])
    for index, (first, last) in enumerate(pairwise(key_frames)):
        if last - first < SHORTEST_SPAN:
            continue
        between = slice(int(first) - origin + 1, int(last) - origin)
        keys = key_points[index : index + 2]
        yield between, track_span(pictures, chain, int(first), int(last), keys, straight[between])


def check_keys(key_frames: KeyFrames, key_points: Points) -> None:
    """Refuse keys that cannot be interpolated.

    Raises:
        KeyframeError: fewer than two keys, out of order, another count or shape of points, or not finite.
    """
    times = np.asarray(key_frames)
    if times.ndim != 1 or len(times) < 2:
        raise KeyframeError(f"{times.size} keyframe(s) given; set at least two to have frames between them")
    if (np.diff(times) <= 0).any():
        raise KeyframeError(f"keyframes {times.tolist()[:8]} are not increasing; sort them and drop doubles")
    if key_points.ndim != 3 or key_points.shape[0] != len(times) or key_points.shape[2] != 2:
        raise KeyframeError(
            f"key points have shape {key_points.shape}; {len(times)} keys need [{len(times)}, M, 2]"
        )
    if key_points.shape[1] < 3:
        raise KeyframeError(f"an outline of {key_points.shape[1]} points has no inside; give at least 3")
    if not np.isfinite(key_points).all():
        raise KeyframeError("a key point is NaN or infinite; check the shape at its keyframes")
