"""When a reply may leave: at whole multiples of the studio's own interval, so that its moment tells little.

How long a round took depends on how many shots were drawn, and whether it was refused, trained or found in the store.
On a schedule all of that ends in the same moment, the first multiple after the question came, unless training took
longer.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from federation.config import STUDIO_CONFIG, load_studio_config
from federation.errors import ConfigError


class ReplySchedule:
    """A studio's ``reply_every_s``, read anew for every reply."""

    def __init__(self, home: Path, *, sleep: Callable[[float], None] = time.sleep) -> None:
        """Prepare.

        Args:
            home: of the studio.
            sleep: waits so many seconds.
        """
        self._config = home / STUDIO_CONFIG
        self._sleep = sleep

    def wait(self, taken_s: float) -> None:
        """Wait until the reply to a question that came ``taken_s`` seconds ago may leave."""
        try:
            every_s = load_studio_config(self._config).policy.reply_every_s
        except ConfigError:
            return  # without settings every question is refused, whatever the studio has
        if every_s:
            self._sleep(-taken_s % every_s)
