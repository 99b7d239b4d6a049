"""The norm-clipped weighted mean of a round's updates.

Each update is scaled down to the plan's ``norm_max`` if it is longer, weighted by the public weight of the studio's
size tier, and the weighted sum is divided by the sum of weights. A studio can therefore move the mean by at most
``norm_max`` times its share of the weights, whatever it sends: under local noise this keeps nearly all of the
protection of the robust rules at none of their cost (they pick the update with the least noise, which is the
attacker's).

Updates are added in order of studio and round, so that the same set of updates gives the same bits in whatever order
they arrived: one update in memory at a time, in float64 within a block, the mean itself in float32 like the weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from aggregator.blocks import blocks, is_finite
from aggregator.validation import norm
from federation.errors import RoundError
from federation.messages import PackedWeights

Mean = npt.NDArray[np.float32]  # [P]
GROUP_MIN: Final = 3
"""Of fewer studios no mean is shown to people: of a mean of two each of the two could subtract its own."""


@dataclass(frozen=True)
class Contribution:
    """One update that enters the mean.

    Attributes:
        studio: who sent it.
        server_round: the round whose question it answers.
        weight: its weight in the mean, already discounted if it is late.
        load: reads the packed update, float32 [P]; called once.
    """

    studio: str
    server_round: int
    weight: float
    load: Callable[[], PackedWeights]


def stale_weight(weight: float, staleness: int) -> float:
    """Discount the weight of an update that is ``staleness`` rounds late.

    Source: Nguyen et al., Federated Learning with Buffered Asynchronous Aggregation (AISTATS 2022), section 5:
    ``1 / sqrt(1 + staleness)``.
    """
    return weight / math.sqrt(1 + staleness)


def norm_clipped_mean(contributions: Iterable[Contribution], *, parameters: int, norm_max: float) -> Mean:
    """Average updates, each clipped to ``norm_max``.

    Args:
        contributions: at least one; at most one per studio and round; any order.
        parameters: length P of every update.
        norm_max: Euclidean norm beyond which an update is scaled down.

    Returns:
        float32 [P], of norm at most ``norm_max`` but for its rounding.

    Raises:
        RoundError: there is none, a studio counts twice, a weight is not positive, or an update is not finite
            float32 [P] (validation has to come first).
    """
    mean = np.zeros(parameters, np.float32)
    ordered = in_order(contributions)
    weights = sum(one.weight for one in ordered)
    for one in ordered:
        update, scale = loaded(one, parameters, norm_max)
        for part in blocks(parameters):
            mean[part] += one.weight / weights * scale * update[part].astype(np.float64)
        del update  # or it would take memory while the next one is read
    return mean


def in_order(contributions: Iterable[Contribution]) -> list[Contribution]:
    """Return contributions by studio and round.

    Raises:
        RoundError: there is none, a studio counts twice, or a weight is not positive.
    """
    ordered = sorted(contributions, key=lambda one: (one.studio, one.server_round))
    if not ordered:
        raise RoundError("there is no update to average")
    for one, following in pairwise(ordered):
        if (one.studio, one.server_round) == (following.studio, following.server_round):
            raise RoundError(f"studio {one.studio} would count twice for round {one.server_round}")
    for one in ordered:
        if not (math.isfinite(one.weight) and one.weight > 0):
            raise RoundError(f"the weight of studio {one.studio} is {one.weight}, expected a positive number")
    return ordered


def apply_mean(base: PackedWeights, mean: Mean) -> PackedWeights:
    """Move the base weights by a round's mean update.

    Args:
        base: float32 [P].
        mean: float32 [P].

    Returns:
        float32 [P].

    Raises:
        RoundError: the lengths differ or a weight would no longer be a finite float32.
    """
    if base.shape != mean.shape:
        raise RoundError(f"the mean has {mean.size} values, the weights have {base.size}")
    moved = np.empty_like(base)
    with np.errstate(over="ignore"):
        for part in blocks(base.size):
            moved[part] = base[part].astype(np.float64) + mean[part]
    if not is_finite(moved):
        raise RoundError("the round's mean would make a weight infinite; the weights are left as they were")
    return moved


def loaded(one: Contribution, parameters: int, norm_max: float) -> tuple[PackedWeights, float]:
    """Load an update, float32 [P], and what scales it down to ``norm_max``: 1 unless it is longer.

    Raises:
        RoundError: it is not finite float32 [P].
    """
    update = one.load()
    if update.dtype != np.float32 or update.shape != (parameters,) or not is_finite(update):
        raise RoundError(
            f"the update of studio {one.studio} is {update.dtype}{list(update.shape)} or not finite; "
            f"expected finite float32 [{parameters}]"
        )
    length = norm(update)
    return update, norm_max / length if length > norm_max else 1.0
