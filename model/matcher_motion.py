"""Random smooth maps with an inverse: how the layers of the matcher's synthetic pictures move."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


class Dice:
    """Random tensors from one generator and where it lives, so that a seed repeats a batch bit by bit."""

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator
        self.device = generator.device

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Evenly spread between two bounds."""
        return torch.rand(*shape, generator=self._generator, device=self.device) * (high - low) + low

    def normal(self, *shape: int) -> Tensor:
        """Standard normal."""
        return torch.randn(*shape, generator=self._generator, device=self.device)

    def chance(self, probability: float, *shape: int) -> Tensor:
        """True with a probability."""
        return torch.rand(*shape, generator=self._generator, device=self.device) < probability

    def below(self, limit: int, *shape: int) -> Tensor:
        """Whole numbers from 0 to below a limit."""
        return torch.randint(0, limit, shape, generator=self._generator, device=self.device)


@dataclass(frozen=True)
class SmoothMap:
    """p -> matrix (p - centre) + centre + shift + sum of sinusoids + one local rotation."""

    matrix: Tensor  # [B, 2, 2]
    centre: Tensor  # [B, 1, 2]
    shift: Tensor  # [B, 1, 2]
    frequency: Tensor  # [B, K, 2], radians per pixel
    phase: Tensor  # [B, 1, K]
    amplitude: Tensor  # [B, K, 2], pixels
    pivot: Tensor  # [B, 1, 2]
    pivot_matrix: Tensor  # [B, 2, 2], rotation minus identity
    pivot_reach: Tensor  # [B, 1, 1], pixels

    def bend(self, points: Tensor) -> Tensor:
        """Everything but the affine part, ``[B, P, 2]``."""
        waves = torch.sin(points @ self.frequency.transpose(1, 2) + self.phase) @ self.amplitude
        arm = points - self.pivot
        fade = torch.exp(-(arm * arm).sum(-1, keepdim=True) / (2 * self.pivot_reach**2))
        return waves + fade * turned(arm, self.pivot_matrix)

    def __call__(self, points: Tensor) -> Tensor:
        """Images of points ``[B, P, 2]``, pixels."""
        straight = turned(points - self.centre, self.matrix) + self.centre + self.shift
        return straight + self.bend(points)

    def inverse(self, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Points whose image is ``targets``, and how far off (pixels) the damped fixed point ended."""
        back = inverse(self.matrix)
        points = turned(targets - self.centre - self.shift, back) + self.centre
        for step in range(12):
            straight = targets - self.bend(points) - self.centre - self.shift
            moved = turned(straight, back) + self.centre
            points = moved if step < 4 else 0.25 * points + 0.75 * moved
        return points, (self(points) - targets).norm(dim=-1)


def turned(points: Tensor, matrix: Tensor) -> Tensor:
    """``matrix [B, 2, 2]`` on ``points [B, P, 2]``."""
    return torch.bmm(points, matrix.transpose(1, 2))


def inverse(matrix: Tensor) -> Tensor:
    """Inverse of ``[B, 2, 2]`` matrices that have one; unlike `torch.linalg.inv` a graphics card need not wait."""
    found: Tensor = torch.linalg.inv_ex(matrix)[0]
    return found


def rotation(angle: Tensor) -> Tensor:
    """Rotation matrices ``[..., 2, 2]`` of angles in radians."""
    cos, sin = torch.cos(angle), torch.sin(angle)
    return torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)


def draw_map(
    dice: Dice, strength: Tensor, centre: Tensor, reach: Tensor, *, travel: float, wave: float, swing: float
) -> SmoothMap:
    """Draw a map.

    Args:
        dice: the random source.
        strength: ``[B]``, 1 for a large change, less for neighbouring frames.
        centre: ``[B, 2]``, centre of the affine part, pixels.
        reach: ``[B]``, the size of what moves, pixels; waves and swings are in proportion to it.
        travel: largest shift at strength 1, in parts of ``reach``.
        wave: amplitude of the sinusoids at strength 1, in parts of ``reach``.
        swing: largest angle of the local rotation at strength 1, radians.
    """
    batch = len(strength)
    scale = strength[:, None, None]
    turn = rotation(dice.normal(batch) * 0.22 * strength)
    stretch = torch.eye(2, device=dice.device) + dice.normal(batch, 2, 2) * 0.07 * scale
    zoom = torch.exp(dice.normal(batch) * 0.14 * strength)[:, None, None]
    length = reach[:, None] * torch.exp(dice.uniform(math.log(0.7), math.log(4.0), batch, 4))
    direction = dice.uniform(0, 2 * math.pi, batch, 4)
    frequency = (
        torch.stack([torch.cos(direction), torch.sin(direction)], -1) * (2 * math.pi / length)[..., None]
    )
    height = dice.uniform(0, wave, batch, 4) * length / 4 * dice.chance(0.7, batch, 1)
    amplitude = dice.normal(batch, 4, 2) * height[..., None] * scale
    heading = dice.uniform(0, 2 * math.pi, batch)
    distance = reach * travel * dice.uniform(0, 1, batch) ** 1.5 * strength
    shift = torch.stack([torch.cos(heading), torch.sin(heading)], -1) * distance[:, None]
    swung = dice.chance(0.5, batch) * dice.uniform(-swing, swing, batch) * strength
    pivot = centre + dice.normal(batch, 2) * 0.4 * reach[:, None]
    return SmoothMap(
        matrix=turn @ stretch * zoom,
        centre=centre[:, None],
        shift=shift[:, None],
        frequency=frequency,
        phase=dice.uniform(0, 2 * math.pi, batch, 1, 4),
        amplitude=amplitude,
        pivot=pivot[:, None],
        pivot_matrix=rotation(swung) - torch.eye(2, device=dice.device),
        pivot_reach=(reach * dice.uniform(0.2, 0.5, batch))[:, None, None],
    )
