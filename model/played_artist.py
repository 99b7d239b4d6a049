"""An artist played: how many keys a clip still needs, and how many frames are looked at to find where.

The artist goes to a frame, sets a key there if its outline is off, and else goes on to the next one; until every frame
is near enough, which hindsight tells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from model.confidence import expected_error, row_most_worth_a_key
from model.errors import PredictionError
from model.evaluation import EvaluationClip, outline_sizes
from model.metrics import outline_distance_px
from model.pictures import Pictures
from model.predict import OutlineMethod, OutlinePrediction
from model.tracks import Points

KeyRule = Literal["worst", "suggested", "halving"]
"""Where the artist looks next: at the worst frame, as only hindsight knows; where the method suggests the next key;
halfway between the two neighbours farthest apart that have keys or were seen to be good."""


@dataclass(frozen=True)
class PlayedArtist:
    """What an artist did.

    Attributes:
        keys: rows of all keys, the first and last included.
        looks: frames gone to; those that were near enough got no key.
    """

    keys: NDArray[np.int64]
    looks: int

    @property
    def added(self) -> int:
        """Keys beside those on the first and the last frame."""
        return len(self.keys) - 2


def play_artist(
    clip: EvaluationClip,
    method: OutlineMethod,
    *,
    tolerance_px: float,
    tolerance_percent: float = 0.0,
    rule: KeyRule = "worst",
) -> PlayedArtist:
    """Set keys on the first and last frame, then one more until all frames are within tolerance.

    Args:
        clip: with its truth; masks are not looked at.
        method: asked again after every key.
        tolerance_px: mean outline distance that is allowed, plate pixels.
        tolerance_percent: the same in percent of the outline's size; the larger of both counts.
        rule: where to look next.

    Raises:
        PredictionError: the clip has fewer than two frames.
    """
    count = len(clip.outline)
    if count < 2:
        raise PredictionError(f"clip {clip.name} has {count} frame(s); keys are set on two or more")
    pictures = Pictures(clip.frames)
    allowed = np.maximum(tolerance_px, tolerance_percent / 100 * outline_sizes(clip.outline))
    keys, good, looks = [0, count - 1], set[int](), 0
    while len(keys) < count:
        found = method(pictures, np.array(keys) + clip.frames.first_frame, clip.outline[keys])
        excess = _excess(clip, found.points, keys, allowed)
        if excess.max() <= 1:
            break
        off = None
        while off is None:
            row = _next_look(rule, keys, good, excess, found)
            looks += 1
            if excess[row] > 1:
                off = row
            else:
                good.add(row)
        keys = sorted([*keys, off])
        place = keys.index(off)
        good -= set(range(keys[place - 1], keys[place + 1]))  # these frames were placed anew
    return PlayedArtist(np.array(keys), looks)


def _excess(clip: EvaluationClip, placed: Points, keys: list[int], allowed: Points) -> Points:
    """Error of every frame [T] for each unit that is allowed; 0 at keys and where nothing is seen."""
    excess = np.zeros(len(allowed))
    for row in np.setdiff1d(np.arange(len(allowed)), keys):
        if clip.visible is None or clip.visible[row]:
            excess[row] = outline_distance_px(placed[row], clip.outline[row]) / allowed[row]
    return excess


def _next_look(
    rule: KeyRule, keys: list[int], good: set[int], excess: Points, found: OutlinePrediction
) -> int:
    """The row that is looked at next."""
    known = sorted([*keys, *good])
    if rule == "suggested":
        row = row_most_worth_a_key(expected_error(found.confidence), np.isin(np.arange(len(excess)), known))
        if row is not None:
            return row
    if rule == "halving":
        left = int(np.diff(known).argmax())
        return (known[left] + known[left + 1]) // 2
    return int(excess.argmax())
