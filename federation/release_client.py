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

from federation.durable import read_bounded, write_atomic
from federation.errors import FedrotoError
from federation.held_releases import HeldReleases
from federation.release_folder import Release
from federation.release_manifest import BYTES_MAX, MANIFEST, SIGNATURE, ReleaseManifest

Progress = Callable[[str], None]


@dataclass(frozen=True)
class PulledRelease:
    """A release that is held and verified.

    Attributes:
        release: the release.
        already_held: whether it was here before this pull.
        bytes_fetched: bytes of its listed files that this pull transferred.
    """

    release: Release
    already_held: bool
    bytes_fetched: int


def pull(
    address: str,
    ca_pem: bytes,
    release_key_pem: bytes,
    destination: Path,
    number: int | None = None,
    progress: Progress | None = None,
    *,
    federation: str | None = None,
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

    Raises:
        IdentityError: the server's certificate is not the federation's.
        ReleaseError: there is no such release, the coordinator does not answer, the release was tampered with, it is
            older than one that was here before, or another pull is running.
        FedrotoError: the disk refused.
    """
    from federation.release_download import (
        ReleaseConnection,  # imports grpc, which a pulled folder does not need
    )

    say = progress or _silent
    held = HeldReleases(destination, release_key_pem=release_key_pem, federation=federation)
    with held.locked(), ReleaseConnection(address, ca_pem) as coordinator:
        manifest_bytes, signature = coordinator.manifest(number)
        manifest = ReleaseManifest.from_bytes(manifest_bytes)
        held.check_acceptable(manifest, number=number or manifest.number)
        present = held.held(manifest)
        if present is not None:
            say(f"release {manifest.number} is here already")
            return PulledRelease(present, already_held=True, bytes_fetched=0)
        workshop = held.workshop(manifest)
        fetched = 0
        for name, entry in manifest.files.items():
            say(f"release {manifest.number}: fetching {name}, {entry.size_bytes} bytes")
            fetched += coordinator.fetch(manifest.number, name, entry, workshop / name)
        write_atomic(workshop / MANIFEST, manifest_bytes)
        write_atomic(workshop / SIGNATURE, signature)
        release = held.take_in(workshop, number=manifest.number)
    say(f"release {manifest.number} is verified and ready in {release.path}")
    return PulledRelease(release, already_held=False, bytes_fetched=fetched)


def pull_folder(
    folder: Path,
    release_key_pem: bytes,
    destination: Path,
    progress: Progress | None = None,
    *,
    federation: str | None = None,
) -> PulledRelease:
    """Take in a release from a folder that was copied by hand, after the same checks.

    Args:
        folder: the release; its name does not matter.
        release_key_pem: the coordinator's public release key.
        destination: folder of releases.
        progress: told one line at a time what happens.
        federation: that the release must be of; None lets the key alone decide.

    Raises:
        ReleaseError: incomplete, tampered with, or older than one that was here before.
        FedrotoError: the disk refused, or the folder cannot be read.
    """
    say = progress or _silent
    held = HeldReleases(destination, release_key_pem=release_key_pem, federation=federation)
    with held.locked():
        manifest = ReleaseManifest.from_bytes(read_bounded(folder / MANIFEST, BYTES_MAX[MANIFEST]))
        held.check_acceptable(manifest, number=manifest.number)
        present = held.held(manifest)
        if present is not None:
            say(f"release {manifest.number} is here already")
            return PulledRelease(present, already_held=True, bytes_fetched=0)
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
        release = held.take_in(workshop, number=manifest.number)
    say(f"release {manifest.number} is verified and ready in {release.path}")
    return PulledRelease(release, already_held=False, bytes_fetched=copied)


def _silent(_: str) -> None:
    return None
