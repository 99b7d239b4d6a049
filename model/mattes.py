"""Mattes of shapes: soft edges, opacity, motion blur, open splines, and several shapes blended in drawing order.

A soft edge runs from the outline (1) to the feather's outline (0), point to matching point. It is drawn as the
weighted sum of the exact coverages of outlines between the two, at least one a pixel, so that it is as smooth as its
width asks for. Motion blur is the mean of the mattes over the shutter's time: the artist draws in its middle. Where
both meet, each instant draws a share of the outlines, a little further out than the instant before, so that together
they are as fine as one instant alone.

Names of attributes are Nuke's (``ff`` falloff, ``fx`` ``fy`` feather of the whole shape, ``fo`` feather on, ``inv``,
``bm``, ``mbo`` ``mbs`` ``mbsot`` ``mbso``, ``osw``); how Nuke draws was not at hand to compare with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model.curves import outline
from model.errors import ShapeError
from model.keyframes import FloatArray
from model.rasteriser import FloatImage, coverage, coverage_patch
from model.shapes import Shape

SAMPLES_PER_SEGMENT = 32
LAYERS_MAX = 128  # outlines between the edge and the end of its feather
_OVER, _MAX, _INSIDE, _SUBTRACT, _DIFFERENCE = 0, 4, 5, 12, 13  # Nuke's blend modes, of the ones we draw
_SHUTTER_CENTRED, _SHUTTER_START, _SHUTTER_END = 0, 1, 2


@dataclass(frozen=True)
class Shutter:
    """How motion blur is drawn.

    Attributes:
        samples: mattes averaged over the shutter's time; 1 draws no blur.
        open_frames: how long it is open, in frames; None takes each shape's own (and none where its blur is off).
    """

    samples: int = 16
    open_frames: float | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.samples <= 256:
            raise ShapeError(f"{self.samples} samples of motion blur cannot be drawn; take 1 to 256")
        if self.open_frames is not None and not 0 <= self.open_frames <= 100:
            raise ShapeError(f"a shutter open for {self.open_frames} frames cannot be; 0.5 is usual")

    def times(self, shape: Shape, frame: float) -> list[float]:
        """When to draw a shape for one frame."""
        start, length = -0.5, self.open_frames
        if length is None:
            length = _number(shape, "mbs", 0.5, frame) if _number(shape, "mbo", 0.0, frame) else 0.0
            own = {_SHUTTER_CENTRED: -length / 2, _SHUTTER_START: 0.0, _SHUTTER_END: -length}
            start = own.get(int(_number(shape, "mbsot", 0.0, frame)), _number(shape, "mbso", 0.0, frame))
        else:
            start = -length / 2
        if self.samples == 1 or length == 0:
            return [frame]
        return [frame + start + length * (i + 0.5) / self.samples for i in range(self.samples)]


SHARP = Shutter(samples=1)


def matte(shape: Shape, frame: float, height: int, width: int, *, shutter: Shutter = SHARP) -> FloatImage:
    """The matte of one shape on one frame, [H, W] float32, 0..1.

    Args:
        shape: drawn where it lives; elsewhere the matte is 0.
        frame: plate frame.
        height: of the picture in plate pixels, H.
        width: of the picture in plate pixels, W.
        shutter: motion blur.

    Raises:
        ShapeError: an open spline without a width, or a picture without pixels.
    """
    drawn = np.zeros((height, width), dtype=np.float32)
    if not shape.is_alive(frame):
        return drawn
    times = shutter.times(shape, frame)
    for i, time in enumerate(times):
        share = np.float32(shape.opacity.at(time) / len(times))
        drawn += _instant(shape, time, height, width, layer=(i + 0.5) / len(times), of=len(times)) * share
    if _number(shape, "inv", 0.0, frame):
        drawn = np.float32(shape.opacity.at(frame)) - drawn
    return np.clip(drawn, 0.0, 1.0)


def combined_matte(
    mattes: Sequence[tuple[Shape, FloatImage]], frame: float, height: int, width: int
) -> FloatImage:
    """Mattes of several shapes, in drawing order, blended as each shape says; an unknown mode draws over."""
    whole = np.zeros((height, width), dtype=np.float32)
    for shape, drawn in mattes:
        mode = int(_number(shape, "bm", _OVER, frame))
        if mode == _SUBTRACT:
            whole = np.maximum(whole - drawn, 0.0)
        elif mode == _DIFFERENCE:
            whole = np.abs(whole - drawn)
        elif mode == _MAX:
            whole = np.maximum(whole, drawn)
        elif mode == _INSIDE:
            whole = whole * drawn
        else:
            whole = drawn + whole * (1 - drawn)
    return whole


def _instant(shape: Shape, frame: float, height: int, width: int, *, layer: float, of: int) -> FloatImage:
    """One of several instants, without opacity; ``layer`` is where between two outlines its own ones lie, 0..1."""
    edge = outline(shape.at(frame), shape.kind, shape.closed, SAMPLES_PER_SEGMENT)
    if not shape.closed:
        return coverage(_band(edge, _number(shape, "osw", 0.0, frame), shape.path), height, width)
    far = _feather_edge(shape, edge, frame)
    reach = float(np.linalg.norm(far - edge, axis=-1).max(initial=0.0))
    if reach == 0:
        return coverage(edge, height, width)
    layers = int(np.ceil(min(max(reach, 2), LAYERS_MAX) / of))
    falloff = max(_number(shape, "ff", 1.0, frame), 1e-3)
    steps = (
        1 - (1 - np.linspace(0, 1, layers + 1)) ** falloff
    )  # what has been lost of the edge's 1 at each step
    whole = np.zeros((height, width), dtype=np.float32)
    for i, share in enumerate(np.diff(steps)):
        x, y, patch = coverage_patch(edge + (far - edge) * (i + layer) / layers, height, width)
        whole[y : y + patch.shape[0], x : x + patch.shape[1]] += patch * np.float32(share)
    return whole


def _feather_edge(shape: Shape, edge: FloatArray, frame: float) -> FloatArray:
    """Where the soft edge ends, sample by sample."""
    if not _number(shape, "fo", 1.0, frame):
        return edge
    far, feather = edge, shape.feather_at(frame)
    if feather is not None and shape.has_soft_edge:
        controls = feather.copy()
        controls[:, 1] += shape.at(frame)[:, 1]
        far = outline(controls, shape.kind, shape.closed, SAMPLES_PER_SEGMENT)
    whole = np.array([_number(shape, name, 0.0, frame) for name in ("fx", "fy")])
    return far + _normals(edge) * whole if whole.any() else far


def _normals(edge: FloatArray) -> FloatArray:
    """Outward unit normals of a closed outline [M, 2]."""
    along = np.roll(edge, -1, axis=0) - np.roll(edge, 1, axis=0)
    normal = np.stack([along[:, 1], -along[:, 0]], axis=1)
    following = np.roll(edge, -1, axis=0)
    area = (edge[:, 0] * following[:, 1] - edge[:, 1] * following[:, 0]).sum()
    return np.asarray(
        np.sign(area) * normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    )


def _band(line: FloatArray, width_px: float, path: str) -> FloatArray:
    """The outline of an open spline drawn with a width: there on one side, back on the other."""
    if width_px <= 0 or len(line) < 2:
        raise ShapeError(
            f"{path} is an open spline without a width (osw), which has no inside; it is not drawn"
        )
    along = np.gradient(line, axis=0)
    aside = np.stack([-along[:, 1], along[:, 0]], axis=1)
    aside *= width_px / 2 / np.maximum(np.linalg.norm(aside, axis=1, keepdims=True), 1e-9)
    return np.concatenate([line + aside, (line - aside)[::-1]])


def _number(shape: Shape, name: str, default: float, frame: float) -> float:
    for known, curve in shape.attributes:
        if known == name and curve.values.ndim == 1:
            return float(curve.at(frame))
    return float(default)
