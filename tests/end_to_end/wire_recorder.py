"""A TLS-terminating relay in front of the fleet proxy that keeps every byte, and a reader for what it kept."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Recorded:
    """One connection: what the studio sent and what it was answered, decrypted."""

    sent: bytearray = field(default_factory=bytearray)
    answered: bytearray = field(default_factory=bytearray)


@dataclass(frozen=True)
class HttpRequest:
    """One request as it stood on the wire."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class WireRecorder:
    """Listens where studios dial, with the federation's own certificate, and passes everything on."""

    def __init__(self, port: int, upstream_port: int, coordinator: Path) -> None:
        self._port = port
        self._upstream_port = upstream_port
        self._server_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._server_context.load_cert_chain(coordinator / "server.pem", coordinator / "keys" / "server.key")
        self._client_context = ssl.create_default_context(cafile=str(coordinator / "ca.crt"))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="wire-recorder", daemon=True)
        self._listening = threading.Event()
        self.connections: list[Recorded] = []

    def start(self) -> None:
        self._thread.start()
        assert self._listening.wait(10), f"nothing listens on port {self._port}"

    def stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)

    def requests(self) -> list[HttpRequest]:
        """Every request of every connection."""
        return [request for one in self.connections for request in read_requests(bytes(one.sent))]

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        serving = asyncio.start_server(self._relay, "127.0.0.1", self._port, ssl=self._server_context)
        self._loop.run_until_complete(serving)
        self._listening.set()
        self._loop.run_forever()

    async def _relay(self, studio: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            upstream, onward = await asyncio.open_connection(
                "127.0.0.1", self._upstream_port, ssl=self._client_context
            )
            kept = Recorded()
            self.connections.append(kept)
            pumps = {
                asyncio.ensure_future(_pump(studio, onward, kept.sent)),
                asyncio.ensure_future(_pump(upstream, back, kept.answered)),
            }
            _, left = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in left:
                pump.cancel()
            onward.transport.abort()
        back.transport.abort()


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter, kept: bytearray) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(1 << 16):
            kept += data
            target.write(data)
            await target.drain()


def read_requests(sent: bytes) -> Iterator[HttpRequest]:
    """Read HTTP/1.1 requests whose bodies are announced by their length; the last one may be cut off."""
    position = 0
    while (end := sent.find(b"\r\n\r\n", position)) >= 0:
        first, *lines = sent[position:end].decode("ascii").split("\r\n")
        method, path, version = first.split(" ")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        assert version == "HTTP/1.1"
        assert "transfer-encoding" not in headers
        position = end + 4 + int(headers.get("content-length", "0"))
        yield HttpRequest(method, path, headers, sent[end + 4 : position])
