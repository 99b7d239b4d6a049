import os
import time

import pytest

from federation.errors import IngestError
from studio_node.file_stamps import read_content, unchanged

LONG_AGO = time.time_ns() - 3600 * 10**9


@pytest.fixture
def files(tmp_path):
    named = {}
    for label in ("shapes", "1001", "1002"):
        named[label] = tmp_path / f"{label}.bin"
        named[label].write_bytes(label.encode())
        os.utime(named[label], ns=(LONG_AGO, LONG_AGO))
    return named


def test_files_whose_size_and_time_are_known_are_not_read_again(files):
    first = read_content(files, {})
    assert first.files_read == 3
    assert unchanged(files, first.stamps)
    again = read_content(files, first.stamps)
    assert (again.files_read, again.epoch, again.stamps) == (0, first.epoch, first.stamps)


def test_only_the_file_that_changed_is_read_and_makes_another_content(files):
    first = read_content(files, {})
    files["1002"].write_bytes(b"new!")
    assert not unchanged(files, first.stamps)
    second = read_content(files, first.stamps)
    assert second.files_read == 1
    assert second.epoch != first.epoch
    assert second.epoch == read_content(files, {}).epoch


def test_a_file_that_changed_a_moment_ago_is_read_again_next_time(files):
    files["1001"].write_bytes(b"just now")
    stamps = read_content(files, {}).stamps
    assert not unchanged(files, stamps)
    assert read_content(files, stamps).files_read == 1


def test_a_file_more_or_less_is_a_change(files, tmp_path):
    stamps = read_content(files, {}).stamps
    assert not unchanged({k: files[k] for k in ("shapes", "1001")}, stamps)
    assert not unchanged({**files, "1003": files["1002"]}, stamps)


def test_places_do_not_count_and_the_reading_does(files, tmp_path):
    first = read_content(files, {})
    moved = {label: path.rename(path.with_suffix(".moved")) for label, path in files.items()}
    assert unchanged(moved, first.stamps)
    assert read_content(moved, {}).epoch == first.epoch
    assert read_content(moved, {}, reading="colour=ACEScct").epoch != first.epoch


def test_a_file_that_is_gone_is_named(files):
    files["1002"].unlink()
    with pytest.raises(IngestError, match=r"1002\.bin cannot be read"):
        read_content(files, {})
