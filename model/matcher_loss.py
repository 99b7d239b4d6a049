"""What the matcher's pretraining minimises: where points end up, how sure it says to be, and which features agree."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from model.matcher_motion import Dice
from model.matcher_network import INNER_OFFSETS_PX, STRIDES, Matcher, carried_offsets, make_queries
from model.matcher_pictures import PicturePairs
from model.matcher_windows import WINDOW, window


def outline_error(dice: Dice, batch: int, points: int, harmonics: int, fall: float | Tensor) -> Tensor:
    """Errors ``[B, N, 2]`` along closed outlines whose mean size is one.

    Args:
        dice: the random source.
        batch: ``B``.
        points: ``N``.
        harmonics: how many waves along the outline.
        fall: power by which higher ones are lower, ``[B, 1, 1, 1]`` or the same for all.
    """
    angle = torch.arange(points, device=dice.device) * (2 * math.pi / points)
    harmonic = torch.arange(harmonics, device=dice.device)
    phase = dice.uniform(0, 2 * math.pi, batch, 2, harmonics, 1)
    height = dice.normal(batch, 2, harmonics, 1) / (1.0 + harmonic[:, None]) ** fall
    error = (height * torch.cos(harmonic[:, None] * angle + phase)).sum(2).transpose(1, 2)
    unit: Tensor = error / error.norm(dim=-1).mean(1).clamp(min=1e-3)[:, None, None]
    return unit


def draw_start(pairs: PicturePairs, generator: torch.Generator, *, reach_px: float) -> Tensor:
    """Where the search begins: the truth with a smooth error, or in 30% the first outline.

    The error's size is log-uniform from half a pixel to ``reach_px``.
    """
    batch, points = pairs.known.shape
    dice = Dice(generator)
    error = outline_error(dice, batch, points, 4, 1.0)
    size = torch.exp(dice.uniform(0, 1, batch, 1, 1) * math.log(reach_px / 0.5) + math.log(0.5))
    held = dice.chance(0.3, batch, 1, 1)
    return torch.where(held, pairs.outline_first, pairs.outline_second + error * size)


def _feature_loss(
    volumes: list[Tensor | None], maps: tuple[Tensor, ...], pairs: PicturePairs, jitter: Tensor
) -> Tensor:
    """Cross-entropy of the true place within a window whose centre is off by a few cells."""
    places = carried_offsets(pairs.outline_first, pairs.outline_second)
    offsets = places.shape[1] // pairs.known.shape[1]
    # Under a sliding skin only the edge itself has a true partner.
    weight = pairs.seen[..., None].repeat(1, 1, offsets)
    weight[..., 1:] = weight[..., 1:] * (~pairs.sliding).float()[:, None, None]
    weight = weight.flatten(1)
    total = weight.new_zeros(())
    for volume, level, stride in zip(volumes, maps, STRIDES, strict=True):
        if volume is None:
            continue
        seen = window(volume, level.shape[-1], places + jitter * stride, stride)[0] * 12.0
        row, column = (3 - jitter[..., 1]).unsqueeze(-1), (3 - jitter[..., 0]).unsqueeze(-1)
        cells = torch.arange(WINDOW, device=jitter.device)
        target = (1 - (cells - row).abs()).clamp(min=0)[..., :, None] * (1 - (cells - column).abs()).clamp(
            min=0
        )[..., None, :]
        likely = functional.log_softmax(seen, -1)
        total = total - ((target.flatten(2) * likely).sum(-1) * weight).sum() / weight.sum().clamp(min=1)
    return total / len(volumes)


def pair_loss(
    matcher: Matcher, pairs: PicturePairs, generator: torch.Generator, *, reach_px: float
) -> tuple[Tensor, Tensor]:
    """The training loss of a batch, and the mean point error of the last iteration in pixels."""
    start = draw_start(pairs, generator, reach_px=reach_px)
    batch, points = pairs.known.shape
    with torch.autocast(start.device.type, torch.bfloat16):
        maps = matcher.encoder(torch.cat([pairs.first, pairs.second]))
    first, second = (tuple(level[part] for level in maps) for part in (slice(batch), slice(batch, None)))
    estimates, log_scales, volumes = matcher.refine(make_queries(first, pairs.outline_first), second, start)
    weight = pairs.known / pairs.known.sum().clamp(min=1)
    total = start.new_zeros(())
    for estimate, log_scale, share in zip(estimates, log_scales, (0.4, 0.7, 1.0), strict=True):
        error = ((estimate - pairs.outline_second).square().sum(-1) + 1e-4).sqrt()
        robust = 2 * torch.log1p(error / 2)
        likelihood = error * torch.exp(-log_scale) + 2 * log_scale
        total = total + share * ((robust + 0.25 * likelihood) * weight).sum()
    jitter = Dice(generator).uniform(0, 1, batch, points * len(INNER_OFFSETS_PX), 2) * 5 - 2.5
    total = total + 0.15 * _feature_loss(volumes, second, pairs, jitter)
    last = ((estimates[-1] - pairs.outline_second).norm(dim=-1) * weight).sum()
    return total, last.detach()
