"""What a ``curves`` knob holds, in Nuke's own terms: y up, three entries per point, flags as they are.

``model.formats.nuke_curves`` reads these from text; ``model.formats.nuke_shapes`` turns them into shapes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from model.errors import KeyframeError
from model.formats.tcl import error_at
from model.keyframes import FloatArray, Keyed, default_slopes, stack

CLOSED_FLAGS = (512, 8192)  # of a new shape and of its curve: renderable; tangents relative to their centre
OPEN_FLAGS = (1049088, 1056800)  # the same with the two bits of an open spline
_FLAT = np.zeros((1, 2))
FLAG_ATTRIBUTES = ("nuke.flags", "nuke.curve_flags")  # how a shape carries flags that are not these


@dataclass(frozen=True, slots=True, eq=False)
class Scalar:
    """One number of a curve, constant or keyed.

    Attributes:
        frames: key times, () for a constant.
        values: one per key, [K]; one for a constant.
        slopes: left and right per key, [K, 2]; not a number for a key stored without slopes.
        stretched: a key has handles of another length than 1, which a cubic in time cannot show.
        expression: the expression that drives it in Nuke; then the numbers are only its last cached result.
    """

    frames: tuple[float, ...]
    values: FloatArray
    slopes: FloatArray
    stretched: bool = False
    expression: str | None = None

    def keyed(self, at_frame: float = 0.0) -> Keyed:
        """The number as a curve, a constant as one key at ``at_frame``.

        Raises:
            KeyframeError: key times that do not increase.
        """
        frames = self.frames or (at_frame,)
        return Keyed(np.array(frames), self.values, *_completed(np.array(frames), self.values, self.slopes))


def constant(value: float) -> Scalar:
    """A number that does not change."""
    return Scalar((), np.array([value]), _FLAT)


def _completed(times: FloatArray, values: FloatArray, slopes: FloatArray) -> FloatArray:
    """Slopes [K, ..., 2] as [2, K, ...], Nuke's default ones where none were stored."""
    sides = np.moveaxis(slopes, -1, 0)
    absent = np.isnan(sides)
    return np.where(absent, np.stack(default_slopes(times, values)), sides) if absent.any() else sides


@dataclass(frozen=True, slots=True)
class PointList:
    """The entries of one ``cc``: three per point, left tangent, centre, right tangent.

    Attributes:
        flags: bits as they are.
        entries: (x, y) of each; the third number of a stroke's point, its pressure, is not kept.
        shared: the key times that all numbers share, None where each number has its own.
        start: where it stands in the file.
        attributes: the text of each entry's own ``{a ...}``, b"" where it has none; () where none has any.
    """

    flags: int
    entries: tuple[tuple[Scalar, Scalar], ...]
    shared: tuple[float, ...] | None
    start: int
    attributes: tuple[bytes, ...] = ()

    def scalars(self) -> Iterator[Scalar]:
        """All numbers, x before y, entry by entry."""
        for x, y in self.entries:
            yield x
            yield y

    def key_times(self) -> FloatArray:
        """The shared key times, or the union of those of all numbers; [0.] where none is keyed."""
        if self.shared is not None:
            return np.array(self.shared)
        distinct = {s.frames for s in self.scalars() if s.frames}
        return np.unique(np.concatenate([np.array(f) for f in distinct])) if distinct else np.zeros(1)

    def keyed(self, data: bytes) -> Keyed:
        """All entries as one block, values [K, entries, 2], over the union of their key times."""
        times = self.key_times()
        shared = tuple(times.tolist())
        scalars = list(self.scalars())
        try:
            if all(s.frames in ((), shared) for s in scalars):
                return _shared_block(times, scalars)
            return stack([s.keyed(float(times[0])) for s in scalars], (len(self.entries), 2))
        except KeyframeError as error:
            raise error_at(data, self.start, str(error)) from error


def _shared_block(times: FloatArray, scalars: list[Scalar]) -> Keyed:
    """Numbers that share their key times, or are constant, as one block [K, entries, 2]."""
    values = np.empty((len(times), len(scalars)))
    slopes = np.zeros((len(times), len(scalars), 2))
    for column, scalar in enumerate(scalars):
        values[:, column] = scalar.values
        if scalar.frames:
            slopes[:, column] = scalar.slopes
    trailing = (len(times), len(scalars) // 2, 2)
    sides = _completed(times, values, slopes).reshape(2, *trailing)
    return Keyed(times, values.reshape(trailing), *sides)


@dataclass(frozen=True, slots=True)
class Spline:
    """A ``curvegroup``: what an artist calls a shape; ``curves`` is the span of its point lists in the file."""

    name: str
    flags: int
    type_name: str
    main: PointList
    feather: PointList | None
    transform: tuple[Scalar, ...]
    attributes: dict[str, Scalar]
    start: int
    curves: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Stroke:
    """A ``cubiccurve``: a paint stroke (``catmullrom``) or a warp pin."""

    name: str
    flags: int
    type_name: str
    main: PointList
    attributes: dict[str, Scalar]
    start: int


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer and what is in it, in drawing order."""

    name: str
    flags: int
    transform: tuple[Scalar, ...]
    attributes: dict[str, Scalar]
    children: tuple[Layer | Spline | Stroke, ...]
    start: int
