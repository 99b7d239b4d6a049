import os
import time

from studio_node.stored_updates import StoredUpdates

QUESTION = ("autumn", 3, "a" * 64, "b" * 64)


def test_the_same_question_gets_the_same_bytes(tmp_path):
    updates = StoredUpdates(tmp_path / "updates")
    assert updates.get(QUESTION) is None
    updates.put(QUESTION, b"frame")
    assert StoredUpdates(tmp_path / "updates").get(QUESTION) == b"frame"


def test_any_other_question_gets_nothing(tmp_path):
    updates = StoredUpdates(tmp_path / "updates")
    updates.put(QUESTION, b"frame")
    for other in (
        ("winter", *QUESTION[1:]),
        (QUESTION[0], 4, *QUESTION[2:]),
        (*QUESTION[:2], "0" * 64, QUESTION[3]),
        (*QUESTION[:3], "0" * 64),
    ):
        assert updates.get(other) is None


def test_stored_updates_are_private(tmp_path):
    updates = StoredUpdates(tmp_path / "updates")
    updates.put(QUESTION, b"frame")
    ((path, data),) = updates.frames()
    assert data == b"frame"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert path.parent.name == "autumn"


def test_only_old_updates_are_forgotten(tmp_path):
    updates = StoredUpdates(tmp_path / "updates")
    updates.put(QUESTION, b"old")
    ((path, _),) = updates.frames()
    os.utime(path, (time.time() - 1000, time.time() - 1000))
    updates.put(("winter", 1, "a" * 64, "b" * 64), b"new")
    assert updates.forget_older_than(500) == 1
    assert [data for _, data in updates.frames()] == [b"new"]
