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
FLAG_ATTRIBUTES = ("nuke.flags", "nuke.curve_flags")  # how a shape carries flags that are not these


@dataclass(frozen=True, slots=True)
class Scalar:
    """One number of a curve, constant or keyed.

    Attributes:
        frames: key times, () for a constant.
        values: one per key; one for a constant.
        slopes: (left, right) per key, or None for a key stored without slopes.
        stretched: a key has handles of another length than 1, which a cubic in time cannot show.
        expression: the expression that drives it in Nuke; then the numbers are only its last cached result.
    """

    frames: tuple[float, ...]
    values: tuple[float, ...]
    slopes: tuple[tuple[float, float] | None, ...]
    stretched: bool = False
    expression: str | None = None

    def keyed(self, at_frame: float = 0.0) -> Keyed:
        """The number as a curve, a constant as one key at ``at_frame``.

        Raises:
            KeyframeError: key times that do not increase.
        """
        frames = self.frames or (at_frame,)
        if all(s is not None for s in self.slopes):
            pairs = np.array(self.slopes, dtype=np.float64).reshape(-1, 2)
            return Keyed(np.array(frames), np.array(self.values), pairs[:, 0], pairs[:, 1])
        default_in, default_out = default_slopes(frames, self.values)
        pairs = np.array(
            [(i, o) if s is None else s for s, i, o in zip(self.slopes, default_in, default_out, strict=True)]
        )
        return Keyed(np.array(frames), np.array(self.values), pairs[:, 0], pairs[:, 1])


def constant(value: float) -> Scalar:
    """A number that does not change."""
    return Scalar((), (value,), ((0.0, 0.0),))


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
    values = np.stack([np.broadcast_to(np.array(s.values), times.shape) for s in scalars], axis=1)
    default_in, default_out = default_slopes(times, values)
    sides = np.stack([default_in, default_out])
    for column, scalar in enumerate(scalars):
        for row, pair in enumerate(scalar.slopes if scalar.frames else ()):
            if pair is not None:
                sides[:, row, column] = pair
    trailing = (len(times), len(scalars) // 2, 2)
    return Keyed(times, values.reshape(trailing), sides[0].reshape(trailing), sides[1].reshape(trailing))


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
