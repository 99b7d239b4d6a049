"""The console as a process, as a coordinator starts it."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit

from tests.pages.running_page import RunningPage


class RunningConsole(RunningPage):
    """``fedroto coordinator console`` on a home; use as a context."""

    def __init__(self, home: Path, *options: object) -> None:
        super().__init__("coordinator", "console", "--home", home, *options)

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
