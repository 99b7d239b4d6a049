"""The desk: what the artist does becomes steps of the session, saved, predicted and told to the page.

Everything here runs on the server's one loop; the predictor's thread only reports that something is new. Numbers that
come from the page are judged here: whatever cannot be done is a sentence to the artist, never a lost connection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from federation.errors import FedrotoError, MessageError
from model.errors import ModelError
from model.keyframes import FloatArray
from model.methods import CLASSICAL
from studio_node.desk import gestures
from studio_node.desk.comparison import compared
from studio_node.desk.course import Course, course_of
from studio_node.desk.document import DeskShape
from studio_node.desk.edits import EDITS, Bench
from studio_node.desk.exports import Drawn, visible_only
from studio_node.desk.heads import boolean, number, shape_ids, text
from studio_node.desk.messages import Shot, comparison_bytes, course_bytes, shape_facts, state_bytes
from studio_node.desk.predictor import Predictor, Wish, keep_pieces, wishes_of
from studio_node.desk.session import Edit, Session, changed_shapes, edit_of
from studio_node.desk.store import DeskStore
from studio_node.desk.wire import encode


class Desk:
    """One artist at one shot.

    Attributes:
        session: the document and its past.
        courses: what is drawn, by shape number.
        focus: the frame that the artist looks at.
    """

    def __init__(
        self,
        shot: Shot,
        session: Session,
        store: DeskStore,
        predictor: Predictor,
        *,
        source: Path | None = None,
    ) -> None:
        """Put the courses together and begin to wish for predictions.

        Args:
            shot: the plate.
            session: what was restored, or imported.
            store: where steps are saved; begun or restored already.
            predictor: predicts behind; started by the caller.
            source: the shape file that the shapes came from.
        """
        self.shot, self.session, self.source = shot, session, source
        self._store, self._predictor = store, predictor
        self.focus, self._focus_shape = shot.first_frame, 0
        self._gesture: gestures.Gesture | None = None
        self.courses: dict[int, Course] = {}
        self._wishes: dict[int, tuple[DeskShape, list[Wish]]] = {}
        for one in session.document.shapes:
            self.courses[one.shape_id] = self._course(one, None)
        self._wish()

    # -- what the page asks ------------------------------------------------------------------------------------

    def hello(self) -> list[bytes]:
        """Everything a page needs when it opens."""
        return [*(self.course_message(i) for i in self.courses), self.state()]

    def handle(self, head: dict[str, Any], numbers: FloatArray) -> tuple[list[bytes], list[bytes]]:
        """Do what a message says.

        Returns:
            Messages for the page that asked, and messages for all pages.
        """
        edit, action = EDITS.get(head["op"]), _ACTIONS.get(head["op"])
        try:
            if edit is not None:
                step = edit(self._bench, head, numbers)
                reply = [] if step.reply is None else [encode(step.reply)]
                return reply, self._commit(step.edit, step.previews)
            if action is None:
                raise MessageError(f"the desk does not know {head['op']!r:.40}; reload the page")
            return action(self, head, numbers)
        except (ModelError, FedrotoError) as error:
            hint = getattr(error, "hint", None)
            refused = {"op": "refused", "reply": head.get("id"), "text": str(error), "hint": hint}
            return [encode(refused)], []

    def predicted(self, shape_id: int) -> list[bytes]:
        """Take in what the predictor has finished for a shape."""
        try:
            one = self.session.document.find(shape_id)
        except ModelError:
            return []  # deleted meanwhile
        self.courses[shape_id] = self._course(one, self.courses.get(shape_id))
        return [self.course_message(shape_id), self.state()]

    def drawn(self, shape_numbers: Iterable[int] | None = None) -> Drawn:
        """The shapes to export: those named, or all that are shown."""
        shapes = visible_only(self.courses, self.session.document.shapes)
        if shape_numbers is not None:
            wanted = set(shape_numbers)
            shapes = tuple(
                (one, self.courses[one.shape_id])
                for one in self.session.document.shapes
                if one.shape_id in wanted
            )
        shot = self.shot
        return Drawn(shapes, shot.width, shot.height, shot.first_frame, shot.last_frame, self.source)

    # -- messages ----------------------------------------------------------------------------------------------

    def state(self) -> bytes:
        """All that is small: the shot, the list of shapes, keys, what can be undone, how far the prediction is."""
        shapes = [
            shape_facts(one, self.courses[one.shape_id], self.shot, failure=self._failure(one))
            for one in self.session.document.shapes
        ]
        return state_bytes(self.shot, shapes, self.session, left=self._predictor.left)

    def course_message(self, shape_id: int, course: Course | None = None, **head: Any) -> bytes:
        """A shape's course, or a part of a preview of it."""
        return course_bytes(shape_id, course or self.courses[shape_id], **head)

    # -- predictions -------------------------------------------------------------------------------------------

    def _failure(self, one: DeskShape) -> str | None:
        """Why a span of the shape cannot be predicted, or None."""
        failures = (self._predictor.failure(wish.key) for wish in self._wishes_of(one))
        return next((reason for reason in failures if reason), None)

    def _wishes_of(self, one: DeskShape) -> list[Wish]:
        known = self._wishes.get(one.shape_id)
        if known is None or known[0] is not one:
            known = (one, wishes_of(one))
            self._wishes[one.shape_id] = known
        return known[1]

    def _course(self, one: DeskShape, former: Course | None) -> Course:
        keys = {(wish.first, wish.last): wish.key for wish in self._wishes_of(one)}

        def found(_: DeskShape, first: int, last: int) -> Any:
            key = keys.get((first, last))
            if key is None:
                return None
            final = self._predictor.result(key)
            if final is not None:
                return final, True
            rough = self._predictor.rough(key)
            return None if rough is None else (rough, False)

        return course_of(one, self.shot.frames, found, former)

    def _wish(self) -> None:
        """Wish for everything, the shape in hand and the frames around the artist first."""
        wishes: list[Wish] = []
        for one in self.session.document.shapes:
            if one.shape.read_only_reason is None:
                wishes += self._wishes_of(one)

        def urgency(wish: Wish) -> tuple[bool, int]:
            away = max(wish.first - self.focus, self.focus - wish.last, 0)
            return wish.shape_id != self._focus_shape, away

        self._predictor.want(sorted(wishes, key=urgency))

    def _commit(self, edit: Edit, previews: Mapping[int, Course] = MappingProxyType({})) -> list[bytes]:
        after = self.session.after(edit)
        self._store.append(edit)
        messages = self._move_to(after, previews)
        self._store.compact(after)
        return messages

    def _move_to(self, after: Session, previews: Mapping[int, Course]) -> list[bytes]:
        before = {one.shape_id: one for one in self.session.document.shapes}
        changed = changed_shapes(self.session.document, after.document)
        self.session = after
        for one in changed:
            if one.shape_id in before:
                keep_pieces(self._predictor, before[one.shape_id], one)
            former = previews.get(one.shape_id, self.courses.get(one.shape_id))
            self.courses[one.shape_id] = self._course(one, former)
        there = {one.shape_id for one in after.document.shapes}
        self.courses = {i: course for i, course in self.courses.items() if i in there}
        self._wish()
        return [*(self.course_message(one.shape_id) for one in changed), self.state()]

    @property
    def _bench(self) -> Bench:
        return Bench(self.shot, self.session.document, self.courses)

    # -- actions -----------------------------------------------------------------------------------------------

    def _look(self, head: dict[str, Any], numbers: FloatArray) -> tuple[list[bytes], list[bytes]]:
        self.focus, self._focus_shape = self._bench.frame(head), number(head, "shape")
        self._wish()
        return [], []

    def _drag(self, head: dict[str, Any], numbers: FloatArray) -> tuple[list[bytes], list[bytes]]:
        """Preview a drag or a transform, or commit it where its button went up."""
        frame, gesture_id = self._bench.frame(head), number(head, "gesture")
        parts = gestures.parts_of(head)
        if self._gesture is None or self._gesture.number != gesture_id:
            bases = {p.shape_id: (self._bench.editable(p.shape_id), self.courses[p.shape_id]) for p in parts}
            self._gesture = gestures.Gesture(gesture_id, frame, bases)
        previews, edited = {}, []
        for part in parts:
            one, course = self._gesture.base(part.shape_id)
            after, preview = gestures.applied(one, course, self._gesture.frame, part, head, numbers)
            edited.append(after)
            previews[part.shape_id] = preview
        if boolean(head, "drop"):
            self._gesture = None
            label = "move a point" if head["op"] == "drag" else "transform"
            messages = self._commit(edit_of(label, self.session.document, edited), previews)
            return [encode({"op": "done", "reply": head.get("id")})], messages
        return [
            self.course_message(
                i, preview, preview=True, reply=head.get("id"), last=index == len(previews) - 1
            )
            for index, (i, preview) in enumerate(previews.items())
        ], []

    def _cancel(self, head: dict[str, Any], numbers: FloatArray) -> tuple[list[bytes], list[bytes]]:
        self._gesture = None
        return self.hello(), []

    def _undo(self, head: dict[str, Any], numbers: FloatArray) -> tuple[list[bytes], list[bytes]]:
        if self.session.undo_label is None:
            raise MessageError("there is nothing to undo")
        self._store.append_undo()
        return [], self._move_to(self.session.undone(), {})

    def _redo(self, head: dict[str, Any], numbers: FloatArray) -> tuple[list[bytes], list[bytes]]:
        if self.session.redo_label is None:
            raise MessageError("there is nothing to redo")
        self._store.append_redo()
        return [], self._move_to(self.session.redone(), {})

    def _compare(self, head: dict[str, Any], numbers: FloatArray) -> tuple[list[bytes], list[bytes]]:
        """The same shape by another method, to look at beside the prediction."""
        method = text(head, "method", 10)
        if method not in CLASSICAL:
            raise MessageError(
                f"the desk does not compare with {method!r:.20}; choose one of {', '.join(CLASSICAL)}"
            )
        replies, waited_for = [], []
        for shape_id in shape_ids(head):
            one = self.session.document.find(shape_id)
            other = compared(self._predictor, one, method, self.shot.frames)
            if other is None:
                waited_for.append(one)
            else:
                replies.append(comparison_bytes(shape_id, other, method))
        self._predictor.want_compared(method, waited_for)
        return replies, []


_ACTIONS: Final[dict[str, Callable[[Desk, dict[str, Any], FloatArray], tuple[list[bytes], list[bytes]]]]] = {
    "look": Desk._look,
    "drag": Desk._drag,
    "transform": Desk._drag,
    "cancel": Desk._cancel,
    "undo": Desk._undo,
    "redo": Desk._redo,
    "compare": Desk._compare,
}
