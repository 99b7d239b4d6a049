"""Reading a release's folder: the rules of ``federation.release`` applied to files on disk."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from federation.errors import ReleaseError
from federation.release import check_contents, check_identity, check_names, number_of_folder
from federation.release_manifest import (
    BYTES_MAX,
    CARD,
    LISTED_FILES,
    MANIFEST,
    WEIGHTS,
    FileEntry,
    ReleaseManifest,
)
from federation.signing import verify_folder
from model.errors import PrivateWeightsError
from model.weights_note import require_public_file


@dataclass(frozen=True)
class Release:
    """A release whose signature and contents were checked.

    Attributes:
        path: its folder.
        manifest: what it says of itself.
    """

    path: Path
    manifest: ReleaseManifest

    @property
    def number(self) -> int:
        """The release's number."""
        return self.manifest.number

    @property
    def weights(self) -> Path:
        """The weights file."""
        return self.path / WEIGHTS

    @property
    def card(self) -> str:
        """The model card: Markdown with a YAML head."""
        return (self.path / CARD).read_text(encoding="utf-8", errors="replace")


def read_release(
    folder: Path, release_key_pem: bytes, *, number: int | None = None, federation: str | None = None
) -> Release:
    """Read a release after every check of rules 1 to 6.

    Args:
        folder: the release.
        release_key_pem: the coordinator's public key, PEM.
        number: that it must have; None takes the folder's name.
        federation: that it must be of; None lets the key alone decide.

    Raises:
        ReleaseError: missing, incomplete, tampered with, signed by another key, or not the one that was asked for.
    """
    expected = number_of_folder(folder.name) if number is None else number
    if expected is None:
        raise ReleaseError(f"{folder} is not named after a release's number (0001, 0002, ...)")
    entries = _plain_files(folder)
    check_names(entries)
    for name, size in entries.items():
        if size > BYTES_MAX[name]:
            raise ReleaseError(f"{folder / name} has {size} bytes; at most {BYTES_MAX[name]} are read")
    verify_folder(folder, release_key_pem)
    manifest = ReleaseManifest.from_bytes((folder / MANIFEST).read_bytes())
    check_contents(manifest, {name: measure(folder / name) for name in LISTED_FILES})
    check_identity(manifest, number=expected, federation=federation)
    try:
        require_public_file(folder / WEIGHTS)
    except PrivateWeightsError as error:
        raise ReleaseError(
            str(error), hint="tell the coordinator: such a release must never be made"
        ) from error
    return Release(folder, manifest)


def measure(path: Path) -> FileEntry:
    """Return a file's size and hash.

    Raises:
        ReleaseError: unreadable.
    """
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            return FileEntry(size_bytes=os.fstat(file.fileno()).st_size, sha256=sha256)
    except OSError as error:
        raise ReleaseError(f"cannot read {path}: {error.strerror}") from error


def _plain_files(folder: Path) -> dict[str, int]:
    """Return name and size of every entry; anything but a plain file is refused."""
    sizes = {}
    try:
        for entry in os.scandir(folder):
            status = entry.stat(follow_symlinks=False)
            if not stat.S_ISREG(status.st_mode):
                raise ReleaseError(f"{entry.path} is not a plain file; a release holds nothing else")
            sizes[entry.name] = status.st_size
    except OSError as error:
        raise ReleaseError(f"cannot read the release in {folder}: {error.strerror}") from error
    return sizes
