import os
import stat

import pytest

from federation import durable
from federation.errors import FedrotoError


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_replaces_the_old_one_with_exactly_the_mode_asked_for(tmp_path):
    path = tmp_path / "plan.json"
    path.write_bytes(b"old")
    previous = os.umask(0o077)
    try:
        durable.write_atomic(path, b"new", mode=0o644)
    finally:
        os.umask(previous)
    assert path.read_bytes() == b"new"
    assert mode_of(path) == 0o644
    assert [p.name for p in tmp_path.iterdir()] == ["plan.json"]


@pytest.mark.parametrize("step", ["fchmod", "fsync"])
def test_a_failing_disk_leaves_the_old_file_and_nothing_half_written(tmp_path, monkeypatch, step):
    path = tmp_path / "plan.json"
    path.write_bytes(b"old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(durable.os, step, fail)
    with pytest.raises(FedrotoError, match=r"cannot write .*plan\.json: No space left") as raised:
        durable.write_atomic(path, b"new")
    assert "disk" in raised.value.hint
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["plan.json"]


def test_a_missing_folder_is_an_error_of_ours(tmp_path):
    with pytest.raises(FedrotoError, match="cannot write"):
        durable.write_atomic(tmp_path / "missing" / "file", b"")


def test_the_bytes_are_synced_before_the_name_appears(tmp_path, monkeypatch):
    path = tmp_path / "file"
    seen = []
    sync = os.fsync

    def watch(descriptor):
        seen.append((path.exists(), stat.S_ISDIR(os.fstat(descriptor).st_mode)))
        sync(descriptor)

    monkeypatch.setattr(durable.os, "fsync", watch)
    durable.write_atomic(path, b"data")
    assert seen == [(False, False), (True, True)]


def test_a_folder_is_published_once_and_never_replaced(tmp_path):
    destination = tmp_path / "0001"
    for text in ("first", "second"):
        source = durable.temporary_beside(destination)
        source.mkdir()
        (source / "card").write_text(text)
        if text == "first":
            durable.publish_folder(source, destination)
        else:
            with pytest.raises(FedrotoError, match="never replaced"):
                durable.publish_folder(source, destination)
    assert (destination / "card").read_text() == "first"


def test_a_private_folder_is_closed_even_when_it_was_there_open(tmp_path):
    path = tmp_path / "keys"
    path.mkdir(mode=0o755)
    durable.make_private_dir(path)
    assert mode_of(path) == 0o700


def test_leftovers_go_and_files_stay(tmp_path):
    (tmp_path / "kept").write_text("")
    durable.temporary_beside(tmp_path / "file").write_text("half")
    folder = durable.temporary_beside(tmp_path / "0002")
    folder.mkdir()
    (folder / "weights").write_text("half")
    durable.remove_leftovers(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["kept"]


def test_a_bounded_read_refuses_a_file_beyond_its_bound(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert durable.read_bounded(path, 5) == b"12345"
    with pytest.raises(FedrotoError, match="more than 4 bytes"):
        durable.read_bounded(path, 4)
    with pytest.raises(FedrotoError, match="cannot read"):
        durable.read_bounded(tmp_path / "missing", 4)
