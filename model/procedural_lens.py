"""Invented lenses: what a straight line becomes on the plate, and how much light reaches its corners."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
SOLVING_STEPS: Final = 6


@dataclass(frozen=True)
class Lens:
    """Radial distortion and vignetting around the picture's middle.

    A place at distance r from the middle, in half diagonals, is seen there of what a perfect lens shows at
    r (1 + bend r^2): a barrel with ``bend`` above 0, a pincushion below.

    Attributes:
        middle: [2] plate pixels.
        reach: half diagonal, pixels.
        bend: -0.2 to 0.3 or so.
        vignette: share of the light lost at the corners.
    """

    middle: Array
    reach: float
    bend: float = 0.0
    vignette: float = 0.0

    def straightened(self, plate: Array) -> Array:
        """Where a perfect lens would have shown what lies at plate positions [..., 2]."""
        if not self.bend:
            return plate
        arm = (plate - self.middle) / self.reach
        return np.asarray(plate + self.reach * self.bend * arm * (arm**2).sum(axis=-1, keepdims=True))

    def seen(self, straight: Array) -> Array:
        """Plate positions [..., 2] of what a perfect lens would have shown at these positions."""
        if not self.bend:
            return straight
        arm = (straight - self.middle) / self.reach
        wanted = np.linalg.norm(arm, axis=-1, keepdims=True)
        # Beyond where a pincushion folds over there is no answer; such places lie far outside the picture.
        limit = np.inf if self.bend > 0 else 0.9 / np.sqrt(-3 * self.bend)
        radius = np.minimum(wanted, limit)
        for _ in range(SOLVING_STEPS):
            slope = 1 + 3 * self.bend * radius**2
            radius = np.clip(radius - (radius + self.bend * radius**3 - wanted) / slope, 0, limit)
        factor = np.where(wanted > 1e-12, radius / np.maximum(wanted, 1e-12), 1.0)
        return np.asarray(self.middle + self.reach * arm * factor)

    def slope(self, straight: Array) -> Array:
        """Derivative [..., 2, 2] of ``seen`` by the position."""
        arm = (self.seen(straight) - self.middle) / self.reach
        square = (arm**2).sum(axis=-1)[..., None, None]
        outer = arm[..., :, None] * arm[..., None, :]
        return np.asarray(np.linalg.inv((1 + self.bend * square) * np.eye(2) + 2 * self.bend * outer))

    def light(self, width: int, height: int) -> NDArray[np.float32]:
        """What share of the light [H, W, 1] reaches each pixel."""
        x, y = np.arange(width) + 0.5 - self.middle[0], np.arange(height)[:, None] + 0.5 - self.middle[1]
        return np.asarray(1 - self.vignette * (x**2 + y**2) / self.reach**2, np.float32)[..., None]


PERFECT: Final = Lens(np.zeros(2), 1.0)
