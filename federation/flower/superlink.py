"""Turns the calling process into Flower's SuperLink."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvicorn

from federation.flower.version import check_flower_version, flower_environment
from federation.memory import return_large_blocks

STOP_S = (
    2  # for requests under way; without a limit, uvicorn waits for every idle connection's client to leave
)
SQLITE = (("wal_autocheckpoint", "16384"), ("cache_size", "-8000"))
"""Pages, 64 MB: each checkpoint waits for the disk, and Flower's 4 MB are one a round. And kB for each of a dozen
connections, in place of 64 MB."""


def become_superlink(arguments: Sequence[str], flower_home: Path) -> None:
    """Serve as ``flower-superlink`` in this process until SIGTERM.

    Args:
        arguments: flower-superlink's options.
        flower_home: FLWR_HOME of this process and no other.

    Raises:
        FlowerError: the installed Flower is of another series.
    """
    check_flower_version()
    return_large_blocks()
    environment = flower_environment(flower_home)
    os.environ.clear()
    os.environ.update(environment)
    serve_without_limit = uvicorn.run

    def serve(*positional: Any, **options: Any) -> None:
        # Flower rotates its log file, but nobody rotates the console; and the access log has a line for every poll.
        console_handler.setLevel(logging.WARNING)
        options |= {"access_log": False, "timeout_graceful_shutdown": STOP_S}
        serve_without_limit(*positional, **options)

    uvicorn.run = serve
    sys.argv = ["flower-superlink", *arguments]
    from flwr.supercore import sql_mixin
    from flwr.supercore.constant import SQLITE_PRAGMAS
    from flwr.supercore.logger import console_handler
    from flwr.superlink.cli.flower_superlink import flower_superlink

    vars(sql_mixin)["SQLITE_PRAGMAS"] = (*SQLITE_PRAGMAS, *SQLITE)  # the later ones hold
    flower_superlink()
