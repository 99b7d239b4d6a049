"""Makes the coordinator's k-th write to its disk fail, in every way that a write can.

A write is: a file put in place, a line appended, a SQLite transaction, a weights file. The ways:

    before   killed before anything of it is on the disk
    torn     killed in the middle: half a temporary file, half a line, an open transaction
    after    killed when it was on the disk and nobody knew yet
    once     the disk refuses this write and takes the next one
    full     the disk is full from this write on, until the test gives it room
"""

from __future__ import annotations

import contextlib
import errno
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import aggregator.database
import model.weights
from aggregator import enrolment, progress, round_store
from federation.durable import TEMPORARY_PREFIX
from federation.errors import FedrotoError

WAYS = ("before", "torn", "after", "once", "full")


class Killed(BaseException):
    """The process is gone; nothing in the product catches it."""


class DiskFaults:
    """Lists writes, and fails one of them.

    Attributes:
        log: what was written or tried since the last ``arm`` or ``disarm``, by name of file or kind of event.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log: list[str] = []
        self._fail_at: int | None = None
        self._way = "before"
        monkeypatch.setattr(round_store, "write_atomic", self._file(round_store.write_atomic))
        monkeypatch.setattr(model.weights, "save", self._file(model.weights.save))
        monkeypatch.setattr(progress.CampaignProgress, "event", self._line(progress.CampaignProgress.event))
        for module in (enrolment, progress):
            monkeypatch.setattr(module, "writing", self._transaction(aggregator.database.writing))

    def arm(self, write: int, way: str) -> None:
        """Fail the ``write``-th write from now on (1 is the next)."""
        self.log, self._fail_at, self._way = [], write, way

    def disarm(self) -> None:
        """Let every write succeed."""
        self.log, self._fail_at = [], None

    def _due(self, name: str) -> str | None:
        """List a write and say how it is to fail."""
        self.log.append(name)
        if self._fail_at is None or len(self.log) < self._fail_at:
            return None
        if self._way == "full":
            return "full"
        return self._way if len(self.log) == self._fail_at else None

    def _file(self, write: Callable[..., Any]) -> Callable[..., Any]:
        def faulty(path: Path, data: Any, *args: Any, **kwargs: Any) -> None:
            way = self._due(path.name)
            if way in ("full", "once"):
                raise FedrotoError(f"cannot write {path}: No space left on device")
            if way == "torn":
                path.with_name(f"{TEMPORARY_PREFIX}{path.name}-0badf00d").write_bytes(b"half")
            if way in ("before", "torn"):
                raise Killed
            write(path, data, *args, **kwargs)
            if way == "after":
                raise Killed

        return faulty

    def _line(self, event: Callable[..., Any]) -> Callable[..., Any]:
        def faulty(log: progress.CampaignProgress, *args: Any, **kwargs: Any) -> None:
            way = self._due(args[0])
            if way in ("full", "once"):
                with round_store.disk_guard():
                    raise OSError(errno.ENOSPC, "No space left on device")
            if way == "torn":
                with log._lines.open("ab") as file:
                    file.write(b'{"at": 1, "eve')
            if way in ("before", "torn"):
                raise Killed
            event(log, *args, **kwargs)
            if way == "after":
                raise Killed

        return faulty

    def _transaction(self, writing: Callable[..., Any]) -> Callable[..., Any]:
        @contextlib.contextmanager
        def faulty(connection: sqlite3.Connection, path: Path) -> Iterator[sqlite3.Connection]:
            way = self._due(path.name)
            if way in ("full", "once"):
                with aggregator.database.database_errors(path):
                    raise sqlite3.OperationalError("database or disk is full")
            if way == "before":
                raise Killed
            with writing(connection, path):
                yield connection
                if way == "torn":
                    raise Killed
            if way == "after":
                raise Killed

        return faulty
