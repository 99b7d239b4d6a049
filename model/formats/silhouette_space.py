"""Silhouette's coordinates and frames: parts of the picture's height from its centre, y down, and session frames.

``x = (x_plate - width / 2) / height * pixel_aspect``, ``y = (y_plate - height / 2) / height``; a key's frame counts
from the session's start frame, which is the plate's number. Matrices are row-major and act on row vectors, so their
last row is the translation.

Source: NukeFXSExporter (BSD), and readers of real projects that reproduce delivered mattes (docs/formats.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.keyframes import FloatArray


@dataclass(frozen=True)
class Space:
    """The picture and session of one file."""

    width: int
    height: int
    pixel_aspect: float
    start_frame: int

    @property
    def _scale(self) -> FloatArray:
        """Pixels per unit along x and y."""
        return np.array([self.height / self.pixel_aspect, float(self.height)])

    @property
    def _centre(self) -> FloatArray:
        return np.array([self.width / 2, self.height / 2])

    def to_plate(self, positions: FloatArray) -> FloatArray:
        """Positions [..., 2] in plate pixels."""
        return positions * self._scale + self._centre

    def from_plate(self, positions_px: FloatArray) -> FloatArray:
        """Positions [..., 2] in Silhouette's units."""
        return np.asarray((positions_px - self._centre) / self._scale)

    def offset_to_plate(self, offsets: FloatArray) -> FloatArray:
        """Displacements [..., 2] in pixels."""
        return offsets * self._scale

    def affine_to_plate(self, matrices: FloatArray) -> FloatArray:
        """Rows [K, 2, 3] for column vectors in pixels, from Silhouette's matrices [K, 4, 4]."""
        columns = matrices[:, [0, 1, 3]][:, :, [0, 1, 3]].transpose(0, 2, 1)
        unit = self._from_units()
        return np.asarray((unit @ columns @ np.linalg.inv(unit))[:, :2])

    def affine_from_plate(self, matrix: FloatArray) -> FloatArray:
        """Silhouette's matrix [4, 4] from one [3, 3] for column vectors in pixels."""
        unit = self._from_units()
        rows = (np.linalg.inv(unit) @ matrix @ unit).T
        full = np.eye(4)
        full[np.ix_([0, 1, 3], [0, 1, 3])] = rows
        return full

    def _from_units(self) -> FloatArray:
        unit = np.diag([*self._scale, 1.0])
        unit[:2, 2] = self._centre
        return unit
