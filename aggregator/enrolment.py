"""Who takes part: the studios that the coordinator admitted, and the newest ledger head seen of each.

One SQLite file, ``studios.sqlite``, in the coordinator's home. A key belongs to one studio for ever: a key that was
revoked or replaced never comes back, neither for its own studio nor for another. The ledger heads are what the
coordinator counter-signs in its next instruction; they only go forward.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import TypeAdapter, ValidationError

from aggregator.database import database_errors, open_database, reading, writing
from federation.documents import PublicKey
from federation.errors import IdentityError
from federation.keys import fingerprint, openssh_public, read_openssh_public
from federation.plan import LedgerHead, Name

ENROLMENT_FILE = "studios.sqlite"
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS studios (
    name TEXT PRIMARY KEY,
    size_tier TEXT NOT NULL,
    public_key TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL CHECK (state IN ('admitted', 'revoked')),
    changed_at INTEGER NOT NULL,
    head_sequence INTEGER,
    head_hash TEXT
) STRICT;
CREATE TABLE IF NOT EXISTS retired_keys (
    public_key TEXT PRIMARY KEY,
    studio TEXT NOT NULL,
    retired_at INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS budgets (
    studio TEXT PRIMARY KEY,
    epsilon_left REAL NOT NULL
) STRICT;
CREATE TRIGGER IF NOT EXISTS heads_go_forward BEFORE UPDATE OF head_sequence ON studios
    WHEN NEW.head_sequence < OLD.head_sequence
    BEGIN SELECT RAISE(ABORT, 'a ledger head never goes back'); END;
"""
_NAME: Final = TypeAdapter(Name)
_STUDIOS = (
    "SELECT name, size_tier, public_key, state, changed_at, head_sequence, head_hash, epsilon_left FROM studios "
    "LEFT JOIN budgets ON budgets.studio = studios.name"
)


class StudioState(StrEnum):
    """Whether a studio takes part."""

    ADMITTED = "admitted"
    REVOKED = "revoked"


@dataclass(frozen=True)
class EnrolledStudio:
    """A studio as the coordinator knows it.

    Attributes:
        name: unique in the federation.
        size_tier: the public bucket of shot counts agreed at admission.
        public_key: its node key, one OpenSSH line without a comment.
        state: admitted or revoked.
        changed_at: when it was admitted, got its key or was revoked; seconds since the epoch.
        seen_head: newest ledger head in an accepted update, or None before the first.
        epsilon_left: what that update said of its ledger, if it shares it.
    """

    name: str
    size_tier: str
    public_key: str
    state: StudioState
    changed_at: int
    seen_head: LedgerHead | None
    epsilon_left: float | None = None

    @property
    def is_admitted(self) -> bool:
        """Whether it takes part."""
        return self.state is StudioState.ADMITTED

    @property
    def node_key(self) -> PublicKey:
        """Its node key's public half."""
        return read_openssh_public(self.public_key.encode())

    @property
    def fingerprint(self) -> str:
        """Its key's fingerprint, as people compare it by phone."""
        return fingerprint(self.node_key)


class Enrolment:
    """The coordinator's book of studios; use as a context manager."""

    def __init__(self, home: Path) -> None:
        """Open the book in the coordinator's home.

        Raises:
            FedrotoError: the file cannot be opened or made.
        """
        self._path = home / ENROLMENT_FILE
        self._connection = open_database(self._path, _SCHEMA)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def admit(self, name: str, size_tier: str, public_key: str, *, now: int) -> EnrolledStudio:
        """Admit a studio; doing it twice with the same values changes nothing.

        A revoked studio is admitted again with a new key; its ledger goes on where it was.

        Raises:
            IdentityError: the name or key is malformed, the studio is admitted with other values, or the key is or
                was another's or its own revoked one.
            FedrotoError: the disk refused.
        """
        key = _normal_key(public_key)
        for value in (name, size_tier):
            _require_name(value)
        with writing(self._connection, self._path):
            known = self._find(name)
            if known is not None and known.is_admitted:
                if (known.size_tier, known.public_key) == (size_tier, key):
                    return known
                raise IdentityError(
                    f"studio {name} is admitted already, as {known.size_tier} with key {known.fingerprint}",
                    hint="rotate its key, or revoke it first",
                )
            self._require_fresh(key, name)
            self._connection.execute(
                "INSERT INTO studios (name, size_tier, public_key, state, changed_at) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (name) DO UPDATE SET size_tier = excluded.size_tier, state = excluded.state, "
                "public_key = excluded.public_key, changed_at = excluded.changed_at",
                (name, size_tier, key, StudioState.ADMITTED, now),
            )
        return self.studio(name)

    def rotate_key(self, name: str, public_key: str, *, now: int) -> EnrolledStudio:
        """Give an admitted studio a new key; the old one never comes back.

        Raises:
            IdentityError: not admitted, or the key is malformed or is or was in use.
            FedrotoError: the disk refused.
        """
        key = _normal_key(public_key)
        with writing(self._connection, self._path):
            known = self._admitted(name)
            if known.public_key == key:
                return known
            self._require_fresh(key, name)
            self._retire(known, now)
            self._connection.execute(
                "UPDATE studios SET public_key = ?, changed_at = ? WHERE name = ?", (key, now, name)
            )
        return self.studio(name)

    def revoke(self, name: str, *, now: int) -> EnrolledStudio:
        """Withdraw a studio's key; revoking twice changes nothing.

        Raises:
            IdentityError: no such studio.
            FedrotoError: the disk refused.
        """
        with writing(self._connection, self._path):
            known = self.studio(name)
            if known.is_admitted:
                self._retire(known, now)
                self._connection.execute(
                    "UPDATE studios SET state = ?, changed_at = ? WHERE name = ?",
                    (StudioState.REVOKED, now, name),
                )
        return self.studio(name)

    def studio(self, name: str) -> EnrolledStudio:
        """Return one studio.

        Raises:
            IdentityError: no such studio.
        """
        found = self._find(name)
        if found is None:
            known = ", ".join(studio.name for studio in self.studios()) or "none"
            raise IdentityError(f"no studio is called {name!r}; enrolled: {known}")
        return found

    def holder(self, public_key: str) -> EnrolledStudio | None:
        """Return the admitted studio whose key this is, one OpenSSH line without a comment; None if there is none."""
        return next((one for one in self.studios() if one.is_admitted and one.public_key == public_key), None)

    def is_retired(self, public_key: str) -> bool:
        """Whether a key was revoked or replaced."""
        with database_errors(self._path):
            return self._retired_from(public_key) is not None

    def studios(self) -> tuple[EnrolledStudio, ...]:
        """Return all studios ever admitted, by name."""
        with database_errors(self._path):
            rows = self._connection.execute(f"{_STUDIOS} ORDER BY name").fetchall()
        return tuple(_studio(row) for row in rows)

    def record_head(self, name: str, head: LedgerHead, epsilon_left: float | None = None) -> None:
        """Keep what came with an accepted update of a studio's ledger; an older one than the one kept changes nothing.

        Args:
            name: the studio's.
            head: newest record.
            epsilon_left: what is left of its budget; None forgets what it said before.

        Raises:
            IdentityError: no such studio.
            FedrotoError: the disk refused.
        """
        known = self.studio(name)
        if known.seen_head is not None and head.sequence <= known.seen_head.sequence:
            return
        with writing(self._connection, self._path):
            self._connection.execute(
                "UPDATE studios SET head_sequence = ?, head_hash = ? WHERE name = ?",
                (head.sequence, head.hash, name),
            )
            self._connection.execute("DELETE FROM budgets WHERE studio = ?", (name,))
            if epsilon_left is not None:
                self._connection.execute("INSERT INTO budgets VALUES (?, ?)", (name, epsilon_left))

    def _find(self, name: str) -> EnrolledStudio | None:
        with database_errors(self._path):
            row = self._connection.execute(f"{_STUDIOS} WHERE name = ?", (name,)).fetchone()
        return None if row is None else _studio(row)

    def _admitted(self, name: str) -> EnrolledStudio:
        known = self.studio(name)
        if not known.is_admitted:
            raise IdentityError(f"studio {name} is revoked", hint="admit it again with a new key")
        return known

    def _require_fresh(self, key: str, name: str) -> None:
        retired = self._retired_from(key)
        if retired is not None:
            raise IdentityError(
                f"this key was studio {retired}'s and was revoked or replaced; it cannot come back",
                hint="let the studio make a new key and send a new join request",
            )
        holder = self._connection.execute(
            "SELECT name FROM studios WHERE public_key = ? AND name <> ?", (key, name)
        ).fetchone()
        if holder is not None:
            raise IdentityError(f"this key is studio {holder[0]}'s; one key cannot be two studios")

    def _retired_from(self, key: str) -> str | None:
        row = self._connection.execute(
            "SELECT studio FROM retired_keys WHERE public_key = ?", (key,)
        ).fetchone()
        return None if row is None else str(row[0])

    def _retire(self, known: EnrolledStudio, now: int) -> None:
        self._connection.execute(
            "INSERT INTO retired_keys (public_key, studio, retired_at) VALUES (?, ?, ?)",
            (known.public_key, known.name, now),
        )


def enrolled_studios(home: Path) -> tuple[EnrolledStudio, ...]:
    """Return all studios ever admitted, by name, without opening the book for writing.

    Raises:
        FedrotoError: the file cannot be read.
    """
    path = home / ENROLMENT_FILE
    if not path.exists():
        return ()
    with reading(path) as book:
        rows = book.execute(f"{_STUDIOS} ORDER BY name").fetchall()
    return tuple(_studio(row) for row in rows)


def _studio(
    row: sqlite3.Row | tuple[str, str, str, str, int, int | None, str | None, float | None],
) -> EnrolledStudio:
    name, size_tier, public_key, state, changed_at, sequence, head_hash, left = row
    head = None if sequence is None else LedgerHead(sequence=sequence, hash=str(head_hash))
    return EnrolledStudio(name, size_tier, public_key, StudioState(state), changed_at, head, left)


def _normal_key(public_key: str) -> str:
    """Return a node key as type and blob, without a comment.

    Raises:
        IdentityError: not an OpenSSH EC P-384 public key.
    """
    public = read_openssh_public(public_key.strip().encode())
    if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP384R1):
        raise IdentityError("a node key is EC P-384; this one is of another kind")
    return openssh_public(public).decode()


def _require_name(value: str) -> None:
    try:
        _NAME.validate_python(value)
    except ValidationError as error:
        raise IdentityError(
            f"{value!r} is not a name: lower-case letters, digits, dots, dashes and underscores, up to 63"
        ) from error
