"""What differs between two sets of shapes, in pixels per frame: after a round trip, a correction, a prediction."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from model.errors import ShapeError
from model.shapes import Shape, ShapeSet

FRAMES_MAX = 1_000_000  # compared per shape; eleven hours of film


@dataclass(frozen=True)
class FrameDifference:
    """How far two versions of a shape are apart on one frame.

    Attributes:
        frame: plate frame.
        points_max_px: largest distance between matching points.
        points_mean_px: mean distance between matching points.
        tangents_max_px: largest difference of a tangent.
    """

    frame: int
    points_max_px: float
    points_mean_px: float
    tangents_max_px: float


@dataclass(frozen=True)
class ShapeDifference:
    """How one shape differs.

    Attributes:
        path: in the first set, or in the second where only that has it.
        facts: what differs as a whole, as ``points: 4 and 5`` or ``only in the second``.
        frames: frames on which both live and are further apart than the tolerance, in order.
    """

    path: str
    facts: tuple[str, ...]
    frames: tuple[FrameDifference, ...] = ()


def difference(one: ShapeSet, other: ShapeSet, *, tolerance_px: float = 0.0) -> tuple[ShapeDifference, ...]:
    """What differs between two sets, shape by shape; () where nothing does.

    Shapes match by path, or else by a name that only one of the unmatched shapes on each side has. They are compared on
    screen, on every whole frame from the first key of either to the last.

    Args:
        one: the first set.
        other: the second set.
        tolerance_px: a frame counts where a point or a tangent is further apart than this.

    Raises:
        ShapeError: a tolerance below 0, or keys more than ``FRAMES_MAX`` frames apart.
    """
    if tolerance_px < 0:
        raise ShapeError(f"a tolerance of {tolerance_px} px cannot be; 0 finds every difference")
    pairs = _matched(one, other)
    found = [_compared(a, b, tolerance_px) for a, b in pairs]
    seen = {id(s) for pair in pairs for s in pair}
    found += [ShapeDifference(s.path, ("only in the first",)) for s in one.shapes if id(s) not in seen]
    found += [ShapeDifference(s.path, ("only in the second",)) for s in other.shapes if id(s) not in seen]
    return tuple(d for d in found if d.facts or d.frames)


def _matched(one: ShapeSet, other: ShapeSet) -> list[tuple[Shape, Shape]]:
    by_path = {_place(s): s for s in other.shapes}
    pairs = [(s, by_path[_place(s)]) for s in one.shapes if _place(s) in by_path]
    taken = {_place(s) for s, _ in pairs}
    left = _by_single_name([s for s in one.shapes if _place(s) not in taken])
    right = _by_single_name([s for s in other.shapes if _place(s) not in taken])
    return pairs + [(shape, right[name]) for name, shape in left.items() if name in right]


def _place(shape: Shape) -> str:
    """The path as formats agree on it: only Nuke divides a node from its layers by a colon."""
    return shape.path.replace(":", "/")


def _by_single_name(shapes: list[Shape]) -> dict[str, Shape]:
    names = Counter(s.name for s in shapes)
    return {s.name: s for s in shapes if names[s.name] == 1}


def _compared(one: Shape, other: Shape, tolerance_px: float) -> ShapeDifference:
    facts = [
        f"{what}: {a} and {b}"
        for what, a, b in (
            ("kind", one.kind, other.kind),
            ("closed", one.closed, other.closed),
            ("points", one.points, other.points),
            ("keys", len(one.frames), len(other.frames)),
            ("feather", one.feather is not None, other.feather is not None),
        )
        if a != b
    ]
    if len(one.frames) == len(other.frames) and not np.array_equal(one.frames, other.frames):
        facts.append("key times differ")
    keys = np.concatenate([one.frames, other.frames])
    frames = range(int(np.floor(keys.min())), int(np.ceil(keys.max())) + 1)
    if len(frames) > FRAMES_MAX:
        raise ShapeError(f"the keys of {one.path!r} lie {len(frames)} frames apart; one of them is misplaced")
    alive = [f for f in frames if one.is_alive(f) != other.is_alive(f)]
    if alive:
        facts.append(f"alive in one only: {len(alive)} frames from {alive[0]}")
    if one.points != other.points:
        return ShapeDifference(one.path, tuple(facts))
    both = (_apart(one, other, f) for f in frames if one.is_alive(f) and other.is_alive(f))
    apart = tuple(d for d in both if max(d.points_max_px, d.tangents_max_px) > tolerance_px)
    return ShapeDifference(one.path, tuple(facts), apart)


def _apart(one: Shape, other: Shape, frame: int) -> FrameDifference:
    distance = np.linalg.norm(one.at(frame) - other.at(frame), axis=-1)
    points, tangents = distance[:, 1], distance[:, ::2]
    return FrameDifference(frame, float(points.max()), float(points.mean()), float(tangents.max()))
