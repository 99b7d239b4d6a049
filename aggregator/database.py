"""SQLite files that hold after a power cut: opened one way, written in one kind of transaction."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

from federation.errors import FedrotoError

BUSY_S, LOOK_S = 10.0, 2.0
SYNCHRONOUS = "FULL"  # every commit is on the disk when it returns


def open_database(path: Path, schema: str) -> sqlite3.Connection:
    """Open a database, made if need be, in DELETE journal mode and fully synchronous.

    Args:
        path: the file; its folder must be there.
        schema: SQL that creates what is missing (``IF NOT EXISTS``).

    Raises:
        FedrotoError: it cannot be opened or is no database.
    """
    with database_errors(path):
        connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode = DELETE")
            connection.execute(f"PRAGMA synchronous = {SYNCHRONOUS}")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.executescript(schema)
        except BaseException:
            connection.close()
            raise
    return connection


@contextlib.contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a database for looking, beside the process that writes it; nothing beside it is written.

    Rows come as ``sqlite3.Row``, all from one moment. A killed process may have left a journal that only a writer may
    play back: then a copy is read and the original left alone.

    Args:
        path: the file; it must be there.

    Raises:
        FedrotoError: it cannot be read or is no database.
    """
    with contextlib.ExitStack() as stack, database_errors(path):
        connection = stack.enter_context(contextlib.closing(_connected(path, "ro")))
        try:
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        except sqlite3.OperationalError:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fedroto-look-")))
            for part in (path, path.with_name(path.name + "-journal")):
                if part.exists():
                    shutil.copyfile(part, folder / part.name)
            connection = stack.enter_context(contextlib.closing(_connected(folder / path.name, "rw")))
        connection.row_factory = sqlite3.Row
        connection.execute("BEGIN")
        yield connection


def _connected(path: Path, mode: str) -> sqlite3.Connection:
    address = f"{path.resolve().as_uri()}?mode={mode}"
    return sqlite3.connect(address, uri=True, timeout=LOOK_S, isolation_level=None)


@contextlib.contextmanager
def writing(connection: sqlite3.Connection, path: Path) -> Iterator[sqlite3.Connection]:
    """One write transaction: committed whole, or not at all when anything raises.

    Raises:
        FedrotoError: the database or its disk refused.
    """
    with database_errors(path):
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


@contextlib.contextmanager
def database_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours, with the file's path.

    Raises:
        FedrotoError: instead of ``sqlite3.Error``.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise FedrotoError(
            f"{path}: {error}",
            hint="check that the folder is there and writable, that the disk is not full and that the file "
            "is on a local disk",
        ) from error
