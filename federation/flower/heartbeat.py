"""A heartbeat thread that only ever sets a flag.

Flower's own HeartbeatSender signals or ends the process when its beat is refused, even in the middle of training.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from federation.errors import FlowerError

RETRY_S = 1.0


class Heartbeat:
    """Calls ``beat`` regularly in a thread of its own, sooner again after a failure.

    Attributes:
        failed_in_a_row: beats that did not get through since the last one that did.
    """

    def __init__(
        self,
        beat: Callable[[], bool],
        *,
        interval_s: float,
        on_stop: Callable[[], None] = lambda: None,
        name: str,
    ) -> None:
        """Start beating at once.

        Args:
            beat: sends one heartbeat; False means that the other side does not know us any more. A FlowerError means
                that it did not get through.
            interval_s: pause after a good beat.
            on_stop: called in the thread when it ends.
            name: of the thread.
        """
        self._beat = beat
        self._interval_s = interval_s
        self._on_stop = on_stop
        self._stop = threading.Event()
        self._refused = threading.Event()
        self.failed_in_a_row = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def refused(self) -> bool:
        """Whether the other side no longer knows us; the thread has ended then."""
        return self._refused.is_set()

    def stop(self) -> None:
        """End the thread, waiting for a call under way for a few seconds at most."""
        self._stop.set()
        self._thread.join(timeout=5.0)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                try:
                    if not self._beat():
                        self._refused.set()
                        return
                    self.failed_in_a_row = 0
                    pause_s = self._interval_s
                except FlowerError:
                    self.failed_in_a_row += 1
                    pause_s = RETRY_S
                self._stop.wait(pause_s)
        finally:
            self._on_stop()
