"""Quality against privacy: what is left of the federation's gain at each epsilon, and by which choices.

From the project's root::

    python -m benchmarks.privacy_tradeoff SCRATCH subsets
    python -m benchmarks.privacy_tradeoff SCRATCH epsilons
    python -m benchmarks.privacy_tradeoff SCRATCH choices
    python -m benchmarks.privacy_tradeoff SCRATCH finalists
    python -m benchmarks.privacy_tradeoff SCRATCH table

Three studios whose plates lie outside of what pretraining saw (`benchmarks.federation_defaults.KINDS`) train by the
product's own private step; their updates are averaged, and the merged weights are measured on shots that each studio
held out. Every run is a line of ``SCRATCH/tradeoff.jsonl``; a stage skips what it finds there. How the
training goes: `benchmarks.privacy_training`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import torch
from safetensors.numpy import load_file, save_file

from benchmarks.federation_defaults import KINDS, across_miss, base_fusion
from benchmarks.privacy_subsets import Subset, trainable
from benchmarks.privacy_training import POOL, Choice, Shots, federated
from model.losses import window_loss
from model.network import EvidenceTensors, Fusion, RotoModel
from model.pretrain import shot_windows
from model.procedural import make_shot
from model.public_benchmark import paired_interval
from model.windows import Window

HELD_OUT: Final = 8
FRAMES: Final = 17
TOLERANCE: Final = 1.0
"""Miss across the contour, % of the outline's size, up to which a frame counts as needing no key."""


Row = dict[str, Any]


@dataclass(frozen=True)
class Measured:
    """One held-out shot: training loss, mean miss across the contour (% of the outline's size), % of frames within."""

    loss: float
    across: float
    within: float


def main() -> None:
    """Run one stage or print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path, help="scratch folder: shots and finished runs are kept in it")
    parser.add_argument("stage", choices=(*STAGES, "table"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    log = arguments.work / "tradeoff.jsonl"
    log.parent.mkdir(parents=True, exist_ok=True)
    if arguments.stage != "table":
        for seed, choice in STAGES[arguments.stage](rows_of(log)):
            done = {(row["seed"], json.dumps(row["choice"])) for row in rows_of(log)}
            if (seed, json.dumps(asdict(choice))) not in done:
                row = {"seed": seed, "choice": asdict(choice)} | run(choice, arguments.work, seed)
                with log.open("a") as file:
                    file.write(json.dumps(row) + "\n")
    print("\n".join(table(rows_of(log))))


def rows_of(log: Path) -> list[Row]:
    """Finished runs."""
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def table(rows: Sequence[Row]) -> Iterator[str]:
    """The runs as a Markdown table; negative differences are gains."""
    yield "| seed | choice | weights | epsilon | loss | across, % | frames within 1% | studios better |"
    yield "|---|---|---|---|---|---|---|---|"
    for row in rows:
        changed = {k: v for k, v in row["choice"].items() if v != getattr(Choice(), k)} | {
            "subset": row["choice"]["subset"],
            "learning_rate": row["choice"]["learning_rate"],
        }
        target = changed.pop("epsilon", 3.0)
        said = ", ".join(f"{name} {value}" for name, value in sorted(changed.items(), reverse=True))
        gained = row["loss_difference"]
        across = row["across_difference"]
        better = sum(after < before for before, after in row["by_studio_loss"].values())
        yield (
            f"| {row['seed']} | {said} | {row['parameters']:,} | {'none' if target is None else f'{target:g}'} "
            f"| {gained['mean']:+.4f} [{gained['low']:+.4f}, {gained['high']:+.4f}] "
            f"| {across['mean']:+.4f} [{across['low']:+.4f}, {across['high']:+.4f}] "
            f"| {row['within'][0]:.1f} to {row['within'][1]:.1f} | {better} of 3 |"
        )


def subsets(_: Sequence[Row]) -> Iterator[tuple[int, Choice]]:
    """Every subset at two learning rates, without noise and at epsilon 3; then twice as long."""
    for target in (None, 3.0):
        for subset, rates in RATES.items():
            for rate in rates:
                yield 1, Choice(subset=subset, epsilon=target, learning_rate=rate)
    for target in (None, 3.0):
        yield 1, Choice(subset="full", epsilon=target, learning_rate=0.05, rounds=8)
    yield 1, Choice(subset="bias_norm_head", learning_rate=0.1, rounds=8)


def epsilons(rows: Sequence[Row]) -> Iterator[tuple[int, Choice]]:
    """Every subset at epsilon 8 and 1, at the learning rate that is better at 3."""
    for subset in RATES:
        for target in (8.0, 1.0):
            yield 1, replace(best(rows, 3.0, subset), epsilon=target)


def choices(rows: Sequence[Row]) -> Iterator[tuple[int, Choice]]:
    """One thing at a time, at epsilon 3, on the best subset."""
    start = best(rows, 3.0)
    yield (
        1,
        Choice(subset="full", learning_rate=0.05, shots=200, sample_rate=0.25, rounds=8),
    )  # a plan's defaults
    yield 1, replace(start, shots=200, sample_rate=0.25)
    yield 1, replace(start, shots=200, sample_rate=1.0)
    yield 1, replace(start, shots=5000, sample_rate=0.04)
    yield 1, replace(start, augmented=True)
    yield 1, replace(start, windows=6)
    yield 1, replace(start, ema=0.5)
    yield 1, replace(start, steps_per_round=1, sample_rate=0.5, learning_rate=3 * start.learning_rate)
    yield 1, replace(start, momentum=0.7, learning_rate=start.learning_rate / 2)
    yield 1, replace(start, low_pass=0.5)
    yield 1, replace(start, mixed="equal")
    yield 1, replace(start, mixed="noise")


def finalists(rows: Sequence[Row]) -> Iterator[tuple[int, Choice]]:
    """The best without noise and the best at epsilon 3, on shots that chose neither."""
    for seed in (2, 3):
        yield seed, best(rows, 3.0)
        yield seed, best(rows, None)


def best(rows: Sequence[Row], target: float | None, subset: Subset | None = None) -> Choice:
    """The choice with the lowest loss among the subset runs of seed 1."""
    found = [
        (row["loss"][1], Choice(**row["choice"]))
        for row in rows
        if row["seed"] == 1
        and row["choice"]["epsilon"] == target
        and subset in (None, row["choice"]["subset"])
        and Choice(**row["choice"]) in {choice for _, choice in subsets(rows)}
    ]
    return min(found, key=lambda pair: pair[0])[1]


RATES: Final[dict[Subset, tuple[float, ...]]] = {
    "full": (0.05, 0.02),
    "bias_norm_head": (0.1, 0.05),
    "lora": (0.1, 0.05),
    "head": (0.1, 0.3),
}
STAGES = {"subsets": subsets, "epsilons": epsilons, "choices": choices, "finalists": finalists}


def run(choice: Choice, work: Path, seed: int) -> Row:
    """Train the three studios and measure the merged weights on every studio's held-out shots."""
    started = time.process_time()
    shots, before = material(work, seed)
    merged = federated(choice, [pool for _, pool in shots.values()])
    after = {kind: measured(merged, held) for kind, (held, _) in shots.items()}
    flat_before, flat_after = ([s for rows in side.values() for s in rows] for side in (before, after))
    return {
        "parameters": sum(p.numel() for p in trainable(merged)),
        "across": [mean(flat_before, "across"), mean(flat_after, "across")],
        "across_difference": asdict(
            paired_interval([s.across for s in flat_after], [s.across for s in flat_before])
        ),
        "loss_difference": asdict(
            paired_interval([s.loss for s in flat_after], [s.loss for s in flat_before])
        ),
        "loss": [mean(flat_before, "loss"), mean(flat_after, "loss")],
        "within": [mean(flat_before, "within"), mean(flat_after, "within")],
        "by_studio": {k: [mean(before[k], "across"), mean(after[k], "across")] for k in before},
        "by_studio_loss": {k: [mean(before[k], "loss"), mean(after[k], "loss")] for k in before},
        "cpu_s": round(time.process_time() - started, 1),
    }


def measured(fusion: Fusion, shots: Shots) -> list[Measured]:
    """Measure a network shot by shot."""
    found = []
    with torch.no_grad():
        for windows in shots:
            misses = []
            for window in windows:
                points = fusion(EvidenceTensors.stack([window.evidence])).points[0].numpy()
                frames = zip(points, window.truth, strict=True)
                misses.append([100 * across_miss(p[None], t[None]) for p, t in frames])
            every = np.concatenate(misses)
            loss = float(window_loss(fusion, windows))
            across = float(np.mean([np.mean(row) for row in misses]))
            found.append(Measured(loss, across, 100 * float((every <= TOLERANCE).mean())))
    return found


def mean(found: Sequence[Measured], name: str) -> float:
    """Mean of one measure over shots."""
    return round(float(np.mean([getattr(one, name) for one in found])), 4)


@lru_cache
def material(work: Path, seed: int) -> tuple[dict[str, tuple[Shots, Shots]], dict[str, list[Measured]]]:
    """Every studio's (held out, trained on) shots, and how the base weights do on those held out."""
    shots = {kind: studio_shots(work, seed, kind) for kind in KINDS}
    base, _ = base_fusion()
    return shots, {kind: measured(base, held) for kind, (held, _) in shots.items()}


def studio_shots(work: Path, seed: int, kind: str) -> tuple[Shots, Shots]:
    """(Held out, trained on) shots of a studio, made once."""
    file = work / f"windows-{seed}-{kind}.safetensors"
    if not file.exists():
        settings = replace(KINDS[kind], frames=FRAMES)
        matcher = RotoModel.base().matcher
        tensors: dict[str, np.ndarray] = {}
        for shot in range(HELD_OUT + POOL):
            rng = np.random.default_rng([seed, list(KINDS).index(kind), shot])
            windows = shot_windows(make_shot(rng, settings), rng, matcher=matcher)
            for index, window in enumerate(windows):
                tensors |= {f"{shot}/{index}/{name}": array for name, array in window.to_tensors().items()}
        save_file(tensors, file)
    grouped: dict[int, dict[int, dict[str, np.ndarray]]] = {}
    for name, array in load_file(file).items():
        shot_number, index_number, field = name.split("/")
        grouped.setdefault(int(shot_number), {}).setdefault(int(index_number), {})[field] = array
    shots = [[Window.from_tensors(one[i]) for i in sorted(one)] for _, one in sorted(grouped.items())]
    return shots[:HELD_OUT], shots[HELD_OUT : HELD_OUT + POOL]


if __name__ == "__main__":
    main()
