"""Whether a method's confidence can be relied on: does it order the frames, and is its error as large as it says?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from model.evaluation import MethodScore, spread_keys
from model.predict import expected_error
from model.tracks import Points

BANDS: Final = 5
SPAN_LEAST: Final = 3
"""Spans with fewer scored frames have no order worth the name."""


@dataclass(frozen=True)
class Band:
    """Frames of like expected error, in percent of the outline's size.

    Attributes:
        frames: how many.
        expected: the method's own error, mean.
        found: boundary distance to the truth, mean.
        within, within_twice: share of frames whose boundary distance is at most the expected one, and twice that.
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
        gap, method: whose.
        within_spans: rank correlation of expected error and boundary distance within a span, mean over spans.
        time_alone: the same of the distance in time to the nearest key, which any confidence should beat.
        over_frames: the rank correlation over all frames.
        bands: from sure to unsure, of equal counts.
    """

    gap: int
    method: str
    within_spans: float
    time_alone: float
    over_frames: float
    bands: tuple[Band, ...]


def reliabilities(scores: Sequence[MethodScore], method: str) -> list[Reliability]:
    """Judge the confidence of a method at every key distance where there is enough to say."""
    own = [score for score in scores if score.method == method]
    found = [reliability([s for s in own if s.gap == gap]) for gap in sorted({score.gap for score in own})]
    return [one for one in found if one is not None]


def reliability(scores: Sequence[MethodScore]) -> Reliability | None:
    """Judge the confidence of one method at one key distance; None with too few frames to say."""
    expected = [100 * expected_error(score.confidence) for score in scores]
    orders, alone = [], []
    for score, error in zip(scores, expected, strict=True):
        keys = spread_keys(len(score.points), score.gap)
        for first, last in [] if keys is None else pairwise(keys):
            inside = (score.rows > first) & (score.rows < last)
            rows, true = score.rows[inside], score.boundary[inside]
            if len(rows) >= SPAN_LEAST and np.ptp(true) > 0:
                orders.append(rank_correlation(error[inside], true))
                alone.append(rank_correlation(np.minimum(rows - first, last - rows).astype(float), true))
    if not orders:
        return None
    own, true = np.concatenate(expected), np.concatenate([score.boundary for score in scores])
    bands = tuple(
        Band(
            len(part),
            float(own[part].mean()),
            float(true[part].mean()),
            float((true[part] <= own[part]).mean()),
            float((true[part] <= 2 * own[part]).mean()),
        )
        for part in np.array_split(own.argsort(kind="stable"), BANDS)
        if len(part)
    )
    return Reliability(
        scores[0].gap,
        scores[0].method,
        float(np.mean(orders)),
        float(np.mean(alone)),
        rank_correlation(own, true),
        bands,
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
