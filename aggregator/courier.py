"""What the round loop needs of a transport, and the clock that it lives by.

``federation.flower.coordinator.FederationRun`` is the courier of a real federation; the tests have one in memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from flwr.app import RecordDict

from federation.flower.coordinator import Reply
from federation.flower.roster import Node


class Courier(Protocol):
    """Carries questions to studios and their replies back; a context manager.

    Every method raises ``UnreachableError`` while the other side is away (call again), ``RunLostError`` when the run
    is dead (call :meth:`open`), and otherwise ``FlowerError``.
    """

    def __enter__(self) -> Self:
        """Open the run."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the run as it is, for the next process."""

    def open(self) -> None:
        """Continue the run, or start a new one if it is dead."""

    def nodes(self) -> Sequence[Node]:
        """Return all registered nodes, online or not."""

    def push(self, node_id: int, content: RecordDict, ttl_s: float, *, server_round: int = 0) -> str:
        """Ask a node and return the question's id, which is good for this run only."""

    def pull(self, message_ids: Iterable[str]) -> Iterator[Reply]:
        """Yield the replies that have arrived; a reply is handed out once."""

    def finish(self, *, completed: bool, details: str = "") -> None:
        """End the run for good."""


@dataclass(frozen=True)
class Clock:
    """Time as an argument.

    Attributes:
        now: seconds since the epoch, UTC.
        sleep: waits so many seconds.
    """

    now: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True)
class Pace:
    """How often the loop looks, in seconds.

    Attributes:
        poll_s: between two looks for replies, right after something came in or went out.
        poll_max_s: between two looks, where nothing has happened for long: a tenth of the time since, at most this.
        roster_s: between two looks at who is online.
    """

    poll_s: float = 0.1
    poll_max_s: float = 1.0
    roster_s: float = 2.0

    def pause_s(self, idle_s: float) -> float:
        """Return how long to wait before the next look, ``idle_s`` after something happened."""
        return max(self.poll_s, min(self.poll_max_s, idle_s / 10))
