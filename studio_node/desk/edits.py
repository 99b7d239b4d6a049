"""What a message makes of the document: one step each, judged whole before anything is changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from federation.errors import MessageError
from model.keyframes import FloatArray
from model.shapes import Shape
from studio_node.desk import gestures
from studio_node.desk.course import Course, FrameState
from studio_node.desk.document import DeskShape, Document
from studio_node.desk.heads import boolean, number, numbers_of, shape_ids, text
from studio_node.desk.messages import Shot
from studio_node.desk.point_edits import with_point, with_tangents, without_points
from studio_node.desk.properties import LONGEST_NAME, with_properties
from studio_node.desk.session import Edit, deletion_of, edit_of, ordering_of


@dataclass(frozen=True)
class Bench:
    """What an edit looks at: the shot, the document, and what is drawn by shape number."""

    shot: Shot
    document: Document
    courses: Mapping[int, Course]

    def editable(self, shape_id: int) -> DeskShape:
        """The shape with a number.

        Raises:
            MessageError: it is locked, or only its own program can edit it.
            ShapeError: there is none.
        """
        one = self.document.find(shape_id)
        if one.locked:
            raise MessageError(f"'{one.shape.name}' is locked; unlock it in the list of shapes")
        if one.shape.read_only_reason is not None:
            raise MessageError(f"'{one.shape.name}' cannot be edited: {one.shape.read_only_reason}")
        return one

    def frame(self, head: dict[str, Any], name: str = "frame") -> int:
        """A field that is a frame, the nearest one of the shot."""
        return int(np.clip(number(head, name), self.shot.first_frame, self.shot.last_frame))


@dataclass(frozen=True)
class Step:
    """What an edit comes to.

    Attributes:
        edit: the step that can be undone.
        previews: what to draw, by shape number, until it is predicted.
        reply: a message for the page that asked, or None.
    """

    edit: Edit
    previews: Mapping[int, Course] = field(default_factory=dict)
    reply: dict[str, Any] | None = None


def _draw(bench: Bench, head: dict[str, Any], numbers: FloatArray) -> Step:
    document = bench.document
    controls = numbers.reshape(-1, 3, 2) if numbers.size % 6 == 0 else numbers_of(numbers, (0, 3, 2))
    name = document.free_name(text(head, "name", LONGEST_NAME) or "Shape1")
    closed = boolean(head, "closed")
    if len(controls) < (3 if closed else 2):
        raise MessageError(f"a shape of {len(controls)} point(s) has no outline; draw at least 3")
    kind: Any = text(head, "kind", 10)
    shape = Shape.from_keys(name, [bench.frame(head)], controls[None], kind=kind, closed=closed)
    one = DeskShape(document.next_id, shape)
    return Step(edit_of(f"draw {name}", document, [one]), reply={"op": "drawn", "shape": one.shape_id})


def _key(bench: Bench, head: dict[str, Any], numbers: FloatArray) -> Step:
    """Set keys on a frame as the shapes stand there."""
    frame = bench.frame(head)
    edited = []
    for shape_id in shape_ids(head):
        one, course = bench.editable(shape_id), bench.courses[shape_id]
        row = course.row(frame)
        feather = None if course.feather is None else course.feather[row]
        edited.append(one.with_key(frame, course.controls[row], feather=feather))
    return Step(edit_of(f"key {frame}", bench.document, edited))


def _unkey(bench: Bench, head: dict[str, Any], numbers: FloatArray) -> Step:
    frame = bench.frame(head)
    edited = [bench.editable(i).without_key(frame) for i in shape_ids(head)]
    return Step(edit_of(f"delete key {frame}", bench.document, edited))


def _move_key(bench: Bench, head: dict[str, Any], numbers: FloatArray) -> Step:
    frame, to = bench.frame(head), bench.frame(head, "to")
    edited = [bench.editable(i).with_moved_key(frame, to) for i in shape_ids(head)]
    return Step(edit_of(f"move key {frame} to {to}", bench.document, edited))


def _accept(bench: Bench, head: dict[str, Any], numbers: FloatArray) -> Step:
    first, last = sorted((bench.frame(head, "first"), bench.frame(head, "last")))
    edited = []
    for shape_id in shape_ids(head):
        one, course = bench.editable(shape_id), bench.courses[shape_id]
        if boolean(head, "undo"):
            edited.append(one.without_accepted(first, last))
            continue
        rows = range(course.row(first), course.row(last) + 1)
        taken = {
            course.first + row: course.controls[row]
            for row in rows
            if course.states[row] == FrameState.PREDICTED
        }
        if taken:
            edited.append(one.with_accepted(taken))
    if not edited:
        raise MessageError(
            f"nothing between {first} and {last} is predicted to the end; wait for the strip to fill"
        )
    label = f"{'take back' if boolean(head, 'undo') else 'accept'} {first}-{last}"
    return Step(edit_of(label, bench.document, edited))


def _set(bench: Bench, head: dict[str, Any], numbers: FloatArray) -> Step:
    """Rename, put into a layer, show, hide, lock, give a lifetime, or say on which frames it is seen."""
    document = bench.document
    edited = [with_properties(document.find(shape_id), head, document) for shape_id in shape_ids(head)]
    return Step(edit_of(text(head, "label", 60) or "change", bench.document, edited))


def _delete(bench: Bench, head: dict[str, Any], numbers: FloatArray) -> Step:
    gone = [bench.editable(i).shape_id for i in shape_ids(head)]
    return Step(deletion_of("delete", bench.document, gone))


def _order(bench: Bench, head: dict[str, Any], numbers: FloatArray) -> Step:
    return Step(ordering_of("reorder", bench.document, shape_ids(head)))


def _points(bench: Bench, head: dict[str, Any], numbers: FloatArray) -> Step:
    """Add a point, take points away, make them smooth or sharp."""
    what = text(head, "what", 10)
    edited, previews = [], {}
    for part in gestures.parts_of(head):
        one, course = bench.editable(part.shape_id), bench.courses[part.shape_id]
        points = part.points or ()
        if points and points[-1] >= one.shape.points:
            raise MessageError(f"point {points[-1]} of '{one.shape.name}' is not there")
        if what == "add":
            after, change = with_point(one, points[0] if points else -1, float(numbers_of(numbers, (1,))[0]))
        elif what == "remove":
            after, change = without_points(one, points)
        elif what in ("smooth", "sharp"):
            after, change = with_tangents(one, points, smooth=what == "smooth")
        else:
            raise MessageError(f"the desk cannot {what!r:.20} points; it can add, remove, smooth and sharp")
        feather = None if course.feather is None else course.feather
        if feather is not None and what in ("add", "remove"):
            feather = change(feather)
        previews[one.shape_id] = replace(course, controls=change(course.controls), feather=feather)
        edited.append(after)
    return Step(edit_of(f"{what} points", bench.document, edited), previews)


def _feather(bench: Bench, head: dict[str, Any], numbers: FloatArray) -> Step:
    """Grow the feather of points on a frame outwards, or take it away."""
    frame, width_px = bench.frame(head), float(numbers_of(numbers, (1,))[0])
    edited, previews = [], {}
    for part in gestures.parts_of(head):
        one, course = bench.editable(part.shape_id), bench.courses[part.shape_id]
        points = range(one.shape.points) if part.points is None else part.points
        if points and points[-1] >= one.shape.points:
            raise MessageError(f"point {points[-1]} of '{one.shape.name}' is not there")
        after, previews[part.shape_id] = gestures.feathered(one, course, frame, points, width_px)
        edited.append(after)
    label = "feather" if width_px else "take feather away"
    return Step(edit_of(label, bench.document, edited), previews)


EDITS: Final[dict[str, Callable[[Bench, dict[str, Any], FloatArray], Step]]] = {
    "draw": _draw,
    "key": _key,
    "unkey": _unkey,
    "move_key": _move_key,
    "accept": _accept,
    "set": _set,
    "delete": _delete,
    "order": _order,
    "points": _points,
    "feather": _feather,
}
