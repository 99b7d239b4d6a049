import json

import numpy as np
import pytest

from federation.errors import ConfigError, FedrotoError
from studio_node.desk.document import DeskShape, Document
from studio_node.desk.session import Session, edit_of, ordering_of
from studio_node.desk.store import DeskStore, shape_document, shape_from

OPENED = {"plate": "p.%04d.exr", "shapes": "", "sha256": ""}


@pytest.fixture
def one(round_shape):
    return DeskShape(1, round_shape, placed={}, accepted={5: round_shape.at(5) / 3})


def same(a, b):
    return [x.shape for x in a.document.shapes] == [x.shape for x in b.document.shapes] and [
        (x.shape_id, dict(x.placed), x.shown, x.locked, {f: c.tolist() for f, c in x.accepted.items()})
        for x in a.document.shapes
    ] == [
        (x.shape_id, dict(x.placed), x.shown, x.locked, {f: c.tolist() for f, c in x.accepted.items()})
        for x in b.document.shapes
    ]


def worked(store, one):
    """A session of four steps and an undo, each saved."""
    session = Session(Document((one,), 2))
    store.begin(session, OPENED)
    for step in range(4):
        now = session.document.find(1)
        edit = edit_of(
            f"key {step}", session.document, [now.with_key(3 + step, now.shape.at(3 + step) + 1, placed={0})]
        )
        store.append(edit)
        session = session.after(edit)
    store.append_undo()
    return session.undone()


def opened(folder):
    return DeskStore(folder, width=100, height=80)


def test_a_shape_survives_the_disk_to_the_last_bit(one):
    back = shape_from(
        json.loads(json.dumps(shape_document(one.with_key(7, one.shape.at(7) / 7, placed={1, 3}), 9, 9)))
    )
    assert back.shape == one.with_key(7, one.shape.at(7) / 7).shape
    assert back.placed == {7: frozenset({1, 3})}
    np.testing.assert_array_equal(back.accepted[5], one.accepted[5])


def test_what_was_saved_comes_back_with_its_undo_steps(tmp_path, one):
    store = opened(tmp_path / "w")
    session = worked(store, one)
    store.close()
    again = opened(tmp_path / "w")
    back, facts = again.restore()
    assert facts == OPENED
    assert same(back, session)
    assert same(back.undone().undone(), session.undone().undone())
    assert same(back.redone(), session.redone())
    assert (back.undo_label, back.redo_label) == (session.undo_label, session.redo_label)


def test_a_journal_cut_anywhere_gives_the_steps_before_the_cut_and_can_be_written_on(tmp_path, one):
    folder = tmp_path / "w"
    store = opened(folder)
    worked(store, one)
    store.close()
    whole = (folder / "journal.jsonl").read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    for cut in sorted({0, 1, *ends, *(end - 1 for end in ends), *(end - 7 for end in ends), len(whole) // 2}):
        (folder / "journal.jsonl").write_bytes(whole[:cut])
        again = opened(folder)
        session, _ = again.restore()
        complete = sum(end <= cut for end in ends)
        assert len(session.past) + len(session.future) == min(complete, 4)
        again.append(ordering_of("after", session.document, [1]))
        again.close()
        third = opened(folder)
        assert third.restore()[0].undo_label == "after"
        third.close()


def test_a_flipped_bit_ends_the_journal_there(tmp_path, one):
    folder = tmp_path / "w"
    store = opened(folder)
    worked(store, one)
    store.close()
    data = bytearray((folder / "journal.jsonl").read_bytes())
    second = data.index(b"\n") + 40
    data[second] ^= 4
    (folder / "journal.jsonl").write_bytes(data)
    assert len(opened(folder).restore()[0].past) == 1


def test_a_second_desk_is_kept_out(tmp_path):
    first = opened(tmp_path / "w")
    with pytest.raises(ConfigError, match="another desk"):
        opened(tmp_path / "w")
    first.close()
    opened(tmp_path / "w").close()


def test_a_large_journal_is_folded_into_the_document(tmp_path, one, monkeypatch):
    monkeypatch.setattr("studio_node.desk.store.JOURNAL_BYTES_MAX", 1)
    store = opened(tmp_path / "w")
    session = worked(store, one)
    store.compact(session)
    assert (tmp_path / "w" / "journal.jsonl").stat().st_size == 0
    store.close()
    assert same(opened(tmp_path / "w").restore()[0], Session(session.document))


def test_a_kill_between_document_and_journal_repeats_no_step(tmp_path, one):
    folder = tmp_path / "w"
    store = opened(folder)
    session = worked(store, one)
    old = (folder / "journal.jsonl").read_bytes()
    store.begin(session, OPENED)
    store.close()
    (folder / "journal.jsonl").write_bytes(old)  # the new document, the journal not yet emptied
    assert same(opened(folder).restore()[0], Session(session.document))


def test_a_damaged_document_says_what_to_do(tmp_path):
    folder = tmp_path / "w"
    store = opened(folder)
    (folder / "document.json").write_text('{"schema": "fedroto.desk/1"}')
    with pytest.raises(FedrotoError) as refused:
        store.restore()
    assert "--fresh" in refused.value.hint


def test_a_fresh_start_sets_the_old_work_aside(tmp_path, one):
    store = opened(tmp_path / "w")
    worked(store, one)
    store.set_aside()
    assert store.restore() is None
    assert (tmp_path / "w" / "former-document.json").exists()


def test_nobody_else_can_read_the_work(tmp_path, one):
    store = opened(tmp_path / "w")
    worked(store, one)
    assert (tmp_path / "w").stat().st_mode & 0o777 == 0o700
    for name in ("document.json", "journal.jsonl"):
        assert (tmp_path / "w" / name).stat().st_mode & 0o077 == 0
