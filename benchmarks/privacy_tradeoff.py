"""Quality against privacy: what is left of the federation's gain at each epsilon, and by which choices.

From the project's root::

    python -m benchmarks.privacy_tradeoff SCRATCH subsets
    python -m benchmarks.privacy_tradeoff SCRATCH epsilons
    python -m benchmarks.privacy_tradeoff SCRATCH choices
    python -m benchmarks.privacy_tradeoff SCRATCH finalists
    python -m benchmarks.privacy_tradeoff SCRATCH keys
    python -m benchmarks.privacy_tradeoff SCRATCH table

Three studios whose plates lie outside of what pretraining saw (`benchmarks.privacy_studios`) train by the product's own
private step; their updates are averaged, and the merged weights are measured on shots that each studio held out.
Every run is a line of ``SCRATCH/tradeoff.jsonl``; a stage skips what it finds there. How the training goes:
`benchmarks.privacy_training`; keys that an artist needs with the finalists' weights: `benchmarks.privacy_keys`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import torch

from benchmarks.privacy_keys import keys_rows
from benchmarks.privacy_studios import POOL, STUDIOS, Measured, Shots, base_model, measured, studio_shots
from benchmarks.privacy_subsets import Subset, plain, trainable
from benchmarks.privacy_training import Choice, federated
from model.network import RotoModel
from model.public_benchmark import paired_interval
from model.weights import save

RATES: Final[dict[Subset, tuple[float, ...]]] = {
    "full": (0.1, 0.3, 0.6),
    "bias_norm_head": (0.1, 0.3),
    "lora": (0.1, 0.3),
    "head": (0.1, 0.3),
}
SEEDS: Final = (1, 2, 3)
Row = dict[str, Any]


def main() -> None:
    """Run one stage or print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "work", type=Path, help="scratch folder: base, shots and finished runs are kept in it"
    )
    parser.add_argument("stage", choices=(*STAGES, "keys"))
    parser.add_argument("--pool", type=int, default=POOL, help="shots that play a studio, in sixteens")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    log = arguments.work / "tradeoff.jsonl"
    if arguments.stage == "keys":
        print("\n".join(keys_rows(arguments.work, finalist_weights(arguments.work, rows_of(log)))))
        return
    for seed, choice in STAGES[arguments.stage](rows_of(log)):
        if any(row["seed"] == seed and row["choice"] == asdict(choice) for row in rows_of(log)):
            continue
        row = {"seed": seed, "choice": asdict(choice)} | run(choice, arguments.work, seed, arguments.pool)
        with log.open("a") as file:
            file.write(json.dumps(row) + "\n")
    print("\n".join(table(rows_of(log))))


def rows_of(log: Path) -> list[Row]:
    """Finished runs."""
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def table(rows: Sequence[Row]) -> Iterator[str]:
    """The runs as a Markdown table; negative differences are gains."""
    yield "| seed | choice | weights | epsilon | loss | across, % | frames within 1% | studios better | of best |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for row in rows:
        start = Choice()
        named = {name: value for name, value in row["choice"].items() if value != getattr(start, name)}
        named = {name: row["choice"][name] for name in ("subset", "learning_rate")} | named
        target = named.pop("epsilon", start.epsilon)
        said = ", ".join(f"{name} {value}" for name, value in named.items())
        better = sum(after < before for before, after in row["by_studio"].values())
        unnoised = [r["loss_difference"]["mean"] for r in rows if r["seed"] == row["seed"] and not private(r)]
        kept = f"{row['loss_difference']['mean'] / min(unnoised):.0%}" if unnoised else ""
        yield (
            f"| {row['seed']} | {said} | {row['parameters']:,} | {'none' if target is None else f'{target:g}'} "
            f"| {interval(row['loss_difference'])} | {interval(row['across_percent'], digits=1)} "
            f"| {row['within'][0]:.1f} to {row['within'][1]:.1f} | {better} of {len(STUDIOS)} | {kept} |"
        )


def private(row: Row) -> bool:
    """Whether a run was noised."""
    return row["choice"]["epsilon"] is not None


def interval(found: dict[str, float], digits: int = 4) -> str:
    """A difference with its interval."""
    return f"{found['mean']:+.{digits}f} [{found['low']:+.{digits}f}, {found['high']:+.{digits}f}]"


def subsets(_: Sequence[Row]) -> Iterator[tuple[int, Choice]]:
    """Every subset at several learning rates, without noise and at epsilon 3; unclipped too, without noise."""
    for subset, rates in RATES.items():
        for rate in rates:
            for target in (None, 3.0):
                yield 1, Choice(subset=subset, epsilon=target, learning_rate=rate)
    for rate in RATES["full"]:
        yield 1, Choice(epsilon=None, learning_rate=rate, clipping=1000.0)


def epsilons(rows: Sequence[Row]) -> Iterator[tuple[int, Choice]]:
    """Every subset at epsilon 8 and 1, at the learning rate that is better at 3."""
    for subset in RATES:
        for target in (8.0, 1.0):
            yield 1, replace(best(rows, 3.0, subset), epsilon=target)


def choices(rows: Sequence[Row]) -> Iterator[tuple[int, Choice]]:
    """One thing at a time, at epsilon 3, on the best subset."""
    start = best(rows, 3.0)
    rate = start.learning_rate
    yield 1, replace(start, shots=200, sample_rate=0.25)
    yield 1, replace(start, shots=5000, sample_rate=0.04)
    yield 1, replace(start, augmented=True)
    yield 1, replace(start, ema=0.5)
    yield 1, replace(start, steps_per_round=1, sample_rate=0.5, drawn=80, learning_rate=5 * rate)
    yield 1, replace(start, momentum=0.7, learning_rate=rate / 2)
    yield (
        1,
        replace(start, shots=200, steps_per_round=1, sample_rate=1.0, drawn=160, learning_rate=5 * rate),
    )
    yield 1, replace(start, low_pass=0.5)
    yield 1, replace(start, mixed="equal")
    yield 1, replace(start, mixed="noise")
    yield 1, replace(start, clipping=0.5)
    yield 1, replace(start, clipping=2.0)


def finalists(rows: Sequence[Row]) -> Iterator[tuple[int, Choice]]:
    """The best without noise and the best at epsilon 3, on every seed's own shots; seed 1 chose them."""
    for seed in SEEDS:
        yield seed, best(rows, 3.0)
        yield seed, best(rows, None)


def best(rows: Sequence[Row], target: float | None, subset: Subset | None = None) -> Choice:
    """The choice with the lowest loss among the subset runs of seed 1."""
    asked = {choice for _, choice in subsets(rows)}
    found = [
        (row["loss"][1], choice)
        for row in rows
        for choice in [Choice(**row["choice"])]
        if row["seed"] == 1 and choice in asked and choice.epsilon == target
        if subset in (None, choice.subset)
    ]
    return min(found, key=lambda pair: pair[0])[1]


STAGES: Final[dict[str, Callable[[Sequence[Row]], Iterable[tuple[int, Choice]]]]] = {
    "subsets": subsets,
    "epsilons": epsilons,
    "choices": choices,
    "finalists": finalists,
    "table": lambda _: (),
}


def finalist_weights(work: Path, rows: Sequence[Row]) -> Iterator[tuple[int, str, Path]]:
    """(Seed, name, weights) of the finalists' runs."""
    for seed in SEEDS:
        for name, target in (("no noise", None), ("epsilon 3", 3.0)):
            yield seed, name, weights_file(work, seed, best(rows, target))


def weights_file(work: Path, seed: int, choice: Choice) -> Path:
    """Where a run's merged weights are kept."""
    said = "-".join(str(value) for value in asdict(choice).values())
    return work / f"merged-{seed}-{said}.safetensors"


def run(choice: Choice, work: Path, seed: int, pool: int = POOL) -> Row:
    """Train the three studios and measure the merged weights on every studio's held-out shots."""
    started = time.process_time()
    material = material_of(work, seed, pool)
    trained = federated(
        choice, material.base.fusion, [trained_on for _, trained_on in material.shots.values()]
    )
    parameters = sum(p.numel() for p in trainable(trained))
    merged = plain(trained)
    note = {"kind": "private-benchmark" if choice.epsilon else "research", "base": material.digest}
    save(weights_file(work, seed, choice), RotoModel(merged).to_tensors(), note)
    after = {studio: measured(merged, held) for studio, (held, _) in material.shots.items()}
    before = material.before
    one, other = ([shot for shots in side.values() for shot in shots] for side in (after, before))
    ratio = paired_interval([np.log(s.across) for s in one], [np.log(s.across) for s in other])
    loss = paired_interval([s.loss for s in one], [s.loss for s in other])
    return {
        "base": material.digest[:16],
        "pool": pool,
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
    return round(float(np.mean([getattr(one, name) for one in found])), 4)


@dataclass(frozen=True)
class Material:
    """The base weights, every studio's (held out, trained on) shots, and how the base does on those held out."""

    base: Any
    digest: str
    shots: dict[str, tuple[Shots, Shots]]
    before: dict[str, list[Measured]]


@lru_cache(maxsize=1)
def material_of(work: Path, seed: int, pool: int) -> Material:
    """Everything that the runs of a seed share."""
    base, digest = base_model(work)
    shots = {studio: studio_shots(work, seed, studio, pool) for studio in STUDIOS}
    before = {studio: measured(base.fusion, held) for studio, (held, _) in shots.items()}
    return Material(base, digest, shots, before)


if __name__ == "__main__":
    main()
