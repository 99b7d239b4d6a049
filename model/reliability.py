"""Whether a method's confidence can be relied on: does it order the frames, and is its error as large as it says?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal, get_args

import numpy as np

from model.confidence import expected_error
from model.evaluation import MethodScore, spread_keys
from model.public_benchmark import Interval, paired_interval
from model.tracks import Points

Truth = Literal["outline", "mask"]
"""What errors are measured against: the artist's outline, or a mask, which no outline fits exactly. How far even the
true one is off there varies from frame to frame and cannot be foreseen."""
BANDS: Final = 5
SPAN_LEAST: Final = 3
"""Spans with fewer scored frames have no order worth the name."""


@dataclass(frozen=True)
class Band:
    """Frames of like expected error, in percent of the outline's size.

    Attributes:
        frames: how many.
        expected: the method's own error, mean.
        found: distance to the truth, mean.
        within, within_twice: share of frames whose distance is at most the expected one, and twice that.
    """

    frames: int
    expected: float
    found: float
    within: float
    within_twice: float


@dataclass(frozen=True)
class Reliability:
    """A method's confidence at one key distance, over all clips.

    Attributes:
        gap, method, truth: whose, and against what.
        within_spans: rank correlation of expected error and distance to the truth within a span, mean over spans.
        time_alone: the same of the distance in time to the nearest key, which any confidence should beat.
        gain: by how much it does, every clip weighing the same, with 95% bootstrap interval over clips; None with one.
        over_frames: the rank correlation over all frames.
        bands: from sure to unsure, of equal counts.
    """

    gap: int
    method: str
    truth: Truth
    within_spans: float
    time_alone: float
    gain: Interval | None
    over_frames: float
    bands: tuple[Band, ...]


def reliabilities(scores: Sequence[MethodScore], method: str) -> list[Reliability]:
    """Judge the confidence of a method at every key distance, by masks too where there are any."""
    own = [score for score in scores if score.method == method]
    found = [
        reliability([s for s in own if s.gap == gap], truth)
        for gap in sorted({score.gap for score in own})
        for truth in get_args(Truth)
        if truth == "outline" or any((s.boundary != s.apart).any() for s in own)
    ]
    return [one for one in found if one is not None]


def reliability(scores: Sequence[MethodScore], truth: Truth = "outline") -> Reliability | None:
    """Judge the confidence of one method at one key distance; None with too few frames to say."""
    own = [100 * expected_error(score.confidence) for score in scores]
    true = [score.apart if truth == "outline" else score.boundary for score in scores]
    by_clip = [_orders(*one) for one in zip(scores, own, true, strict=True)]
    by_clip = [orders for orders in by_clip if len(orders)]
    if not by_clip:
        return None
    within_spans, time_alone = np.concatenate(by_clip).mean(axis=0)
    clips = np.array([orders.mean(axis=0) for orders in by_clip]).T
    return Reliability(
        scores[0].gap,
        scores[0].method,
        truth,
        float(within_spans),
        float(time_alone),
        paired_interval(*clips) if len(by_clip) > 1 else None,
        rank_correlation(np.concatenate(own), np.concatenate(true)),
        _bands(np.concatenate(own), np.concatenate(true)),
    )


def _orders(score: MethodScore, expected: Points, true: Points) -> Points:
    """Per span [n, 2]: how well the expected error orders its frames, and how well time to the nearer key does."""
    keys = spread_keys(len(score.points), score.gap)
    found = []
    for first, last in [] if keys is None else pairwise(keys):
        inside = (score.rows > first) & (score.rows < last)
        rows = score.rows[inside]
        if len(rows) >= SPAN_LEAST and np.ptp(true[inside]) > 0:
            near = np.minimum(rows - first, last - rows).astype(float)
            found.append([rank_correlation(guess, true[inside]) for guess in (expected[inside], near)])
    return np.array(found).reshape(-1, 2)


def _bands(expected: Points, true: Points) -> tuple[Band, ...]:
    return tuple(
        Band(
            len(part),
            float(expected[part].mean()),
            float(true[part].mean()),
            float((true[part] <= expected[part]).mean()),
            float((true[part] <= 2 * expected[part]).mean()),
        )
        for part in np.array_split(expected.argsort(kind="stable"), BANDS)
        if len(part)
    )


def rank_correlation(one: Points, other: Points) -> float:
    """Spearman's, equal values sharing their mean rank; 0 where one side is constant."""
    first, second = _ranks(one), _ranks(other)
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def _ranks(values: Points) -> Points:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((counts.cumsum() - (counts - 1) / 2)[place])
