"""What a release is made of, and how its folder is built and signed, before it has its place among the others."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from aggregator.release_check import MODEL, ReleaseCheck
from federation.durable import CHECK_DISK, read_bounded, write_atomic
from federation.errors import FedrotoError
from federation.plan import TrainingPlan
from federation.release_card import CardFacts, card, restored_card
from federation.release_folder import Release, measure
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
from model.weights_note import require_public_file


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


def build_release(folder: Path, number: int, federation: str, draft: Draft, release_key: Path) -> None:
    """Build and sign the folder of a new release.

    Args:
        folder: to be made.
        number: of the release.
        federation: whose it is.
        draft: what it is made of.
        release_key: the coordinator's private release key.

    Raises:
        IdentityError: the release key is missing, readable by others or of another kind.
        ReleaseError: the manifest would contradict itself.
        PrivateWeightsError: the weights were tuned on private shots.
        FedrotoError: the disk refused.
    """
    require_public_file(draft.weights)
    _make(folder)
    write_atomic(folder / WEIGHTS, read_bounded(draft.weights, BYTES_MAX[WEIGHTS]))
    write_atomic(folder / BENCHMARK, draft.check.to_json())
    write_atomic(folder / CARD, card(_card_facts(federation, number, draft)).encode())
    plan = None if draft.training is None else draft.training.plan
    fields = {
        "schema": RELEASE_SCHEMA,
        "federation": federation,
        "number": number,
        "parent": None if plan is None else plan.base_release,
        "restores": None,
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
    _seal(folder, fields, release_key)


def build_restored(
    folder: Path, number: int, old: Release, *, reason: str, created_at: int, release_key: Path
) -> None:
    """Build and sign a release that brings an older one's weights back, with that one's check and guarantee.

    Args:
        folder: to be made.
        number: of the new release.
        old: whose weights come back.
        reason: why, for the card.
        created_at: seconds since the epoch, UTC.
        release_key: the coordinator's private release key.

    Raises:
        IdentityError, FedrotoError: see :func:`build_release`.
    """
    _make(folder)
    for name in (WEIGHTS, BENCHMARK):
        write_atomic(folder / name, read_bounded(old.path / name, BYTES_MAX[name]))
    text = read_bounded(old.path / CARD, BYTES_MAX[CARD]).decode()
    restored = restored_card(text, number=number, old=old.manifest, reason=reason, created_at=created_at)
    write_atomic(folder / CARD, restored.encode())
    fields = {
        **old.manifest.model_dump(by_alias=True),
        "number": number,
        "restores": old.number,
        "created_at": created_at,
        "files": {name: measure(folder / name) for name in LISTED_FILES},
    }
    _seal(folder, fields, release_key)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise FedrotoError(
            f"cannot build a release in {folder.parent}: {error.strerror}",
            hint=CHECK_DISK,
        ) from error


def _seal(folder: Path, fields: dict[str, object], release_key: Path) -> None:
    write_atomic(folder / MANIFEST, ReleaseManifest.from_fields(fields).to_bytes())
    sign_folder(folder, release_key)


def _card_facts(federation: str, number: int, draft: Draft) -> CardFacts:
    training, run, base = draft.training, draft.check.candidate, draft.check.base
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
        error_before=None if base is None else base.mean_error(MODEL),
        verdict=[gate.why for gate in draft.check.gates],
    )
