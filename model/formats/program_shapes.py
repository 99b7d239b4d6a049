"""Shapes as programs without slopes, splines of other kinds or layers take them: screen space, Bezier, whole frames.

What After Effects, Fusion and Blender have in common; only written, never read.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.curves import bezier_controls
from model.formats.key_tracks import Track, opacity_track, track_of
from model.keyframes import FloatArray
from model.screen_space import on_screen
from model.shapes import Shape


@dataclass(frozen=True)
class ProgramShape:
    """One shape in terms that these programs have.

    Attributes:
        name: of the shape.
        closed: False for an open spline.
        path: controls [K, N, 3, 2] of a Bezier, plate pixels, with keys linear or held on whole frames.
        opacity: 0..100 [K], 0 where the shape does not live; linear or held.
        mode: Nuke's number of the blend mode, 0 for over.
        inverted: whether the matte is turned over.
    """

    name: str
    closed: bool
    path: Track
    opacity: Track
    mode: int
    inverted: bool

    @classmethod
    def of(cls, shape: Shape) -> ProgramShape:
        """The shape so.

        Raises:
            ShapeError: a curve too long to be written out.
        """
        path = track_of(on_screen(shape).keyed)
        attributes = dict(shape.attributes)

        def number(name: str) -> int:
            return int(attributes[name].values[0]) if name in attributes else 0

        return cls(
            name=shape.name,
            closed=shape.closed,
            path=Track(
                path.frames, bezier_controls(path.values, shape.kind, shape.closed), path.interpolations
            ),
            opacity=opacity_track(shape),
            mode=number("bm"),
            inverted=bool(number("inv")),
        )


def without_holds(track: Track) -> tuple[FloatArray, FloatArray]:
    """Frames [K] and values [K, ...] of linear keys only: a hold becomes a second key one frame before the next."""
    frames: list[float] = []
    values: list[FloatArray] = []
    for i, how in enumerate(track.interpolations):
        frames.append(float(track.frames[i]))
        values.append(track.values[i])
        if how == "hold" and i + 1 < len(track.frames) and track.frames[i + 1] - track.frames[i] > 1:
            frames.append(float(track.frames[i + 1] - 1))
            values.append(track.values[i])
    return np.array(frames), np.array(values)


def losses(shape: Shape) -> list[str]:
    """What these programs cannot be told of a shape."""
    lost = []
    if shape.has_soft_edge:
        lost.append("the feather of its points")
    if shape.kind == "bspline":
        lost.append("that it is a B-spline: it becomes the Bezier with the same outline")
    if shape.transforms:
        lost.append("its layers: their motion goes into the points")
    if "predicted" in shape.key_sources:
        lost.append("which of its keys are predicted")
    return lost
