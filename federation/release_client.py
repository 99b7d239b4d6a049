"""Pulling a release from the coordinator, or from a folder that somebody copied by hand.

Nothing that arrives is trusted before ``federation.held_releases`` has verified it: the connection's certificate says
who answers, the release key says what is accepted. A download that is interrupted goes on where it stopped, within
this pull or in the next one.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from federation.documents import DOCUMENT_BYTES_MAX
from federation.durable import read_bounded, write_atomic
from federation.errors import FedrotoError, ReleaseError
from federation.held_releases import HeldReleases
from federation.release_folder import Release
from federation.release_log import LOG_FILE, LogEntry, ReleaseLog
from federation.release_manifest import BYTES_MAX, MANIFEST, SIGNATURE, ReleaseManifest

Progress = Callable[[str], None]


@dataclass(frozen=True)
class PulledRelease:
    """A release that is held and verified.

    Attributes:
        release: the release.
        already_held: whether it was here before this pull.
        bytes_fetched: bytes of its listed files that this pull transferred.
        log: the coordinator's log of releases as it is now; None where a copied folder brought none.
        withdrawn: what the log withdraws of the releases that are held.
    """

    release: Release
    already_held: bool
    bytes_fetched: int
    log: ReleaseLog | None
    withdrawn: tuple[LogEntry, ...]


def pull(
    address: str,
    ca_pem: bytes,
    release_key_pem: bytes,
    destination: Path,
    number: int | None = None,
    progress: Progress | None = None,
    *,
    federation: str | None = None,
    go_back: bool = False,
) -> PulledRelease:
    """Fetch a release from the coordinator's service, verify it and keep it.

    Args:
        address: ``host:port`` of the gRPC service.
        ca_pem: the federation's CA certificate; no other authority is trusted.
        release_key_pem: the coordinator's public release key.
        destination: folder of releases; the release appears as ``0001``, whole or not at all.
        number: of the release; None takes the newest.
        progress: told one line at a time what happens.
        federation: that the release must be of; None lets the keys alone decide.
        go_back: take an older release although a newer one was here, if everything after it was withdrawn.

    Raises:
        IdentityError: the server's certificate is not the federation's.
        ReleaseError: there is no such release, it was withdrawn, the coordinator does not answer, the release or the
            log of releases was tampered with, it is older than one that was here before, or another pull is running.
        SignatureError: the log of releases is not signed by the coordinator's release key.
        FedrotoError: the disk refused.
    """
    from federation.release_download import (
        ReleaseConnection,  # imports grpc, which a pulled folder does not need
    )

    say = progress or _silent
    held = HeldReleases(destination, release_key_pem=release_key_pem, federation=federation)
    with held.locked(), ReleaseConnection(address, ca_pem) as coordinator:
        log = held.take_log(coordinator.log())
        wanted = _wanted(log, number)
        manifest_bytes, signature = coordinator.manifest(wanted)
        manifest = ReleaseManifest.from_bytes(manifest_bytes)
        held.check_acceptable(manifest, number=wanted, announced=True, go_back=go_back)
        present = held.held(manifest)
        if present is not None and not go_back:
            say(f"release {manifest.number} is here already")
            return _pulled(held, present, log, already_held=True, bytes_fetched=0)
        workshop = held.workshop(manifest)
        fetched = 0
        for name, entry in manifest.files.items():
            say(f"release {manifest.number}: fetching {name}, {entry.size_bytes} bytes")
            fetched += coordinator.fetch(manifest.number, name, entry, workshop / name)
        write_atomic(workshop / MANIFEST, manifest_bytes)
        write_atomic(workshop / SIGNATURE, signature)
        release = held.take_in(workshop, number=manifest.number, go_back=go_back)
    say(f"release {manifest.number} is verified and ready in {release.path}")
    return _pulled(held, release, log, already_held=False, bytes_fetched=fetched)


def pull_folder(
    folder: Path,
    release_key_pem: bytes,
    destination: Path,
    progress: Progress | None = None,
    *,
    federation: str | None = None,
    go_back: bool = False,
) -> PulledRelease:
    """Take in a release from a folder that was copied by hand, after the same checks.

    Args:
        folder: the release; its name does not matter. The coordinator's ``log.json``, if it lies beside the folder,
            is taken in first.
        release_key_pem: the coordinator's public release key.
        destination: folder of releases.
        progress: told one line at a time what happens.
        federation: that the release must be of; None lets the key alone decide.
        go_back: see :func:`pull`.

    Raises:
        ReleaseError: incomplete, tampered with, withdrawn, or older than one that was here before.
        FedrotoError: the disk refused, or the folder cannot be read.
    """
    say = progress or _silent
    held = HeldReleases(destination, release_key_pem=release_key_pem, federation=federation)
    with held.locked():
        beside = folder.absolute().with_name(LOG_FILE)
        if beside.exists():
            held.take_log(read_bounded(beside, DOCUMENT_BYTES_MAX))
        manifest = ReleaseManifest.from_bytes(read_bounded(folder / MANIFEST, BYTES_MAX[MANIFEST]))
        held.check_acceptable(manifest, number=manifest.number, announced=False, go_back=go_back)
        present = held.held(manifest)
        if present is not None and not go_back:
            say(f"release {manifest.number} is here already")
            return _pulled(held, present, held.log(), already_held=True, bytes_fetched=0)
        workshop = held.workshop(manifest)
        copied = 0
        try:
            for name, bytes_max in BYTES_MAX.items():
                data = read_bounded(folder / name, bytes_max)
                write_atomic(workshop / name, data)
                copied += len(data) if name in manifest.files else 0
        except FedrotoError:
            shutil.rmtree(workshop, ignore_errors=True)
            raise
        release = held.take_in(workshop, number=manifest.number, go_back=go_back)
    say(f"release {manifest.number} is verified and ready in {release.path}")
    return _pulled(held, release, held.log(), already_held=False, bytes_fetched=copied)


def _wanted(log: ReleaseLog, number: int | None) -> int:
    """Return the number to ask for: the one that was named, or the newest that stands."""
    wanted = log.current if number is None else number
    if wanted is None:
        withdrawn = "; ".join(f"release {n} was withdrawn: {one.reason}" for n, one in log.withdrawn.items())
        raise ReleaseError(
            f"the coordinator has no release that stands{'; ' if withdrawn else ''}{withdrawn}"
        )
    return wanted


def _pulled(
    held: HeldReleases, release: Release, log: ReleaseLog | None, *, already_held: bool, bytes_fetched: int
) -> PulledRelease:
    numbers = set(held.numbers())
    withdrawn = () if log is None else tuple(one for n, one in log.withdrawn.items() if n in numbers)
    return PulledRelease(release, already_held, bytes_fetched, log, withdrawn)


def _silent(_: str) -> None:
    return None
