from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from model.shapes import Shape
from studio_node.desk.document import DeskShape, Document
from studio_node.desk.session import Session, changed_shapes, deletion_of, edit_of, ordering_of


def drawn(number):
    controls = np.zeros((1, 3, 3, 2))
    controls[0, :, 1] = [[0, 0], [9, 0], [number, 9]]
    return DeskShape(number, Shape.from_keys(f"s{number}", [1], controls))


def ids(session):
    return [one.shape_id for one in session.document.shapes]


def test_undo_gives_the_very_document_back_and_redo_the_one_undone():
    first = Session().after(edit_of("draw", Document(), [drawn(1)]))
    second = first.after(deletion_of("delete", first.document, [1]))
    assert ids(second) == []
    assert second.undone().document is first.document
    assert second.undone().redone().document is second.document
    assert (second.undo_label, second.undone().redo_label) == ("delete", "delete")


def test_a_new_step_forgets_what_was_undone():
    first = Session().after(edit_of("draw", Document(), [drawn(1)]))
    other = first.undone().after(edit_of("draw", Document(), [drawn(2)]))
    assert other.redo_label is None
    assert ids(other) == [2]


def test_undo_at_the_beginning_changes_nothing():
    start = Session().after(edit_of("draw", Document(), [drawn(1)])).undone()
    assert start.undone() is start
    assert start.redone().redone() is not start


def test_the_order_is_a_step_of_its_own():
    session = Session().after(edit_of("draw", Document(), [drawn(1), drawn(2)]))
    turned = session.after(ordering_of("reorder", session.document, [2, 1]))
    assert ids(turned) == [2, 1]
    assert ids(turned.undone()) == [1, 2]


def test_only_what_changed_is_told():
    session = Session().after(edit_of("draw", Document(), [drawn(1), drawn(2)]))
    hidden = replace(session.document.find(2), shown=False)
    after = session.after(edit_of("hide", session.document, [hidden]))
    assert changed_shapes(session.document, after.document) == [hidden]


@given(st.lists(st.sampled_from(["draw", "delete", "undo", "redo"]), max_size=30))
def test_as_many_undos_as_steps_lead_back_to_the_beginning(actions):
    session, number = Session(), 0
    for action in actions:
        if action == "draw":
            number += 1
            session = session.after(edit_of("draw", session.document, [drawn(number)]))
        elif action == "delete" and session.document.shapes:
            session = session.after(
                deletion_of("delete", session.document, [session.document.shapes[0].shape_id])
            )
        elif action == "undo":
            session = session.undone()
        elif action == "redo":
            session = session.redone()
    last = session.document
    steps = len(session.past)
    for _ in range(steps):
        session = session.undone()
    assert session.document.shapes == ()
    for _ in range(steps):
        session = session.redone()
    assert session.document is last
