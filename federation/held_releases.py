"""The releases that a reader holds on disk, and the newest one that it has ever seen.

A release is taken in from a workshop folder beside the others: verified there under every rule of
``federation.release``, remembered as seen, then renamed into place. What was seen is remembered first, so a process
that is killed in between can take the release in again but never an older one. Workshops are named after the
manifest's hash: an interrupted download goes on where it stopped, and two different releases never mix.

The folder also keeps the release key that its first release was verified with. Every later use of a held release is
verified with that key again, and a release of another key is refused. And it keeps the newest log of releases that the
coordinator has shown: what that says was withdrawn is not used any more.
"""

from __future__ import annotations

import contextlib
import fcntl
import shutil
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from federation.documents import DOCUMENT_BYTES_MAX, canonical_json
from federation.durable import (
    CHECK_DISK,
    publish_folder,
    read_bounded,
    remove_leftovers,
    temporary_beside,
    write_atomic,
)
from federation.errors import FedrotoError, ReleaseError
from federation.keys import KEY_FILE_BYTES_MAX, fingerprint, read_public_pem
from federation.release import (
    check_identity,
    check_log,
    check_not_going_back,
    check_standing,
    folder_name,
    number_of_folder,
)
from federation.release_folder import Release, read_release
from federation.release_log import LOG_FILE, ReleaseLog
from federation.release_manifest import NewestSeen, ReleaseManifest

NEWEST_FILE, LOCK_FILE, WORKSHOP_PREFIX = "newest.json", ".lock", ".pull-"
PINNED_KEY_FILE = "release_key.pub"


class HeldReleases:
    """A reader's folder of releases.

    Attributes:
        root: the folder.
        release_key_pem: the coordinator's public key, which every release must be signed with.
        federation: that releases must be of; None lets the key alone decide.
    """

    def __init__(self, root: Path, *, release_key_pem: bytes, federation: str | None = None) -> None:
        self.root = root
        self.release_key_pem = release_key_pem
        self.federation = federation

    @classmethod
    def pinned(cls, root: Path) -> HeldReleases | None:
        """Return the releases of a folder with the key that the first of them was verified with, or None.

        Raises:
            FedrotoError: the key cannot be read.
        """
        path = root / PINNED_KEY_FILE
        if not path.is_file():
            return None
        return cls(root, release_key_pem=read_bounded(path, KEY_FILE_BYTES_MAX))

    def newest_seen(self) -> NewestSeen | None:
        """Return the newest release that was ever taken in, or None.

        Raises:
            ReleaseError: the record of it is damaged.
        """
        path = self.root / NEWEST_FILE
        if not path.exists():
            return None
        try:
            return NewestSeen.model_validate_json(read_bounded(path, 4096))
        except ValidationError as error:
            raise ReleaseError(
                f"{path} is damaged, so an older release could not be told from a newer one",
                hint=f"ask the coordinator which release is the newest, remove {path} and pull that one",
            ) from error

    def numbers(self) -> tuple[int, ...]:
        """Return the numbers of the releases that are held, oldest first; they are not verified by this."""
        names = [entry.name for entry in self.root.iterdir()] if self.root.exists() else []
        return tuple(sorted(number for number in map(number_of_folder, names) if number is not None))

    def latest(self) -> Release:
        """Return the newest release that is held, verified: what a prediction uses.

        Raises:
            ReleaseError: none is held, it breaks a rule, or a newer one was seen before.
        """
        numbers, log = self.numbers(), self.log()
        if not numbers:
            raise ReleaseError(f"no release is held in {self.root}", hint="fetch one with: fedroto pull")
        standing = [number for number in numbers if log is None or number not in log.withdrawn]
        release = self.get((standing or numbers)[-1])
        check_not_going_back(release.manifest, self.newest_seen(), log)
        return release

    def get(self, number: int) -> Release:
        """Return a release that is held, verified, unless the coordinator has withdrawn it.

        Raises:
            ReleaseError: it breaks a rule or was withdrawn.
        """
        release = read_release(
            self.root / folder_name(number), self.release_key_pem, federation=self.federation
        )
        check_standing(release.manifest, self.log(), announced=False)
        return release

    def log(self) -> ReleaseLog | None:
        """Return the newest log of releases that was ever shown here, or None.

        Raises:
            ReleaseError, DocumentError: it is damaged.
        """
        path = self.root / LOG_FILE
        if not path.exists():
            return None
        return ReleaseLog.verified(
            read_bounded(path, DOCUMENT_BYTES_MAX), read_public_pem(self.release_key_pem)
        )

    def take_log(self, data: bytes) -> ReleaseLog:
        """Verify a log that the coordinator shows and keep it; called with the folder locked.

        Raises:
            ReleaseError: it leaves out or changes what was said before, or is of another federation.
            DocumentError: it is not signed by the coordinator.
            FedrotoError: the disk refused.
        """
        log = ReleaseLog.verified(data, read_public_pem(self.release_key_pem))
        held = self.log()
        check_log(log, held=held, federation=self.federation)
        if log != held:
            write_atomic(self.root / LOG_FILE, data)
        return log

    def check_acceptable(
        self, manifest: ReleaseManifest, *, number: int, announced: bool, go_back: bool
    ) -> None:
        """Refuse a release early that would be refused when it is taken in.

        Raises:
            ReleaseError: another number or federation, without privacy, withdrawn, not announced, or going back.
        """
        check_identity(manifest, number=number, federation=self.federation)
        log = self.log()
        check_standing(manifest, log, announced=announced)
        check_not_going_back(manifest, self.newest_seen(), log, go_back=go_back)

    def held(self, manifest: ReleaseManifest) -> Release | None:
        """Return the held copy of exactly this release, or None when there is none or it is damaged."""
        try:
            release = read_release(
                self.root / folder_name(manifest.number), self.release_key_pem, federation=self.federation
            )
        except ReleaseError:
            return None
        return release if release.manifest == manifest else None

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder alone.

        Raises:
            ReleaseError: another process is pulling into it.
            FedrotoError: the folder cannot be made or written.
        """
        with contextlib.ExitStack() as stack:
            try:
                with _disk_errors(self.root):
                    self.root.mkdir(parents=True, exist_ok=True)
                    lock = stack.enter_context((self.root / LOCK_FILE).open("wb"))
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ReleaseError(
                    f"another process is pulling a release into {self.root}; wait for it"
                ) from error
            self._require_pinned_key()
            yield

    def _require_pinned_key(self) -> None:
        pinned = HeldReleases.pinned(self.root)
        if pinned is None:
            return
        before, now = (fingerprint(read_public_pem(held.release_key_pem)) for held in (pinned, self))
        if now != before:
            raise ReleaseError(
                f"the releases in {self.root} are signed with key {before}, not with {now}",
                hint="name another folder for another coordinator's releases, or ask why the key was changed",
            )

    def workshop(self, manifest: ReleaseManifest) -> Path:
        """Return the folder in which a release is put together; it keeps what an interrupted pull left."""
        path = self.root / f"{WORKSHOP_PREFIX}{folder_name(manifest.number)}-{manifest.digest[:16]}"
        with _disk_errors(path):
            path.mkdir(exist_ok=True)
            remove_leftovers(path)
        return path

    def take_in(self, workshop: Path, *, number: int, go_back: bool = False) -> Release:
        """Verify a finished workshop and put it in its place.

        Raises:
            ReleaseError: it breaks a rule; the workshop is removed then, so that a next pull begins anew.
            FedrotoError: the disk refused.
        """
        try:
            release = read_release(workshop, self.release_key_pem, number=number, federation=self.federation)
            self.check_acceptable(release.manifest, number=number, announced=False, go_back=go_back)
        except ReleaseError:
            shutil.rmtree(workshop, ignore_errors=True)
            raise
        write_atomic(self.root / PINNED_KEY_FILE, self.release_key_pem)
        seen = NewestSeen(number=number, manifest_digest=release.manifest.digest)
        write_atomic(self.root / NEWEST_FILE, canonical_json(seen.model_dump(mode="json")))
        place = self.root / folder_name(number)
        if place.exists():  # a damaged copy: an intact one would have been returned by held()
            with _disk_errors(place):
                place.rename(temporary_beside(place))
        publish_folder(workshop, place)
        self._sweep()
        return read_release(place, self.release_key_pem, federation=self.federation)

    def _sweep(self) -> None:
        """Remove what earlier pulls left; called with the lock held."""
        for leftover in (*self.root.glob(f"{WORKSHOP_PREFIX}*"), *self.root.glob(".fedroto-tmp-*")):
            shutil.rmtree(leftover, ignore_errors=True)


def verified_release(folder: Path) -> Release:
    """Read a release that was pulled before, verified again with the key that its folder of releases has pinned.

    Args:
        folder: a pulled release, or the folder that releases were pulled into: then the newest of them.

    Raises:
        ReleaseError: it was changed since it was pulled, or was never pulled: nothing says whose it is.
        FedrotoError: it cannot be read.
    """
    folder = folder.resolve()
    held = HeldReleases.pinned(folder)
    if held is not None:
        return held.latest()
    held = HeldReleases.pinned(folder.parent)
    if held is None:
        raise ReleaseError(
            f"{folder} was not pulled, so there is no key to verify it with",
            hint=f"take it in first: fedroto pull RELEASES --from {folder} --release-key KEY",
        )
    number = number_of_folder(folder.name)
    if number is None:
        raise ReleaseError(f"{folder} is not named after a release's number (0001, 0002, ...)")
    return held.get(number)


@contextlib.contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FedrotoError(
            f"cannot keep releases in {path}: {error.strerror}",
            hint=CHECK_DISK,
        ) from error
