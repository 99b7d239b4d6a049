"""Layered picture pairs with exact outline motion, made in batches on the fly.

A pair is one object over a background, in a third of the pairs behind an occluder. Every layer is a texture under a
smooth map; the object's outline moves by the object's map, so that the truth is known for each outline point, also
where it is covered or outside the picture. The object is a single region, or a figure with limbs. Coordinates are
picture pixels, x right, y down, (0, 0) the top-left corner, a pixel's centre at (.5, .5).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from model.matcher_figures import Figure, draw_figure
from model.matcher_layers import Blob, Material, draw_blob, draw_material, finished
from model.matcher_motion import Dice, SmoothMap, draw_map

_RESIDUAL_MAX_PX = 0.05
# What a limb does behind the body is told by what is seen of it, roughly.
_HIDDEN_WEIGHT = 0.25


@dataclass(frozen=True)
class PicturePairs:
    """A batch of pairs; ``B`` pairs, ``N`` outline points, pictures of ``S`` by ``S`` pixels.

    Attributes:
        first: float32 ``[B, 3, S, S]``, RGB in 0..1.
        second: the same for the second picture.
        outline_first: float32 ``[B, N, 2]``, the object's outline in the first picture, pixels.
        outline_second: the same points in the second picture.
        known: float32 ``[B, N]``, 1 where the truth is exact to .05 px, less where a limb is behind its own body, 0
            where there is no truth.
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

    def __len__(self) -> int:
        return len(self.first)

    @classmethod
    def joined(cls, parts: list[PicturePairs]) -> PicturePairs:
        """Several batches as one."""
        return cls(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(cls)))


@dataclass(frozen=True)
class _Scene:
    """The layers of a batch of pairs; maps lead from the second picture back to the first."""

    pixels: Tensor  # [B, S * S, 2]
    actor: Blob | Figure
    bend: SmoothMap  # from the first picture to where the actor was drawn
    motion: SmoothMap
    slide: SmoothMap
    sliding: Tensor  # [B]
    frame: SmoothMap
    cover: Blob
    cover_there: Tensor  # [B]
    cover_motion: SmoothMap
    body_material: Material
    ground_material: Material
    cover_material: Material

    def painted(self, *, moved: bool) -> Tensor:
        """The first or the second pictures, before light, lens and grain."""
        size = math.isqrt(self.pixels.shape[1])
        inside = self.motion(self.pixels) if moved else self.pixels
        skin = torch.where(self.sliding[:, None, None], self.slide(inside), inside) if moved else inside
        far = self.frame(self.pixels) if moved else self.pixels
        front = self.cover_motion(self.pixels) if moved else self.pixels
        if isinstance(self.actor, Figure):
            seen = self.actor.surface(self.bend(inside), int(moved))
            matte, body = seen.matte, self.body_material.paint(seen.skin, size)
            body = body * seen.tint.view_as(body)
        else:
            matte, body = self.actor.coverage(self.bend(inside)), self.body_material.paint(skin, size)
        lid = self.cover.coverage(front) * self.cover_there[:, None]
        picture = self.ground_material.paint(far, size)
        picture = picture + (body - picture) * matte.view(-1, 1, size, size)
        return picture + (self.cover_material.paint(front, size) - picture) * lid.view(-1, 1, size, size)

    def open_at(self, outline: Tensor, *, moved: bool) -> Tensor:
        """Which points ``[B, N, 2]`` lie inside the picture and not behind the occluder."""
        lid = self.cover.coverage(self.cover_motion(outline) if moved else outline)
        size = math.isqrt(self.pixels.shape[1])
        within = ((outline > 2) & (outline < size - 2)).all(-1)
        return (lid * self.cover_there[:, None] < 0.3) & within


def draw_pairs(
    bank: Tensor,
    generator: torch.Generator,
    *,
    pairs: int,
    size: int,
    points: int,
    plate_edges: bool = False,
    figures: bool = False,
) -> PicturePairs:
    """Draw a batch of picture pairs.

    Three pairs in five change a lot (a key against a frame far away), the others a little (neighbours).

    Args:
        bank: uint8 textures from `matcher_textures.texture_bank`, on the generator's device.
        generator: source of every choice; the same state gives the same batch.
        pairs: how many pairs.
        size: edge of the square pictures, pixels.
        points: outline points of each object.
        plate_edges: let a quarter of the pairs end at a plate's edge, with its last pixels repeated beyond.
        figures: draw figures with limbs under a stronger camera, in place of single regions.

    Returns:
        The pairs with their truth.
    """
    dice = Dice(generator)
    strength = torch.where(dice.chance(0.6, pairs), 1.0, 0.25) * dice.uniform(0.3, 1.0, pairs)
    smallest, largest = (0.2, 0.55) if figures else (0.27, 0.85)
    whole = torch.exp(dice.uniform(math.log(smallest), math.log(largest), pairs)) * size
    centre = size / 2 + dice.normal(pairs, 2) * 0.09 * size
    bent = torch.full((pairs,), 0.4 if figures else 1.0, device=dice.device)
    motion = draw_map(dice, strength, centre, whole, travel=0.35, wave=0.25, swing=0.6)
    shake = 0.8 if figures else 0.5
    pan = 0.35 if figures else 0.15
    everything = torch.full((pairs,), size * 1.0, device=dice.device)
    frame = draw_map(dice, strength * shake, centre, everything, travel=pan, wave=0.05, swing=0.0)
    bend = draw_map(dice, bent, centre, whole, travel=0.0, wave=0.35, swing=0.8)
    actor = draw_figure(dice, centre, whole, strength) if figures else draw_blob(dice, centre, whole)

    outline_first, outline_second, known, bare = _truth(dice, actor, bend, motion, points)
    slide = draw_map(dice, strength * 0.6, centre, whole, travel=0.2, wave=0.1, swing=0.0)
    sliding = dice.chance(0.0 if figures else 0.3, pairs)
    same = dice.chance(0.3, pairs)
    body_texture = dice.below(len(bank), pairs)
    ground_texture = dice.below(len(bank), pairs)
    body = draw_material(dice, bank, pairs, body_texture)
    ground = draw_material(dice, bank, pairs, torch.where(same, body_texture, ground_texture))
    at = dice.below(points, pairs)
    cover_centre = outline_first[torch.arange(pairs, device=dice.device), at] + dice.normal(pairs, 2) * 8
    cover = draw_blob(dice, cover_centre, whole * dice.uniform(0.25, 0.7, pairs))
    cover_there = dice.chance(0.35, pairs)
    cover_motion = draw_map(dice, strength, cover_centre, whole, travel=0.6, wave=0.1, swing=0.0)
    cover_material = draw_material(dice, bank, pairs)
    if figures:
        # Half of those that share a texture share its colours too.
        alike = (same & dice.chance(0.5, pairs))[:, None, None]
        body = replace(
            body,
            mixing=torch.where(alike, ground.mixing, body.mixing),
            offset=torch.where(alike, ground.offset, body.offset),
        )

    axis = torch.arange(size, device=dice.device) + 0.5
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1).view(1, -1, 2)
    scene = _Scene(
        pixels=grid.expand(pairs, -1, -1),
        actor=actor,
        bend=bend,
        motion=motion,
        slide=slide,
        sliding=sliding,
        frame=frame,
        cover=cover,
        cover_there=cover_there,
        cover_motion=cover_motion,
        body_material=body,
        ground_material=ground,
        cover_material=cover_material,
    )
    first = finished(dice, scene.painted(moved=False), strength)
    second = finished(dice, scene.painted(moved=True), strength)
    open_in_both = scene.open_at(outline_first, moved=False) & scene.open_at(outline_second, moved=True)
    seen = (open_in_both & bare).float() * known
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


def _truth(
    dice: Dice, actor: Blob | Figure, bend: SmoothMap, motion: SmoothMap, points: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The outline in both pictures, how well it is known, and which points no limb lies over in the second."""
    if isinstance(actor, Figure):
        drawn, owner, exact = actor.outline(dice, points)
        posed = actor.carried(drawn, owner, 0, 1)
        bare = ~actor.covered(posed, owner, 1)
        first, first_off = bend.inverse(drawn)
        posed, posed_off = bend.inverse(posed)
        second, second_off = motion.inverse(posed)
        exact = exact & (posed_off < _RESIDUAL_MAX_PX)
    else:
        first, first_off = bend.inverse(actor.outline(dice, points))
        second, second_off = motion.inverse(first)
        exact = bare = torch.ones_like(first_off, dtype=torch.bool)
    known = (exact & (first_off < _RESIDUAL_MAX_PX) & (second_off < _RESIDUAL_MAX_PX)).float()
    return first, second, torch.where(bare, known, known * _HIDDEN_WEIGHT), bare


def _ended(pictures: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Pictures that end at the corners ``low`` and ``high [B, 2]`` (pixels), the last pixels repeated."""
    size = pictures.shape[-1]
    axis = torch.arange(size, device=pictures.device)
    index = torch.maximum(torch.minimum(axis, high.long()[..., None] - 1), low.long()[..., None])
    index = index.clamp(0, size - 1)
    columns = index[:, 0, None, None].expand(-1, 3, size, -1)
    rows = index[:, 1, None, :, None].expand(-1, 3, -1, size)
    return pictures.gather(3, columns).gather(2, rows)
