"""Two releases side by side: what the public benchmark says of each, how far their weights lie apart, what each cost.

Where both were checked on the same benchmark and clips, the recorded numbers are compared; otherwise, or on demand,
both are measured again in one run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aggregator.campaign_run import open_registry
from aggregator.recorded_check import recorded_check
from aggregator.release_check import MODEL, SEED, BenchmarkRun, Interval, paired_interval
from aggregator.releasing import Progress, measure
from federation.errors import ReleaseError
from federation.release_folder import Release
from model.network import RotoModel
from model.weights import load


@dataclass(frozen=True)
class ComparedRelease:
    """One side of a comparison.

    Attributes:
        parent: release that its training started from; None for a base.
        restores: release whose weights these are again, or None.
        rounds: federated rounds averaged in.
        epsilon: most that a shot was charged for this training, by size tier; empty for a base.
        error: mean boundary error on the benchmark, in percent of the outline's size.
    """

    number: int
    parent: int | None
    restores: int | None
    campaign: str | None
    rounds: int
    epsilon: Mapping[str, float]
    error: float


@dataclass(frozen=True)
class ReleaseComparison:
    """An older and a newer release on the same clips.

    Attributes:
        benchmark: its name, version and size.
        measured_now: whether both were measured for this comparison, or their recorded numbers taken.
        difference: of the mean errors (new - old; negative is better) with its 95% interval.
        clips_better: clips on which the new one is better.
        clips: clips in all.
        by_clip: error of old and new, by clip.
        baselines: mean error of each baseline.
        weights_moved: distance of the weights relative to the old weights' length (both Euclidean).
    """

    old: ComparedRelease
    new: ComparedRelease
    benchmark: str
    measured_now: bool
    difference: Interval
    clips_better: int
    clips: int
    by_clip: Mapping[str, tuple[float, float]]
    baselines: Mapping[str, float]
    weights_moved: float


def compare_releases(
    home: Path, old: int, new: int, *, again: bool = False, progress: Progress
) -> ReleaseComparison:
    """Compare two releases of a coordinator's registry.

    Args:
        home: the coordinator's.
        old: number of the one.
        new: number of the other.
        again: measure both now, even where recorded numbers can be compared.
        progress: told one sentence at a time.

    Raises:
        ReleaseError: one is not there or breaks a rule, or both are to be measured and have different frozen parts.
    """
    registry = open_registry(home)
    sides = registry.get(old), registry.get(new)
    recorded = tuple(recorded_check(side).candidate for side in sides)
    alike = (recorded[0].benchmark, recorded[0].clips) == (recorded[1].benchmark, recorded[1].clips)
    measured_now = again or not alike
    before, after = _measured(home, *sides, progress) if measured_now else recorded
    errors = [np.array(run.errors[MODEL], np.float64) for run in (before, after)]
    return ReleaseComparison(
        old=_side(sides[0], before),
        new=_side(sides[1], after),
        benchmark=after.benchmark,
        measured_now=measured_now,
        difference=paired_interval(errors[1], errors[0], generator=np.random.default_rng(SEED)),
        clips_better=int((errors[1] < errors[0]).sum()),
        clips=len(after.clips),
        by_clip={
            clip: (float(one), float(other)) for clip, one, other in zip(after.clips, *errors, strict=True)
        },
        baselines={name: after.mean_error(name) for name in after.baselines},
        weights_moved=_moved(*sides),
    )


def _measured(
    home: Path, old: Release, new: Release, progress: Progress
) -> tuple[BenchmarkRun, BenchmarkRun]:
    if old.manifest.frozen_digest != new.manifest.frozen_digest:
        raise ReleaseError(
            f"releases {old.number} and {new.number} have different matchers and were not checked on the same clips"
        )
    models = {str(side.number): RotoModel.from_tensors(load(side.weights).tensors) for side in (old, new)}
    runs = measure(home, models, progress=progress)
    return runs[str(old.number)], runs[str(new.number)]


def _side(release: Release, run: BenchmarkRun) -> ComparedRelease:
    manifest = release.manifest
    tiers = {} if manifest.privacy is None else manifest.privacy.size_tiers
    return ComparedRelease(
        number=manifest.number,
        parent=manifest.parent,
        restores=manifest.restores,
        campaign=manifest.campaign,
        rounds=manifest.rounds,
        epsilon={name: tier.epsilon for name, tier in tiers.items()},
        error=run.mean_error(MODEL),
    )


def _moved(old: Release, new: Release) -> float:
    before, after = load(old.weights).tensors, load(new.weights).tensors
    if before.keys() != after.keys():
        raise ReleaseError(f"releases {old.number} and {new.number} have different networks")
    squares = [(float(((after[n] - before[n]) ** 2).sum()), float((before[n] ** 2).sum())) for n in before]
    moved, length = np.sqrt(np.sum(squares, axis=0))
    return float(moved / length)
