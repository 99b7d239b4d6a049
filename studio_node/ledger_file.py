"""The ledger's file: an append-only SQLite table, durable when a write returns, with one writer at a time.

A rollback journal and ``synchronous=EXTRA``: file and folder are synced before a commit returns, and a torn write is
undone when the file is next opened. Triggers refuse changing or deleting a record. The writer holds a lock on a file
beside the ledger for as long as it lives; readers need none.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from federation.durable import sync_folder
from federation.errors import LedgerError
from federation.mounts import NETWORK_KINDS, mount_of

LEDGER_FILE = "ledger.sqlite"
SQLITE_BUSY_S = 5.0
_FORMAT = 1
_SCHEMA = (
    "CREATE TABLE records (sequence INTEGER PRIMARY KEY, record BLOB NOT NULL) STRICT",
    "CREATE TRIGGER records_are_never_changed BEFORE UPDATE ON records "
    "BEGIN SELECT RAISE(ABORT, 'a ledger record is never changed'); END",
    "CREATE TRIGGER records_are_never_deleted BEFORE DELETE ON records "
    "BEGIN SELECT RAISE(ABORT, 'a ledger record is never deleted'); END",
    f"PRAGMA user_version = {_FORMAT}",
)


class LedgerFile:
    """The open file of a ledger's one writer. After a failed write it is closed: what is on disk is then unknown."""

    def __init__(self, connection: sqlite3.Connection, lock: int, path: Path) -> None:
        self._connection: sqlite3.Connection | None = connection
        self._lock: int | None = lock
        self._path = path

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open, or make, the file and become its writer.

        Raises:
            LedgerError: another process is the writer, the disk refuses, or it is no local disk.
        """
        with disk_errors(path):
            _require_local(path.parent.resolve())
            lock = _locked(path.with_suffix(".lock"))
            try:
                return cls(_connected(path), lock, path)
            except BaseException:
                os.close(lock)
                raise

    def read(self) -> list[bytes]:
        """Read all encoded records, oldest first."""
        return read_records(self._open(), self._path)

    def append(self, sequence: int, data: bytes) -> None:
        """Write one record; it is on disk, file and folder synced, when this returns.

        Raises:
            LedgerError: the disk refused, or the file is closed. Whether the record is on disk is then unknown.
        """
        connection = self._open()
        try:
            with disk_errors(self._path):
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("INSERT INTO records VALUES (?, ?)", (sequence, data))
                connection.execute("COMMIT")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file and let the next writer in."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise LedgerError(f"{self._path} is closed, after a failed write or on purpose; open it anew")
        return self._connection


def read_ledger(path: Path) -> list[bytes]:
    """Read all encoded records without becoming the writer; a dead writer's torn write is undone on the way.

    Raises:
        LedgerError: there is no ledger, or it cannot be read.
    """
    if not path.is_file():
        raise LedgerError(f"there is no ledger at {path}", hint="it appears with the first charged round")
    with disk_errors(path), contextlib.closing(_connection(path)) as connection:
        connection.execute("PRAGMA query_only = ON")
        if _is_unborn(connection):
            return []
        _require_format(connection, path)
        return read_records(connection, path)


def read_records(connection: sqlite3.Connection, path: Path) -> list[bytes]:
    """Read all encoded records of an open ledger, oldest first."""
    with disk_errors(path):
        return [row[0] for row in connection.execute("SELECT record FROM records ORDER BY sequence")]


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn what SQLite and the disk raise into a LedgerError that names the ledger."""
    try:
        yield
    except sqlite3.Error as error:
        raise LedgerError(
            f"the ledger {path} cannot be read or written: {error}",
            hint="no data were touched without a charge; check that the disk is local, writable and not full",
        ) from error
    except OSError as error:
        raise LedgerError(
            f"the ledger {path} cannot be opened: {error.strerror or error}",
            hint="no data were touched; check that the folder is there and writable",
        ) from error


def _connection(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=SQLITE_BUSY_S, isolation_level=None)


def _connected(path: Path) -> sqlite3.Connection:
    if not path.exists():
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
        sync_folder(path.parent)
    connection = _connection(path)
    try:
        connection.execute("PRAGMA synchronous = EXTRA")
        mode = connection.execute("PRAGMA journal_mode = DELETE").fetchone()[0]
        if mode != "delete":
            raise LedgerError(f"{path} cannot use a rollback journal (SQLite says {mode!r})")
        if _is_unborn(connection):
            connection.execute("BEGIN IMMEDIATE")
            for statement in _SCHEMA:
                connection.execute(statement)
            connection.execute("COMMIT")
        _require_format(connection, path)
        problem = connection.execute("PRAGMA integrity_check").fetchone()[0]
        if problem != "ok":
            raise LedgerError(f"{path} is damaged: {problem}", hint="put the newest backup back")
    except BaseException:
        connection.close()
        raise
    return connection


def _is_unborn(connection: sqlite3.Connection) -> bool:
    """Whether the file is empty still: its maker was killed before the table was there."""
    return bool(connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0)


def _require_format(connection: sqlite3.Connection, path: Path) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version != _FORMAT:
        raise LedgerError(f"{path} is a ledger of format {version}; this program reads format {_FORMAT}")


def _require_local(folder: Path) -> None:
    """Refuse a network file system, where neither locks nor syncs can be relied on."""
    mount = mount_of(folder)
    if mount is not None and mount.kind in NETWORK_KINDS:
        raise LedgerError(
            f"the ledger cannot be kept in {folder}: it is on {mount.kind} ({mount.source}), a network file system, "
            "where a charge can be lost after it was written",
            hint="move the studio's home to a local disk; plates may stay where they are",
        )


def _locked(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise LedgerError(
            f"the ledger beside {path} is open in another process; a ledger has one writer",
            hint="stop the studio's other runner first",
        ) from error
    return descriptor
