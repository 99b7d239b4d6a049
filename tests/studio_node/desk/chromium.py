"""A real Chromium, driven over its DevTools protocol with the ``websockets`` package that comes with uvicorn."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

from websockets.sync.client import connect

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def chromium_path() -> str | None:
    """The browser of this machine, or None."""
    return next((found for found in map(shutil.which, NAMES) if found), None)


class Browser:
    """One browser with one page."""

    def __init__(self, profile: Path, *, width: int = 1500, height: int = 900) -> None:
        self.profile, self.size = profile, (width, height)
        self.opened = contextlib.ExitStack()

    def __enter__(self) -> Browser:
        path = chromium_path()
        assert path is not None
        self.process = subprocess.Popen(
            [
                path,
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-extensions",
                "--force-device-scale-factor=1",
                "--remote-debugging-port=0",
                "--remote-allow-origins=*",
                f"--window-size={self.size[0]},{self.size[1]}",
                f"--user-data-dir={self.profile}",
                "about:blank",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            port = self._port()
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=60) as answer:
                pages = [page for page in json.load(answer) if page["type"] == "page"]
            line = connect(pages[0]["webSocketDebuggerUrl"], max_size=None, open_timeout=60, proxy=None)
            self.socket = self.opened.enter_context(line)
            self.count = 0
            self.events: list[dict[str, Any]] = []
            for domain in ("Page", "Runtime", "Network", "Log"):
                self.call(f"{domain}.enable")
        except BaseException:
            self.process.kill()
            raise
        return self

    def __exit__(self, *failure: object) -> None:
        with contextlib.suppress(Exception):
            self.opened.close()
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def _port(self, timeout_s: float = 60) -> int:
        file, end = self.profile / "DevToolsActivePort", time.monotonic() + timeout_s
        while time.monotonic() < end:
            with contextlib.suppress(FileNotFoundError, IndexError, ValueError):
                return int(file.read_text().splitlines()[0])
            time.sleep(0.05)
        raise TimeoutError("chromium did not open its DevTools port")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command, with its result."""
        self.count += 1
        self.socket.send(json.dumps({"id": self.count, "method": method, "params": parameters}))
        while True:
            message = json.loads(self.socket.recv(timeout=60))
            if message.get("id") == self.count:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return message["result"]
            self.events.append(message)

    def open(self, address: str) -> None:
        """Go to a page."""
        self.call("Page.navigate", url=address)

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression; promises are waited for."""
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(result["exceptionDetails"].get("exception", {}).get("description", script))
        return result["result"].get("value")

    def until(self, script: str, timeout_s: float = 60) -> Any:
        """Wait until an expression is true; its value."""
        end = time.monotonic() + timeout_s
        while True:
            with contextlib.suppress(RuntimeError):
                value = self.run(script)
                if value:
                    return value
            if time.monotonic() > end:
                raise TimeoutError(f"not true in {timeout_s} s: {script}; errors: {self.errors()}")
            time.sleep(0.05)

    def mouse(self, kind: str, x: float, y: float, *, button: str = "left", modifiers: int = 0) -> None:
        """One pointer event; modifiers: 1 alt, 2 ctrl, 8 shift."""
        down = 1 if kind != "mouseReleased" and button != "none" else 0
        self.call(
            "Input.dispatchMouseEvent",
            type=kind,
            x=x,
            y=y,
            button=button,
            buttons=down,
            clickCount=1 if kind != "mouseMoved" else 0,
            modifiers=modifiers,
        )

    def drag(self, start: Any, end: Any, *, steps: int = 8, modifiers: int = 0, pause_s: float = 0.0) -> None:
        """Press, move in steps, release."""
        self.mouse("mouseMoved", *start, button="none")
        self.mouse("mousePressed", *start, modifiers=modifiers)
        for step in range(1, steps + 1):
            share = step / steps
            at = [a + share * (b - a) for a, b in zip(start, end, strict=True)]
            self.mouse("mouseMoved", *at, modifiers=modifiers)
            if pause_s:
                time.sleep(pause_s)
        self.mouse("mouseReleased", *end, modifiers=modifiers)

    def click(self, x: float, y: float, *, modifiers: int = 0) -> None:
        """Press and release."""
        self.mouse("mouseMoved", x, y, button="none")
        self.mouse("mousePressed", x, y, modifiers=modifiers)
        self.mouse("mouseReleased", x, y, modifiers=modifiers)

    def key(self, key: str, *, modifiers: int = 0) -> None:
        """Press and release a key; modifiers as for the mouse."""
        code = ord(key.upper()) if len(key) == 1 else 0
        for kind in ("rawKeyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                modifiers=modifiers,
                windowsVirtualKeyCode=code,
            )

    def screenshot(self, path: Path) -> None:
        """Save what the page looks like."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def errors(self) -> list[str]:
        """What the page complained about since the browser began."""
        self.run("1")
        found = []
        for event in self.events:
            if event["method"] == "Runtime.exceptionThrown":
                found.append(json.dumps(event["params"]["exceptionDetails"])[:400])
            elif event["method"] == "Log.entryAdded" and event["params"]["entry"]["level"] == "error":
                found.append(f"{event['params']['entry']['text']} {event['params']['entry'].get('url', '')}")
        return found

    def requests(self) -> list[str]:
        """Addresses that the page asked for."""
        return [
            e["params"]["request"]["url"] for e in self.events if e["method"] == "Network.requestWillBeSent"
        ]
