"""Which of a shot's files have changed since they were last read, and what the shot's content is.

A file whose size and time of change are those that were noted is not read again. A file that was changed less than
``SETTLING_S`` before it was read gets no stamp: a second change within the clock's grain would go unseen.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from federation.errors import IngestError

Stamps = Mapping[str, tuple[int, int, str]]
"""What a file is in the shot (``shapes`` or its first frame) -> size in bytes, time of change in ns, SHA-256 in hex."""

SETTLING_S = 2.0
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class ReadContent:
    """A shot's files as they are now.

    Attributes:
        epoch: SHA-256 over all of them, 64 hexadecimal digits; never leaves the studio.
        stamps: what to note.
        files_read: how many had to be read.
    """

    epoch: str
    stamps: Stamps
    files_read: int


def stamps_of(fields: Mapping[str, Sequence[Any]]) -> Stamps:
    """Return the stamps that JSON holds."""
    return {label: (size, changed, sha256) for label, (size, changed, sha256) in fields.items()}


def unchanged(files: Mapping[str, Path], known: Stamps) -> bool:
    """Whether every file has the size and time of change that were noted.

    Raises:
        IngestError: a file cannot be looked at.
    """
    return files.keys() == known.keys() and all(
        _stat(path) == known[label][:2] for label, path in files.items()
    )


def read_content(files: Mapping[str, Path], known: Stamps, *, reading: str = "") -> ReadContent:
    """Read the files that have changed.

    Names and places of files do not count: a shot that was only moved has the content that it had.

    Args:
        files: label -> file, in the order in which they count.
        known: what was noted; empty to read everything.
        reading: how the files are taken, where that is not the usual way: another reading is another content.

    Raises:
        IngestError: a file cannot be read.
    """
    whole = hashlib.sha256(b"fedroto.shot/1\0" + reading.encode())
    stamps: dict[str, tuple[int, int, str]] = {}
    files_read = 0
    for label, path in files.items():
        size, changed = _stat(path)
        noted = known.get(label)
        if noted is not None and noted[:2] == (size, changed):
            sha256 = noted[2]
        else:
            settled = time.time() - changed / 1e9 > SETTLING_S
            sha256 = _sha256(path)
            changed = changed if settled else -1
            files_read += 1
        stamps[label] = (size, changed, sha256)
        whole.update(f"{label}\0".encode() + bytes.fromhex(sha256))
    return ReadContent(whole.hexdigest(), stamps, files_read)


def _stat(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError as error:
        raise IngestError(f"{path} cannot be read: {error.strerror or error}") from error
    return found.st_size, found.st_mtime_ns


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
    except OSError as error:
        raise IngestError(f"{path} cannot be read: {error.strerror or error}") from error
    return digest.hexdigest()
