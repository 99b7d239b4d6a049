"""A drag or transform while its button is down: always reckoned from where it began, so the way does not count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from federation.errors import MessageError
from model.keyframes import FloatArray
from studio_node.desk.assisted_drag import CENTRE, following, moved_handle, transformed
from studio_node.desk.course import Course, FrameState, previewed
from studio_node.desk.document import DeskShape
from studio_node.desk.heads import SHAPES_MAX, boolean, number, numbers_of

FEATHER = 3
"""Part of a point that is its feather handle; 0 to 2 are in-tangent, centre and out-tangent."""


@dataclass(frozen=True)
class Part:
    """Which points of a shape a gesture takes hold of; None for all."""

    shape_id: int
    points: tuple[int, ...] | None


@dataclass(frozen=True)
class Gesture:
    """What the shapes were when the button went down."""

    number: int
    frame: int
    bases: Mapping[int, tuple[DeskShape, Course]]

    def base(self, shape_id: int) -> tuple[DeskShape, Course]:
        """The shape and its course at the beginning.

        Raises:
            MessageError: the gesture did not begin with this shape.
        """
        if shape_id not in self.bases:
            raise MessageError(f"the gesture began without shape {shape_id}; let go and begin again")
        return self.bases[shape_id]


def parts_of(head: dict[str, Any]) -> list[Part]:
    """The shapes and points that a message takes hold of.

    Raises:
        MessageError: a malformed list.
    """
    listed = head.get("parts")
    if not isinstance(listed, list) or not 0 < len(listed) <= SHAPES_MAX:
        raise MessageError("a gesture holds no shape; select one first")
    parts = []
    for entry in listed:
        shape_id, points = (
            (entry.get("shape"), entry.get("points")) if isinstance(entry, dict) else (None, None)
        )
        whole = points is None
        if type(shape_id) is not int or not (whole or _indices(points)):
            raise MessageError(f"a gesture holds {entry!r:.60}; it is a shape's number and a list of points")
        parts.append(Part(shape_id, None if points is None else tuple(sorted(set(points)))))
    return parts


def applied(
    one: DeskShape, course: Course, frame: int, part: Part, head: dict[str, Any], numbers: FloatArray
) -> tuple[DeskShape, Course]:
    """What a gesture makes of one shape: the shape with its key, and its course at once.

    Args:
        one: the shape when the gesture began.
        course: its course then.
        frame: the frame it is on.
        part: what it holds.
        head: of the message; ``exact`` moves nothing but what is held, ``ripple`` does the same to every key.
        numbers: a ``drag`` brings the handle's new place [2], a ``transform`` an affine map [2, 3].
    """
    count = one.shape.points
    held = np.arange(count) if part.points is None else np.array(part.points, np.int64)
    if len(held) and held[-1] >= count:
        raise MessageError(f"point {held[-1]} of '{one.shape.name}' is not there; it has {count}")
    row = course.row(frame)
    before = course.controls[row]
    if head["op"] == "drag" and number(head, "part") == FEATHER:
        return _feathered(one, course, frame, int(held[0]), numbers_of(numbers, (2,)))
    if head["op"] == "drag":
        after, matrix = _dragged(one, before, frame, int(held[0]), head, numbers_of(numbers, (2,)))
    else:
        matrix = numbers_of(numbers, (2, 3))
        after = _transformed(one, before, frame, held, matrix, exact=boolean(head, "exact"))
    if boolean(head, "ripple") and matrix is not None:
        return _rippled(one, course, frame, held, matrix)
    feather = None if course.feather is None else course.feather[row]
    keyed = one.with_key(frame, after, placed=_placed(one, frame, held, part), feather=feather)
    return keyed, previewed(course, one, frame, after)


def _dragged(
    one: DeskShape, before: FloatArray, frame: int, point: int, head: dict[str, Any], to: FloatArray
) -> tuple[FloatArray, FloatArray | None]:
    part, exact = number(head, "part"), boolean(head, "exact")
    if part in (0, 2):
        return moved_handle(before, point, part, to, exact=exact), None
    if part != CENTRE:
        raise MessageError(f"a point has no part {part}; 0 and 2 are tangents, 1 its centre, 3 its feather")
    moved = to - before[point, CENTRE]
    matrix = np.array([[1, 0, moved[0]], [0, 1, moved[1]]])
    return _transformed(one, before, frame, np.array([point]), matrix, exact=exact), matrix


def _transformed(
    one: DeskShape, before: FloatArray, frame: int, held: Any, matrix: FloatArray, *, exact: bool
) -> FloatArray:
    after = transformed(before, held, matrix)
    if not exact and len(held) < len(before):
        free = one.free_points(frame)
        free[held] = True
        moved = after[held, CENTRE] - before[held, CENTRE]
        follow = following(before[:, CENTRE], held, moved, free, closed=one.shape.closed)
        loose = np.setdiff1d(np.arange(len(before)), held)
        after[loose, CENTRE] += follow[loose]
    return after


def _placed(one: DeskShape, frame: int, held: Any, part: Part) -> frozenset[int] | None:
    """Points placed by hand at this frame after the gesture; None for all."""
    known = frozenset(int(i) for i in np.flatnonzero(~one.free_points(frame)))
    if part.points is None:
        return known  # the whole shape was moved: that says nothing about single points
    return known | {int(point) for point in held}


def _rippled(
    one: DeskShape, course: Course, frame: int, held: Any, matrix: FloatArray
) -> tuple[DeskShape, Course]:
    """The same change at every key and accepted frame."""
    after = one
    accepted = {f: transformed(controls, held, matrix) for f, controls in one.accepted.items()}
    for key in one.shape.key_frames:
        after = after.with_key(key, transformed(one.shape.at(key), held, matrix), placed=one.placed.get(key))
    moved = course.controls.copy()
    moved[:, held] = moved[:, held] @ matrix[:, :2].T
    moved[:, held, CENTRE] += matrix[:, 2]
    return replace(after, accepted=accepted), replace(course, controls=moved)


def _feathered(
    one: DeskShape, course: Course, frame: int, point: int, to: FloatArray
) -> tuple[DeskShape, Course]:
    """Put a point's feather handle somewhere; a shape without feather gets one."""
    offsets = _feather_row(course, frame)
    offsets[point, CENTRE] = to - course.controls[course.row(frame), point, CENTRE]
    return _with_feather_row(one, course, frame, offsets)


def feathered(
    one: DeskShape, course: Course, frame: int, points: Sequence[int], width_px: float
) -> tuple[DeskShape, Course]:
    """Grow the feather of some points outwards by a width in px; 0 takes their feather away."""
    offsets, held = _feather_row(course, frame), list(points)
    centres = course.controls[course.row(frame), :, CENTRE]
    offsets[held] = (
        offsets[held] + _outwards(centres)[held, None] * [[0], [width_px], [0]] if width_px else 0.0
    )
    return _with_feather_row(one, course, frame, offsets)


def _feather_row(course: Course, frame: int) -> FloatArray:
    row = course.row(frame)
    return np.zeros_like(course.controls[row]) if course.feather is None else course.feather[row].copy()


def _with_feather_row(
    one: DeskShape, course: Course, frame: int, offsets: FloatArray
) -> tuple[DeskShape, Course]:
    row = course.row(frame)
    feather = np.zeros_like(course.controls) if course.feather is None else course.feather.copy()
    feather[row] = offsets
    keyed = one.with_feather_key(frame, course.controls[row], offsets)
    states = course.states.copy()
    states[row] = FrameState.KEY
    return keyed, replace(course, feather=feather, states=states)


def _outwards(centres: FloatArray) -> FloatArray:
    """Unit normals [N, 2] of an outline [N, 2] at its points, away from what it encloses."""
    along = np.roll(centres, -1, axis=0) - np.roll(centres, 1, axis=0)
    normals = np.stack([along[:, 1], -along[:, 0]], axis=1)
    following = np.roll(centres, -1, axis=0)
    turning = float((centres[:, 0] * following[:, 1] - centres[:, 1] * following[:, 0]).sum())
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.asarray(normals / np.maximum(lengths, 1e-9) * (1.0 if turning > 0 else -1.0))


def _indices(points: Any) -> bool:
    return (
        isinstance(points, list)
        and 0 < len(points) <= 100_000
        and all(type(i) is int and i >= 0 for i in points)
    )
