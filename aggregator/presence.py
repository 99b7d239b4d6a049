"""Which studios' nodes are up, asked of the SuperLink from time to time on a thread; an answer is never waited for."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from federation.errors import FedrotoError

PERIOD_S: Final = 4.0


@dataclass(frozen=True)
class NodeSeen:
    """What the SuperLink says of a studio's node.

    Attributes:
        online: whether its heartbeat is recent enough.
        last_seen: until when its last heartbeat held, at most now; seconds since the epoch, 0 if it never dialled in.
    """

    online: bool
    last_seen: float


class Presence:
    """The newest answer of the SuperLink; use as a context manager."""

    def __init__(self, look: Callable[[], Mapping[str, NodeSeen]], *, period_s: float = PERIOD_S) -> None:
        """Take what looks; nothing is asked before the context begins.

        Args:
            look: asks the SuperLink; raises ``FedrotoError`` where it does not answer.
            period_s: pause between two looks.
        """
        self._look, self._period_s = look, period_s
        self._seen: Mapping[str, NodeSeen] | None = None
        self._stop = threading.Event()

    @classmethod
    def of_home(cls, home: Path) -> Presence:
        """Look at the SuperLink of a coordinator's home."""
        return cls(lambda: _nodes(home))

    @property
    def nodes(self) -> Mapping[str, NodeSeen] | None:
        """By studio; None while the SuperLink does not answer."""
        return self._seen

    def __enter__(self) -> Presence:
        threading.Thread(target=self._work, name="presence", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()

    def look(self) -> None:
        """Ask once."""
        try:
            self._seen = self._look()
        except FedrotoError:  # it is down: nobody is known to be online
            self._seen = None

    def _work(self) -> None:
        while not self._stop.is_set():
            self.look()
            self._stop.wait(self._period_s)


def _nodes(home: Path) -> Mapping[str, NodeSeen]:
    from aggregator.superlink import SuperLinkSettings  # these import Flower: a second, on this thread
    from federation.flower.roster import StudioRoster

    now = time.time()
    with contextlib.closing(StudioRoster(SuperLinkSettings.of_home(home).access())) as roster:
        return {node.studio: NodeSeen(node.online, min(node.heard_until, now)) for node in roster.nodes()}
