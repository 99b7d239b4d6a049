"""From weights to a release: measured on the public benchmark, judged by the release check, then signed, or refused."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from aggregator.benchmark_clips import kept_clips
from aggregator.campaign import CAMPAIGNS_FOLDER
from aggregator.campaign_run import open_registry
from aggregator.gain_round import is_gain_open
from aggregator.registry import Registry
from aggregator.release_check import MODEL, BenchmarkRun, ReleaseCheck, SharedGain, check_candidate
from aggregator.release_draft import Draft, Training
from aggregator.restart import read_restart
from aggregator.round_store import CANDIDATE_FILE, RoundStore
from aggregator.shared_gain import read_shared_gain
from federation.errors import ReleaseError
from federation.homes import CoordinatorHome
from federation.keys import PLAN_KEY, load_plan_key
from federation.model_spec import ARCHITECTURE, base_model_spec, frozen_digest
from federation.plan import TrainingPlan
from federation.privacy import epsilon, event_of
from federation.release_manifest import WEIGHTS, privacy_of
from federation.worker_pool import usable_cores
from model.network import RotoModel
from model.public_benchmark import BASELINES, RECIPE, evaluate
from model.weights import base_path, load, load_public

Progress = Callable[[str], None]
CANDIDATE, BASE = "candidate", "base"


@dataclass(frozen=True)
class ReleaseOutcome:
    """What became of weights that were to be released.

    Attributes:
        check: every gate and every number.
        number: of the release, or None if the check did not pass.
        folder: of the release, or None.
        promoted: whether it is handed out now; otherwise it is held until somebody promotes it.
    """

    check: ReleaseCheck
    number: int | None
    folder: Path | None
    promoted: bool


def release_base(home: Path, *, hold: bool = False, progress: Progress) -> ReleaseOutcome:
    """Check the packaged base weights and publish them, if they pass, as a release made on public data only.

    Args:
        home: the coordinator's.
        hold: sign it but do not hand it out before it is promoted.
        progress: told one sentence at a time.

    Raises:
        ReleaseError: the registry breaks a rule.
        IdentityError: the release key is missing or readable by others.
    """
    return _release(home, base_path(), parent=None, training=None, hold=hold, progress=progress)


def release_candidate(home: Path, campaign: str, *, hold: bool = False, progress: Progress) -> ReleaseOutcome:
    """Check a finished campaign's candidate and publish it if it passes; otherwise the previous release stays.

    Args:
        home: the coordinator's.
        campaign: its name.
        hold: sign it but do not hand it out before it is promoted.
        progress: told one sentence at a time.

    Raises:
        ReleaseError: the campaign has no candidate yet, trained without noise, or the registry breaks a rule.
        IdentityError: a key is missing or readable by others.
    """
    store = RoundStore(home / CAMPAIGNS_FOLDER / campaign)
    document, candidate = store.read_plan(), store.folder / CANDIDATE_FILE
    if document is None or not candidate.exists():
        raise ReleaseError(
            f"campaign {campaign} has no candidate",
            hint=f"run it to its end first: fedroto coordinator run --campaign {campaign}",
        )
    plan_key = load_plan_key(CoordinatorHome(home).keys / PLAN_KEY).public_key()
    plan = TrainingPlan.verified(document, plan_key)
    if plan.not_private:
        raise ReleaseError(
            f"campaign {campaign} trained without noise (NOT PRIVATE); such weights are never published"
        )
    restart = read_restart(store.folder)
    rounds = plan.rounds + (0 if restart is None else restart.rounds)
    event = event_of(plan, rounds=rounds)
    privacy = privacy_of(plan, rounds=rounds, epsilon=lambda delta: epsilon([event], delta))
    training = Training(plan, rounds, privacy)
    if is_gain_open(store, plan):
        raise ReleaseError(
            f"studios are still to be asked what campaign {campaign} is worth to them",
            hint=f"run it to its end first: fedroto coordinator run --campaign {campaign}",
        )
    newest = open_registry(home).latest()  # not the plan's base: another release may have come since
    if newest is None:
        raise ReleaseError(f"campaign {campaign} started from release {plan.base_release}, which is not here")
    return _release(
        home,
        candidate,
        parent=newest.path / WEIGHTS,
        training=training,
        gain=read_shared_gain(store, plan),
        hold=hold,
        progress=progress,
    )


def measure(home: Path, models: Mapping[str, RotoModel], *, progress: Progress) -> dict[str, BenchmarkRun]:
    """Run the public benchmark once for models that share a matcher; boundary errors in percent of a shape's size.

    Returns:
        A run for each model, under its name.
    """
    model = next(iter(models.values()))
    clips = kept_clips(
        home, frozen_digest(model.to_tensors()), lambda: model.matcher, progress, workers=usable_cores()
    )
    scores = evaluate(models, clips)
    names = tuple(clip.name for clip in clips)

    def errors(method: str) -> tuple[float, ...]:
        by_clip = {score.clip: score.boundary for score in scores if score.method == method}
        return tuple(by_clip[name] for name in names)

    baselines = {method: errors(method) for method in BASELINES}
    return {
        name: BenchmarkRun(f"{RECIPE}, {len(names)} clips", names, {MODEL: errors(name), **baselines})
        for name in models
    }


def _release(
    home: Path,
    weights: Path,
    *,
    parent: Path | None,
    training: Training | None,
    gain: SharedGain | None = None,
    hold: bool,
    progress: Progress,
) -> ReleaseOutcome:
    registry: Registry = open_registry(home)
    loaded = load_public(weights)
    models = {CANDIDATE: RotoModel.from_tensors(loaded.tensors)}
    if parent is not None:
        models[BASE] = RotoModel.from_tensors(load(parent).tensors)
    runs = measure(home, models, progress=progress)
    check = check_candidate(runs[CANDIDATE], runs.get(BASE), gain)
    if not check.passed:
        return ReleaseOutcome(check, None, None, promoted=False)
    spec = base_model_spec(loaded.tensors)
    draft = Draft(weights, check, ARCHITECTURE, spec.frozen_digest, int(time.time()), training)
    release = registry.publish(draft, CoordinatorHome(home).release_private_key, promote=not hold)
    return ReleaseOutcome(check, release.number, release.path, promoted=not hold)
