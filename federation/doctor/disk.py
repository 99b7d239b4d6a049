"""Where a home lies: room on its disk, its file system, and whether SQLite's locks hold there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from federation.doctor.finding import Finding, fail, ok, warn
from federation.durable import temporary_beside
from federation.mounts import NETWORK_KINDS, VOLATILE_KINDS, mount_of

FREE_BYTES_MIN = 512 << 20
FREE_BYTES_GOOD = 5 << 30
PROBE_S = 20.0
_LOCKED_OUT = "locked out"
_PROBE = f"""
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=0.1, isolation_level=None)
try:
    connection.execute("BEGIN IMMEDIATE")
except sqlite3.OperationalError as error:
    print("{_LOCKED_OUT}" if "locked" in str(error) else error)
else:
    print("let in")
"""


def free_space(home: Path, *, bytes_min: int = FREE_BYTES_MIN, bytes_good: int = FREE_BYTES_GOOD) -> Finding:
    """Look whether the home's disk has room, in bytes and in files."""
    status = os.statvfs(home)
    free = status.f_bavail * status.f_frsize
    text = f"{free / 1e9:.2f} GB are free at {home}"
    if free < bytes_min:
        return fail("disk", f"{text}, {bytes_min / 1e9:.2f} GB are needed", "free some room on this disk")
    if status.f_files and not status.f_favail:
        return fail("disk", f"{text}, but no file can be made: its inodes are used up", "remove files there")
    if free < bytes_good:
        return warn(
            "disk", f"{text}; {bytes_good / 1e9:.1f} GB are comfortable", "free some room on this disk"
        )
    return ok("disk", text)


def local_file_system(home: Path, mountinfo: str | None = None) -> Finding:
    """Look whether the home is on a local disk.

    Args:
        home: the folder.
        mountinfo: as for ``mount_of``.
    """
    mount = mount_of(home.resolve(), mountinfo)
    if mount is None:
        return warn(
            "file-system", f"what {home} is mounted from cannot be told", "make sure it is a local disk"
        )
    where = f"{home} is on {mount.kind} ({mount.source} at {mount.point})"
    if mount.kind in NETWORK_KINDS:
        return fail(
            "file-system",
            f"{where}, a network file system: SQLite's locks and syncs do not hold there, a ledger could be lost",
            "move the home to a local disk and start the node there; packs and plates may stay where they are",
        )
    if mount.kind in VOLATILE_KINDS:
        return warn("file-system", f"{where}: it is gone after a restart", "move the home to a disk")
    return ok("file-system", where)


def sqlite_locks(home: Path) -> Finding:
    """Look whether a second process is kept out of an SQLite file that this one writes to.

    Raises:
        OSError: the probe's file cannot be made.
    """
    import sqlite3

    path = temporary_beside(home / "doctor.sqlite")
    path.touch(mode=0o600, exist_ok=False)
    try:
        connection = sqlite3.connect(path, isolation_level=None)
        try:
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("CREATE TABLE probe (value INTEGER)")
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO probe VALUES (1)")
            command = [sys.executable, "-I", "-c", _PROBE, str(path)]
            other = subprocess.run(command, capture_output=True, text=True, timeout=PROBE_S, check=False)
            connection.execute("COMMIT")
        finally:
            connection.close()
    except (sqlite3.Error, subprocess.TimeoutExpired) as error:
        return fail("sqlite", f"SQLite does not work at {home}: {error}", "move the home to a local disk")
    finally:
        for leftover in (path, path.with_name(path.name + "-journal")):
            leftover.unlink(missing_ok=True)
    if other.stdout.strip() != _LOCKED_OUT:
        return fail(
            "sqlite",
            f"locks do not hold at {home}: a second process was not kept out ({other.stdout.strip() or 'no answer'})",
            "move the home to a local disk",
        )
    return ok("sqlite", f"SQLite writes, syncs and locks at {home}")
