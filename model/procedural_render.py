"""Draws the layers of an invented shot: the ground under the camera, then figures from back to front."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from model.curves import outline
from model.frames import Plate
from model.procedural_lens import Array, Lens
from model.procedural_motion import Motion, projected
from model.rasteriser import coverage_patch

EDGE_SAMPLES: Final = 12
MAP_STEP: Final = 4
"""The map from picture to texture is computed at every fourth pixel and interpolated between."""
MATERIAL_SPAN: Final = 3.6
"""Rest-plane units that a material's side covers."""
ROUND_RADIUS: Final = 1.3
"""Of the cylinder that a turning figure's surface lies on, rest-plane units."""


@dataclass(frozen=True)
class Layer:
    """A flat thing with an outline.

    Attributes:
        rest: [N, 3, 2] Bezier controls in the rest plane, what is painted.
        drawn: [N, 3, 2] what the artist draws; differs by the artist's offset.
        motion: at every sub-frame.
        material: texture around the rest plane's origin.
        blur_px: softness of the edge.
        name: of the shape; empty where there is none.
        turn: [F] angle by which the surface has slid under the outline, radians; None for a flat figure.
        axis: [2] unit direction in which it slides.
    """

    rest: Array
    drawn: Array
    motion: Motion
    material: Plate
    blur_px: float = 0.0
    name: str = ""
    turn: Array | None = None
    axis: Array | None = None

    def edges(self, rows: int) -> Array:
        """The painted outline [rows, M, 2] at all sub-frames."""
        return outline(self.motion.controls(np.arange(rows), self.rest), "bezier", True, EDGE_SAMPLES)

    def surface(self, row: int, plate: Array) -> Array:
        """Where in the material [n, 2], rest-plane units, plate positions [n, 2] look at a sub-frame."""
        rest = self.motion.to_rest(row, plate)
        if self.turn is None or self.axis is None:
            return rest
        across = rest @ self.axis
        slid = ROUND_RADIUS * (np.arcsin(np.clip(across / ROUND_RADIUS, -1, 1)) + self.turn[row])
        return np.asarray(rest + (slid - across)[:, None] * self.axis)


@dataclass(frozen=True)
class Ground:
    """What lies behind everything.

    Attributes:
        material: texture, as large as the picture's long side.
        view: [F, 3, 3] the camera at every sub-frame, plate to plate.
        lens: what it is seen through.
    """

    material: Plate
    view: Array
    lens: Lens

    def drawn(self, row: int, width: int, height: int) -> Plate:
        """The picture [height, width, 3] of a sub-frame."""
        scale = self.material.shape[0] / max(width, height)
        to_texture = np.diag([scale, scale, 1.0]) @ np.linalg.inv(self.view[row])
        places = self.lens.straightened(_grid(0, 0, width, height))
        moved = projected(to_texture, places.reshape(-1, 2)).reshape(places.shape)
        return _textured(self.material, moved, width, height)


def paint(picture: Plate, layer: Layer, row: int, edge: Array) -> None:
    """Paint a layer over the picture, in place.

    Args:
        picture: [H, W, 3].
        layer: what to paint.
        row: sub-frame.
        edge: [M, 2] the layer's outline there.
    """
    height, width = picture.shape[:2]
    margin = int(np.ceil(3 * layer.blur_px))
    left, top, matte = coverage_patch(edge, height, width)
    if matte.size == 0:
        return
    if margin:
        x0, y0 = max(left - margin, 0), max(top - margin, 0)
        x1 = min(left + matte.shape[1] + margin, width)
        y1 = min(top + matte.shape[0] + margin, height)
        wide = np.zeros((y1 - y0, x1 - x0), np.float32)
        wide[top - y0 : top - y0 + matte.shape[0], left - x0 : left - x0 + matte.shape[1]] = matte
        matte = np.asarray(cv2.GaussianBlur(wide, (0, 0), layer.blur_px), np.float32)
        left, top = x0, y0
    rows, columns = matte.shape
    grid = _grid(left, top, columns, rows)
    seen = layer.surface(row, grid.reshape(-1, 2)).reshape(grid.shape)
    side = layer.material.shape[0]
    colour = _textured(layer.material, (seen / MATERIAL_SPAN + 0.5) * side, columns, rows)
    if margin:
        colour = np.asarray(cv2.GaussianBlur(colour, (0, 0), layer.blur_px), np.float32)
    patch = picture[top : top + rows, left : left + columns]
    patch += matte[..., None] * (colour - patch)


def _grid(left: int, top: int, columns: int, rows: int) -> Array:
    """Plate positions [r, c, 2] of a coarse grid that covers a rectangle, for `_textured`."""
    x = left + (np.arange(-1, columns // MAP_STEP + 2) + 0.5) * MAP_STEP
    y = top + (np.arange(-1, rows // MAP_STEP + 2) + 0.5) * MAP_STEP
    return np.stack(np.meshgrid(x, y), axis=2)


def _textured(material: Plate, places: Array, columns: int, rows: int) -> Plate:
    """Read a texture at the places of a coarse grid, interpolated to every pixel."""
    size = (places.shape[1] * MAP_STEP, places.shape[0] * MAP_STEP)
    fine = cv2.resize(places.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    fine = fine[MAP_STEP : MAP_STEP + rows, MAP_STEP : MAP_STEP + columns] - 0.5
    read = cv2.remap(material, fine[..., 0], fine[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(read, np.float32)
