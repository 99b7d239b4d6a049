"""The most likely way of every outline point through a span, given all that was seen of it.

Trackers tell steps from frame to frame and drift; matches tell places and jitter; the keys are exact. Each step and
each match is a spring as stiff as it can be trusted, the keys are nails, and the points come to rest between them: a
drift is mended where the tracker stumbled, not spread evenly, and a match that all steps contradict is left aside. The
rounds are few on purpose: run to its end, the reweighting settles in whatever the first guess was near.

Source: the information form of the Rauch-Tung-Striebel smoother with a random walk, made robust by Cauchy weights
(iteratively reweighted least squares). The constants were chosen on real clips, see benchmarks/model/log.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from model.tracks import Points

ROUNDS: Final = 6
APART: Final = 0.1
"""Error of a step for each length that it was seen away from where it is used: a track that has drifted off tells of
its neighbourhood."""
DOUBT: Final = 0.2
"""Share of its variance by which a measurement is doubted for each variance that it is off; 1 is Cauchy's rule."""


@dataclass(frozen=True)
class Steps:
    """How points moved between neighbouring frames, as one tracker saw it on its own track.

    Attributes:
        moved: [T + 1, M, 2] from each frame of the span but the last to its next one.
        seen_at: [T + 1, M, 2] where that was seen, halfway between both frames.
        scale: [T + 1, M] expected error.
    """

    moved: Points
    seen_at: Points
    scale: Points

    @classmethod
    def of_track(cls, track: Points, scale: Points) -> Steps:
        """The steps of a track [T + 2, M, 2] through all frames of a span."""
        return cls(np.diff(track, axis=0), 0.5 * (track[1:] + track[:-1]), scale)


@dataclass(frozen=True)
class Places:
    """Where points were found, independently in every frame.

    Attributes:
        points: [T, M, 2] in the in-between frames.
        scale: [T, M] expected error; infinite where nothing was found.
    """

    points: Points
    scale: Points


def likely_path(
    keys: Points, start: Points, steps: Sequence[Steps], places: Sequence[Places]
) -> tuple[Points, Points]:
    """Join steps, places and keys.

    All lengths are in outline sizes.

    Args:
        keys: [2, M, 2] the outline at both ends of the span.
        start: [T, M, 2] first guess of the frames between, by which measurements are first weighed.
        steps: at least one.
        places: any number.

    Returns:
        The path [T, M, 2] and the standard deviation [T, M] that the trust in its measurements implies.
    """
    moved, seen_at, step_scale = (
        np.stack([getattr(one, name) for one in steps]) for name in ("moved", "seen_at", "scale")
    )
    found = np.stack([one.points for one in places]) if places else np.empty((0, *start.shape))
    place_scale = np.stack([one.scale for one in places]) if places else np.empty((0, *start.shape[:2]))
    path = np.concatenate([keys[:1], start, keys[1:]])
    deviation = np.zeros(start.shape[:2])
    for _ in range(ROUNDS):
        apart = np.linalg.norm(seen_at - 0.5 * (path[1:] + path[:-1]), axis=-1)
        stiff = _stiffness(np.diff(path, axis=0) - moved, step_scale**2 + (APART * apart) ** 2)
        held = _stiffness(path[1:-1] - found, place_scale**2)
        pull = (stiff[..., None] * moved).sum(axis=0)
        right_side = pull[:-1] - pull[1:] + (held[..., None] * found).sum(axis=0)
        stiff = stiff.sum(axis=0)
        right_side[0] += stiff[0][:, None] * keys[0]
        right_side[-1] += stiff[-1][:, None] * keys[1]
        path[1:-1], deviation = _rest(stiff, held.sum(axis=0), right_side)
    return path[1:-1], deviation


def _stiffness(miss: Points, variance: Points) -> Points:
    """Weight of measurements [..., M] that the present path misses by ``miss`` [..., M, 2]."""
    return np.asarray(1.0 / (variance + 0.5 * DOUBT * (miss**2).sum(axis=-1)))


def _rest(stiff: Points, held: Points, right_side: Points) -> tuple[Points, Points]:
    """Solve the chain of springs, a tridiagonal system for every point.

    Args:
        stiff: [T + 1, M] stiffness between neighbouring frames.
        held: [T, M] stiffness towards places found in the frame itself.
        right_side: [T, M, 2].

    Returns:
        Places [T, M, 2] and their standard deviation [T, M].
    """
    diagonal = stiff[:-1] + stiff[1:] + held
    ahead, back = diagonal.copy(), diagonal.copy()
    places = right_side.copy()
    for row in range(1, len(diagonal)):
        share = stiff[row] / ahead[row - 1]
        ahead[row] -= share * stiff[row]
        places[row] += share[:, None] * places[row - 1]
    places[-1] /= ahead[-1][:, None]
    for row in range(len(diagonal) - 2, -1, -1):
        back[row] -= stiff[row + 1] ** 2 / back[row + 1]
        places[row] = (places[row] + stiff[row + 1][:, None] * places[row + 1]) / ahead[row][:, None]
    return places, 1.0 / np.sqrt(ahead + back - diagonal)
