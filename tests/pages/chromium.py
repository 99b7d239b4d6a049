"""The Chromium of this machine under Playwright: one browser with one page."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Error, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def chromium_path() -> str | None:
    """The browser of this machine, or None."""
    return next((found for found in map(shutil.which, NAMES) if found), None)


needs_chromium = pytest.mark.skipif(chromium_path() is None, reason="no chromium on this machine")


class Browser:
    """One browser with one page; use as a context.

    Attributes:
        page: Playwright's page.
        errors: what the page has complained about.
        requests: addresses that it has asked for.
    """

    def __init__(self, *, width: int = 1500, height: int = 900) -> None:
        self.size: Any = {"width": width, "height": height}
        self.errors: list[str] = []
        self.requests: list[str] = []

    def __enter__(self) -> Browser:
        self.playwright = sync_playwright().start()
        try:
            self.browser = self.playwright.chromium.launch(
                executable_path=chromium_path(),
                args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
            )
            self.page = self.browser.new_page(viewport=self.size)
        except BaseException:
            self.playwright.stop()
            raise
        self.page.set_default_timeout(60_000)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on(
            "console",
            lambda said: said.type == "error" and self.errors.append(f"{said.text} {said.location['url']}"),
        )
        return self

    def __exit__(self, *failure: object) -> None:
        self.browser.close()
        self.playwright.stop()

    def open(self, address: str) -> None:
        """Go to a page."""
        self.page.goto(address)

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression; promises are waited for."""
        return self.page.evaluate(script)

    def until(self, script: str, timeout_s: float = 60) -> Any:
        """Wait until an expression is true; its value.

        Playwright's own ``wait_for_function`` evaluates inside the page, which the page's security policy forbids.
        """
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            with contextlib.suppress(Error):  # not there yet, or the page is just being changed
                if value := self.run(script):
                    return value
            self.page.wait_for_timeout(50)
        raise TimeoutError(f"not true in {timeout_s} s: {script}; errors: {self.errors}")

    def click(self, place: Any, *, held: str = "") -> None:
        """Press and release, with keys held: ``Shift``, ``Control+Alt``."""
        with self._holding(held):
            self.page.mouse.click(*place)

    def drag(self, start: Any, end: Any, *, steps: int = 8, held: str = "") -> None:
        """Press, move in steps, release, with keys held."""
        mouse = self.page.mouse
        mouse.move(*start)
        with self._holding(held):
            mouse.down()
            mouse.move(*end, steps=steps)
            mouse.up()

    def press(self, key: str) -> None:
        """Press and release a key: ``z``, ``Control+z``."""
        self.page.keyboard.press(key)

    def screenshot(self, path: Path) -> None:
        """Save what the page looks like."""
        self.page.screenshot(path=path, **({"type": "jpeg", "quality": 78} if path.suffix == ".jpg" else {}))

    @contextlib.contextmanager
    def _holding(self, held: str) -> Iterator[None]:
        keys = held.split("+") if held else []
        for key in keys:
            self.page.keyboard.down(key)
        yield
        for key in reversed(keys):
            self.page.keyboard.up(key)
