"""What happened last in a campaign, in sentences: the end of its ``progress.jsonl``, read beside the process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TAIL_BYTES: Final = 256 * 1024


@dataclass(frozen=True)
class Activity:
    """One thing that happened.

    Attributes:
        at: seconds since the epoch, UTC.
        event: what kind of thing, for machines ("round.closed").
        text: one sentence.
        server_round: the round that it belongs to, or None.
        studio: the studio that it is about, or None.
    """

    at: float
    event: str
    text: str
    server_round: int | None
    studio: str | None


def newest_activity(path: Path, count: int) -> tuple[Activity, ...]:
    """Read the last ``count`` lines, oldest first; a line torn by a kill is passed over."""
    if not path.exists():
        return ()
    with path.open("rb") as file:
        start = max(0, path.stat().st_size - TAIL_BYTES)
        file.seek(start)
        lines = file.read().splitlines()[1 if start else 0 :]
    found = (_activity(line) for line in lines[-count - 1 :])
    return tuple(one for one in found if one is not None)[-count:]


def _activity(line: bytes) -> Activity | None:
    try:
        fields = json.loads(line)
        number, studio = fields.get("round"), fields.get("studio")
        return Activity(
            float(fields["at"]),
            str(fields["event"]),
            str(fields["text"]),
            number if isinstance(number, int) else None,
            studio if isinstance(studio, str) else None,
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
