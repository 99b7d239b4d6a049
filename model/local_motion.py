"""How the plane moves around a place, told by samples that moved: shift, turn, scale, stretch and shear.

Source: moving least squares (Schaefer, McPhail and Warren, "Image deformation using moving least squares", 2006,
sections 2.1 and 2.2): an affine motion, pulled to the similarity where the samples lie on a line and cannot tell how
the plane stretches across it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

ComplexArray = NDArray[np.complex128]  # points and offsets as x + i y: a similarity is one complex factor
STRETCH_PULL: Final = 0.01
"""Against stretch and shear, as a share of the samples' spread."""


@dataclass(frozen=True)
class LocalMotion:
    """The motion at P places.

    Attributes:
        shift: [P] displacement of the places themselves, px.
        turn: [P] complex factor of the similarity part, 1 where nothing turns or scales.
        stretch: [P] complex factor on the mirrored offset: stretch and shear, 0 for a similarity.
    """

    shift: ComplexArray
    turn: ComplexArray
    stretch: ComplexArray

    def carry(self, offsets: ComplexArray) -> ComplexArray:
        """Offsets [..., P] from the places, moved along; lines stay lines, so smooth points stay smooth."""
        return np.asarray(self.turn * offsets + self.stretch * np.conj(offsets))


def local_motion(
    samples: ComplexArray, moves: ComplexArray, at: ComplexArray, trust: NDArray[np.float64]
) -> LocalMotion:
    """The affine motion around each place.

    Args:
        samples: [M] where the samples were, px.
        moves: [M] how far they moved.
        at: [P] the places.
        trust: [M] weight of each sample, 0 or more.
    """
    distance = np.abs(at[:, None] - samples[None, :])
    spread = float(np.sqrt(np.mean(np.abs(samples - samples.mean()) ** 2)))
    near = np.sort(distance, axis=1)[:, min(3 * len(samples) // len(at), len(samples) - 1)]
    reach = np.maximum(near, 0.15 * spread + 1e-9)[:, None]
    pull = trust / (1 + (distance / reach) ** 2) ** 2 + 1e-12
    pull = pull / pull.sum(axis=1, keepdims=True)
    middle, drift = pull @ samples, pull @ moves
    arms = samples[None, :] - middle[:, None]
    moved = moves[None, :] - drift[:, None]
    spreads = (pull * np.abs(arms) ** 2).sum(axis=1) + 1e-9
    along = (pull * arms**2).sum(axis=1)  # as long as the spread where all samples lie on one line
    turning, stretching = (pull * np.conj(arms) * moved).sum(axis=1), (pull * arms * moved).sum(axis=1)
    held = spreads * (1 + STRETCH_PULL)
    scale = spreads * held - np.abs(along) ** 2
    turn = (held * turning - np.conj(along) * stretching) / scale
    stretch = (spreads * stretching - along * turning) / scale
    away = at - middle
    return LocalMotion(drift + turn * away + stretch * np.conj(away), 1 + turn, stretch)
