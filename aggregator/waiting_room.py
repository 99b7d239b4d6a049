"""Join requests that came over the line, until the coordinator's people decide on them.

A request here admits nobody: it proves a key and nothing else. The room is small, a studio's newer request takes the
place of its older one by the same key, and requests that nobody looked at for a week make room for new ones.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from federation.documents import digest
from federation.durable import make_private_dir, read_bounded, write_atomic
from federation.errors import FedrotoError, IdentityError
from federation.homes import CoordinatorHome
from federation.provisioning import JoinRequest

REQUESTS_MAX = 64
FORGOTTEN_AFTER_S = 7 * 24 * 3600.0
REQUEST_BYTES_MAX = 4000
_SUFFIX = ".join-request"


@dataclass(frozen=True)
class WaitingRequest:
    """A request that waits.

    Attributes:
        fingerprint: of its node key, to be compared by phone.
        file: the request as it came.
    """

    studio: str
    size_tier: str
    fingerprint: str
    file: Path


class WaitingRoom:
    """The folder of a coordinator's home in which requests wait."""

    def __init__(self, home: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._folder = CoordinatorHome(home).waiting
        self._clock = clock

    def put(self, request: JoinRequest, data: bytes) -> None:
        """Keep a verified request.

        Raises:
            IdentityError: the room is full.
            FedrotoError: the disk refused.
        """
        make_private_dir(self._folder)
        file = self._file(request.node_public_key)
        if not file.exists():
            self._make_room()
        write_atomic(file, data, mode=0o600)

    def holds(self, node_public_key: str) -> bool:
        """Whether a request by this key, one OpenSSH line, waits."""
        return self._file(node_public_key).exists()

    def requests(self) -> tuple[WaitingRequest, ...]:
        """Return all requests that wait, by studio and fingerprint; a damaged file is passed over."""
        found = []
        for file in self._folder.glob(f"*{_SUFFIX}"):
            try:
                request = JoinRequest.verified(read_bounded(file, REQUEST_BYTES_MAX))
            except FedrotoError:
                continue
            found.append(WaitingRequest(request.studio, request.size_tier, request.fingerprint, file))
        return tuple(sorted(found, key=lambda one: (one.studio, one.fingerprint)))

    def find(self, studio: str, fingerprint: str | None = None) -> WaitingRequest:
        """Return the one request of a studio.

        Raises:
            IdentityError: none waits, or several do and the fingerprint does not say which.
        """
        fitting = [
            one
            for one in self.requests()
            if one.studio == studio and (fingerprint is None or one.fingerprint == fingerprint)
        ]
        if not fitting:
            raise IdentityError(
                f"no request of a studio {studio!r}{f' with key {fingerprint}' if fingerprint else ''} waits",
                hint="see: fedroto coordinator waiting",
            )
        if len(fitting) > 1:
            raise IdentityError(
                f"{len(fitting)} requests call themselves {studio}: {', '.join(one.fingerprint for one in fitting)}",
                hint="ask the studio for its fingerprint by phone and give it with --fingerprint",
            )
        return fitting[0]

    def remove(self, node_public_key: str) -> None:
        """Forget the request by this key, if one waits."""
        self._file(node_public_key).unlink(missing_ok=True)

    def _file(self, node_public_key: str) -> Path:
        return self._folder / f"{digest(node_public_key.encode())}{_SUFFIX}"

    def _make_room(self) -> None:
        oldest = sorted(self._folder.glob(f"*{_SUFFIX}"), key=lambda file: file.stat().st_mtime)
        if len(oldest) < REQUESTS_MAX:
            return
        if self._clock() - oldest[0].stat().st_mtime < FORGOTTEN_AFTER_S:
            raise IdentityError(
                f"{len(oldest)} requests wait already; the coordinator has to decide on some first",
                hint="send the .join-request file by another way, or try again later",
            )
        oldest[0].unlink()


def request_file(home: Path, request: str, fingerprint: str | None) -> Path:
    """Return the request that a person means: a file, or that of a studio that waits.

    Raises:
        IdentityError: as :meth:`WaitingRoom.find`.
    """
    file = Path(request)
    return file if file.exists() or file.suffix else WaitingRoom(home).find(request, fingerprint).file
