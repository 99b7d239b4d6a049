"""Files and folders that appear whole or not at all, and are still there after a power cut.

A file is written beside its place, synced, renamed into place, and the folder is synced: a reader sees the old bytes
or the new ones, never a mixture. Every failure of the disk becomes a :class:`FedrotoError` that names the path.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from federation.errors import FedrotoError

TEMPORARY_PREFIX = ".fedroto-tmp-"
"""Names that begin so are half-written leftovers of a process that was killed; nothing ever reads them."""

CHECK_DISK = "check that the folder is there and writable and that the disk is not full"
CHECK_PATH = "check the path, and that this user may read the file"


def write_atomic(path: Path, data: bytes | Iterable[bytes | memoryview], mode: int = 0o644) -> None:
    """Write a whole file so that it appears complete or not at all.

    Args:
        path: where the file is to be; an existing file is replaced.
        data: its bytes, or the parts that they are made of, in order.
        mode: its permission bits, exactly (the process's umask does not matter).

    Raises:
        FedrotoError: the disk refused; nothing half-written is left.
    """
    temporary = temporary_beside(path)
    with _disk_errors(f"cannot write {path}"):
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(file.fileno(), mode)
                file.writelines((data,) if isinstance(data, bytes) else data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def publish_folder(source: Path, destination: Path) -> None:
    """Rename a finished folder into place, after everything in it has reached the disk.

    Both must lie on one file system; ``source`` is best a :func:`temporary_beside` of ``destination``.

    Raises:
        FedrotoError: ``destination`` is already there, or the disk refused.
    """
    with _disk_errors(f"cannot publish {destination}"):
        for folder, _, names in os.walk(source):
            for name in names:
                _sync(Path(folder, name))
            sync_folder(Path(folder))
        if destination.exists():
            raise FedrotoError(f"{destination} is already there and is never replaced")
        source.rename(destination)
        sync_folder(destination.parent)


def make_private_dir(path: Path) -> None:
    """Make a folder, and its parents, that only this user can enter (0700); an existing one is closed to others.

    Raises:
        FedrotoError: the disk refused, or the folder belongs to somebody else.
    """
    with _disk_errors(f"cannot make the private folder {path}"):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.stat().st_mode & 0o777 != 0o700:
            path.chmod(0o700)


def temporary_beside(path: Path) -> Path:
    """Return an unused name in the folder of ``path`` for the work that will be renamed to ``path``."""
    return path.with_name(f"{TEMPORARY_PREFIX}{path.name}-{secrets.token_hex(4)}")


def remove_leftovers(folder: Path) -> None:
    """Remove what a killed process left half-written in a folder; call only where no other process writes."""
    for leftover in folder.glob(f"{TEMPORARY_PREFIX}*"):
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def read_bounded(path: Path, bytes_max: int) -> bytes:
    """Read a whole file that must not be larger than ``bytes_max``.

    Raises:
        FedrotoError: the file is missing, unreadable or too large.
    """
    with open_bounded(path, bytes_max) as file:
        return file.read(bytes_max)


@contextlib.contextmanager
def open_bounded(path: Path, bytes_max: int) -> Iterator[BinaryIO]:
    """Open a file to read that must not be larger than ``bytes_max``.

    Raises:
        FedrotoError: the file is missing, unreadable or too large.
    """
    with _disk_errors(f"cannot read {path}", CHECK_PATH), path.open("rb") as file:
        if os.fstat(file.fileno()).st_size > bytes_max:
            raise FedrotoError(f"{path} has more than {bytes_max} bytes; no such file is read")
        yield file


def sync_folder(path: Path) -> None:
    """Bring a folder's entries to the disk."""
    _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _disk_errors(what: str, hint: str = CHECK_DISK) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FedrotoError(f"{what}: {error.strerror or error}", hint=hint) from error
