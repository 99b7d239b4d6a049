"""The gRPC calls that hand out releases: verified ones only, and of each only the files that its manifest lists."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import grpc

from aggregator.callers import refuse
from aggregator.registry import Registry
from federation.documents import DOCUMENT_BYTES_MAX
from federation.durable import read_bounded
from federation.errors import FedrotoError, ReleaseError
from federation.proto import coordinator_pb2 as wire
from federation.proto import coordinator_pb2_grpc as wire_grpc
from federation.release_folder import Release
from federation.release_log import LOG_FILE
from federation.release_manifest import BYTES_MAX, MANIFEST, SIGNATURE

log = logging.getLogger(__name__)

CHUNK_BYTES = 256 << 10
STREAM_SECONDS_MAX = 300.0


class VerifiedReleases:
    """A registry whose releases are verified once for each state of their files on disk."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._verified: dict[int, tuple[tuple[int, ...], Release]] = {}
        self._lock = threading.Lock()

    @property
    def federation(self) -> str:
        """Whose releases they are."""
        return self._registry.federation

    def log(self) -> bytes | None:
        """Return ``log.json`` as it is on the disk; None before the first release."""
        path = self._registry.root / LOG_FILE
        return read_bounded(path, DOCUMENT_BYTES_MAX) if path.exists() else None

    def numbers(self) -> tuple[int, ...]:
        """Return the numbers of the releases that stand, oldest first; they are not verified by this."""
        return self._registry.log().standing

    def get(self, number: int) -> Release:
        """Return a verified release.

        Raises:
            ReleaseError: there is none, or it breaks a rule.
        """
        with self._lock:
            held = self._verified.get(number)
            if held is not None and held[0] and held[0] == _state(held[1].path):
                return held[1]
            self._verified.pop(number, None)
            release = self._registry.get(number)
            self._verified[number] = (_state(release.path), release)
            return release


class ReleasesServicer(wire_grpc.ReleasesServicer):  # type: ignore[misc]  # generated without types
    """Answers the four calls of ``coordinator.proto``."""

    def __init__(self, releases: VerifiedReleases, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._releases = releases
        self._clock = clock

    def GetLog(self, request: wire.GetLogRequest, context: grpc.ServicerContext) -> wire.GetLogResponse:
        """Hand out the signed log; whoever reads it checks the signature."""
        try:
            data = self._releases.log()
        except FedrotoError as error:
            _damaged(context, "the log of releases", error)
        if data is None:
            refuse(context, grpc.StatusCode.NOT_FOUND, "there is no release yet")
        return wire.GetLogResponse(log=data)

    def ListReleases(
        self, request: wire.ListReleasesRequest, context: grpc.ServicerContext
    ) -> wire.ListReleasesResponse:
        """List the releases that stand and verify, oldest first."""
        response = wire.ListReleasesResponse(federation=self._releases.federation)
        for number in self._numbers(context):
            try:
                manifest = self._releases.get(number).manifest
            except ReleaseError as error:
                log.error("release %d is left out of the list: %s", number, error)
                continue
            response.releases.add(
                number=number,
                parent=manifest.parent or 0,
                weights_sha256=manifest.weights_sha256,
                created_at=manifest.created_at,
            )
        return response

    def GetManifest(
        self, request: wire.GetManifestRequest, context: grpc.ServicerContext
    ) -> wire.GetManifestResponse:
        """Hand out a release's manifest and signature; number 0 means the newest, never an older one in its place."""
        numbers = self._numbers(context)
        if request.number == 0 and not numbers:
            refuse(context, grpc.StatusCode.NOT_FOUND, "no release stands")
        release = self._release(request.number or numbers[-1], context)
        return wire.GetManifestResponse(
            number=release.number,
            manifest=_read(release.path, MANIFEST, context),
            signature=_read(release.path, SIGNATURE, context),
        )

    def Download(self, request: wire.DownloadRequest, context: grpc.ServicerContext) -> Iterator[wire.Chunk]:
        """Stream a file from an offset on, for at most ``STREAM_SECONDS_MAX``."""
        release = self._release(request.number, context)
        entry = release.manifest.files.get(request.file)
        if entry is None:
            refuse(context, grpc.StatusCode.NOT_FOUND, "the release lists no such file")
        if request.offset > entry.size_bytes:
            refuse(context, grpc.StatusCode.OUT_OF_RANGE, f"the file has {entry.size_bytes} bytes")
        started, offset = self._clock(), request.offset
        # The name is one that the manifest lists, and a manifest lists three fixed names: it cannot lead elsewhere.
        try:
            descriptor = os.open(release.path / request.file, os.O_RDONLY | os.O_NOFOLLOW)
        except OSError as error:
            log.error("cannot open %s of release %d: %s", request.file, release.number, error)
            refuse(context, grpc.StatusCode.DATA_LOSS, "the file cannot be read at the coordinator")
        with os.fdopen(descriptor, "rb") as file:
            file.seek(offset)
            while offset < entry.size_bytes:
                if self._clock() - started > STREAM_SECONDS_MAX:
                    refuse(context, grpc.StatusCode.DEADLINE_EXCEEDED, "too slow; ask for the rest")
                data = file.read(min(CHUNK_BYTES, entry.size_bytes - offset))
                if not data:
                    refuse(context, grpc.StatusCode.DATA_LOSS, "the file ended early")
                yield wire.Chunk(offset=offset, data=data)
                offset += len(data)

    def _numbers(self, context: grpc.ServicerContext) -> tuple[int, ...]:
        try:
            return self._releases.numbers()
        except FedrotoError as error:
            _damaged(context, "the log of releases", error)

    def _release(self, number: int, context: grpc.ServicerContext) -> Release:
        if number not in self._numbers(context):
            refuse(context, grpc.StatusCode.NOT_FOUND, f"there is no release {number}, or it does not stand")
        try:
            return self._releases.get(number)
        except ReleaseError as error:
            _damaged(context, f"release {number}", error)


def _state(folder: Path) -> tuple[int, ...]:
    """Return what changes whenever a file of a release does; empty when the folder cannot be read."""
    try:
        found = sorted((entry.name, entry.stat(follow_symlinks=False)) for entry in os.scandir(folder))
    except OSError:
        return ()
    return tuple(
        number for _, status in found for number in (status.st_ino, status.st_size, status.st_mtime_ns)
    )


def _read(folder: Path, name: str, context: grpc.ServicerContext) -> bytes:
    try:
        return read_bounded(folder / name, BYTES_MAX[name])
    except FedrotoError as error:
        _damaged(context, name, error)


def _damaged(context: grpc.ServicerContext, what: str, error: FedrotoError) -> NoReturn:
    log.error("%s is not served: %s", what, error)  # its text names a path, which is nobody else's business
    refuse(context, grpc.StatusCode.DATA_LOSS, f"{what} is damaged at the coordinator")
