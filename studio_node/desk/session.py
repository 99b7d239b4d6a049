"""The artist's session: the document and the way back. State in, state out: the journal replays it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from studio_node.desk.document import DeskShape, Document

UNDO_STEPS_MAX: Final = 500


@dataclass(frozen=True, eq=False)
class Edit:
    """One step that an artist can undo.

    Attributes:
        label: what was done, in the artist's words.
        shapes: shapes after the step by their number; None for those deleted.
        order: drawing order after the step.
    """

    label: str
    shapes: Mapping[int, DeskShape | None]
    order: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Session:
    """The document, the documents before it and those that were undone.

    Attributes:
        document: as it is now.
        past: (label of the step that followed, document before it), oldest first.
        future: (label of the step undone, document after it), the next one to redo last.
    """

    document: Document = field(default_factory=Document)
    past: tuple[tuple[str, Document], ...] = ()
    future: tuple[tuple[str, Document], ...] = ()

    @property
    def undo_label(self) -> str | None:
        """What undo would take back, or None."""
        return self.past[-1][0] if self.past else None

    @property
    def redo_label(self) -> str | None:
        """What redo would do again, or None."""
        return self.future[-1][0] if self.future else None

    def after(self, edit: Edit) -> Session:
        """The session after a step; what had been undone is forgotten."""
        document = self.document.with_shapes(one for one in edit.shapes.values() if one is not None)
        document = document.without(i for i, one in edit.shapes.items() if one is None).ordered(edit.order)
        past = (*self.past, (edit.label, self.document))[-UNDO_STEPS_MAX:]
        return Session(document, past, ())

    def undone(self) -> Session:
        """One step back; the same session where there is none."""
        if not self.past:
            return self
        label, before = self.past[-1]
        return replace(
            self, document=before, past=self.past[:-1], future=(*self.future, (label, self.document))
        )

    def redone(self) -> Session:
        """One undone step forward; the same session where there is none."""
        if not self.future:
            return self
        label, after = self.future[-1]
        return replace(
            self, document=after, past=(*self.past, (label, self.document)), future=self.future[:-1]
        )


def edit_of(label: str, before: Document, shapes: Iterable[DeskShape]) -> Edit:
    """The step that changes or adds shapes."""
    after = before.with_shapes(changed := list(shapes))
    return Edit(label, {one.shape_id: one for one in changed}, tuple(one.shape_id for one in after.shapes))


def deletion_of(label: str, before: Document, shape_ids: Iterable[int]) -> Edit:
    """The step that deletes shapes.

    Raises:
        ShapeError: one of them is not there.
    """
    gone = [before.find(shape_id).shape_id for shape_id in shape_ids]
    order = tuple(one.shape_id for one in before.shapes if one.shape_id not in gone)
    return Edit(label, dict.fromkeys(gone), order)


def ordering_of(label: str, before: Document, order: Iterable[int]) -> Edit:
    """The step that changes the drawing order."""
    return Edit(label, {}, tuple(one.shape_id for one in before.ordered(order).shapes))


def changed_shapes(before: Document, after: Document) -> list[DeskShape]:
    """Shapes of ``after`` that are not the very same value in ``before``."""
    old = {one.shape_id: one for one in before.shapes}
    return [one for one in after.shapes if old.get(one.shape_id) is not one]
