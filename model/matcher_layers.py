"""What the matcher's synthetic pictures are made of: regions, materials, and light, lens and grain over all.

Coordinates are picture pixels, x right, y down, (0, 0) the top-left corner, a pixel's centre at (.5, .5).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from model.matcher_motion import Dice, inverse, rotation, turned
from model.matcher_textures import TEXTURE_SIZE_PX

_OUTLINE_TABLE = 512


@dataclass(frozen=True)
class Blob:
    """A star-shaped region: centre + matrix (cos, sin) radius(angle)."""

    centre: Tensor  # [B, 1, 2]
    matrix: Tensor  # [B, 2, 2]
    radius: Tensor  # [B, table]
    softness: Tensor  # [B, 1], pixels
    size: Tensor  # [B], pixels

    def radius_at(self, angle: Tensor) -> Tensor:
        """The edge's distance from the centre at angles ``[B, P]``, in the region's own frame."""
        place = torch.remainder(angle / (2 * math.pi), 1.0) * _OUTLINE_TABLE
        low = place.floor()
        index = low.long() % _OUTLINE_TABLE
        after = (index + 1) % _OUTLINE_TABLE
        first, second = self.radius.gather(1, index), self.radius.gather(1, after)
        return first + (second - first) * (place - low)

    def depth(self, points: Tensor) -> Tensor:
        """How far inside ``points [B, P, 2]`` are, pixels, negative outside; about right near the edge."""
        inner = turned(points - self.centre, inverse(self.matrix))
        depth = self.radius_at(torch.atan2(inner[..., 1], inner[..., 0])) - inner.norm(dim=-1)
        scale = torch.linalg.det(self.matrix).abs().sqrt()
        pixels: Tensor = depth * scale[:, None]
        return pixels

    def coverage(self, points: Tensor) -> Tensor:
        """How much of the region is at ``points [B, P, 2]``, 0..1, with a soft edge."""
        return torch.clamp(self.depth(points) / self.softness + 0.5, 0, 1)

    def rim(self, angle: Tensor) -> Tensor:
        """Points of the edge ``[B, P, 2]`` at angles ``[B, P]`` of the region's own frame."""
        rim = torch.stack([torch.cos(angle), torch.sin(angle)], -1) * self.radius_at(angle)[..., None]
        return rim @ self.matrix.transpose(1, 2) + self.centre

    def outline(self, dice: Dice, points: int) -> Tensor:
        """Points along the edge, spaced by a smooth random density, ``[B, N, 2]``."""
        angle = _table_angles(dice)
        around = torch.stack([torch.cos(angle), torch.sin(angle)], -1)
        edge = (around * self.radius[..., None]) @ self.matrix.transpose(1, 2)
        index, part = spread(dice, (edge.roll(-1, 1) - edge).norm(dim=-1), points)
        return self.rim((index + part) * (2 * math.pi / _OUTLINE_TABLE))


def _table_angles(dice: Dice) -> Tensor:
    return torch.arange(_OUTLINE_TABLE, device=dice.device) * (2 * math.pi / _OUTLINE_TABLE)


def spread(dice: Dice, steps: Tensor, points: int) -> tuple[Tensor, Tensor]:
    """Spread points along closed polylines, by length and a smooth random density.

    Args:
        dice: the random source.
        steps: ``[B, L]``, length of each edge.
        points: how many.

    Returns:
        The edge that each point lies on and the part of it that lies behind the point, both ``[B, N]``.
    """
    batch, edges = steps.shape
    angle = torch.arange(edges, device=dice.device) * (2 * math.pi / edges)
    order = dice.below(5, batch, 1) + 1
    uneven = dice.uniform(0, 0.6, batch, 1) * dice.chance(0.6, batch, 1)
    density = steps * (1 + uneven * torch.sin(order * angle + dice.uniform(0, 2 * math.pi, batch, 1)))
    run = functional.pad(density.cumsum(1), (1, 0))
    goal = (torch.arange(points, device=dice.device) / points)[None] * run[:, -1:]
    index = (torch.searchsorted(run.contiguous(), goal.contiguous(), right=True) - 1).clamp(0, edges - 1)
    return index, (goal - run.gather(1, index)) / density.gather(1, index).clamp(min=1e-6)


def draw_blob(dice: Dice, centre: Tensor, size: Tensor) -> Blob:
    """A random region around ``centre [B, 2]`` whose area is the square of ``size [B]``, pixels."""
    batch = len(size)
    angle = _table_angles(dice)
    harmonic = torch.arange(2, 8, device=dice.device)
    height = dice.normal(batch, 6) * 0.45 / harmonic**0.9 * dice.uniform(0, 1, batch, 1)
    height = height * (harmonic <= dice.below(6, batch, 1) + 2)
    waves = torch.cos(harmonic[:, None] * angle + dice.uniform(0, 2 * math.pi, batch, 6, 1))
    radius = (1 + (height[..., None] * waves).sum(1)).clamp(min=0.25)
    # Area of a polar curve is half the integral of the squared radius.
    radius = radius / (radius.square().mean(1, keepdim=True) * math.pi).sqrt()
    aspect = torch.exp(dice.uniform(-0.45, 0.45, batch))
    stretch = torch.diag_embed(torch.stack([aspect, 1 / aspect], -1))
    matrix = rotation(dice.uniform(0, 2 * math.pi, batch)) @ stretch * size[:, None, None]
    return Blob(centre[:, None], matrix, radius, dice.uniform(0.8, 2.2, batch, 1), size)


@dataclass(frozen=True)
class Material:
    """Two textures, mixed by a smooth field, under one affine placing."""

    textures: Tensor  # [B, 6, texture, texture], 0..1
    placing: Tensor  # [B, 2, 2], texture parts (-1..1) per pixel
    origin: Tensor  # [B, 1, 2]
    frequency: Tensor  # [B, 1, 2]
    phase: Tensor  # [B, 1]
    sharpness: Tensor  # [B, 1]
    mixing: Tensor  # [B, 3, 3]
    offset: Tensor  # [B, 3, 1]

    def paint(self, points: Tensor, size: int) -> Tensor:
        """Colours ``[B, 3, size, size]`` at material coordinates ``[B, size * size, 2]``."""
        grid = (turned(points, self.placing) + self.origin).view(-1, size, size, 2)
        both = functional.grid_sample(self.textures, grid, padding_mode="reflection", align_corners=False)
        field = torch.sin((points * self.frequency).sum(-1) + self.phase) * self.sharpness
        blend = torch.sigmoid(field).view(-1, 1, size, size)
        mixed = (both[:, :3] * blend + both[:, 3:] * (1 - blend)).flatten(2)
        return (self.mixing @ mixed + self.offset).view(-1, 3, size, size)


def draw_material(dice: Dice, bank: Tensor, batch: int, shared: Tensor | None = None) -> Material:
    """Draw a material; ``shared [B]`` names the first texture where an object wears its background's."""
    first = dice.below(len(bank), batch) if shared is None else shared
    chosen = torch.stack([first, dice.below(len(bank), batch)], 1)
    textures = bank[chosen.flatten()].view(batch, 6, *bank.shape[2:]).float() / 255
    zoom = torch.exp(dice.uniform(math.log(0.35), math.log(1.25), batch))[:, None, None]
    placing = rotation(dice.uniform(0, 2 * math.pi, batch)) * zoom * (2 / TEXTURE_SIZE_PX)
    direction = dice.uniform(0, 2 * math.pi, batch)
    frequency = torch.stack([torch.cos(direction), torch.sin(direction)], -1) / dice.uniform(6, 40, batch, 1)
    contrast = torch.exp(dice.uniform(math.log(0.4), math.log(1.3), batch))[:, None, None]
    mixing = (torch.eye(3, device=dice.device) + dice.normal(batch, 3, 3) * 0.15) * contrast
    offset = (0.5 - mixing.sum(2, keepdim=True) * 0.5) + dice.normal(batch, 3, 1) * 0.12
    return Material(
        textures=textures,
        placing=placing,
        origin=dice.uniform(-1, 1, batch, 1, 2),
        frequency=frequency[:, None],
        phase=dice.uniform(-4, 4, batch, 1),
        sharpness=torch.exp(dice.uniform(0, 3, batch, 1)),
        mixing=mixing,
        offset=offset,
    )


def finished(dice: Dice, pictures: Tensor, strength: Tensor) -> Tensor:
    """Light, lens and grain, drawn anew for each picture."""
    batch, _, size, _ = pictures.shape
    field = dice.normal(batch, 1, 4, 4) * dice.uniform(0, 0.22, batch, 1, 1, 1) * strength.view(-1, 1, 1, 1)
    shading = functional.interpolate(field, size=(size, size), mode="bicubic", align_corners=False)
    gain = dice.normal(batch, 3, 1, 1) * 0.04 + dice.normal(batch, 1, 1, 1) * 0.1 * strength.view(-1, 1, 1, 1)
    lit = pictures * torch.exp(shading + gain)
    tap = torch.arange(-3, 4, device=dice.device).float()
    row, column = tap[:, None].expand(7, 7), tap[None].expand(7, 7)
    angle, along = dice.uniform(0, math.pi, batch, 1, 1), dice.uniform(0.1, 1.5, batch, 1, 1)
    across = dice.uniform(0.1, 0.8, batch, 1, 1)
    blurred = dice.chance(0.4, batch, 1, 1)
    along, across = torch.where(blurred, along, 0.1), torch.where(blurred, across, 0.1)
    far = column * torch.cos(angle) + row * torch.sin(angle)
    near = row * torch.cos(angle) - column * torch.sin(angle)
    kernel = torch.exp(-0.5 * ((far / along.clamp(min=0.15)) ** 2 + (near / across.clamp(min=0.15)) ** 2))
    kernel = (kernel / kernel.sum((1, 2), keepdim=True)).repeat_interleave(3, 0)[:, None]
    padded = functional.pad(lit.reshape(1, batch * 3, size, size), (3, 3, 3, 3), mode="replicate")
    soft = functional.conv2d(padded, kernel, groups=batch * 3).view_as(lit)
    grain = dice.normal(*soft.shape) * dice.uniform(0, 0.03, batch, 1, 1, 1)
    return (soft + grain).clamp(0, 1)
