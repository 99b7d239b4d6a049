"""The catalogue's tables, and opening its file."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from federation.errors import IngestError

VERSION = 2
BUSY_S = 30.0
"""How long another process may hold the file before we give up."""

# Times are seconds since the epoch, UTC. An id compares without case, so that SH010 and sh010 cannot both exist.
FIRST = (
    """CREATE TABLE shows (
        name TEXT PRIMARY KEY,
        added_at INTEGER NOT NULL
    ) STRICT""",
    """CREATE TABLE shots (
        id TEXT PRIMARY KEY COLLATE NOCASE,
        show TEXT NOT NULL REFERENCES shows (name),
        added_at INTEGER NOT NULL
    ) STRICT""",
    """CREATE TABLE packs (
        shot TEXT PRIMARY KEY COLLATE NOCASE REFERENCES shots (id),
        file TEXT NOT NULL UNIQUE,
        epoch TEXT NOT NULL,
        recipe TEXT NOT NULL,
        frozen_digest TEXT NOT NULL,
        windows INTEGER NOT NULL,
        size_bytes INTEGER NOT NULL,
        plate TEXT NOT NULL,
        shapes_file TEXT NOT NULL,
        first_frame INTEGER NOT NULL,
        last_frame INTEGER NOT NULL,
        width INTEGER NOT NULL,
        height INTEGER NOT NULL,
        made_at INTEGER NOT NULL
    ) STRICT""",
    """CREATE TABLE shapes (
        shot TEXT NOT NULL COLLATE NOCASE REFERENCES shots (id),
        path TEXT NOT NULL,
        kind TEXT NOT NULL,
        points INTEGER NOT NULL,
        keyframes INTEGER NOT NULL,
        windows INTEGER NOT NULL,
        skipped TEXT,
        PRIMARY KEY (shot, path)
    ) STRICT""",
    """CREATE TRIGGER shots_keep_their_id BEFORE UPDATE ON shots
        BEGIN SELECT RAISE (ABORT, 'a shot keeps its id and its show for ever'); END""",
    """CREATE TRIGGER shots_stay BEFORE DELETE ON shots
        BEGIN SELECT RAISE (ABORT, 'a shot stays in the catalogue for ever'); END""",
)

# What version 2 added. Everything that version 1 held may have been trained on: it kept no record of it.
SECOND = (
    """CREATE TABLE trained (
        shot TEXT PRIMARY KEY COLLATE NOCASE REFERENCES shots (id),
        first_at INTEGER NOT NULL
    ) STRICT""",
    """CREATE TABLE merges (
        shot TEXT PRIMARY KEY COLLATE NOCASE REFERENCES shots (id),
        kept TEXT NOT NULL COLLATE NOCASE REFERENCES shots (id),
        merged_at INTEGER NOT NULL,
        merged_by TEXT NOT NULL
    ) STRICT""",
    """CREATE TABLE lookalikes (
        shot TEXT NOT NULL COLLATE NOCASE REFERENCES shots (id),
        other TEXT NOT NULL COLLATE NOCASE REFERENCES shots (id),
        likeness REAL NOT NULL,
        decided_at INTEGER,
        decided_by TEXT,
        PRIMARY KEY (shot, other)
    ) STRICT""",
    # Shots that look like another, were never trained on, and wait for a person to say whether the two are one.
    """CREATE VIEW waiting AS
        SELECT shot FROM lookalikes WHERE decided_at IS NULL
        UNION SELECT other FROM lookalikes WHERE decided_at IS NULL
        EXCEPT SELECT shot FROM trained""",
    """CREATE TABLE versions (
        number INTEGER PRIMARY KEY,
        shot TEXT NOT NULL COLLATE NOCASE REFERENCES shots (id),
        epoch TEXT NOT NULL,
        recipe TEXT NOT NULL,
        frozen_digest TEXT NOT NULL,
        plate TEXT NOT NULL,
        shapes_file TEXT NOT NULL,
        windows INTEGER NOT NULL,
        made_at INTEGER NOT NULL
    ) STRICT""",
    "CREATE INDEX versions_by_shot ON versions (shot)",
    """CREATE TABLE deliveries (
        shot TEXT PRIMARY KEY COLLATE NOCASE REFERENCES shots (id),
        reading TEXT NOT NULL,
        stamps TEXT NOT NULL,
        fingerprints BLOB NOT NULL,
        problems TEXT NOT NULL
    ) STRICT""",
    """CREATE TABLE withdrawals (
        show TEXT NOT NULL REFERENCES shows (name),
        withdrawn_at INTEGER NOT NULL,
        withdrawn_by TEXT NOT NULL
    ) STRICT""",
    *(
        f"""CREATE TRIGGER {table}_before_{change} BEFORE {change} ON {table}
        BEGIN SELECT RAISE (ABORT, 'what became of a shot is never unsaid'); END"""
        for table in ("trained", "merges", "versions", "withdrawals")
        for change in ("DELETE", "UPDATE")
    ),
    "INSERT INTO trained SELECT id, added_at FROM shots",
    """INSERT INTO versions
        SELECT NULL, shot, epoch, recipe, frozen_digest, plate, shapes_file, windows, made_at FROM packs""",
)


def connect(path: Path) -> sqlite3.Connection:
    """Open a catalogue file, private to this user; make it where there is none.

    Raises:
        IngestError: damaged, locked, not writable, or made by another version of fedroto.
    """
    with catalogue_errors(path):
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
        try:
            # No write-ahead log: it does not work on the network file systems that studios live on.
            for pragma in (
                "journal_mode=DELETE",
                "synchronous=FULL",
                "foreign_keys=ON",
                "recursive_triggers=ON",
            ):
                connection.execute(f"PRAGMA {pragma}")
            _prepare(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


@contextlib.contextmanager
def catalogue_errors(path: Path) -> Iterator[None]:
    """Turn a failure of the database or the disk into an error that names the file."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise IngestError(
            f"the catalogue {path} cannot be used: {error}",
            hint="check that it is on a local disk, writable, and not held by another process",
        ) from error


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    if _version(connection) < VERSION:
        connection.execute("BEGIN IMMEDIATE")
        had = _version(connection)  # nobody else was faster
        for statement in (*(FIRST if had < 1 else ()), *(SECOND if had < 2 else ())):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version={VERSION}")
        connection.execute("COMMIT")
    if _version(connection) != VERSION:
        raise IngestError(
            f"the catalogue {path} has version {_version(connection)}, this fedroto has {VERSION}",
            hint="install the fedroto that made it, or a newer one",
        )


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
