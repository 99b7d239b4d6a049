"""Keys that an artist needs with the trade-off benchmark's finalists: the whole prediction chain on whole shots."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.privacy_studios import STUDIOS, base_model
from model.curves import outline
from model.evaluation import EvaluationClip, keys_needed
from model.frames import ArrayFrames
from model.methods import method_named
from model.network import RotoModel
from model.predict import SpanMemory
from model.pretrain import seen_share
from model.procedural import make_shot
from model.public_benchmark import paired_interval
from model.weights import load
from model.windows import resample_circular
from model.working import to_working

CLIPS: Final = 6
FRAMES: Final = 25
SAMPLES: Final = 64
TOLERANCE_PX, TOLERANCE_PERCENT = 0.5, 1.0
"""A frame may be off by the larger of both; figures are 50 to 70 px large."""


def keys_rows(work: Path, finalists: Iterable[tuple[int, str, Path]]) -> Iterator[str]:
    """Measure what has not been measured (kept in ``work/keys.jsonl``) and print keys by seed as a Markdown table.

    Args:
        work: scratch folder of the benchmark.
        finalists: (seed, name, weights of the fusion network), seed by seed.
    """
    log = work / "keys.jsonl"
    base, _ = base_model(work)
    yield "| seed | weights | keys | keys saved a shot | studios better |"
    yield "|---|---|---|---|---|"
    for seed, group in groupby(finalists, key=itemgetter(0)):
        models = {"base": base} | {name: _with_fusion(base, file) for _, name, file in group}
        found: dict[str, dict[str, list[int]]] = {}
        for studio in STUDIOS:
            for number in range(CLIPS):
                keys = _kept(log, f"{seed}/{studio}/{number}") or _measure(log, models, seed, studio, number)
                for name in models:
                    found.setdefault(name, {}).setdefault(studio, []).append(keys[name])
        flat = {
            name: [keys for row in by_studio.values() for keys in row] for name, by_studio in found.items()
        }
        for name in models:
            saved = paired_interval(flat["base"], flat[name])
            better = sum(sum(found[name][studio]) < sum(found["base"][studio]) for studio in STUDIOS)
            yield (
                f"| {seed} | {name} | {sum(flat[name])} "
                f"| {saved.mean:+.2f} [{saved.low:+.2f}, {saved.high:+.2f}] | {better} of {len(STUDIOS)} |"
            )


def _with_fusion(base: RotoModel, file: Path) -> RotoModel:
    matcher = {name: array for name, array in base.to_tensors().items() if name.startswith("matcher.")}
    return RotoModel.from_tensors(matcher | dict(load(file).tensors))


def _kept(log: Path, clip: str) -> dict[str, int] | None:
    lines = log.read_text().splitlines() if log.exists() else []
    return next((row["keys"] for row in map(json.loads, lines) if row["clip"] == clip), None)


def _measure(log: Path, models: dict[str, RotoModel], seed: int, studio: str, number: int) -> dict[str, int]:
    rng = np.random.default_rng([*b"fedroto privacy keys", seed, list(STUDIOS).index(studio), number])
    settings = replace(STUDIOS[studio], frames=FRAMES, first_frame=0)
    shot = make_shot(rng, settings)
    samples = resample_circular(outline(shot.truth[0], "bezier", True, 16), SAMPLES)
    clip = EvaluationClip(
        f"{studio} {number}",
        studio,
        ArrayFrames([to_working(plate) for plate in shot.frames]),
        samples,
        visible=seen_share(samples, settings.width, settings.height) > 0.25,
    )
    memory = SpanMemory()  # the matcher is the same in all, so its evidence is gathered once
    keys = {
        name: len(
            keys_needed(
                clip, method_named("model", model, memory=memory),
                tolerance_px=TOLERANCE_PX, tolerance_percent=TOLERANCE_PERCENT,
            )
        )
        for name, model in models.items()
    }  # fmt: skip
    with log.open("a") as file:
        file.write(json.dumps({"clip": f"{seed}/{studio}/{number}", "keys": keys}) + "\n")
    return keys
