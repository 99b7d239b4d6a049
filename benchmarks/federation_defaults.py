"""What the plan's constants do, on procedural studios: the public evidence behind `federation.config.PlanDefaults`.

From the project's root::

    python -m benchmarks.federation_defaults SCRATCH norms
    python -m benchmarks.federation_defaults SCRATCH damage
    python -m benchmarks.federation_defaults SCRATCH train --mode research --set learning_rate=0.3 --set rounds=10

Three studios whose plates lie outside of what the base weights were pretrained on train on their own shots; the
measure is their own held-out shots. Every shot is written to disk and ingested as a studio would do it. Shots follow
from ``--seed``; sampling and noise come from the operating system, so a run repeats in distribution only.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import torch

from benchmarks.privacy_studios import across_miss
from benchmarks.simulation import SHOW, SimulatedFederation, shift
from federation import set_up
from federation.config import StudioConfig
from federation.model_spec import base_model_spec, frozen_digest, pack_trainable
from federation.plan import LedgerHead
from model.losses import window_loss
from model.network import EvidenceTensors, Fusion
from model.procedural_settings import ShotSettings
from model.public_benchmark import paired_interval
from model.weights import base_path, load, unpack
from model.windows import Window
from studio_node.catalogue import Catalogue, PackEntry
from studio_node.ingest import ingest
from studio_node.ledger import Reservation
from studio_node.packs import PackReader
from studio_node.shot_windows import CutRecipe
from studio_node.written_shots import make_procedural_shots

SIZE = {"width": 192, "height": 144, "frames": 25, "size": (0.35, 0.6)}
KINDS = {
    "swift": ShotSettings(**SIZE, motion=2.4, blur_chance=1.0),
    "dim": ShotSettings(**SIZE, contrast=0.25, grain=0.08),
    "supple": ShotSettings(**SIZE, deformation=3.5, occluder_chance=1.0, parts_chance=1.0),
}
"""The studios' material; pretraining saw motion to 1.6, contrast from 0.5, grain to 0.03, deformation to 2."""
RECIPE = CutRecipe(windows=6, gaps=(4, 20))
HELD_OUT = 4


@dataclass(frozen=True)
class Score:
    """One held-out shot: mean loss of its windows, and mean miss across the contour in % of the outline's size."""

    loss: float
    across: float


def main() -> None:
    """Run one experiment and print it as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path, help="scratch folder; shots are made once and kept")
    parser.add_argument("experiment", choices=("prepare", "norms", "damage", "train"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--shots", type=int, default=12, help="of each studio, besides those held out")
    parser.add_argument("--mode", choices=("private", "research"), default="research")
    parser.add_argument("--tier", default="xs")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a constant of the plan"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    started = time.process_time()
    shots = prepare(arguments.work, arguments.seed, arguments.shots)
    if arguments.experiment == "norms":
        found = norms(shots)
    elif arguments.experiment == "damage":
        found = damage(shots, arguments.seed)
    elif arguments.experiment == "train":
        found = train(arguments, shots)
    else:
        found = {kind: len(packs) for kind, packs in shots.items()}
    print(json.dumps({"command": vars(arguments) | {"work": ""}, "found": found,
                      "cpu_s": round(time.process_time() - started, 1)}))  # fmt: skip


def prepare(work: Path, seed: int, shots: int) -> dict[str, list[PackEntry]]:
    """Write and ingest every studio's shots, once per seed and matcher."""
    digest = frozen_digest(load(base_path()).tensors)
    found = {}
    for index, (kind, settings) in enumerate(KINDS.items()):
        home = work / f"seed{seed}-{digest[:12]}" / kind
        plates = work / f"seed{seed}-plates" / kind
        if not home.exists():
            config = StudioConfig(name=kind, federation="benchmark")
            set_up.init_studio(home, config, size_tier="xs", now=datetime.now(UTC))
        have = len(list(plates.glob("*/shapes.nk")))
        if have < shots + HELD_OUT:
            # Another count is another folder of shots, so that shot i never changes.
            for number in range(have, shots + HELD_OUT):
                make_procedural_shots(
                    plates, seed=1000 * (10 * seed + index) + number, count=1, settings=settings,
                    prefix=f"{kind}-{number:03d}-",
                )  # fmt: skip
        report = ingest(home, [plates], SHOW, recipe=RECIPE)
        if report.rejected:
            print(report.rejected)
        with Catalogue.open(home) as catalogue:
            found[kind] = list(catalogue.packs())[: shots + HELD_OUT]
    return found


def windows_of(packs: Sequence[PackEntry]) -> list[list[Window]]:
    """All windows, shot by shot; these shots are public."""
    uncharged = Reservation(LedgerHead(sequence=0, hash="0" * 64), {SHOW})
    return [list(PackReader.open(p.path, uncharged, show=SHOW, frozen_digest=p.frozen_digest)) for p in packs]


def base_fusion() -> tuple[Fusion, np.ndarray]:
    """The shipped fusion network and its packed weights."""
    tensors = load(base_path()).tensors
    packed = pack_trainable(tensors, base_model_spec(tensors))
    fusion = Fusion()
    unpack(fusion, packed)
    return fusion, packed


def scores(fusion: Fusion, shots: Sequence[Sequence[Window]]) -> list[Score]:
    """Score a network on shots."""
    found = []
    with torch.no_grad():
        for windows in shots:
            predicted = [fusion(EvidenceTensors.stack([w.evidence])).points[0].numpy() for w in windows]
            across = np.mean([across_miss(p, w.truth) for p, w in zip(predicted, windows, strict=True)])
            found.append(Score(float(window_loss(fusion, windows)), 100 * float(across)))
    return found


def split(shots: dict[str, list[PackEntry]]) -> tuple[dict[str, list[PackEntry]], dict[str, list[PackEntry]]]:
    """(Trained on, held out) for each studio."""
    return {k: p[HELD_OUT:] for k, p in shots.items()}, {k: p[:HELD_OUT] for k, p in shots.items()}


def norms(shots: dict[str, list[PackEntry]]) -> dict[str, object]:
    """Norm of every shot's gradient at the base weights, and of their mean."""
    fusion, _ = base_fusion()
    parameters = list(fusion.parameters())
    found: dict[str, object] = {}
    everything = []
    for kind, packs in split(shots)[0].items():
        rows = []
        for windows in windows_of(packs):
            gradient = torch.autograd.grad(window_loss(fusion, windows), parameters)
            rows.append(torch.cat([g.ravel() for g in gradient]).numpy())
        everything += rows
        found[kind] = np.round(np.quantile(np.linalg.norm(rows, axis=1), [0.1, 0.5, 0.9]), 3).tolist()
    matrix = np.array(everything)
    lengths = np.linalg.norm(matrix, axis=1)
    return found | {
        "quantiles_10_50_90": np.round(np.quantile(lengths, [0.1, 0.5, 0.9]), 3).tolist(),
        "norm_of_mean": round(float(np.linalg.norm(matrix.mean(axis=0))), 4),
        "norm_of_weights": round(float(np.linalg.norm(base_fusion()[1])), 2),
        "parameters": matrix.shape[1],
    }


def damage(shots: dict[str, list[PackEntry]], seed: int) -> list[dict[str, float]]:
    """What a random shift of the weights costs on held-out shots, by its norm."""
    fusion, packed = base_fusion()
    held_out = [windows for packs in split(shots)[1].values() for windows in windows_of(packs)]
    rng = np.random.default_rng(seed)
    base = summary(scores(fusion, held_out))
    rows = [{"norm": 0.0} | base]
    for length in (0.1, 0.3, 1.0, 2.0, 4.0):
        found = []
        for _ in range(2):
            noise = rng.standard_normal(packed.size)
            unpack(fusion, (packed + noise * (length / np.linalg.norm(noise))).astype(np.float32))
            found.append(summary(scores(fusion, held_out)))
        rows.append({"norm": length} | {k: round(float(np.mean([f[k] for f in found])), 4) for k in base})
    return rows


def train(arguments: argparse.Namespace, shots: dict[str, list[PackEntry]]) -> dict[str, object]:
    """Train a federation and compare it with the base on the studios' own held-out shots."""
    trained_on, held_out = split(shots)
    settings = {
        n: float(v) if "." in v or "e" in v else int(v) for n, v in (s.split("=") for s in arguments.set)
    }
    fusion, packed = base_fusion()
    windows = {kind: windows_of(packs) for kind, packs in held_out.items()}
    before = {kind: scores(fusion, rows) for kind, rows in windows.items()}
    root = arguments.work / "runs" / f"{time.time_ns()}"
    federation = SimulatedFederation(root, trained_on, size_tier=arguments.tier)
    result = federation.run("trial", base_path(), arguments.mode, settings)
    if result.candidate is None:
        return {"state": result.state, "reason": result.reason}
    tensors = load(result.candidate).tensors
    unpack(fusion, pack_trainable(tensors, base_model_spec(tensors)))
    after = {kind: scores(fusion, rows) for kind, rows in windows.items()}
    flat_before, flat_after = ([s for rows in side.values() for s in rows] for side in (before, after))
    return {
        "state": result.state,
        "epsilon": result.epsilon,
        "moved": round(shift(packed, pack_trainable(tensors, base_model_spec(tensors))), 3),
        "before": summary(flat_before),
        "after": summary(flat_after),
        "by_studio": {k: [summary(before[k])["across"], summary(after[k])["across"]] for k in before},
        "across_difference": asdict(
            paired_interval([s.across for s in flat_after], [s.across for s in flat_before])
        ),
        "loss_difference": asdict(
            paired_interval([s.loss for s in flat_after], [s.loss for s in flat_before])
        ),
        "shots_better": sum(a.across < b.across for a, b in zip(flat_after, flat_before, strict=True)),
    }


def summary(found: Sequence[Score]) -> dict[str, float]:
    """Means over shots."""
    return {
        "loss": round(float(np.mean([s.loss for s in found])), 4),
        "across": round(float(np.mean([s.across for s in found])), 4),
    }


if __name__ == "__main__":
    main()
