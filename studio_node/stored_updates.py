"""Finished updates on disk, so that the same question gets the same bytes again and is never trained twice.

A stored update is the reply's frame exactly as it leaves: noised, within bounds, and worth nothing more to anybody
than the one that left. One file a question, under its campaign: ``updates/<campaign>/<round>-<question>.frame``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from federation.documents import canonical_json, digest
from federation.durable import make_private_dir, read_bounded, write_atomic
from federation.messages import PACKED_BYTES_MAX, SHORT_PART_BYTES_MAX
from studio_node.ledger_records import Question

UPDATES_FOLDER = "updates"
FRAME_BYTES_MAX = PACKED_BYTES_MAX + 4 * SHORT_PART_BYTES_MAX


class StoredUpdates:
    """The folder of stored updates of a studio's home."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, question: Question, frame: bytes) -> None:
        """Store an update; it is on disk, whole, when this returns.

        Raises:
            FedrotoError: the disk refused.
        """
        path = self._path(question)
        make_private_dir(self._folder)
        make_private_dir(path.parent)
        write_atomic(path, frame, mode=0o600)

    def get(self, question: Question) -> bytes | None:
        """Return the update stored for a question, None if there is none.

        Raises:
            FedrotoError: the file cannot be read.
        """
        path = self._path(question)
        return read_bounded(path, FRAME_BYTES_MAX) if path.exists() else None

    def frames(self) -> Iterator[tuple[Path, bytes]]:
        """Read all stored updates, by campaign and round."""
        for path in sorted(self._folder.glob("*/*.frame")):
            yield path, read_bounded(path, FRAME_BYTES_MAX)

    def forget_older_than(self, seconds: float) -> int:
        """Delete what was stored longer ago than any round can last; returns how many files."""
        gone = 0
        for path in sorted(self._folder.glob("*/*.frame")):
            if time.time() - path.stat().st_mtime > seconds:
                path.unlink(missing_ok=True)
                gone += 1
        return gone

    def _path(self, question: Question) -> Path:
        campaign, server_round = question[0], question[1]
        name = f"{server_round:06d}-{digest(canonical_json(list(question)))[:32]}.frame"
        return self._folder / campaign / name
