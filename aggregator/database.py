"""SQLite files that hold after a power cut: opened one way, written in one kind of transaction."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from federation.errors import FedrotoError

BUSY_S = 10.0
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
