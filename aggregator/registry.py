"""The coordinator's releases on disk: numbered upwards, published whole or not at all, verified before use.

Each release is a folder that never changes once it has its name. Publishing builds it in a temporary folder, signs it,
reads it back under every rule of ``federation.release``, brings it to the disk and renames it into place: a killed
coordinator leaves no release, or a whole one. The highest number ever given is kept beside the folders, so a number is
not given twice even when somebody removes the newest folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from aggregator.release_check import MODEL, ReleaseCheck
from federation.durable import publish_folder, read_bounded, remove_leftovers, temporary_beside, write_atomic
from federation.errors import FedrotoError, ReleaseError
from federation.plan import TrainingPlan
from federation.release import folder_name, number_of_folder
from federation.release_card import CardFacts, card
from federation.release_folder import Release, measure, read_release
from federation.release_manifest import (
    BENCHMARK,
    BYTES_MAX,
    CARD,
    LISTED_FILES,
    MANIFEST,
    RELEASE_SCHEMA,
    WEIGHTS,
    ReleaseManifest,
    ReleasePrivacy,
)
from federation.signing import sign_folder

HIGHEST_FILE, LOCK_FILE = "highest", ".lock"


@dataclass(frozen=True)
class Training:
    """The federated training that made a candidate.

    Attributes:
        plan: the signed plan, verified.
        rounds: rounds that were averaged in.
        privacy: the guarantee (``federation.release_manifest.privacy_of``); None only for a research plan.
    """

    plan: TrainingPlan
    rounds: int
    privacy: ReleasePrivacy | None


@dataclass(frozen=True)
class Draft:
    """A candidate that has been checked, ready to be published.

    Attributes:
        weights: its weights file, every tensor.
        check: the release check's verdict.
        architecture: of the network, as the plan names it.
        frozen_digest: of the tensors that are not trained.
        created_at: seconds since the epoch, UTC.
        training: where it comes from; None for a base made on public data only.
    """

    weights: Path
    check: ReleaseCheck
    architecture: str
    frozen_digest: str
    created_at: int
    training: Training | None = None


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
        """Return the newest release, verified; None when there is none.

        Raises:
            ReleaseError: it breaks a rule; an older one is never taken instead.
        """
        numbers = self.numbers()
        return self.get(numbers[-1]) if numbers else None

    def publish(self, draft: Draft, release_key: Path) -> Release:
        """Make a checked candidate the next release.

        Args:
            draft: the candidate.
            release_key: the coordinator's private release key.

        Raises:
            ReleaseError: the check did not pass, the training had no noise, the parent is not here, or the training
                was of another federation, architecture or frozen part.
            IdentityError: the release key is missing, readable by others or of another kind.
            FedrotoError: the disk refused; no release appears then.
        """
        self._refuse(draft)
        with self._locked():
            remove_leftovers(self.root)
            number = max((self._highest(), *self.numbers())) + 1
            workshop = temporary_beside(self.root / folder_name(number))
            folder = workshop / folder_name(number)
            try:
                self._build(folder, number, draft, release_key)
                read_release(folder, self.release_key_pem, number=number, federation=self.federation)
                write_atomic(self.root / HIGHEST_FILE, f"{number}\n".encode())
                publish_folder(folder, self.root / folder_name(number))
            finally:
                shutil.rmtree(workshop, ignore_errors=True)
        return self.get(number)

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
        if (plan.model.architecture, plan.model.frozen_digest) != (draft.architecture, draft.frozen_digest):
            raise ReleaseError(
                f"the candidate's network ({draft.architecture}, frozen part {draft.frozen_digest[:12]}) is not the "
                f"plan's ({plan.model.architecture}, {plan.model.frozen_digest[:12]})"
            )

    def _build(self, folder: Path, number: int, draft: Draft, release_key: Path) -> None:
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise FedrotoError(
                f"cannot build a release in {self.root}: {error.strerror}",
                hint="check that the folder is there and writable and that the disk is not full",
            ) from error
        write_atomic(folder / WEIGHTS, read_bounded(draft.weights, BYTES_MAX[WEIGHTS]))
        write_atomic(folder / BENCHMARK, draft.check.to_json())
        write_atomic(folder / CARD, card(_card_facts(self.federation, number, draft)).encode())
        plan = None if draft.training is None else draft.training.plan
        manifest = ReleaseManifest.from_fields(
            {
                "schema": RELEASE_SCHEMA,
                "federation": self.federation,
                "number": number,
                "parent": None if plan is None else plan.base_release,
                "campaign": None if plan is None else plan.campaign,
                "plan_digest": None if plan is None else plan.digest,
                "rounds": 0 if draft.training is None else draft.training.rounds,
                "architecture": draft.architecture,
                "frozen_digest": draft.frozen_digest,
                "privacy": None if draft.training is None else draft.training.privacy,
                "not_private": plan is not None and plan.not_private,
                "created_at": draft.created_at,
                "files": {name: measure(folder / name) for name in LISTED_FILES},
            }
        )
        write_atomic(folder / MANIFEST, manifest.to_bytes())
        sign_folder(folder, release_key)

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


def _card_facts(federation: str, number: int, draft: Draft) -> CardFacts:
    training, run = draft.training, draft.check.candidate
    plan = None if training is None else training.plan
    return CardFacts(
        federation=federation,
        number=number,
        parent=None if plan is None else plan.base_release,
        campaign=None if plan is None else plan.campaign,
        rounds=0 if training is None else training.rounds,
        studios_by_tier={} if plan is None else Counter(plan.studios.values()),
        architecture=draft.architecture,
        privacy=None if training is None else training.privacy,
        created_at=draft.created_at,
        benchmark=run.benchmark,
        errors={method: run.mean_error(method) for method in (MODEL, *run.baselines)},
        verdict=[gate.why for gate in draft.check.gates],
    )
