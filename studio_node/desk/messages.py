"""What the desk tells the page: the shot, the shapes with what is known about them, and their courses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.keyframes import FloatArray
from studio_node.desk.course import Course
from studio_node.desk.document import DeskShape
from studio_node.desk.session import Session
from studio_node.desk.wire import encode


@dataclass(frozen=True)
class Shot:
    """What the page has to know about the plate."""

    name: str
    width: int
    height: int
    first_frame: int
    last_frame: int
    frame_rate: float
    linear: bool
    missing: tuple[int, ...]

    @property
    def frames(self) -> NDArray[np.int64]:
        """[T] all frames of the plate."""
        return np.arange(self.first_frame, self.last_frame + 1)


def state_bytes(shot: Shot, shapes: Sequence[dict[str, Any]], session: Session, *, left: int) -> bytes:
    """All that is small, as a message.

    Args:
        shot: the plate.
        shapes: `shape_facts` of each, in drawing order.
        session: whose undo and redo are named.
        left: spans that are not predicted yet.
    """
    return encode(
        {
            "op": "state",
            "shot": {
                "name": shot.name,
                "width": shot.width,
                "height": shot.height,
                "first": shot.first_frame,
                "last": shot.last_frame,
                "rate": shot.frame_rate,
                "linear": shot.linear,
                "missing": list(shot.missing),
            },
            "shapes": list(shapes),
            "undo": session.undo_label,
            "redo": session.redo_label,
            "left": left,
        }
    )


def shape_facts(one: DeskShape, course: Course, shot: Shot, *, failure: str | None) -> dict[str, Any]:
    """What the page lists of a shape, as JSON values."""
    shape = one.shape
    alive = [bool(shape.is_alive(int(frame))) for frame in shot.frames]
    return {
        "id": one.shape_id,
        "name": shape.name,
        "path": shape.path,
        "kind": shape.kind,
        "closed": shape.closed,
        "points": shape.points,
        "shown": one.shown,
        "locked": one.locked,
        "reason": shape.read_only_reason,
        "first": shape.lifetime.first,
        "last": shape.lifetime.last,
        "alive": None if all(alive) else alive,
        "keys": list(shape.key_frames),
        "accepted": sorted(one.accepted),
        "suggested": course.suggested_key,
        "failure": failure,
    }


def course_bytes(shape_id: int, course: Course, **head: Any) -> bytes:
    """A course as a message: controls, confidence, states, and feather where there is one."""
    arrays: list[FloatArray | NDArray[np.float32]] = [
        course.controls,
        course.confidence,
        course.states.astype(np.float32),
    ]
    if course.feather is not None:
        arrays.append(course.feather)
    kind = _head(shape_id, course.controls, "course", feather=course.feather is not None)
    return encode({**kind, **head}, *arrays)


def comparison_bytes(shape_id: int, controls: FloatArray, method: str) -> bytes:
    """What another method makes of a shape [T, N, 3, 2], as a message."""
    return encode(_head(shape_id, controls, "comparison", method=method), controls)


def _head(shape_id: int, controls: FloatArray, op: str, **more: Any) -> dict[str, Any]:
    return {"op": op, "shape": shape_id, "frames": len(controls), "points": controls.shape[1], **more}
