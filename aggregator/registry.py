"""The coordinator's releases on disk: numbered upwards, published whole or not at all, verified before use.

Each release is a folder that never changes once it has its name. Publishing builds it in a temporary folder, signs it,
reads it back under every rule of ``federation.release``, brings it to the disk and renames it into place: a killed
coordinator leaves no release, or a whole one. The highest number ever given is kept beside the folders, so a number is
not given twice even when somebody removes the newest folder.

A release is handed out from the moment that the log of releases (``federation.release_log``) promotes it, until the
log withdraws it; the folder stays either way. A kill between the two leaves a release that is held, to be promoted.
"""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from aggregator.release_draft import Draft, build_release, build_restored
from federation.documents import DOCUMENT_BYTES_MAX
from federation.durable import publish_folder, read_bounded, remove_leftovers, temporary_beside, write_atomic
from federation.errors import FedrotoError, ReleaseError
from federation.keys import load_release_key, read_public_pem
from federation.release import check_standing, folder_name, number_of_folder
from federation.release_folder import Release, read_release
from federation.release_log import LOG_FILE, ReleaseLog

HIGHEST_FILE, LOCK_FILE = "highest", ".lock"


class Registry:
    """A folder of releases of one federation.

    Attributes:
        root: the folder.
        federation: whose releases they are.
        release_key_pem: the public key that every release must be signed with.
    """

    def __init__(self, root: Path, *, federation: str, release_key_pem: bytes) -> None:
        self.root = root
        self.federation = federation
        self.release_key_pem = release_key_pem

    def numbers(self) -> tuple[int, ...]:
        """Return the numbers of the releases that are there, oldest first; they are not verified by this.

        Raises:
            ReleaseError: the folder cannot be read.
        """
        try:
            names = [entry.name for entry in self.root.iterdir()] if self.root.exists() else []
        except OSError as error:
            raise ReleaseError(f"cannot read the releases in {self.root}: {error.strerror}") from error
        return tuple(sorted(number for number in map(number_of_folder, names) if number is not None))

    def get(self, number: int) -> Release:
        """Return a release, verified.

        Raises:
            ReleaseError: there is none, or it breaks a rule.
        """
        if number not in self.numbers():
            raise ReleaseError(f"there is no release {number}; there are {list(self.numbers()) or 'none'}")
        return read_release(
            self.root / folder_name(number), self.release_key_pem, number=number, federation=self.federation
        )

    def latest(self) -> Release | None:
        """Return the newest release that stands, verified; None when there is none.

        Raises:
            ReleaseError: it breaks a rule; an older one is never taken instead.
        """
        log = self.log()
        if log.current is None:
            return None
        release = self.get(log.current)
        check_standing(release.manifest, log, announced=True)
        return release

    def log(self) -> ReleaseLog:
        """Return the log of releases, verified; an empty one before the first.

        Raises:
            ReleaseError, DocumentError: it is damaged or signed by another key.
        """
        path = self.root / LOG_FILE
        if not path.exists():
            return ReleaseLog(federation=self.federation)
        return ReleaseLog.verified(
            read_bounded(path, DOCUMENT_BYTES_MAX), read_public_pem(self.release_key_pem)
        )

    def publish(self, draft: Draft, release_key: Path, *, promote: bool = True) -> Release:
        """Make a checked candidate the next release.

        Args:
            draft: the candidate.
            release_key: the coordinator's private release key.
            promote: hand it out at once; otherwise it is held until :meth:`promote`.

        Raises:
            ReleaseError: the check did not pass, the training had no noise, the parent is not here, or the training
                was of another federation, architecture or frozen part.
            IdentityError: the release key is missing, readable by others or of another kind.
            FedrotoError: the disk refused; no release appears then.
        """
        self._refuse(draft)
        with self._locked():
            release = self._place(
                lambda folder, number: build_release(folder, number, self.federation, draft, release_key)
            )
            if promote:
                self._write(self.log().promoting(release.manifest, at=int(time.time())), release_key)
        return release

    def promote(self, number: int, release_key: Path) -> Release:
        """Hand out a release that was held until now.

        Raises:
            ReleaseError: there is none, it breaks a rule, was withdrawn, or a newer one was promoted before.
            IdentityError, FedrotoError: see :meth:`publish`.
        """
        with self._locked():
            release = self.get(number)
            self._write(self.log().promoting(release.manifest, at=int(time.time())), release_key)
        return release

    def withdraw(self, number: int, reason: str, release_key: Path) -> Release:
        """Hand a release out no more, for ever; everybody who holds it learns the reason at the next pull.

        Raises:
            ReleaseError: there is none, it breaks a rule or is withdrawn already, or there is no reason.
            IdentityError, FedrotoError: see :meth:`publish`.
        """
        with self._locked():
            release = self.get(number)
            self._write(self.log().withdrawing(release.manifest, reason, at=int(time.time())), release_key)
        return release

    def roll_back(self, reason: str, release_key: Path, *, to: int | None = None) -> Release:
        """Withdraw the newest release and bring an older one's weights back under the next number.

        Args:
            reason: of the withdrawal, for everybody who holds the newest.
            release_key: the coordinator's private release key.
            to: number of the release to bring back; None takes the newest that stands beneath.

        Raises:
            ReleaseError: there is nothing to go back from or to, a rule is broken, or there is no reason.
            IdentityError, FedrotoError: see :meth:`publish`.
        """
        with self._locked():
            log, now = self.log(), int(time.time())
            if log.current is None:
                raise ReleaseError("no release stands, so there is none to roll back")
            log = log.withdrawing(self.get(log.current).manifest, reason, at=now)
            target = log.current if to is None else to
            if target not in log.standing:
                raise ReleaseError(
                    f"there is no release {target or 'beneath'} to go back to; standing: {log.standing or 'none'}",
                    hint="withdraw it instead: fedroto coordinator withdraw",
                )
            build = partial(
                build_restored,
                old=self.get(target),
                reason=f"release {log.entries[-1].number} was withdrawn: {reason}",
                created_at=now,
                release_key=release_key,
            )
            release = self._place(build)
            self._write(log.promoting(release.manifest, at=now), release_key)
        return release

    def _place(self, build: Callable[[Path, int], None]) -> Release:
        """Build the next release beside the others, verify it and give it its name; called with the lock held."""
        remove_leftovers(self.root)
        number = max((self._highest(), *self.numbers())) + 1
        workshop = temporary_beside(self.root / folder_name(number))
        folder = workshop / folder_name(number)
        try:
            build(folder, number)
            read_release(folder, self.release_key_pem, number=number, federation=self.federation)
            write_atomic(self.root / HIGHEST_FILE, f"{number}\n".encode())
            publish_folder(folder, self.root / folder_name(number))
        finally:
            shutil.rmtree(workshop, ignore_errors=True)
        return self.get(number)

    def _write(self, log: ReleaseLog, release_key: Path) -> None:
        write_atomic(self.root / LOG_FILE, log.to_bytes(load_release_key(release_key)))

    def _refuse(self, draft: Draft) -> None:
        if not draft.check.passed:
            failed = [gate.why for gate in draft.check.gates if not gate.passed]
            raise ReleaseError(f"the candidate did not pass the release check: {'; '.join(failed)}")
        if draft.training is None:
            return
        plan = draft.training.plan
        if plan.not_private:
            raise ReleaseError(
                f"campaign {plan.campaign} trained without noise (NOT PRIVATE); such weights are never published"
            )
        if plan.federation != self.federation:
            raise ReleaseError(
                f"campaign {plan.campaign} is of federation {plan.federation}, not {self.federation}"
            )
        if plan.base_release not in self.numbers():
            raise ReleaseError(
                f"campaign {plan.campaign} started from release {plan.base_release}, which is not here"
            )
        withdrawn = self.log().withdrawn.get(plan.base_release)
        if withdrawn is not None:
            raise ReleaseError(
                f"campaign {plan.campaign} started from release {plan.base_release}, which was withdrawn since: "
                f"{withdrawn.reason}",
                hint="start a new campaign from the newest release that stands",
            )
        if (plan.model.architecture, plan.model.frozen_digest) != (draft.architecture, draft.frozen_digest):
            raise ReleaseError(
                f"the candidate's network ({draft.architecture}, frozen part {draft.frozen_digest[:12]}) is not the "
                f"plan's ({plan.model.architecture}, {plan.model.frozen_digest[:12]})"
            )

    def _highest(self) -> int:
        path = self.root / HIGHEST_FILE
        if not path.exists():
            return 0
        try:
            return int(read_bounded(path, 32))
        except ValueError as error:
            raise ReleaseError(
                f"{path} does not hold a number",
                hint="write the highest release number that was ever published into it",
            ) from error

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the registry's lock, so that two publishers do not give the same number."""
        with contextlib.ExitStack() as held:
            try:
                self.root.mkdir(parents=True, exist_ok=True)
                lock = held.enter_context((self.root / LOCK_FILE).open("wb"))
                fcntl.flock(lock, fcntl.LOCK_EX)
            except OSError as error:
                raise FedrotoError(f"cannot lock the releases in {self.root}: {error.strerror}") from error
            yield
