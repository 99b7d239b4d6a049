"""The connection to a coordinator's release service: bounded, patient, and resuming where it was cut off.

What it brings here is not trusted: sizes and hashes come from a manifest whose signature is checked afterwards, and
serve to notice damage early and to bound what is written.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc

from federation.errors import FedrotoError, ReleaseError
from federation.proto import coordinator_pb2 as wire
from federation.proto import coordinator_pb2_grpc as wire_grpc
from federation.release_folder import measure
from federation.release_manifest import NUMBER_MAX, FileEntry
from federation.service_channel import CALL_SECONDS, PASSING, open_channel, require_certificate

STREAM_SECONDS = 310.0
FAILURES_MAX = 4
"""Tries in a row that bring nothing before giving up; the pause doubles from ``PAUSE_SECONDS`` each time."""
PAUSE_SECONDS = 0.5


class ReleaseConnection:
    """A connection to a coordinator's release service; use as a context manager.

    Attributes:
        address: ``host:port``.
    """

    def __init__(self, address: str, ca_pem: bytes, *, pause: Callable[[float], None] = time.sleep) -> None:
        """Prepare a connection; nothing is dialled before the first call.

        Args:
            address: ``host:port``.
            ca_pem: the federation's CA certificate; no other authority is trusted.
            pause: waits so many seconds.
        """
        self.address = address
        self._pause = pause
        self._channel = open_channel(address, ca_pem)
        self._stub = wire_grpc.ReleasesStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.close()

    def log(self) -> bytes:
        """Return the coordinator's ``log.json``, not yet verified.

        Raises:
            IdentityError: the server's certificate is not the federation's.
            ReleaseError: there is no release yet, or the coordinator does not answer.
        """
        return bytes(self._ask(self._stub.GetLog, wire.GetLogRequest()).log)

    def manifest(self, number: int) -> tuple[bytes, bytes]:
        """Return a release's ``manifest.json`` and ``model.sig``.

        Raises:
            IdentityError: the server's certificate is not the federation's.
            ReleaseError: there is no such release, or the coordinator does not answer.
        """
        if not 1 <= number <= NUMBER_MAX:
            raise ReleaseError(f"{number} is no release's number; they go from 1 to {NUMBER_MAX}")
        answer = self._ask(self._stub.GetManifest, wire.GetManifestRequest(number=number))
        return answer.manifest, answer.signature

    def _ask(self, call: Callable[..., Any], request: Any) -> Any:
        failures = 0
        while True:
            try:
                return call(request, timeout=CALL_SECONDS)
            except grpc.RpcError as error:
                failures += 1
                self._wait_or_give_up(error, failures)

    def fetch(self, number: int, name: str, entry: FileEntry, path: Path) -> int:
        """Bring one file here; returns how many bytes were transferred.

        Args:
            number: of the release.
            name: of the file.
            entry: its size and hash.
            path: where it is to be; ``path`` with ``.part`` keeps what an interrupted fetch brought.

        Raises:
            ReleaseError: the file arrived damaged (it is thrown away), or the coordinator does not answer.
            IdentityError: the server's certificate is not the federation's.
            FedrotoError: the disk refused.
        """
        part = path.with_name(f"{path.name}.part")
        try:
            if path.exists():
                path.replace(part)
            part.touch()
            fetched = self._fill(part, number, name, entry)
            if measure(part) != entry:
                part.unlink()
                raise ReleaseError(f"{name} arrived damaged and was thrown away", hint="pull again")
            part.replace(path)
        except OSError as error:
            raise FedrotoError(
                f"cannot write {path}: {error.strerror}", hint="the rest is fetched by the next pull"
            ) from error
        return fetched

    def _fill(self, part: Path, number: int, name: str, entry: FileEntry) -> int:
        before = part.stat().st_size
        failures = 0
        while (offset := part.stat().st_size) < entry.size_bytes:
            request = wire.DownloadRequest(number=number, file=name, offset=offset)
            try:
                with part.open("ab") as file:
                    for data in _pieces(self._stub.Download(request, timeout=STREAM_SECONDS), offset, entry):
                        file.write(data)
            except grpc.RpcError as error:
                failures = 1 if part.stat().st_size > offset else failures + 1
                self._wait_or_give_up(error, failures)
        return part.stat().st_size - before

    def _wait_or_give_up(self, error: grpc.RpcError, failures: int) -> None:
        require_certificate(error, self.address)
        if error.code() == grpc.StatusCode.NOT_FOUND:
            raise ReleaseError(f"the coordinator at {self.address} has it not: {error.details()}") from error
        if error.code() not in PASSING:
            raise ReleaseError(f"the coordinator at {self.address} refused: {error.details()}") from error
        if failures >= FAILURES_MAX:
            raise ReleaseError(
                f"the coordinator at {self.address} does not answer ({error.code().name}: {error.details()})",
                hint="what has arrived is kept; pull again later",
            ) from error
        self._pause(PAUSE_SECONDS * 2 ** (failures - 1))


def _pieces(chunks: Iterator[Any], offset: int, entry: FileEntry) -> Iterator[bytes]:
    """Yield the data of chunks that follow one another and stay within the file."""
    for chunk in chunks:
        if chunk.offset != offset or not chunk.data or offset + len(chunk.data) > entry.size_bytes:
            raise ReleaseError(
                f"the coordinator sent bytes {chunk.offset} to {chunk.offset + len(chunk.data)}, expected {offset} "
                f"and on, up to {entry.size_bytes}"
            )
        yield chunk.data
        offset += len(chunk.data)
    if offset < entry.size_bytes:
        raise ReleaseError(f"the coordinator ended a file at byte {offset} of {entry.size_bytes}")
