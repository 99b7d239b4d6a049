"""Threads that work behind the artist's back."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from typing import Final

NICE: Final = 10


def step_back() -> None:
    """Let this thread take only what the page and its server leave of the processors, where the system can do that."""
    if sys.platform == "linux":  # elsewhere a priority is the whole process's
        with contextlib.suppress(OSError):
            thread = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, thread, max(NICE, os.getpriority(os.PRIO_PROCESS, thread)))
