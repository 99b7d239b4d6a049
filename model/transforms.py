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

    @property
    def key_times(self) -> FloatArray:
        """When its parts have keys; () where nothing moves."""
        moving = [c.frames for c in (self.pivot, self.translate, self.rotate_deg, self.scale) if _moves(c)]
        return np.unique(np.concatenate(moving)) if moving else np.zeros(0)

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


@dataclass(frozen=True)
class Affine:
    """One level of transform as the numbers of its matrix, interpolated one by one.

    Attributes:
        affine: the upper two rows of the 3x3 matrix, values [K, 2, 3]: linear part and translation in px.

    Raises:
        ShapeError: at birth, for numbers of another shape.
    """

    affine: Keyed

    def __post_init__(self) -> None:
        if self.affine.values.shape[1:] != (2, 3):
            raise ShapeError(
                f"an affine transform has values of shape {self.affine.values.shape[1:]}; it needs (2, 3)"
            )

    def matrix(self, frame: float) -> FloatArray:
        """The 3x3 matrix that takes column vectors (x, y, 1) of local space one level outward."""
        return np.vstack([self.affine.at(frame), [0.0, 0.0, 1.0]])

    @property
    def key_times(self) -> FloatArray:
        """When its numbers have keys; () where nothing moves."""
        return self.affine.frames if _moves(self.affine) else np.zeros(0)


AnyTransform = Transform | Affine


def _moves(curve: Keyed) -> bool:
    return not curve.is_constant


def combined(transforms: Sequence[AnyTransform], frame: float) -> FloatArray:
    """The 3x3 matrix of nested transforms, outermost first, at ``frame``."""
    matrix = np.eye(3)
    for transform in transforms:
        matrix = matrix @ transform.matrix(frame)
    return matrix
