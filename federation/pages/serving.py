"""Serves a page on this machine: its files from the installed package, on the loopback, behind the guard."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, MutableMapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import uvicorn
from fastapi.responses import Response

from federation.errors import ConfigError
from federation.pages.guard import HEADERS, Asked, Secret, refusal

CONTENT_TYPES: Final = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
}
PAGE: Final = "index.html"
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


def page_files(package: str) -> dict[str, tuple[bytes, str]]:
    """A page's files by name, with their types; read once, so a request never names a place on the disk.

    Args:
        package: whose folder ``static`` holds them.
    """
    found = {}
    for entry in (files(package) / "static").iterdir():
        kind = CONTENT_TYPES.get(Path(entry.name).suffix)
        if kind is not None:
            found[entry.name] = (entry.read_bytes(), f"{kind}; charset=utf-8")
    return found


class Guarded:
    """Asks ``guard.refusal`` about every request before anything else sees it."""

    def __init__(self, app: Any, secret: Secret) -> None:
        self._app, self._secret = app, secret

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}
        websocket = scope["type"] == "websocket"
        asked = Asked(
            scope.get("method", "GET"), scope["query_string"].decode("latin-1"), headers, websocket=websocket
        )
        refused = refusal(asked, self._secret)
        if refused is None:
            await self._app(scope, receive, send)
        elif websocket:
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": refused[1][:100]})
        else:
            await Response(refused[1], refused[0], HEADERS, "text/plain")(scope, receive, send)


def listening(port: int) -> socket.socket:
    """Listen on the loopback.

    Args:
        port: to listen on; 0 takes a free one.

    Raises:
        ConfigError: the port is taken.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
        listener.listen()  # from here on a browser waits instead of being turned away
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"port {port} of 127.0.0.1 cannot be used: {error.strerror}", hint="--port 0 takes a free one"
        ) from error
    return listener


def page_address(listener: socket.socket, secret: Secret) -> str:
    """The address that opens the page, with its token."""
    return f"http://127.0.0.1:{listener.getsockname()[1]}/?token={secret.token}"


def page_server(app: Any, *, message_bytes_max: int = 1 << 20) -> uvicorn.Server:
    """The server of a guarded application; it writes no access log, whose lines would hold the token.

    Args:
        app: the application.
        message_bytes_max: largest message that a WebSocket takes.
    """
    return uvicorn.Server(
        uvicorn.Config(
            app,
            access_log=False,
            log_level="warning",
            ws_max_size=message_bytes_max,
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=2,
        )
    )
