"""Layered picture pairs with exact outline motion, made in batches on the fly.

A pair is one object over a background, in a third of the pairs behind an occluder. Every layer is a
texture under a smooth map; the object's outline moves by the object's map, so that the truth is known
for each outline point, also where it is covered or outside the picture. Coordinates are picture pixels,
x right, y down, (0, 0) the top-left corner, a pixel's centre at (.5, .5).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from model.matcher_motion import Dice, draw_map, rotation, turned
from model.matcher_textures import TEXTURE_SIZE_PX

_OUTLINE_TABLE = 512
_RESIDUAL_MAX_PX = 0.05


@dataclass(frozen=True)
class PicturePairs:
    """A batch of pairs; ``B`` pairs, ``N`` outline points, pictures of ``S`` by ``S`` pixels.

    Attributes:
        first: float32 ``[B, 3, S, S]``, RGB in 0..1.
        second: the same for the second picture.
        outline_first: float32 ``[B, N, 2]``, the object's outline in the first picture, pixels.
        outline_second: the same points in the second picture.
        known: float32 ``[B, N]``, 1 where the truth is exact to .05 px, else 0.
        seen: float32 ``[B, N]``, 1 where the point is inside both pictures and not covered in either.
        sliding: bool ``[B]``, the texture inside slides under the outline as on a turning body.
    """

    first: Tensor
    second: Tensor
    outline_first: Tensor
    outline_second: Tensor
    known: Tensor
    seen: Tensor
    sliding: Tensor


@dataclass(frozen=True)
class _Blob:
    """A star-shaped region: centre + matrix (cos, sin) radius(angle)."""

    centre: Tensor  # [B, 1, 2]
    matrix: Tensor  # [B, 2, 2]
    radius: Tensor  # [B, table]
    softness: Tensor  # [B, 1], pixels
    size: Tensor  # [B], pixels

    def radius_at(self, angle: Tensor) -> Tensor:
        place = torch.remainder(angle / (2 * math.pi), 1.0) * _OUTLINE_TABLE
        low = place.floor()
        index = low.long() % _OUTLINE_TABLE
        after = (index + 1) % _OUTLINE_TABLE
        first, second = self.radius.gather(1, index), self.radius.gather(1, after)
        return first + (second - first) * (place - low)

    def coverage(self, points: Tensor) -> Tensor:
        """How much of the region is at ``points [B, P, 2]``, 0..1, with a soft edge."""
        inner = turned(points - self.centre, torch.linalg.inv(self.matrix))
        depth = self.radius_at(torch.atan2(inner[..., 1], inner[..., 0])) - inner.norm(dim=-1)
        scale = torch.linalg.det(self.matrix).abs().sqrt()[:, None]
        return torch.clamp(depth * scale / self.softness + 0.5, 0, 1)

    def outline(self, dice: Dice, points: int) -> Tensor:
        """Points along the edge, spaced by a smooth random density, ``[B, N, 2]``."""
        batch = len(self.size)
        angle = torch.arange(_OUTLINE_TABLE) * (2 * math.pi / _OUTLINE_TABLE)
        around = torch.stack([torch.cos(angle), torch.sin(angle)], -1)
        edge = (around * self.radius[..., None]) @ self.matrix.transpose(1, 2)
        step = (edge.roll(-1, 1) - edge).norm(dim=-1)
        order = dice.below(5, batch, 1) + 1
        uneven = dice.uniform(0, 0.6, batch, 1) * dice.chance(0.6, batch, 1)
        density = step * (1 + uneven * torch.sin(order * angle + dice.uniform(0, 2 * math.pi, batch, 1)))
        run = functional.pad(density.cumsum(1), (1, 0))
        goal = (torch.arange(points) / points)[None] * run[:, -1:]
        index = (torch.searchsorted(run.contiguous(), goal.contiguous(), right=True) - 1).clamp(
            0, _OUTLINE_TABLE - 1
        )
        part = (goal - run.gather(1, index)) / density.gather(1, index).clamp(min=1e-6)
        chosen = (index + part) * (2 * math.pi / _OUTLINE_TABLE)
        rim = torch.stack([torch.cos(chosen), torch.sin(chosen)], -1) * self.radius_at(chosen)[..., None]
        return rim @ self.matrix.transpose(1, 2) + self.centre


def _blob(dice: Dice, centre: Tensor, size: Tensor) -> _Blob:
    batch = len(size)
    angle = torch.arange(_OUTLINE_TABLE) * (2 * math.pi / _OUTLINE_TABLE)
    harmonic = torch.arange(2, 8)
    height = dice.normal(batch, 6) * 0.45 / harmonic**0.9 * dice.uniform(0, 1, batch, 1)
    height = height * (harmonic <= dice.below(6, batch, 1) + 2)
    waves = torch.cos(harmonic[:, None] * angle + dice.uniform(0, 2 * math.pi, batch, 6, 1))
    radius = (1 + (height[..., None] * waves).sum(1)).clamp(min=0.25)
    # Area of a polar curve is half the integral of the squared radius.
    radius = radius / (radius.square().mean(1, keepdim=True) * math.pi).sqrt()
    aspect = torch.exp(dice.uniform(-0.45, 0.45, batch))
    stretch = torch.diag_embed(torch.stack([aspect, 1 / aspect], -1))
    matrix = rotation(dice.uniform(0, 2 * math.pi, batch)) @ stretch * size[:, None, None]
    return _Blob(centre[:, None], matrix, radius, dice.uniform(0.8, 2.2, batch, 1), size)


@dataclass(frozen=True)
class _Material:
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


def _material(dice: Dice, bank: Tensor, batch: int, shared: Tensor | None = None) -> _Material:
    """Draw a material; ``shared [B]`` names the first texture where an object wears its background's."""
    first = dice.below(len(bank), batch) if shared is None else shared
    chosen = torch.stack([first, dice.below(len(bank), batch)], 1)
    textures = bank[chosen.flatten()].view(batch, 6, *bank.shape[2:]).float() / 255
    zoom = torch.exp(dice.uniform(math.log(0.35), math.log(1.25), batch))[:, None, None]
    placing = rotation(dice.uniform(0, 2 * math.pi, batch)) * zoom * (2 / TEXTURE_SIZE_PX)
    direction = dice.uniform(0, 2 * math.pi, batch)
    frequency = torch.stack([torch.cos(direction), torch.sin(direction)], -1) / dice.uniform(6, 40, batch, 1)
    contrast = torch.exp(dice.uniform(math.log(0.4), math.log(1.3), batch))[:, None, None]
    mixing = (torch.eye(3) + dice.normal(batch, 3, 3) * 0.15) * contrast
    offset = (0.5 - mixing.sum(2, keepdim=True) * 0.5) + dice.normal(batch, 3, 1) * 0.12
    return _Material(
        textures=textures,
        placing=placing,
        origin=dice.uniform(-1, 1, batch, 1, 2),
        frequency=frequency[:, None],
        phase=dice.uniform(-4, 4, batch, 1),
        sharpness=torch.exp(dice.uniform(0, 3, batch, 1)),
        mixing=mixing,
        offset=offset,
    )


def _finish(dice: Dice, pictures: Tensor, strength: Tensor) -> Tensor:
    """Light, lens and grain, drawn anew for each picture."""
    batch, _, size, _ = pictures.shape
    field = dice.normal(batch, 1, 4, 4) * dice.uniform(0, 0.22, batch, 1, 1, 1) * strength.view(-1, 1, 1, 1)
    shading = functional.interpolate(field, size=(size, size), mode="bicubic", align_corners=False)
    gain = dice.normal(batch, 3, 1, 1) * 0.04 + dice.normal(batch, 1, 1, 1) * 0.1 * strength.view(-1, 1, 1, 1)
    lit = pictures * torch.exp(shading + gain)
    tap = torch.arange(-3, 4).float()
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


def draw_pairs(
    bank: Tensor, generator: torch.Generator, *, pairs: int, size: int, points: int, plate_edges: bool = False
) -> PicturePairs:
    """Draw a batch of picture pairs.

    Three pairs in five change a lot (a key against a frame far away), the others a little (neighbours).

    Args:
        bank: uint8 textures from `matcher_textures.texture_bank`.
        generator: source of every choice; the same state gives the same batch.
        pairs: how many pairs.
        size: edge of the square pictures, pixels.
        points: outline points of each object.
        plate_edges: let a quarter of the pairs end at a plate's edge, with its last pixels repeated beyond.

    Returns:
        The pairs with their truth.
    """
    dice = Dice(generator)
    strength = torch.where(dice.chance(0.6, pairs), 1.0, 0.25) * dice.uniform(0.3, 1.0, pairs)
    whole = torch.exp(dice.uniform(math.log(0.27), math.log(0.85), pairs)) * size
    centre = size / 2 + dice.normal(pairs, 2) * 0.09 * size
    still = torch.zeros(pairs)
    motion = draw_map(dice, strength, centre, whole, travel=0.35, wave=0.25, swing=0.6)
    frame = draw_map(
        dice, strength * 0.5, centre, torch.full((pairs,), size * 1.0), travel=0.15, wave=0.05, swing=0.0
    )
    bend = draw_map(dice, still + 1, centre, whole, travel=0.0, wave=0.35, swing=0.8)
    blob = _blob(dice, centre, whole)

    outline_first, first_off = bend.inverse(blob.outline(dice, points))
    outline_second, second_off = motion.inverse(outline_first)
    known = ((first_off < _RESIDUAL_MAX_PX) & (second_off < _RESIDUAL_MAX_PX)).float()

    slide = draw_map(dice, strength * 0.6, centre, whole, travel=0.2, wave=0.1, swing=0.0)
    sliding = dice.chance(0.3, pairs)
    same = dice.chance(0.3, pairs)
    body_texture = dice.below(len(bank), pairs)
    ground_texture = dice.below(len(bank), pairs)
    body = _material(dice, bank, pairs, body_texture)
    ground = _material(dice, bank, pairs, torch.where(same, body_texture, ground_texture))
    cover_centre = outline_first[torch.arange(pairs), dice.below(points, pairs)] + dice.normal(pairs, 2) * 8
    cover = _blob(dice, cover_centre, whole * dice.uniform(0.25, 0.7, pairs))
    cover_there = dice.chance(0.35, pairs)
    cover_motion = draw_map(dice, strength, cover_centre, whole, travel=0.6, wave=0.1, swing=0.0)
    cover_material = _material(dice, bank, pairs)

    axis = torch.arange(size) + 0.5
    pixels = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1).view(1, -1, 2).expand(pairs, -1, -1)

    def compose(moved: bool) -> Tensor:
        inside = motion(pixels) if moved else pixels
        skin = torch.where(sliding[:, None, None], slide(inside), inside) if moved else inside
        far = frame(pixels) if moved else pixels
        front = cover_motion(pixels) if moved else pixels
        matte = blob.coverage(bend(inside)).view(-1, 1, size, size)
        lid = (cover.coverage(front) * cover_there[:, None]).view(-1, 1, size, size)
        picture = ground.paint(far, size)
        picture = picture + (body.paint(skin, size) - picture) * matte
        return picture + (cover_material.paint(front, size) - picture) * lid

    def open_at(outline: Tensor, moved: bool) -> Tensor:
        lid = cover.coverage(cover_motion(outline) if moved else outline) * cover_there[:, None]
        within = ((outline > 2) & (outline < size - 2)).all(-1)
        return (lid < 0.3) & within

    first, second = _finish(dice, compose(False), strength), _finish(dice, compose(True), strength)
    seen = (open_at(outline_first, False) & open_at(outline_second, True)).float() * known
    if plate_edges:
        # The edge passes through the object: its two corners are drawn around the object's box.
        reach = dice.uniform(0.2, 0.6, pairs, 2) * whole[:, None]
        cut = dice.chance(0.25, pairs, 1)
        top_left = dice.chance(0.5, pairs, 2)
        low = torch.where(cut & top_left, centre - reach, 0.0)
        high = torch.where(cut & ~top_left, centre + reach, float(size))
        first, second = _ended(first, low, high), _ended(second, low, high)
        for outline in (outline_first, outline_second):
            seen = seen * ((outline > low[:, None]) & (outline < high[:, None])).all(-1)
    return PicturePairs(
        first=first,
        second=second,
        outline_first=outline_first,
        outline_second=outline_second,
        known=known,
        seen=seen,
        sliding=sliding,
    )


def _ended(pictures: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Pictures that end at the corners ``low`` and ``high [B, 2]`` (pixels), the last pixels repeated."""
    size = pictures.shape[-1]
    axis = torch.arange(size)
    index = torch.maximum(torch.minimum(axis, high.long()[..., None] - 1), low.long()[..., None])
    index = index.clamp(0, size - 1)
    columns = index[:, 0, None, None].expand(-1, 3, size, -1)
    rows = index[:, 1, None, :, None].expand(-1, 3, -1, size)
    return pictures.gather(3, columns).gather(2, rows)
