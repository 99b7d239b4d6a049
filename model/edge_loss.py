"""What the edge network's pretraining minimises: what is inside, where the edge is, and how sure that is."""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from model.edge_band import band, crossings, enclosed, shifts
from model.edge_network import EdgeNetwork
from model.matcher_loss import outline_error
from model.matcher_motion import Dice
from model.matcher_pictures import PicturePairs
from model.outline_tensors import inner_normals

OFFSET_PX: Final = 1.5
"""Standard deviation of how far artists draw off the picture's edge, in four pairs of ten."""
UNSTEADY_PX: Final = 0.6
"""Largest wobble of the key itself, in three pairs of ten."""
START_PX: Final = 7.0
"""Largest mean error of the outline that the search begins from."""
_HARMONICS: Final = 14
_COVERED: Final = 0.15
"""Weight of points that are covered or outside the picture: nothing shows where they are."""


def _wobble(dice: Dice, batch: int, points: int, largest_px: float) -> Tensor:
    """Errors ``[B, N, 2]`` along an outline, smooth to rough, of a mean size up to ``largest_px``, pixels."""
    error = outline_error(dice, batch, points, _HARMONICS, dice.uniform(0.2, 1.4, batch, 1, 1, 1))
    return error * torch.exp(dice.uniform(math.log(0.4), math.log(largest_px), batch, 1, 1))


def edge_loss(network: EdgeNetwork, pairs: PicturePairs, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The training loss of a batch, and the mean error across the outline afterwards, pixels, where it shows."""
    dice = Dice(generator)
    batch, points = pairs.known.shape
    offset = dice.normal(batch, 1, 1) * OFFSET_PX * dice.chance(0.4, batch, 1, 1)
    key, truth = (
        outline + inner_normals(outline) * offset for outline in (pairs.outline_first, pairs.outline_second)
    )
    start = truth + _wobble(dice, batch, points, START_PX)
    key = key + _wobble(dice, batch, points, UNSTEADY_PX) * dice.chance(0.3, batch, 1, 1)
    with torch.autocast(start.device.type, torch.bfloat16):
        maps = network.maps(torch.cat([pairs.first, pairs.second]))
    first, second = (tuple(level[part] for level in maps) for part in (slice(batch), slice(batch, None)))
    inside = network(network.across(first, key), network.across(second, start))
    with torch.no_grad():
        occupied = enclosed(truth, band(start).flatten(1, 2)).view(inside.shape).float()
        edge, within = crossings(truth, start)
    shown = pairs.known * (_COVERED + (1 - _COVERED) * pairs.seen)
    told = functional.binary_cross_entropy_with_logits(inside, occupied, reduction="none").mean(-1)
    places = shifts(inside.device)
    likely = functional.log_softmax(network.edge_log_odds(inside), -1)
    target = (1 - (places - edge[..., None]).abs()).clamp(min=0)
    off = ((likely.exp() * places).sum(-1) - edge).abs()
    # Where nothing shows the edge, the answer has to be broad: those points count fully here.
    unsure = _mean(-(target * likely).sum(-1), pairs.known * within)
    near = _mean(torch.log1p(off), pairs.known * within * (0.2 + pairs.seen))
    error = _mean(off.detach(), pairs.known * within * pairs.seen)
    return _mean(told, shown) + 0.25 * unsure + 0.3 * near, error


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).sum() / weight.sum().clamp(min=1.0)
