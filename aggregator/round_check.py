"""The public benchmark after every round: weights that are clearly worse are not gone on with.

A round is rolled back when its weights are *shown* to be worse, on the public benchmark's clips, than the weights
before it (the last good checkpoint) or than those that the campaign started from: the lower end of the 95% paired
bootstrap interval of the difference is above ``MARGIN`` of the start's error. Noise moves a round's result by much
less; the comparison with the start bounds what many small steps can do. The next round then stands on the last good
weights. The check sees public pictures only and costs no privacy; what a release may be is decided by the release
check.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from aggregator.release_check import SEED, paired_interval
from federation.messages import PackedWeights
from federation.model_spec import packed_digest

MARGIN = 0.05
Errors = tuple[float, ...]
Measure = Callable[[PackedWeights], Errors]
"""Errors of packed weights, one a clip, in percent of the outline's size."""
REMEMBERED = 4


@dataclass(frozen=True)
class RoundVerdict:
    """What the public benchmark said of a round's weights.

    Attributes:
        start: mean error of the weights that the campaign started from.
        before: of the last good ones.
        after: of the round's.
        rolled_back: whether the round's weights were given up.
        reason: one sentence.
    """

    start: float
    before: float
    after: float
    rolled_back: bool
    reason: str


class RoundCheck:
    """Judges the weights after each round; remembers what it has measured."""

    def __init__(self, measure: Measure) -> None:
        self._measure = measure
        self._known: dict[str, Errors] = {}

    def judge(self, start: PackedWeights, before: PackedWeights, after: PackedWeights) -> RoundVerdict:
        """Judge a round's weights by those that it stood on and those that the campaign started from."""
        return verdict(self._errors(start), self._errors(before), self._errors(after))

    def _errors(self, weights: PackedWeights) -> Errors:
        name = packed_digest(weights)
        errors = self._known.pop(name, None) or self._measure(weights)
        self._known[name] = errors
        while len(self._known) > REMEMBERED:
            del self._known[next(iter(self._known))]
        return errors


def verdict(start: Errors, before: Errors, after: Errors) -> RoundVerdict:
    """Decide from errors per clip, same clips in the same order. Pure: the same numbers give the same verdict."""
    at_start, at_before, at_after = (float(np.mean(errors)) for errors in (start, before, after))
    if not all(math.isfinite(error) for error in after):
        why = "the public benchmark cannot be predicted with them"
        return RoundVerdict(at_start, at_before, math.inf, rolled_back=True, reason=why)
    margin = MARGIN * at_start
    for rival, name in ((before, "the weights before the round"), (start, "the start of the campaign")):
        difference = paired_interval(
            np.array(after, np.float64), np.array(rival, np.float64), generator=np.random.default_rng(SEED)
        )
        if difference.lower > margin:
            why = (
                f"worse than {name} on the public benchmark: {at_after:.3f}, {difference.mean:+.3f} "
                f"[{difference.lower:+.3f}, {difference.upper:+.3f}], at most {margin:+.3f} is borne"
            )
            return RoundVerdict(at_start, at_before, at_after, rolled_back=True, reason=why)
    why = f"public benchmark {at_after:.3f} (start {at_start:.3f})"
    return RoundVerdict(at_start, at_before, at_after, rolled_back=False, reason=why)
