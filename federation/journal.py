"""A process's log: JSON lines in its home folder, and one short line for people.

Journals stay on their machine. They name events and numbers; secrets and weights have no place in them.
"""

from __future__ import annotations

import json
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

SIZE_BYTES_MAX = 16 << 20


class Journal:
    """Appends events to a JSON-lines file and echoes them as short lines."""

    def __init__(self, path: Path | None, process: str, *, echo: TextIO | None = None) -> None:
        """Prepare; the file and its folder are made on first use.

        Args:
            path: the JSON-lines file, or None to keep none. Grown beyond 16 MiB it is moved to ``<name>.1``.
            process: short name in front of every line.
            echo: where the short lines go; standard error by default.
        """
        self._path = path
        self._process = process
        self._echo = echo
        self._lock = threading.Lock()

    def write(self, event: str, text: str, **fields: str | int | float | bool | None) -> None:
        """Record one event.

        A full or read-only disk does not end the process: the short line still appears.

        Args:
            event: stable name, for programs.
            text: one sentence without a full stop, for people.
            **fields: the values.
        """
        now = datetime.now(UTC)
        record = {"time": now.isoformat(timespec="milliseconds"), "process": self._process, "event": event}
        line = json.dumps(record | {"text": text} | fields, ensure_ascii=False)
        with self._lock:
            self._append(line)
            stream = self._echo or sys.stderr
            try:
                stream.write(f"{now:%H:%M:%S} {self._process}: {_printable(text)}\n")
                stream.flush()
            except (OSError, ValueError):
                return

    def _append(self, line: str) -> None:
        if self._path is None:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if self._path.exists() and self._path.stat().st_size > SIZE_BYTES_MAX:
                self._path.replace(self._path.with_name(self._path.name + ".1"))
            with self._path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError:
            return


def _printable(text: str) -> str:
    """Parts of a text may come from the other side: nothing of it steers a terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)
