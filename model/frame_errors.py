"""How far every predicted frame is likely off: which frames an artist should look at first.

Three witnesses speak for every frame: the error that the network expects, how far the matches with both keys lie from
the result, and how far across it the colours of the keys' edge are found. One frame's reading is noisy, so most of the
say has its span's mean. Between the keys errors gather on the way from either: with the time to the nearer one, on a
clock that runs faster where trackers contradict the steps taken. Without contradictions that is the distance in time.

Source: the course within a span is the standard deviation of a Brownian bridge; powers and factor are a least-squares
fit to the logarithm of the error on real clips at three key distances, rounded (benchmarks/model/confidence.md).
"""

from __future__ import annotations

from typing import Final

import numpy as np

from model.appearance import normals
from model.draft import STEPPING, SpanReference
from model.edge_shift import edge_shifts
from model.evidence import SpanEvidence, column
from model.pictures import Pictures
from model.tracks import Points

CLOCK_FLOOR: Final = 0.3
"""Speed of the clock without contradictions, as a share of its mean speed with them: time alone is never lost."""
CLOCK_LEAST: Final = 1e-5
FRAME_SHARE: Final = 0.3
"""Say of a frame's own reading; its span's mean has the rest."""
EXPECTED_POWER: Final = 0.25
MATCH_POWER: Final = 0.5
EDGE_POWER: Final = 1.0
FACTOR: Final = 12.9
MATCH_LEAST: Final = 0.001
"""Distance of matches, outline sizes, below which they tell nothing more."""


def frame_errors(
    pictures: Pictures,
    first: int,
    evidence: SpanEvidence,
    reference: SpanReference,
    points: Points,
    expected: Points,
) -> Points:
    """Expect the error of every frame between two keys.

    Args:
        pictures: the shot.
        first: frame of the left key.
        evidence: of the span.
        reference: its units.
        points: [T, M, 2] what was predicted, plate pixels.
        expected: [T, M] the network's expected error, outline sizes.

    Returns:
        [T] distance to expect between the predicted and the right outline, outline sizes.
    """
    keys = evidence.keys.astype(np.float64)
    path = np.concatenate([keys[:1], (points - reference.origin) / reference.size, keys[1:]])
    course = _bridge(_clock(evidence, path))
    course /= course.mean()
    own = _steadied(expected.mean(axis=1))
    matched = _match_distances(evidence, path)
    shifts = edge_shifts(pictures, first, path * reference.size + reference.origin, reference.size)
    if np.isnan(matched).all() or np.isnan(shifts).all():
        return np.asarray(own * course)  # without a matcher or pictures of the keys the network alone speaks
    matched, shifts = _steadied(matched), _steadied(shifts)
    return np.asarray(FACTOR * own**EXPECTED_POWER * matched**MATCH_POWER * shifts**EDGE_POWER * course)


def _steadied(readings: Points) -> Points:
    """Readings [T] of single frames drawn towards their mean, which stands in where there is none (NaN)."""
    mean = np.nanmean(readings)
    own = np.where(np.isnan(readings), mean, readings)
    return np.asarray(mean ** (1 - FRAME_SHARE) * own**FRAME_SHARE)


def _clock(evidence: SpanEvidence, path: Points) -> Points:
    """How much time counts between neighbouring frames [T + 1]: contradiction of the trackers' steps, and a floor."""
    across = normals(0.5 * (path[1:] + path[:-1]))
    misses = []
    for name in (f"{tracker}_{side}" for tracker in STEPPING for side in ("left", "right")):
        if evidence.available[:, column(name)].all():
            track = np.concatenate([path[:1], evidence.points[:, :, column(name)], path[-1:]])
            misses.append(np.abs((np.diff(path - track, axis=0) * across).sum(axis=-1)))
    if not misses:
        return np.ones(len(path) - 1)
    speed = np.mean(misses, axis=(0, 2))
    return np.asarray(speed + CLOCK_FLOOR * speed.mean() + CLOCK_LEAST)


def _bridge(clock: Points) -> Points:
    """Standard deviation [T] of a random walk that is pinned at both ends, for each unit of its time ``clock``."""
    passed = clock.cumsum()
    return np.asarray(np.sqrt(passed[:-1] * (passed[-1] - passed[:-1]) / passed[-1]))


def _match_distances(evidence: SpanEvidence, path: Points) -> Points:
    """Distance [T] across the outline to the nearer of both matches, mean over it; NaN where nothing was matched."""
    across = normals(path)[1:-1]
    sides = [column("match_left"), column("match_right")]
    apart = evidence.points[:, :, sides] - path[1:-1, :, None]
    nearer = np.abs((apart * across[:, :, None]).sum(axis=-1)).min(axis=2).mean(axis=1) + MATCH_LEAST
    return np.where(evidence.available[:, sides].all(axis=1), nearer, np.nan)
