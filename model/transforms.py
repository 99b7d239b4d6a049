"""Layer and shape transforms: how a shape's local space reaches the screen.

Plate convention throughout (see ``model.shapes``): y points down, so a positive angle turns +x towards
+y, clockwise as seen on screen. Formats with y up convert at their own border.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model.errors import ShapeError
from model.keyframes import FloatArray, Keyed

_TRAILING: dict[str, tuple[int, ...]] = {"pivot": (2,), "translate": (2,), "rotate_deg": (), "scale": (2,)}


@dataclass(frozen=True)
class Transform:
    """One level of transform: scale, then rotate, both about the pivot, then translate.

    Attributes:
        pivot: the fixed point of rotation and scale, px, values [K, 2].
        translate: px, values [K, 2].
        rotate_deg: degrees, clockwise on screen, values [K].
        scale: factors along local x and y, values [K, 2].

    Raises:
        ShapeError: at birth, for a part of the wrong shape.
    """

    pivot: Keyed
    translate: Keyed
    rotate_deg: Keyed
    scale: Keyed

    def __post_init__(self) -> None:
        for name, trailing in _TRAILING.items():
            got = getattr(self, name).values.shape[1:]
            if got != trailing:
                raise ShapeError(f"transform {name} has values of shape {got} per key; it needs {trailing}")

    @property
    def is_identity(self) -> bool:
        """True where the transform leaves every point in place at every frame."""
        return not (
            self.translate.values.any()
            or _moves(self.translate)
            or self.rotate_deg.values.any()
            or _moves(self.rotate_deg)
            or (self.scale.values != 1).any()
            or _moves(self.scale)
        )

    def matrix(self, frame: float) -> FloatArray:
        """The 3x3 matrix that takes column vectors (x, y, 1) of local space one level outward."""
        pivot, offset = self.pivot.at(frame), self.translate.at(frame)
        angle, (sx, sy) = np.deg2rad(float(self.rotate_deg.at(frame))), self.scale.at(frame)
        c, s = np.cos(angle), np.sin(angle)
        linear = np.array([[c * sx, -s * sy], [s * sx, c * sy]])
        matrix = np.eye(3)
        matrix[:2, :2] = linear
        matrix[:2, 2] = pivot + offset - linear @ pivot
        return matrix


def _moves(curve: Keyed) -> bool:
    return not curve.is_constant


def combined(transforms: Sequence[Transform], frame: float) -> FloatArray:
    """The 3x3 matrix of nested transforms, outermost first, at ``frame``."""
    matrix = np.eye(3)
    for transform in transforms:
        matrix = matrix @ transform.matrix(frame)
    return matrix
