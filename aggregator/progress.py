"""What people and the console see of a campaign: events as JSON lines, and tables of rounds and studios in SQLite.

Nothing is ever read back from either to decide something; the round files are (``aggregator.round_store``). They hold
who answered, how many bytes and how long it took, and nothing about the quality of anybody's update.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from aggregator.database import open_database, writing
from aggregator.round_report import Value, bytes_in
from aggregator.round_state import Turn
from aggregator.round_store import RoundRecord, disk_guard

PROGRESS_FILE, ROUNDS_FILE = "progress.jsonl", "rounds.sqlite"
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS rounds (
    server_round INTEGER PRIMARY KEY,
    attempt INTEGER NOT NULL,
    phase TEXT NOT NULL,
    reason TEXT NOT NULL,
    quorum INTEGER NOT NULL,
    named INTEGER NOT NULL,
    returned INTEGER NOT NULL,
    opened_at REAL NOT NULL,
    deadline_at REAL NOT NULL,
    bytes_in INTEGER NOT NULL,
    weights_digest TEXT,
    public_error REAL,
    rolled_back INTEGER NOT NULL DEFAULT 0,
    verdict TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE TABLE IF NOT EXISTS studio_rounds (
    server_round INTEGER NOT NULL,
    studio TEXT NOT NULL,
    staleness INTEGER NOT NULL,
    standing TEXT NOT NULL,
    reason TEXT NOT NULL,
    asks INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    seconds REAL NOT NULL,
    PRIMARY KEY (server_round, studio, staleness)
) STRICT;
"""


class CampaignProgress:
    """Writes one campaign's ``progress.jsonl`` and ``rounds.sqlite``; use as a context manager."""

    def __init__(self, folder: Path, *, now: Callable[[], float], tell: Callable[[str], None] | None) -> None:
        """Open both in a campaign's folder; a line that a killed process left torn is dropped.

        Args:
            folder: the campaign's.
            now: seconds since the epoch.
            tell: also gets each event as a sentence, or None.

        Raises:
            RoundError: the disk refused.
        """
        self._now, self._tell = now, tell
        self._lines, self._tables = folder / PROGRESS_FILE, folder / ROUNDS_FILE
        with disk_guard():
            _drop_torn_line(self._lines)
            self._connection = open_database(self._tables, _SCHEMA)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def event(self, name: str, text: str, **fields: Value) -> None:
        """Append one event.

        Args:
            name: what kind of thing happened, for machines ("round.closed").
            text: one sentence for people.
            fields: its values.

        Raises:
            RoundError: the disk refused.
        """
        line = json.dumps({"at": round(self._now(), 3), "event": name, **fields, "text": text}) + "\n"
        with disk_guard(), self._lines.open("ab") as file:
            file.write(line.encode())
        if self._tell is not None:
            self._tell(text)

    def round(self, record: RoundRecord) -> None:
        """Bring the tables up to a round's record; doing it twice changes nothing.

        Raises:
            RoundError: the disk refused.
        """
        state, verdict = record.state, record.verdict
        turns = [(0, studio, turn) for studio, turn in state.turns.items()]
        turns += [(1, studio, turn) for studio, turn in state.late.items()]
        with disk_guard(), writing(self._connection, self._tables) as connection:
            connection.execute(
                "INSERT OR REPLACE INTO rounds VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    record.server_round,
                    record.attempt,
                    state.phase,
                    state.reason,
                    state.quorum,
                    len(state.turns),
                    len(state.accepted),
                    state.opened_at,
                    state.deadline_at,
                    bytes_in(state),
                    record.weights_digest,
                    None if verdict is None else verdict.after,
                    verdict is not None and verdict.rolled_back,
                    "" if verdict is None else verdict.reason,
                ),
            )
            connection.executemany(
                "INSERT OR REPLACE INTO studio_rounds VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (record.server_round, studio, staleness, *_columns(turn))
                    for staleness, studio, turn in turns
                ],
            )


def _columns(turn: Turn) -> tuple[str, str, int, int, float]:
    return turn.standing, turn.reason, turn.asks, turn.size_bytes, turn.seconds


def _drop_torn_line(path: Path) -> None:
    """Cut what follows the last line end."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        position = end
        while position > 0:
            start = max(0, position - 4096)
            file.seek(start)
            cut = file.read(position - start).rfind(b"\n")
            if cut >= 0:
                position = start + cut + 1
                break
            position = start
        if position < end:
            file.truncate(position)
