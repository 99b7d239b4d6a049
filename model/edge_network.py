"""The network that finds an artist's edge across an outline: what is inside and what is outside, as a key shows it.

Features across the outline in a frame are compared with those across it at a key: shifted against each other, and with
all that the key shows inside and outside, far along the outline too, since a limb slides but stays the body's. A small
network over the unrolled band, circular along the outline, says of every place whether it is inside; the edge lies
where outside turns to inside, wherever the artist drew it.

Source: region appearance inside and outside of the contour as in ROAM (arXiv:1612.01495), learned, in an unrolled band.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.edge_band import ACROSS, REACH, band

STRIDES: Final = (1, 1, 2, 4)
"""Of the maps that places are looked up in: the picture itself and three of features."""
_FEATURES: Final = 32
_DEPTHS: Final = (2, 5, 9)
"""How far inside and outside of a key's outline its appearance is taken, pixels."""
_NEIGHBOURS: Final = (-6, -4, -2, -1, 0, 1, 2, 4, 6)
"""Points along the outline whose appearance counts as near."""
_BORDER: Final = 2
"""Places to each side of a key's outline that count as the edge itself."""
_EVIDENCE: Final = 10


class _Layer(nn.Module):
    """A convolution over the band, circular along the outline."""

    def __init__(self, channels: int, width: int, reach: int = 1) -> None:
        super().__init__()
        self.reach = reach
        self.weigh = nn.Conv2d(channels, width, (3, 5), dilation=(reach, 1))
        self.norm = nn.GroupNorm(4, width)

    def forward(self, values: Tensor) -> Tensor:
        around = functional.pad(values, (0, 0, self.reach, self.reach), mode="circular")
        return functional.relu(self.norm(self.weigh(functional.pad(around, (2, 2, 0, 0), mode="replicate"))))


class EdgeNetwork(nn.Module):
    """Finds where outside turns to inside across an outline."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.fine = nn.Conv2d(3, 16, 3, padding=1)
        self.fine_norm = nn.GroupNorm(4, 16)
        self.to_half = nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.half_norm = nn.GroupNorm(4, 32)
        self.wide = nn.Conv2d(32, 32, 3, padding=1)
        self.wide_norm = nn.GroupNorm(4, 32)
        self.to_quarter = nn.Conv2d(32, 40, 3, stride=2, padding=1)
        self.quarter_norm = nn.GroupNorm(5, 40)
        self.coarse = nn.Conv2d(40, 40, 3, padding=1)
        self.mix = nn.Linear(3 + 16 + 32 + 40, _FEATURES)
        self.log_contrast = nn.Parameter(torch.full((1,), math.log(10.0)))
        self.log_sharpness = nn.Parameter(torch.zeros(1))
        self.first = _Layer(_EVIDENCE, width)
        self.further = nn.ModuleList([_Layer(width, width, reach) for reach in (2, 4, 1)])
        self.answer = nn.Conv2d(width, 1, 1)

    def maps(self, pictures: Tensor) -> tuple[Tensor, ...]:
        """Maps of `STRIDES` from pictures ``[B, 3, H, W]``, RGB in 0..1; sides are multiples of 4."""
        picture = (pictures - 0.5).contiguous(memory_format=torch.channels_last)
        fine = functional.relu(self.fine_norm(self.fine(picture)))
        half = functional.relu(self.half_norm(self.to_half(fine)))
        half = half + functional.relu(self.wide_norm(self.wide(half)))
        quarter = functional.relu(self.quarter_norm(self.to_quarter(half)))
        quarter = quarter + functional.relu(self.coarse(quarter))
        return picture.float(), fine.float(), half.float(), quarter.float()

    def across(self, maps: tuple[Tensor, ...], outlines: Tensor) -> Tensor:
        """Unit features ``[B, N, ACROSS, C]`` across ``outlines [B, N, 2]``, pixels of the maps' pictures."""
        places = band(outlines)
        flat = places.flatten(1, 2)
        seen = [_looked_up(level, flat, stride) for level, stride in zip(maps, STRIDES, strict=True)]
        mixed = functional.normalize(self.mix(torch.cat(seen, -1)), dim=-1)
        return mixed.view(*places.shape[:3], _FEATURES)

    def forward(self, key: Tensor, seen: Tensor) -> Tensor:
        """Log odds of being inside, ``[B, N, ACROSS]``.

        Args:
            key: features across the key's outline, from `across`.
            seen: features across the estimate in the frame, point i the same place on the object.
        """
        contrast = self.log_contrast.exp()
        inside, inside_near = _likeness(key, seen, [REACH + depth for depth in _DEPTHS], contrast)
        outside, outside_near = _likeness(key, seen, [REACH - depth for depth in _DEPTHS], contrast)
        shifted = _shifted_likeness(key, seen)
        depth = torch.linspace(-1, 1, ACROSS, device=seen.device).expand(seen.shape[:3])
        evidence = [
            shifted[:, :, :REACH].mean(2),
            shifted[:, :, REACH + 1 :].mean(2),
            shifted[:, :, REACH - _BORDER : REACH + _BORDER + 1].mean(2),
            inside * 3,
            outside * 3,
            inside_near * 3,
            outside_near * 3,
            _change(seen),
            _change(key),
            depth,
        ]
        values = self.first(torch.stack(evidence, 1))
        for layer in self.further:
            values = values + layer(values)
        answer: Tensor = self.answer(values)[:, 0]
        return answer

    def edge_log_odds(self, inside: Tensor) -> Tensor:
        """Unnormalised log probability ``[B, N, ACROSS - 1]`` of the edge at each of `edge_band.shifts`.

        Args:
            inside: log odds of being inside, from `forward`: all before the edge is outside, all after it inside.
        """
        before = functional.logsigmoid(-inside).cumsum(-1)[..., :-1]
        after = functional.logsigmoid(inside).flip(-1).cumsum(-1).flip(-1)[..., 1:]
        return (before + after) * self.log_sharpness.exp()


def _looked_up(level: Tensor, places: Tensor, stride: int) -> Tensor:
    """Bilinear values ``[B, P, C]`` at ``places [B, P, 2]``; beyond the picture those of its border."""
    height, width = level.shape[-2:]
    extent = places.new_tensor([width, height]) * stride
    grid = (places / extent * 2 - 1)[:, :, None]
    found = functional.grid_sample(level, grid, align_corners=False, padding_mode="border")
    return found[..., 0].transpose(1, 2)


def _likeness(key: Tensor, seen: Tensor, depths: list[int], contrast: Tensor) -> tuple[Tensor, Tensor]:
    """How like each seen place is to the best of what a key shows at ``depths``: anywhere, and nearby."""

    def best(likeness: Tensor) -> Tensor:
        return (torch.logsumexp(likeness * contrast, -1) - math.log(likeness.shape[-1])) / contrast

    anywhere = key[:, :, depths].flatten(1, 2)
    near = torch.stack([key.roll(step, 1)[:, :, depths] for step in _NEIGHBOURS], 2).flatten(2, 3)
    return (
        best(torch.einsum("bnjd,brd->bnjr", seen, anywhere)),
        best(torch.einsum("bnjd,bnrd->bnjr", seen, near)),
    )


def _shifted_likeness(key: Tensor, seen: Tensor) -> Tensor:
    """Likeness ``[B, N, ACROSS, ACROSS]`` of key place i and seen place j + i - REACH, 0 beyond the band."""
    likeness = functional.pad(torch.einsum("bnid,bnjd->bnij", key, seen), (REACH, REACH))
    place = torch.arange(ACROSS, device=seen.device)
    index = (place[:, None] + place).expand(*likeness.shape[:2], -1, -1)
    return likeness.gather(3, index)


def _change(features: Tensor) -> Tensor:
    """How much features change from place to place across the band, ``[B, N, ACROSS]``."""
    step = 1 - (features[:, :, 1:] * features[:, :, :-1]).sum(-1)
    return (functional.pad(step, (0, 1)) + functional.pad(step, (1, 0))) / 2
