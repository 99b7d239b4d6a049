"""The releases of a coordinator at a glance, with the state that the log of releases gives each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from aggregator.campaign_run import open_registry
from aggregator.recorded_check import recorded_check
from aggregator.release_check import MODEL, ReleaseCheck
from federation.release_folder import Release
from federation.release_log import ReleaseLog


@dataclass(frozen=True)
class ListedRelease:
    """One release.

    Attributes:
        state: "current": artists get it; "older": it stands but a newer one does, too; "held": not handed out yet;
            "withdrawn": for ever.
        reason: of the withdrawal, or empty.
        made_by: where its weights come from, for people.
        epsilon: most that a shot was charged for its training, by size tier.
        error: its mean boundary error on the public benchmark, in percent of the outline's size.
        best_baseline, best_baseline_error: the best classical method on the same clips.
        check: the release check with every number.
    """

    number: int
    state: Literal["current", "older", "held", "withdrawn"]
    reason: str
    created_at: int
    made_by: str
    campaign: str | None
    parent: int | None
    restores: int | None
    rounds: int
    epsilon: Mapping[str, float]
    error: float
    best_baseline: str
    best_baseline_error: float
    check: ReleaseCheck


@dataclass(frozen=True)
class ListedReleases:
    """All releases, the newest first, and the log that says how they stand.

    Attributes:
        log_entries: of the log of releases.
        log_head: SHA-256 of its newest entry, for comparing by phone.
    """

    releases: tuple[ListedRelease, ...]
    log_entries: int
    log_head: str


def list_releases(home: Path) -> ListedReleases:
    """Read and verify every release of a coordinator.

    Raises:
        ReleaseError: one breaks a rule.
        FedrotoError: settings or keys are missing.
    """
    registry = open_registry(home)
    log = registry.log()
    listed = tuple(_listed(registry.get(number), log) for number in reversed(registry.numbers()))
    return ListedReleases(listed, len(log.entries), log.head)


def _listed(release: Release, log: ReleaseLog) -> ListedRelease:
    manifest, check = release.manifest, recorded_check(release)
    run = check.candidate
    best = min(run.baselines, key=run.mean_error)
    tiers = {} if manifest.privacy is None else manifest.privacy.size_tiers
    withdrawn = log.withdrawn.get(release.number)
    return ListedRelease(
        number=release.number,
        state=_state(release.number, log),
        reason="" if withdrawn is None else withdrawn.reason,
        created_at=manifest.created_at,
        made_by=_made_by(release),
        campaign=manifest.campaign,
        parent=manifest.parent,
        restores=manifest.restores,
        rounds=manifest.rounds,
        epsilon={name: tier.epsilon for name, tier in tiers.items()},
        error=run.mean_error(MODEL),
        best_baseline=best,
        best_baseline_error=run.mean_error(best),
        check=check,
    )


def _state(number: int, log: ReleaseLog) -> Literal["current", "older", "held", "withdrawn"]:
    if number in log.withdrawn:
        return "withdrawn"
    if number == log.current:
        return "current"
    return "older" if number in log.promoted else "held"


def _made_by(release: Release) -> str:
    manifest = release.manifest
    if manifest.restores is not None:
        return f"the weights of release {manifest.restores} again"
    if manifest.parent is None:
        return "public pretraining"
    return f"campaign {manifest.campaign}, {manifest.rounds} rounds from release {manifest.parent}"
