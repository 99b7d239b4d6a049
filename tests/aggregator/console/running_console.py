"""The console as a process, as a coordinator starts it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import parse_qs, urlsplit

REPOSITORY = Path(__file__).parents[3]


class RunningConsole:
    """``fedroto coordinator console`` on a home; use as a context."""

    def __init__(self, home: Path) -> None:
        self.command = [
            sys.executable, "-m", "federation.cli", "coordinator", "console",
            "--home", str(home), "--no-browser", "--json",
        ]  # fmt: skip

    def __enter__(self) -> RunningConsole:
        self.process = subprocess.Popen(
            self.command,
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        watchdog = threading.Timer(90, self.process.kill)
        watchdog.start()
        line = self.process.stdout.readline()
        watchdog.cancel()
        if not line:
            raise RuntimeError(self.process.communicate()[1])
        self.address: str = json.loads(line)["address"]
        self.token = parse_qs(urlsplit(self.address).query)["token"][0]
        return self

    def get(self, path: str, *, token: str | None = None, **headers: str) -> tuple[int, str]:
        """Ask for a path; returns the status and the body."""
        place = urlsplit(self.address)
        address = (
            f"{place.scheme}://{place.netloc}{path}{'&' if '?' in path else '?'}token={token or self.token}"
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(urllib.request.Request(address, headers=headers), timeout=60) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as error:
            return error.code, error.read().decode()

    def state(self) -> dict[str, Any]:
        """The page's state."""
        status, body = self.get("/state.json")
        assert status == 200, body
        return json.loads(body)

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
