"""Cutting out of a plate what the matcher looks at, at the scale it wants, and the way back.

A crop is a whole number of plate pixels, resized to a multiple of 16 pixels; both sides count from the
corner, so the map between them is a plain scale per axis, without half-pixel terms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.matcher_network import PADDING_PX

# The margin that the scale was tuned with, in parts of sqrt(area); other margins change the statistics that
# group normalisation sees.
MARGIN = 0.45
MAGNIFICATION_MAX = 1.5
CROP_PIXELS_MAX = 160_000

Points = NDArray[np.float64]
Frame = NDArray[np.uint8] | None
"""A working image ``[H, W, 3]``, RGB; None where a frame is missing."""


def outline_size(outline: Points) -> float:
    """Square root of the area that a closed outline ``[M, 2]`` encloses, at least 1, plate pixels."""
    x, y = outline[:, 0], outline[:, 1]
    area = 0.5 * abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))))
    # A stroke or a twisted outline encloses next to nothing; its extent then says how large it is.
    extent = float(np.ptp(outline, axis=0).max())
    return max(1.0, math.sqrt(area), 0.2 * extent)


def span_size(left: Points, right: Points) -> float:
    """Size of an object between two outlines of it ``[M, 2]``, the geometric mean of theirs, plate pixels."""
    return math.sqrt(outline_size(left) * outline_size(right))


def _box(points: Points, size: float) -> tuple[Points, Points]:
    flat = points.reshape(-1, 2)
    return flat.min(0) - MARGIN * size, flat.max(0) + MARGIN * size


def crop_scale(groups: Sequence[Points], size: float, target_px: float) -> float:
    """Crop pixels per plate pixel such that an object of ``size`` plate pixels measures ``target_px``.

    Magnification ends at 1.5, and is less where the crop of any group of points would grow too large.

    Args:
        groups: arrays ``[..., 2]``, each of which gets a crop of its own.
        size: sqrt(area) of the object, plate pixels.
        target_px: what sqrt(area) should be in the crop.
    """
    largest = 0.0
    for points in groups:
        low, high = _box(points, size)
        largest = max(largest, float(np.prod(high - low)))
    return min(MAGNIFICATION_MAX, target_px / size, math.sqrt(CROP_PIXELS_MAX / largest))


@dataclass(frozen=True)
class Crop:
    """A window on the plate and the size it is resized to.

    Attributes:
        left, top: plate pixels, may be negative.
        width, height: plate pixels.
        columns, rows: pixels of the resized picture, multiples of 16.
    """

    left: int
    top: int
    width: int
    height: int
    columns: int
    rows: int

    @classmethod
    def around(cls, points: Points, size: float, scale: float) -> Crop:
        """The crop that holds ``points [..., 2]`` (plate pixels) with a margin.

        Args:
            points: what has to be inside.
            size: sqrt(area) of the object, plate pixels.
            scale: crop pixels per plate pixel, see `crop_scale`.
        """
        low, high = _box(points, size)
        steps = np.ceil(np.maximum((high - low) * scale, 1.0) / PADDING_PX).astype(int)
        columns, rows = (int(s) * PADDING_PX for s in steps)
        width, height = round(columns / scale), round(rows / scale)
        middle = (low + high) / 2
        left, top = math.floor(middle[0] - width / 2), math.floor(middle[1] - height / 2)
        return cls(left, top, max(1, width), max(1, height), columns, rows)

    @property
    def scale(self) -> Points:
        """Crop pixels per plate pixel, ``[2]``."""
        return np.array([self.columns / self.width, self.rows / self.height])

    def inward(self, points: Points) -> Tensor:
        """Plate pixels to crop pixels, float32."""
        moved = (points - np.array([self.left, self.top])) * self.scale
        return torch.from_numpy(np.ascontiguousarray(moved, np.float32))

    def outward(self, points: Tensor) -> Points:
        """Crop pixels to plate pixels, float64."""
        values = np.asarray(points.cpu().numpy(), np.float64)
        return np.asarray(values / self.scale + np.array([self.left, self.top]))

    def meets(self, height: int, width: int) -> bool:
        """Whether any of the crop lies on a plate of this size."""
        return -self.width < self.left < width and -self.height < self.top < height

    def shown(self, frame: Frame) -> Tensor | None:
        """The crop of a frame as a batch of one, see `cut`; None where it is missing or lies beside the crop."""
        return None if frame is None or not self.meets(*frame.shape[:2]) else self.cut(frame)[None]

    def cut(self, frame: NDArray[np.uint8]) -> Tensor:
        """The crop of a frame ``[H, W, 3]`` as float32 ``[3, rows, columns]`` in 0..1.

        Beyond the plate's edge its last pixels are repeated.
        """
        height, width = frame.shape[:2]
        x0, x1 = max(0, self.left), min(width, self.left + self.width)
        y0, y1 = max(0, self.top), min(height, self.top + self.height)
        there = cv2.copyMakeBorder(
            frame[y0:y1, x0:x1],
            y0 - self.top,
            self.top + self.height - y1,
            x0 - self.left,
            self.left + self.width - x1,
            cv2.BORDER_REPLICATE,
        )
        if self.columns < self.width:
            sized = cv2.resize(there, (self.columns, self.rows), interpolation=cv2.INTER_AREA)
        else:
            # In floats: the 8-bit bilinear resize rounds ties down, which shifts a gradient.
            exact = there.astype(np.float32)
            sized = cv2.resize(exact, (self.columns, self.rows), interpolation=cv2.INTER_LINEAR)
        return torch.from_numpy(np.ascontiguousarray(sized)).permute(2, 0, 1).float() / 255
