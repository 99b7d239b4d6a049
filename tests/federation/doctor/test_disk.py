"""Room, file systems and SQLite's locks, on real folders."""

from pathlib import Path

import pytest

from federation.doctor.disk import free_space, local_file_system, sqlite_locks
from federation.doctor.finding import found
from federation.mounts import mount_of

MOUNTS = r"""
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:40 / /proj rw,relatime - nfs4 filer:/proj rw,vers=4.2
31 30 8:2 / /proj/fast\040disk rw - xfs /dev/nvme0n1 rw
32 22 0:41 / /mnt/share rw master:3 - fuse.sshfs td@farm: rw
"""


def test_a_disk_with_room_is_ok_and_one_without_fails(tmp_path):
    assert free_space(tmp_path, bytes_min=1, bytes_good=1).verdict == "ok"
    assert free_space(tmp_path, bytes_min=1, bytes_good=2**62).verdict == "warn"
    full = free_space(tmp_path, bytes_min=2**62)
    assert full.verdict == "fail"
    assert str(tmp_path) in full.what


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/proj/home", "nfs4"),
        ("/proj", "nfs4"),
        ("/project", "ext4"),
        ("/proj/fast disk/home", "xfs"),
        ("/mnt/share/x", "fuse.sshfs"),
    ],
)
def test_the_mount_of_a_path_is_the_deepest_one(path, kind):
    assert mount_of(Path(path), MOUNTS).kind == kind


def test_a_home_on_a_network_file_system_fails_and_says_which():
    finding = local_file_system(Path("/proj/home"), MOUNTS)
    assert finding.verdict == "fail"
    assert "nfs4 (filer:/proj at /proj)" in finding.what
    assert local_file_system(Path("/proj/fast disk/home"), MOUNTS).verdict == "ok"


def test_the_kernels_own_list_of_mounts_is_understood(tmp_path):
    assert local_file_system(tmp_path).verdict in ("ok", "warn")
    assert mount_of(Path("/proc/self"), Path("/proc/self/mountinfo").read_text()).kind == "proc"


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="no memory file system here")
def test_a_home_in_memory_is_a_warning():
    assert "gone after a restart" in local_file_system(Path("/dev/shm")).what


def test_sqlite_locks_out_a_second_process_and_the_probe_leaves_nothing(tmp_path):
    assert sqlite_locks(tmp_path).verdict == "ok"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_to_fails():
    (finding,) = found("sqlite", lambda: sqlite_locks(Path("/proc/sys")))
    assert (finding.name, finding.verdict) == ("sqlite", "fail")
    assert finding.next_step
