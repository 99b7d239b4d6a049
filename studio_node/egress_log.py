"""The log of everything that left a studio, and a look at what would leave.

One JSON object a line, synced before the bytes go out. It holds no weights: an array is named by its hash.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from federation.durable import sync_folder
from federation.errors import EgressError
from federation.plan import LedgerHead

EGRESS_LOG = "egress.jsonl"
Kind = Literal["update", "gain", "refusal"]


@dataclass(frozen=True)
class EgressField:
    """One field of what leaves.

    Attributes:
        name: as in :class:`federation.messages.TrainUpdate`.
        type: in words.
        size_bytes: its share of the frame.
        value: the value itself; of an array its hash and range.
    """

    name: str
    type: str
    size_bytes: int
    value: str


@dataclass(frozen=True)
class EgressLine:
    """One frame that left, or would.

    Attributes:
        time: seconds since the epoch, UTC.
        kind: an update, a gain or a refusal.
        campaign: None for a refusal of something unreadable.
        server_round: likewise.
        replay: whether the same bytes were stored earlier and are sent again.
        size_bytes: of the frame.
        sha256: of the frame.
        fields: all of it.
    """

    time: float
    kind: Kind
    campaign: str | None
    server_round: int | None
    replay: bool
    size_bytes: int
    sha256: str
    fields: tuple[EgressField, ...]

    @property
    def charge(self) -> LedgerHead:
        """The ledger's record that an update or a gain was made under.

        Raises:
            EgressError: it names none.
        """
        named = {field.name: field.value for field in self.fields}
        try:
            return LedgerHead(sequence=int(named["ledger_sequence"]), hash=named["ledger_hash"])
        except (KeyError, ValueError) as error:
            raise EgressError(
                f"the egress log has an update of {self.time:.0f} without its charge"
            ) from error


@dataclass(frozen=True)
class EgressHistory:
    """What has left, oldest first, and how many lines a crash tore (they were never sent)."""

    lines: tuple[EgressLine, ...]
    torn: int

    @property
    def updates(self) -> tuple[EgressLine, ...]:
        """The lines of updates and gains, replays included: of all that was charged."""
        return tuple(line for line in self.lines if line.kind != "refusal")

    @property
    def size_bytes(self) -> int:
        """Bytes that left in all."""
        return sum(line.size_bytes for line in self.lines)


class EgressLog:
    """Appends to the log; a line is on disk when :meth:`append` returns."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, line: EgressLine) -> None:
        """Write one line, durably.

        Raises:
            EgressError: the disk refused.
        """
        data = json.dumps(asdict(line), ensure_ascii=False).encode() + b"\n"
        fresh = not self._path.exists()
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "rb+") as file:
                end = file.seek(0, os.SEEK_END)
                if end and os.pread(file.fileno(), 1, end - 1) != b"\n":
                    data = b"\n" + data  # a crash tore the last line; it stays visible as torn
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if fresh:
                sync_folder(self._path.parent)
        except OSError as error:
            raise EgressError(
                f"what leaves cannot be logged in {self._path}: {error.strerror}; nothing was sent",
                hint="check that the disk is writable and not full",
            ) from error


def read_log(home: Path) -> EgressHistory:
    """Read the log of a studio's home; empty where nothing ever left.

    Raises:
        EgressError: the log cannot be read.
    """
    path = home / EGRESS_LOG
    try:
        data = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise EgressError(f"the egress log {path} cannot be read: {error.strerror}") from error
    lines: list[EgressLine] = []
    torn = 0
    for text in data.splitlines():
        try:
            lines.append(_line(json.loads(text)))
        except (ValueError, TypeError, KeyError):
            torn += 1
    return EgressHistory(tuple(lines), torn)


def _line(fields: dict[str, Any]) -> EgressLine:
    parts = tuple(EgressField(**part) for part in fields.pop("fields"))
    return EgressLine(fields=parts, **fields)
