"""The fleet proxy: the only thing that studios reach at the coordinator.

It forwards exactly the calls that a studio's node makes, and health; every other path is 404, among them the
SuperLink's control and runtime APIs, its documentation, and registering a node. Limits hold before anything is
authenticated: bytes of a body (by its declared length and while it is read), seconds for a body, requests per
connection and second, requests of one host at once.

Status codes are commands to Flower's nodes (flwr 1.41): 502, 503 and 504 mean "try again", 401 and 403 mean "stop", and
413 and 404 lose the reply that is being sent. So this proxy itself says 502 when the SuperLink is away, 503 when there
is too much, 413 and 404 only for what no node of ours sends, and never 401 or 403.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from aggregator.request_rate import RequestRate
from federation.config import address, load_federation_config
from federation.homes import CoordinatorHome
from federation.memory import return_large_blocks, untied

Scope = MutableMapping[str, Any]
AsgiMessage = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[AsgiMessage]]
Send = Callable[[AsgiMessage], Awaitable[None]]

FLEET_CALLS = (
    "activate-node",
    "deactivate-node",
    "send-node-heartbeat",
    "pull-messages",
    "push-messages",
    "get-run",
    "get-fab",
    "push-object",
    "pull-object",
    "confirm-message-received",
)
ROUTES = frozenset({("GET", b"/health")} | {("POST", f"/v1/fleet/{call}".encode()) for call in FLEET_CALLS})
CONNECTIONS_MAX = 1024
KEEP_ALIVE_S = 75  # longer than the pause between two heartbeats: a TLS handshake costs more than a request
STOP_S = 1
REQUEST_HEADERS = frozenset(
    {
        b"accept",
        b"content-type",
        b"flwr-public-key",
        b"flwr-signature",
        b"flwr-timestamp",
        b"flwr-package-name",
        b"flwr-package-version",
        b"flwr-component-name",
    }
)
RESPONSE_HEADERS = frozenset({b"content-type", b"flwr-version-incompatibility-message"})


@dataclass(frozen=True)
class ProxyLimits:
    """What one studio, or somebody who is none, may cost.

    Attributes:
        body_bytes_max: of one request; Flower cuts objects at 5 MB.
        body_timeout_s: for a request's body to arrive.
        requests_burst: of one connection at once (one request moves one object).
        requests_per_s: of one connection, on average.
        requests_at_once_per_host: under way for one address.
        requests_at_once: under way altogether.
        upstream_timeout_s: for the SuperLink's answer.
    """

    body_bytes_max: int = 8 << 20
    body_timeout_s: float = 60.0
    requests_burst: int = 1000
    requests_per_s: float = 100.0
    requests_at_once_per_host: int = 64
    requests_at_once: int = 256
    upstream_timeout_s: float = 60.0


class FleetProxy:
    """The proxy as an ASGI application."""

    def __init__(self, upstream: httpx.AsyncClient, limits: ProxyLimits | None = None) -> None:
        """Prepare.

        Args:
            upstream: client whose base address is the SuperLink.
            limits: what a request may cost.
        """
        self._upstream = upstream
        self._limits = limits or ProxyLimits()
        self._rate = RequestRate(self._limits.requests_burst, self._limits.requests_per_s)
        self._under_way: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection's event: a request, or the server's start and stop."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._request(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (scope["method"], scope.get("raw_path")) not in ROUTES or scope["query_string"]:
            return await _answer(send, 404)
        client = scope.get("client") or ("unknown", 0)
        host = str(client[0])
        if not self._rate.allows(tuple(client), time.monotonic()) or not self._has_room(host):
            return await _answer(send, 503, [(b"retry-after", b"1")])
        self._under_way[host] += 1
        try:
            body = await self._body(scope, receive)
            if isinstance(body, int):
                return await _answer(send, body, [(b"connection", b"close")])
            await self._forward(scope, body, send)
        finally:
            self._under_way[host] -= 1
            if self._under_way[host] <= 0:
                del self._under_way[host]

    def _has_room(self, host: str) -> bool:
        return (
            self._under_way[host] < self._limits.requests_at_once_per_host
            and self._under_way.total() < self._limits.requests_at_once
        )

    async def _body(self, scope: Scope, receive: Receive) -> bytes | int:
        """Return the request's body, or the status that refuses it."""
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if not declared.isdigit() or int(declared) > self._limits.body_bytes_max:
            return 413
        body = bytearray()
        try:
            async with asyncio.timeout(self._limits.body_timeout_s):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return 503
                    body += message.get("body", b"")
                    if len(body) > self._limits.body_bytes_max:
                        return 413
                    if not message.get("more_body", False):
                        return bytes(body)
        except TimeoutError:
            return 503

    async def _forward(self, scope: Scope, body: bytes, send: Send) -> None:
        headers = _allowed(scope["headers"], REQUEST_HEADERS)
        path = scope["raw_path"].decode("ascii")
        try:
            answer = untied(
                await self._upstream.request(scope["method"], path, content=body, headers=headers)
            )
        except httpx.HTTPError:
            return await _answer(send, 502)
        await _answer(
            send, answer.status_code, _allowed(answer.headers.raw, RESPONSE_HEADERS), answer.content
        )

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            else:
                await self._upstream.aclose()
                return await send({"type": "lifespan.shutdown.complete"})


def _allowed(headers: Iterable[tuple[bytes, bytes]], names: frozenset[bytes]) -> list[tuple[bytes, bytes]]:
    return [(name.lower(), value) for name, value in headers if name.lower() in names]


async def _answer(
    send: Send, status: int, headers: list[tuple[bytes, bytes]] | None = None, body: bytes = b""
) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*(headers or []), length]})
    await send({"type": "http.response.body", "body": body})


@dataclass(frozen=True)
class FleetProxySettings:
    """Where the fleet proxy listens and what it stands in front of.

    Attributes:
        host: address to listen on.
        port: that studios dial.
        certificate: file of the server's certificate.
        key: file of its key.
        ca_certificate: file of the authority that the SuperLink's certificate is checked against.
        superlink: host:port of the SuperLink, on loopback.
        limits: what a request may cost.
    """

    host: str
    port: int
    certificate: Path
    key: Path
    ca_certificate: Path
    superlink: str
    limits: ProxyLimits = ProxyLimits()

    @classmethod
    def of_home(cls, home: Path, *, host: str = "0.0.0.0") -> FleetProxySettings:  # noqa: S104 - studios dial it
        """Return the settings that follow from a coordinator's home.

        Raises:
            ConfigError: ``federation.toml`` is missing or wrong.
        """
        places = CoordinatorHome(home)
        config = load_federation_config(places.config)
        return cls(
            host=host,
            port=config.fleet_port,
            certificate=places.server_certificate,
            key=places.keys / "server.key",
            ca_certificate=places.ca,
            superlink=address("127.0.0.1", config.superlink_port),
        )


def run_fleet_proxy(home: Path, *, host: str = "0.0.0.0") -> None:  # noqa: S104 - studios dial it
    """Serve as the fleet proxy of a coordinator's home in this process, until SIGTERM.

    Raises:
        ConfigError: ``federation.toml`` is missing or wrong.
    """
    serve(FleetProxySettings.of_home(home, host=host))


def serve(settings: FleetProxySettings) -> None:
    """Serve as a fleet proxy in this process, until SIGTERM; see :func:`run_fleet_proxy`."""
    return_large_blocks()
    context = ssl.create_default_context(cafile=str(settings.ca_certificate))
    upstream = httpx.AsyncClient(
        base_url=f"https://{settings.superlink}",
        verify=context,
        timeout=httpx.Timeout(settings.limits.upstream_timeout_s, connect=5.0),
        limits=httpx.Limits(max_connections=64, max_keepalive_connections=32, keepalive_expiry=4.0),
        headers={"accept-encoding": "identity"},
        trust_env=False,
    )
    uvicorn.run(
        FleetProxy(upstream, settings.limits),
        host=settings.host,
        port=settings.port,
        ssl_certfile=str(settings.certificate),
        ssl_keyfile=str(settings.key),
        limit_concurrency=CONNECTIONS_MAX,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=STOP_S,
        server_header=False,
        proxy_headers=False,
        access_log=False,
        log_level="warning",
        ws="none",
    )
