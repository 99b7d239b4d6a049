"""Quality against privacy: what is left of the federation's gain at each epsilon, and by which choices.

From the project's root, everything in its order, or stage by stage::

    python -m benchmarks.privacy_tradeoff SCRATCH all --processes 10 --seconds 470
    python -m benchmarks.privacy_tradeoff SCRATCH shots|subsets|finalists|choices|repeats|keys
    python -m benchmarks.privacy_tradeoff SCRATCH table

Three studios whose plates lie outside of what pretraining saw (`benchmarks.privacy_studios`) train by the product's own
private step; their updates are averaged, and the merged weights are measured on shots that each studio held out.
Every run is a line of ``SCRATCH/tradeoff.jsonl``; a stage skips what it finds there. What is run:
`benchmarks.privacy_choices`; how the training goes: `benchmarks.privacy_training`; keys that an artist needs with the
finalists' weights: `benchmarks.privacy_keys`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import torch

from benchmarks.privacy_choices import POOLS, Row, Run, best, choices, finalists, repeats, subsets, whole
from benchmarks.privacy_keys import keys_jobs, keys_table
from benchmarks.privacy_studios import (
    Measured,
    Shots,
    ShotsFile,
    base_model,
    measured,
    shots_files,
    studio_shots,
)
from benchmarks.privacy_subsets import plain, trainable
from benchmarks.privacy_table import table
from benchmarks.privacy_training import federated
from benchmarks.privacy_workers import worked
from model.network import RotoModel
from model.public_benchmark import paired_interval
from model.weights import save

STAGES: Final[dict[str, Callable[[Sequence[Row]], Iterable[Run]]]] = {
    "subsets": lambda rows: (*whole(rows), *subsets(rows)),
    "finalists": finalists,
    "choices": choices,
    "repeats": repeats,
}
SHOTS_SHARE: Final = 0.45
"""What the making of shots may take of the time that is given; studios are as large as comes of it."""


def main() -> None:
    """Run one stage, or all, and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "work", type=Path, help="scratch folder: base, shots and finished runs are kept in it"
    )
    parser.add_argument("stage", choices=("all", "shots", *STAGES, "keys", "table"))
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1e6, help="stop after so many, whatever is done")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    base_model(arguments.work)
    until = time.monotonic() + arguments.seconds

    def asked(stage: str) -> bool:
        return arguments.stage in ("all", stage)

    if asked("shots"):
        made_until = until - (1 - SHOTS_SHARE) * arguments.seconds
        list(worked([file.make for file in missing_shots(arguments.work)], arguments.processes, made_until))
    for stage in filter(asked, STAGES):
        if time.monotonic() > until:
            break
        do(STAGES[stage](rows_of(arguments.work)), arguments.work, arguments.processes, until)
    if asked("keys"):
        jobs = keys_jobs(arguments.work, finalist_weights(arguments.work))
        list(worked(jobs, arguments.processes, until))
    print("\n".join([*table(rows_of(arguments.work)), *keys_table(arguments.work)]))


def missing_shots(work: Path) -> list[ShotsFile]:
    """What is to be made yet, all seeds' first shots first."""
    files = [file for seed, pool in POOLS.items() for file in shots_files(work, seed, pool)]
    return [file for file in sorted(files, key=lambda file: file.first) if not file.path.exists()]


def rows_of(work: Path) -> list[Row]:
    """Finished runs."""
    log = work / "tradeoff.jsonl"
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def do(asked: Iterable[Run], work: Path, processes: int, until: float) -> None:
    """Do what was not done yet of a stage's runs; each is a line of the log as soon as it is done."""
    done = {Run.of(row) for row in rows_of(work)}
    missing = [run for run in asked if run not in done]
    for seed in {run.seed for run in missing}:
        material_of(work, seed)  # once, for all processes
    with (work / "tradeoff.jsonl").open("a") as log:
        for row in worked([partial(measured_run, run, work) for run in missing], processes, until):
            log.write(json.dumps(row) + "\n")
            log.flush()


def finalist_weights(work: Path) -> Iterator[tuple[int, str, Path]]:
    """(Seed, name, weights) of the finalists that the loss chose, first draw."""
    rows = rows_of(work)
    for seed in POOLS:
        for name, target in (("no noise", None), ("epsilon 3", 3.0)):
            yield seed, name, weights_file(work, Run(seed, best(rows, target)))


def weights_file(work: Path, run: Run) -> Path:
    """Where a run's merged weights are kept."""
    return work / f"merged-{run.name}.safetensors"


def measured_run(run: Run, work: Path) -> Row:
    """Train the three studios and measure the merged weights on every studio's held-out shots."""
    started = time.process_time()
    material = material_of(work, run.seed)
    trained = federated(
        run.choice, material.base.fusion, [trained_on for _, trained_on in material.shots.values()]
    )
    parameters = sum(p.numel() for p in trainable(trained))
    merged = plain(trained)
    note = {"kind": "private-benchmark" if run.choice.epsilon else "research", "base": material.digest}
    save(weights_file(work, run), RotoModel(merged).to_tensors(), note)
    after = {studio: measured(merged, held) for studio, (held, _) in material.shots.items()}
    before = material.before
    one, other = ([shot for shots in side.values() for shot in shots] for side in (after, before))
    ratio = paired_interval([np.log(s.across) for s in one], [np.log(s.across) for s in other])
    loss = paired_interval([s.loss for s in one], [s.loss for s in other])
    return asdict(run) | {
        "base": material.digest[:16],
        "pool": len(next(iter(material.shots.values()))[1]),
        "parameters": parameters,
        "across_percent": {name: 100 * float(np.expm1(value)) for name, value in asdict(ratio).items()},
        "loss_difference": asdict(loss),
        "loss": [mean(other, "loss"), mean(one, "loss")],
        "across": [mean(other, "across"), mean(one, "across")],
        "within": [mean(other, "within"), mean(one, "within")],
        "by_studio": {k: [mean(before[k], "loss"), mean(after[k], "loss")] for k in before},
        "by_studio_across": {k: [mean(before[k], "across"), mean(after[k], "across")] for k in before},
        "cpu_s": round(time.process_time() - started, 1),
    }


def mean(found: Sequence[Measured], name: str) -> float:
    """Mean of one measure over shots."""
    return round(float(np.mean([getattr(one, name) for one in found])), 6)


@dataclass(frozen=True)
class Material:
    """The base weights, every studio's (held out, trained on) shots, and how the base does on those held out."""

    base: RotoModel
    digest: str
    shots: dict[str, tuple[Shots, Shots]]
    before: dict[str, list[Measured]]


@lru_cache
def material_of(work: Path, seed: int) -> Material:
    """Everything that the runs of a seed share."""
    base, digest = base_model(work)
    shots = studio_shots(work, seed)
    before = {studio: measured(base.fusion, held) for studio, (held, _) in shots.items()}
    return Material(base, digest, shots, before)


if __name__ == "__main__":
    main()
