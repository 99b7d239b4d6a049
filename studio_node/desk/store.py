"""The autosave: a document file that appears whole or not at all, and a journal of every step since.

A step is on the disk before the page is told that it was done, so kill -9 of the server or of the tab loses at most
a drag whose button is still down. A line cut short by a kill is left out when the journal is read; undo reaches back
over a restart, because the journal holds the steps and not only where they led.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import zlib
from pathlib import Path
from typing import Any, Final

import numpy as np

from federation.durable import make_private_dir, read_bounded, remove_leftovers, write_atomic
from federation.errors import ConfigError, FedrotoError
from model.formats import roto_json
from model.shapes import ShapeSet
from studio_node.desk.document import DeskShape, Document
from studio_node.desk.session import Edit, Session

SCHEMA: Final = "fedroto.desk/1"
JOURNAL_BYTES_MAX: Final = 64 * 2**20
FILE_BYTES_MAX: Final = 512 * 2**20


class DeskStore:
    """One work folder: ``document.json``, ``journal.jsonl`` and a lock that keeps a second desk out."""

    def __init__(self, folder: Path, *, width: int, height: int) -> None:
        """Open a work folder, or make it (mode 0700).

        Args:
            folder: where it lies.
            width: of the plate, px.
            height: of the plate, px.

        Raises:
            ConfigError: another desk has it open.
            FedrotoError: the disk refused.
        """
        make_private_dir(folder)
        self.folder, self._width, self._height = folder, width, height
        self._lock = (folder / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise ConfigError(
                f"another desk works in {folder}", hint="use its page, or give this one another --work folder"
            ) from error
        remove_leftovers(folder)
        self._document, self._journal = folder / "document.json", folder / "journal.jsonl"
        self._steps = 0
        self._file: Any = None

    def close(self) -> None:
        """Let go of the folder."""
        if self._file is not None:
            self._file.close()
        self._lock.close()

    def begin(self, session: Session, opened: dict[str, str]) -> None:
        """Start anew with a session, forgetting what the folder held.

        Args:
            session: whose document is written; its past is not.
            opened: what the desk was opened on, kept for the next time.
        """
        if self._file is not None:
            self._file.close()
        self._steps += 1
        self._write_document(session.document, opened)
        self._open_journal(os.O_TRUNC)
        self._opened = opened

    def restore(self) -> tuple[Session, dict[str, str]] | None:
        """What a former desk left in the folder: the session with its undo steps and what it was opened on; or None.

        Raises:
            FedrotoError: the document is damaged; the message says what to do.
        """
        if not self._document.exists():
            return None
        try:
            saved = json.loads(read_bounded(self._document, FILE_BYTES_MAX))
            if saved["schema"] != SCHEMA:
                raise ValueError(f"its schema is {saved['schema']!r:.40}")
            shapes = [shape_from(one) for one in saved["shapes"]]
            document = Document(tuple(shapes), int(saved["next_id"]))
            self._steps = int(saved["step"])
        except (ValueError, KeyError, TypeError) as error:
            raise FedrotoError(
                f"the autosave {self._document} cannot be read: {error}",
                hint="open with --fresh to start from the shape file; the old autosave is kept beside it",
            ) from error
        session = Session(document)
        whole = 0
        for line in self._lines():
            record = _record(line)
            if record is None:
                break
            whole += len(line)
            if record["step"] > self._steps:
                session = _replayed(session, record)
                self._steps = record["step"]
        self._open_journal(0)
        os.ftruncate(self._file.fileno(), whole)  # a half line would swallow the next step
        self._opened = dict(saved["opened"])
        return session, self._opened

    def set_aside(self) -> None:
        """Rename what the folder holds, so that a fresh start loses nothing."""
        for path in (self._document, self._journal):
            if path.exists():
                path.replace(path.with_name(f"former-{path.name}"))

    def append(self, edit: Edit) -> None:
        """Record a step; it is on the disk when this returns."""
        self._append({"do": edit_document(edit, self._width, self._height)})

    def append_undo(self) -> None:
        """Record one step back."""
        self._append({"undo": True})

    def append_redo(self) -> None:
        """Record one undone step forward."""
        self._append({"redo": True})

    def compact(self, session: Session) -> None:
        """Fold a journal that has grown large into the document; the undo steps in it end with this desk."""
        if self._file.tell() > JOURNAL_BYTES_MAX:
            self.begin(session, self._opened)

    def _append(self, record: dict[str, Any]) -> None:
        self._steps += 1
        text = json.dumps({"step": self._steps, **record}, separators=(",", ":"), allow_nan=False)
        line = f"{zlib.crc32(text.encode()):08x} {text}\n".encode()
        try:
            self._file.write(line)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise FedrotoError(
                f"the step could not be saved in {self._journal}: {error.strerror}",
                hint="free disk space; the last saved step is safe",
            ) from error

    def _open_journal(self, flags: int) -> None:
        descriptor = os.open(self._journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND | flags, 0o600)
        self._file = os.fdopen(descriptor, "ab")

    def _write_document(self, document: Document, opened: dict[str, str]) -> None:
        saved = {
            "schema": SCHEMA,
            "step": self._steps,
            "opened": opened,
            "next_id": document.next_id,
            "shapes": [shape_document(one, self._width, self._height) for one in document.shapes],
        }
        write_atomic(self._document, json.dumps(saved, allow_nan=False).encode(), 0o600)

    def _lines(self) -> list[bytes]:
        with contextlib.suppress(FileNotFoundError):
            return self._journal.read_bytes().splitlines(keepends=True)
        return []


def edit_document(edit: Edit, width: int, height: int) -> dict[str, Any]:
    """A step as JSON values."""
    return {
        "label": edit.label,
        "order": list(edit.order),
        "shapes": [
            [shape_id, None if one is None else shape_document(one, width, height)]
            for shape_id, one in edit.shapes.items()
        ],
    }


def shape_document(one: DeskShape, width: int, height: int) -> dict[str, Any]:
    """A shape of the desk as JSON values; loses nothing."""
    whole = json.loads(roto_json.dumps(ShapeSet((one.shape,), width, height)))
    return {
        "id": one.shape_id,
        "shape": whole,
        "placed": [[frame, sorted(points)] for frame, points in one.placed.items()],
        "accepted": [[frame, controls.tolist()] for frame, controls in one.accepted.items()],
        "shown": one.shown,
        "locked": one.locked,
    }


def shape_from(document: dict[str, Any]) -> DeskShape:
    """The shape that ``shape_document`` gave."""
    return DeskShape(
        shape_id=int(document["id"]),
        shape=roto_json.loads(json.dumps(document["shape"])).shapes[0],
        placed={int(frame): frozenset(points) for frame, points in document["placed"]},
        accepted={int(frame): np.array(controls, np.float64) for frame, controls in document["accepted"]},
        shown=bool(document["shown"]),
        locked=bool(document["locked"]),
    )


def _record(line: bytes) -> dict[str, Any] | None:
    """The step on a line; None for a line that a kill cut short."""
    check, _, text = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or check != b"%08x" % zlib.crc32(text):
        return None
    record = json.loads(text)
    return record if isinstance(record, dict) else None


def _replayed(session: Session, record: dict[str, Any]) -> Session:
    if "undo" in record:
        return session.undone()
    if "redo" in record:
        return session.redone()
    step = record["do"]
    shapes = {int(i): None if one is None else shape_from(one) for i, one in step["shapes"]}
    return session.after(Edit(step["label"], shapes, tuple(step["order"])))
