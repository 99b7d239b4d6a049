"""A page's server as a process, as its user starts it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

REPOSITORY = Path(__file__).parents[2]


class RunningPage:
    """``fedroto ... --no-browser --json``; use as a context.

    Attributes:
        facts: what it printed when the page could be opened.
        address: of the page, with its token.
        said: after the context, what it wrote to standard error.
    """

    def __init__(self, *arguments: Any) -> None:
        words = [str(word) for word in arguments]
        self.command = [sys.executable, "-m", "federation.cli", *words, "--no-browser", "--json"]

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            self.command,
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        )
        assert self.process.stdout is not None
        watchdog = threading.Timer(90, self.process.kill)
        watchdog.start()
        line = self.process.stdout.readline()
        watchdog.cancel()
        self.facts = json.loads(line) if line.endswith("}\n") else {}
        if "address" not in self.facts:
            raise RuntimeError(line + "".join(self.process.communicate()))
        self.address: str = self.facts["address"]
        self.port = urlsplit(self.address).port
        self.token = parse_qs(urlsplit(self.address).query)["token"][0]
        return self

    def kill(self) -> None:
        """As a power cut would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def __exit__(self, *failure: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()
        self.said = self.process.communicate()[1]


def running_desk(shot: Any, work: Path, weights: Path, *options: str) -> RunningPage:
    """``fedroto desk`` on a written shot."""
    how = ("--shapes", shot.artist_file, "--work", work, "--weights", weights)
    return RunningPage("desk", shot.plate, *how, *options)
