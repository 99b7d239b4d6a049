"""The matcher's network: features that find an outline of one picture again in another.

Correlation of query features, taken at and inside the outline, with the other picture's features around
the current estimate, and a small recurrent net along the outline that turns it into a displacement.
Coordinates are picture pixels with a pixel's centre at (.5, .5), so that the centre of cell i of a
stride-k map is at (i + .5) k for every stride; the encoder is built from symmetric parts to keep it so.

Source: correlation volumes and iterated updates as in RAFT (arXiv:2003.12039, sections 3.2 and 3.3).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.edge_network import EdgeNetwork
from model.matcher_windows import WINDOW, window, window_of_map
from model.outline_tensors import inner_normals, tangents

STRIDES = (2, 4, 8, 16)
# Query places along the inner normal, pixels of the first picture: on the edge and inside the object, because
# the inside moves with the object while the outside does not.
INNER_OFFSETS_PX = (0.0, 3.0, 7.0, 12.0)
PADDING_PX = STRIDES[-1]
_HIDDEN = 128
_STEP_PX = 4.0


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm_first = nn.GroupNorm(8, channels)
        self.norm_second = nn.GroupNorm(8, channels)

    def forward(self, maps: Tensor) -> Tensor:
        inner = functional.relu(self.norm_first(self.first(maps)))
        return functional.relu(maps + self.norm_second(self.second(inner)))


class Encoder(nn.Module):
    """Pictures to unit-length feature maps at strides 2, 4, 8 and 16."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(12, 24, 3, padding=1)
        self.stem_norm = nn.GroupNorm(8, 24)
        self.to_quarter = nn.Conv2d(24, 48, 3, padding=1)
        self.quarter = _Residual(48)
        self.to_eighth = nn.Conv2d(48, 64, 3, padding=1)
        self.eighth = _Residual(64)
        self.quarter_out = nn.Conv2d(48 + 64, 64, 3, padding=1)
        self.half_out = nn.Conv2d(24 + 64, 32, 3, padding=1)

    def forward(self, pictures: Tensor) -> tuple[Tensor, ...]:
        """Encode.

        Args:
            pictures: float32 ``[B, 3, H, W]``, RGB in 0..1; ``H`` and ``W`` multiples of 16.

        Returns:
            Maps ``[B, C, H / stride, W / stride]`` for `STRIDES`, channels 32, 64, 64, 64.
        """
        folded = functional.pixel_unshuffle(pictures * 2 - 1, 2).contiguous(memory_format=torch.channels_last)
        half = functional.relu(self.stem_norm(self.stem(folded)))
        quarter = self.quarter(functional.relu(self.to_quarter(functional.avg_pool2d(half, 2))))
        eighth = self.eighth(functional.relu(self.to_eighth(functional.avg_pool2d(quarter, 2))))
        wide = functional.interpolate(eighth, scale_factor=2, mode="bilinear", align_corners=False)
        quarter_out = self.quarter_out(torch.cat([quarter, wide], 1))
        wider = functional.interpolate(quarter_out, scale_factor=2, mode="nearest")
        half_out = self.half_out(torch.cat([half, wider], 1))
        coarse = functional.avg_pool2d(quarter_out, 2)
        levels = (half_out, quarter_out, coarse, functional.avg_pool2d(coarse, 2))
        return tuple(functional.normalize(level.float(), dim=1) for level in levels)


def sample_map(maps: Tensor, points: Tensor, stride: int) -> Tensor:
    """Bilinear features ``[B, P, C]`` at ``points [B, P, 2]`` (pixels), zero outside the picture."""
    height, width = maps.shape[-2:]
    extent = torch.tensor([width, height], dtype=points.dtype, device=points.device) * stride
    grid = (points / extent * 2 - 1)[:, :, None]
    return functional.grid_sample(maps, grid, align_corners=False)[..., 0].transpose(1, 2)


@dataclass(frozen=True)
class Queries:
    """What is looked for: features of outlines in their own picture.

    Attributes:
        outline: ``[B, N, 2]``, pixels of the first picture.
        features: one ``[B, N * offsets, C]`` for each stride.
    """

    outline: Tensor
    features: tuple[Tensor, ...]


def make_queries(maps: tuple[Tensor, ...], outline: Tensor) -> Queries:
    """Take query features at and inside ``outline [B, N, 2]`` from its picture's maps."""
    offsets = outline.new_tensor(INNER_OFFSETS_PX)[:, None]
    places = (outline[:, :, None] + inner_normals(outline)[:, :, None] * offsets).flatten(1, 2)
    features = tuple(
        functional.normalize(sample_map(level, places, stride), dim=-1)
        for level, stride in zip(maps, STRIDES, strict=True)
    )
    return Queries(outline, features)


def carried_offsets(outline: Tensor, estimate: Tensor) -> Tensor:
    """Query places around an estimate: the inner offsets turned and scaled with the outline itself.

    Args:
        outline: ``[B, N, 2]`` in the first picture.
        estimate: the same points in the second.

    Returns:
        ``[B, N * offsets, 2]``, pixels of the second picture.
    """
    before, after = tangents(_smooth(outline)), tangents(_smooth(estimate))
    growth = (after.norm(dim=-1) / before.norm(dim=-1).clamp(min=1e-3)).clamp(0.5, 2.0)[..., None]
    offsets = outline.new_tensor(INNER_OFFSETS_PX)[:, None]
    arms = (inner_normals(estimate) * growth)[:, :, None] * offsets
    places: Tensor = estimate[:, :, None] + arms
    return places.flatten(1, 2)


def _smooth(outline: Tensor) -> Tensor:
    return (outline.roll(-1, 1) + 2 * outline + outline.roll(1, 1)) / 4


class _AlongOutline(nn.Module):
    """Circular convolution along the outline with a residual."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.mix = nn.Linear(3 * channels, channels)

    def forward(self, hidden: Tensor) -> Tensor:
        behind, ahead = hidden.roll(self.dilation, 1), hidden.roll(-self.dilation, 1)
        return hidden + functional.gelu(self.mix(torch.cat([behind, hidden, ahead], -1)))


class Update(nn.Module):
    """One iteration: correlations and the state so far to a displacement and an error scale."""

    def __init__(self) -> None:
        super().__init__()
        correlations = len(STRIDES) * len(INNER_OFFSETS_PX) * WINDOW**2
        self.read = nn.Linear(correlations, _HIDDEN)
        self.geometry = nn.Linear(9, _HIDDEN)
        self.remember = nn.Linear(_HIDDEN, _HIDDEN)
        self.near = _AlongOutline(_HIDDEN, 1)
        self.middle = _AlongOutline(_HIDDEN, 3)
        self.whole = nn.Linear(_HIDDEN, _HIDDEN)
        self.far = _AlongOutline(_HIDDEN, 9)
        self.norm = nn.LayerNorm(_HIDDEN)
        self.out = nn.Linear(_HIDDEN, 3)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, correlations: Tensor, geometry: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """``[B, N, 784]``, ``[B, N, 9]``, ``[B, N, 128]`` to output ``[B, N, 3]`` and new hidden state."""
        mixed = functional.gelu(self.read(correlations) + self.geometry(geometry) + self.remember(hidden))
        mixed = self.middle(self.near(mixed))
        mixed = mixed + functional.gelu(self.whole(mixed.mean(1, keepdim=True)))
        hidden = self.norm(self.far(mixed))
        return self.out(hidden), hidden


@torch.no_grad()
def affine_residual(outline: Tensor, estimate: Tensor, log_scale: Tensor) -> Tensor:
    """How far each point of an estimate is from the outline's own weighted affine motion, ``[B, N, 2]``."""
    weight = functional.softmax(-2 * log_scale.clamp(-4, 4), dim=1)[..., None]
    middle_from, middle_to = (outline * weight).sum(1, keepdim=True), (estimate * weight).sum(1, keepdim=True)
    arm_from, arm_to = outline - middle_from, estimate - middle_to
    spread = (arm_from * weight).transpose(1, 2) @ arm_from
    cross = (arm_from * weight).transpose(1, 2) @ arm_to
    determinant = spread[:, 0, 0] * spread[:, 1, 1] - spread[:, 0, 1] ** 2
    adjugate = torch.stack([spread[:, 1, 1], -spread[:, 0, 1], -spread[:, 1, 0], spread[:, 0, 0]], -1)
    inverse = adjugate.view(-1, 2, 2) / (determinant + 1e-3)[:, None, None]
    return arm_to - arm_from @ (inverse @ cross)


def _geometry(outline: Tensor, estimate: Tensor, start: Tensor, log_scale: Tensor) -> Tensor:
    before, after = tangents(outline), tangents(estimate)
    step_before, step_after = before.norm(dim=-1, keepdim=True), after.norm(dim=-1, keepdim=True)
    moved = estimate - start
    return torch.cat(
        [
            inner_normals(estimate),
            (step_after.clamp(min=1e-2) / step_before.clamp(min=1e-2)).log().clamp(-2, 2),
            step_before.clamp(min=1e-2).log() / 2,
            (affine_residual(outline, estimate, log_scale) / 8).clamp(-4, 4),
            (moved / 8).clamp(-4, 4),
            log_scale[..., None],
        ],
        -1,
    )


def _worth_a_volume(level: Tensor) -> bool:
    """Whether correlating queries with the whole map takes less time than three times with their windows."""
    return level.shape[-2] * level.shape[-1] <= 4096


class Matcher(nn.Module):
    """Finds an outline of one picture in another, and the edge across it; frozen wherever predictions are made.

    Args:
        edges: finds the edge; None where weights from before hold none, or while it is not trained yet.
    """

    def __init__(self, edges: EdgeNetwork | None = None) -> None:
        super().__init__()
        # Channels last: a fifth to a third less time for the convolutions on a CPU, the same results.
        self.encoder = Encoder().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.update = Update()
        self.edges = edges

    def refine(
        self, queries: Queries, maps: tuple[Tensor, ...], start: Tensor, *, iterations: int = 3
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor | None]]:
        """Move an estimate to where the queries are found.

        Args:
            queries: from the first pictures.
            maps: feature maps of the second pictures.
            start: ``[B, N, 2]``, first estimate, pixels.
            iterations: number of updates; training used three.

        Returns:
            For every iteration the points ``[B, N, 2]`` and the log of the Laplace error scale ``[B, N]``
            (mean error is about twice the scale), and the correlation volumes, one for each stride (None
            for large maps where no gradient is wanted: their windows are correlated one by one instead).
        """
        volumes = [
            features @ level.flatten(2) if torch.is_grad_enabled() or _worth_a_volume(level) else None
            for features, level in zip(queries.features, maps, strict=True)
        ]
        batch, points = start.shape[:2]
        hidden = start.new_zeros(batch, points, _HIDDEN)
        log_scale = start.new_zeros(batch, points)
        estimate = start
        estimates, log_scales = [], []
        for _ in range(iterations):
            estimate = estimate.detach()
            places = carried_offsets(queries.outline, estimate)
            seen = []
            for level, stride in enumerate(STRIDES):
                volume = volumes[level]
                if volume is not None:
                    cut, volumes[level] = window(volume, maps[level].shape[-1], places, stride)
                else:
                    cut = window_of_map(queries.features[level], maps[level], places, stride)
                seen.append(cut.view(batch, points, -1))
            geometry = _geometry(queries.outline, estimate, start, log_scale.detach())
            out, hidden = self.update(torch.cat(seen, -1), geometry, hidden)
            estimate = estimate + out[..., :2] * _STEP_PX
            log_scale = out[..., 2].clamp(-6, 6)
            estimates.append(estimate)
            log_scales.append(log_scale)
        return estimates, log_scales, volumes
