"""Jointed figures for the matcher's synthetic pictures: limbs that swing in front of their body and behind it.

A figure is a torso with up to five limbs of one or two tapering segments, thin ones too. Its outline is that of the
whole silhouette in the first pose; every outline point belongs to one part and goes where that part goes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from model.matcher_layers import Blob, draw_blob, spread
from model.matcher_motion import Dice

_LIMBS = 5
_TORSO = 2 * _LIMBS  # index of the part after all segments
# Points of the walk along one side of a segment, around a tip, and along the torso between two limbs.
_SIDE, _CAP, _ARC = 12, 8, 24
_SETTLED_PX = 0.4


@dataclass(frozen=True)
class Pose:
    """Where the segments are, ``K`` of them; a further row stands for the torso, which stays."""

    root: Tensor  # [B, K + 1, 2], pixels
    along: Tensor  # [B, K + 1, 2], unit length
    length: Tensor  # [B, K + 1], pixels

    def of(self, owner: Tensor) -> Pose:
        """The rows of the parts ``owner [B, P]``."""
        pick = owner[..., None].expand(-1, -1, 2)
        return Pose(self.root.gather(1, pick), self.along.gather(1, pick), self.length.gather(1, owner))

    def inward(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Points as lengths along and across each row; shapes broadcast."""
        x, y = (points - self.root).unbind(-1)
        u, v = self.along.unbind(-1)
        return x * u + y * v, y * u - x * v

    def outward(self, along: Tensor, across: Tensor) -> Tensor:
        """The way back of `inward`."""
        u, v = self.along.unbind(-1)
        return self.root + torch.stack([along * u - across * v, along * v + across * u], -1)


@dataclass(frozen=True)
class Surface:
    """What of a figure is seen at ``P`` places."""

    matte: Tensor  # [B, P], 0..1
    skin: Tensor  # [B, P, 2], material coordinates
    tint: Tensor  # [B, 3, P], factors


@dataclass(frozen=True)
class Figure:
    """A torso and its limbs in two poses."""

    torso: Blob
    poses: tuple[Pose, Pose]
    width: Tensor  # [B, K, 2], half-widths at root and tip, pixels
    there: Tensor  # [B, K], bool
    level: Tensor  # [B, K + 1], what is higher covers what is lower; the torso is 0
    patch: Tensor  # [B, K + 1, 2], pixels by which a part's texture is displaced
    tone: Tensor  # [B, 3, K + 1], colour factors of the parts
    roundness: Tensor  # [B, 1], how much darker a part is at its rim
    angle: Tensor  # [B, limbs], where limbs leave the torso, radians of its frame

    def depths(self, points: Tensor, pose: int) -> Tensor:
        """How far inside each part ``points [B, P, 2]`` are, ``[B, K + 1, P]`` pixels."""
        at = self.poses[pose]
        rows = Pose(at.root[:, :_TORSO, None], at.along[:, :_TORSO, None], at.length[:, :_TORSO, None])
        along, across = rows.inward(points[:, None])
        share = (along / rows.length).clamp(0, 1)
        radius = self.width[..., :1] + (self.width[..., 1:] - self.width[..., :1]) * share
        limbs = radius - torch.hypot(along - share * rows.length, across)
        limbs = torch.where(self.there[..., None], limbs, -1e3)
        return torch.cat([limbs, self.torso.depth(points)[:, None]], 1)

    def carried(self, points: Tensor, owner: Tensor, origin: int, goal: int) -> Tensor:
        """Points ``[B, P, 2]`` of the parts ``owner [B, P]`` in pose ``origin`` to their places in pose ``goal``."""
        before, after = self.poses[origin].of(owner), self.poses[goal].of(owner)
        along, across = before.inward(points)
        on = torch.minimum(along.clamp(min=0), before.length)
        return after.outward(along - on + on * after.length / before.length, across)

    def surface(self, points: Tensor, pose: int) -> Surface:
        """What is seen of the figure at ``points [B, P, 2]``."""
        depths = self.depths(points, pose)
        matte = (depths / self.torso.softness[..., None] + 0.5).clamp(0, 1).amax(1)
        owner = torch.where(depths > 0, 10 + self.level[..., None], depths).argmax(1)
        skin = self.carried(points, owner, pose, 0) + self.patch.gather(1, owner[..., None].expand(-1, -1, 2))
        thickness = torch.cat([self.width.mean(2), 0.35 * self.torso.size[:, None]], 1).gather(1, owner)
        rim = 1 - (depths.gather(1, owner[:, None])[:, 0] / thickness).clamp(0, 1)
        tone = self.tone.gather(2, owner[:, None].expand(-1, 3, -1))
        return Surface(matte, skin, tone * (1 - self.roundness * rim * rim)[:, None])

    def covered(self, points: Tensor, owner: Tensor, pose: int) -> Tensor:
        """Whether other parts of the figure lie over ``points [B, P, 2]`` of ``owner [B, P]``."""
        above = self.level[..., None] > self.level.gather(1, owner)[:, None]
        return (above & (self.depths(points, pose) > 0.5)).any(1)

    def outline(self, dice: Dice, points: int) -> tuple[Tensor, Tensor, Tensor]:
        """The silhouette in the first pose.

        Returns:
            Points ``[B, N, 2]``, the part that each belongs to ``[B, N]``, and whether the point is on the edge.
        """
        loop = self._walk(dice)
        for _ in range(6):
            loop, _, _ = self._towards_edge(loop, inside_only=True)
        edges = loop.roll(-1, 1) - loop
        index, part = spread(dice, edges.norm(dim=-1), points)
        pick = index[..., None].expand(-1, -1, 2)
        found = loop.gather(1, pick) + edges.gather(1, pick) * part[..., None]
        for _ in range(3):
            found, _, _ = self._towards_edge(found, inside_only=False)
        _, owner, depth = self._towards_edge(found, inside_only=False)
        return found, owner, depth.abs() < _SETTLED_PX

    def _towards_edge(self, points: Tensor, *, inside_only: bool) -> tuple[Tensor, Tensor, Tensor]:
        """One step towards the silhouette's edge, with the part and depth that it started from."""
        depth, owner = self.depths(points, 0).max(1)
        at = self.poses[0].of(owner)
        along, across = at.inward(points)
        limb_axis = at.outward(torch.minimum(along.clamp(min=0), at.length), torch.zeros_like(across))
        axis = torch.where((owner == _TORSO)[..., None], self.torso.centre, limb_axis)
        away = torch.nn.functional.normalize(points - axis, dim=-1)
        step = depth.clamp(min=0) if inside_only else depth
        return points + away * step[..., None], owner, depth

    def _walk(self, dice: Dice) -> Tensor:
        """Around the figure in the first pose, limb by limb, roughly: ``[B, L, 2]``."""
        batch, device = len(self.angle), dice.device
        edge = self.torso.rim(self.angle)
        reach = (edge - self.torso.centre).norm(dim=-1)
        one = self.poses[0]
        pairs = (batch, _LIMBS, 2)
        root, along = (t[:, :_TORSO].view(*pairs, 1, 2) for t in (one.root, one.along))
        length, width = one.length[:, :_TORSO].view(*pairs, 1), self.width.view(*pairs, 2)
        rows = Pose(root, along, length)
        run = torch.linspace(0, 1, _SIDE, device=device)
        outside = (0.3 * reach / length[:, :, 0, 0]).clamp(max=0.9)
        begin = torch.stack([outside, torch.full_like(reach, 0.1)], 2)
        share = begin[..., None] + (1 - begin[..., None]) * run
        radius = width[..., :1] + (width[..., 1:] - width[..., :1]) * share
        low, high = rows.outward(share * length, -radius), rows.outward(share * length, radius)
        bow = torch.linspace(-0.5 * math.pi, 0.5 * math.pi, _CAP, device=device)
        tip = Pose(root[:, :, 1], along[:, :, 1], length[:, :, 1])
        blunt = width[:, :, 1, 1:]
        cap = tip.outward(tip.length + blunt * torch.cos(bow), blunt * torch.sin(bow))
        limb = torch.cat([low[:, :, 0], low[:, :, 1], cap, high[:, :, 1].flip(2), high[:, :, 0].flip(2)], 2)
        present = self.there[:, ::2]
        limb = torch.where(present[..., None, None], limb, edge[:, :, None])
        half = torch.asin((width[:, :, 0, 0] / reach).clamp(max=0.9)) * present
        following = self.angle.roll(-1, 1).clone()
        following[:, -1] += 2 * math.pi
        first, last = self.angle + half, following - half.roll(-1, 1)
        along_arc = torch.linspace(0, 1, _ARC, device=device)
        arc = first[..., None] + (last - first).clamp(min=0)[..., None] * along_arc
        between = self.torso.rim(arc.flatten(1)).view(batch, _LIMBS, _ARC, 2)
        return torch.cat([limb, between], 2).flatten(1, 2)


def draw_figure(dice: Dice, centre: Tensor, size: Tensor, strength: Tensor) -> Figure:
    """Draw a figure in two poses.

    Args:
        dice: the random source.
        centre: ``[B, 2]``, of the torso, pixels.
        size: ``[B]``, of the figure, pixels.
        strength: ``[B]``, 1 for a large change between the poses.
    """
    batch = len(size)
    limbs = (batch, _LIMBS)
    torso = draw_blob(dice, centre, size * dice.uniform(0.35, 0.8, batch))
    slot = torch.arange(_LIMBS, device=dice.device) + dice.uniform(-0.3, 0.3, *limbs)
    angle = slot * (2 * math.pi / _LIMBS) + dice.uniform(0, 2 * math.pi, batch, 1)
    jointed = dice.chance(0.65, *limbs)
    there = dice.chance(0.65, *limbs)
    length = size[:, None] * torch.exp(dice.uniform(math.log(0.2), math.log(1.1), *limbs))
    thick = size[:, None] * torch.exp(dice.uniform(math.log(0.035), math.log(0.16), *limbs))
    thick = torch.minimum(thick, 0.4 * length).clamp(min=1.5)
    taper = dice.uniform(0.45, 1.05, *limbs)
    upper = torch.where(jointed, dice.uniform(0.4, 0.6, *limbs), 0.999)
    middle, end = thick * (1 + (taper - 1) * upper), thick * taper
    width = torch.stack([thick, middle, middle, end], -1).view(batch, _TORSO, 2)
    front = torch.where(dice.chance(0.5, *limbs), 1.0, -1.0) * (1 + dice.uniform(0, 1, *limbs))
    level = torch.stack([front, front + 0.01], 2).view(batch, _TORSO)

    hip, knee = dice.normal(*limbs) * 0.45, dice.normal(*limbs) * 0.6 * jointed
    swing, fold = dice.normal(*limbs) * 1.1, dice.normal(*limbs) * 1.1 * jointed
    shorter = torch.exp(dice.normal(batch, _LIMBS, 2) * 0.2 * strength[:, None, None])
    away = torso.rim(angle) - torso.centre
    heading = torch.atan2(away[..., 1], away[..., 0])
    lengths = torch.stack([length * upper, length * (1 - upper)], 2)
    still, far = torch.zeros_like(strength), strength.clamp(max=1)
    poses = tuple(
        _pose(
            torso.centre + 0.75 * away,
            heading + hip + swing * s[:, None],
            knee + fold * s[:, None],
            lengths * stretch,
        )
        for s, stretch in ((still, torch.ones_like(shorter)), (far, shorter))
    )
    own = dice.chance(0.5, batch, 1, 1)
    return Figure(
        torso=torso,
        poses=(poses[0], poses[1]),
        width=width,
        there=there.repeat_interleave(2, 1),
        level=torch.cat([level, torch.zeros_like(level[:, :1])], 1),
        patch=dice.normal(batch, _TORSO + 1, 2) * 25 * dice.chance(0.5, batch, 1, 1),
        tone=torch.exp(dice.normal(batch, 3, _TORSO + 1) * 0.2 * own),
        roundness=dice.uniform(0, 0.5, batch, 1) * dice.chance(0.6, batch, 1),
        angle=angle,
    )


def _pose(root: Tensor, heading: Tensor, bend: Tensor, lengths: Tensor) -> Pose:
    """Limbs from ``root [B, limbs, 2]``: both segments of each, and a row for the torso."""
    turn = torch.stack([heading, heading + bend], 2)
    along = torch.stack([torch.cos(turn), torch.sin(turn)], -1)
    knee = root + along[:, :, 0] * lengths[:, :, :1]
    batch = len(root)
    rows = (
        torch.stack([root, knee], 2).view(batch, _TORSO, 2),
        along.view(batch, _TORSO, 2),
        lengths.reshape(batch, _TORSO),
    )
    whole = root.new_ones(batch, 1)
    torso = (torch.stack([0 * whole, 0 * whole], -1), torch.stack([whole, 0 * whole], -1), whole)
    return Pose(*(torch.cat(pair, 1) for pair in zip(rows, torso, strict=True)))
