"""Keys that an artist needs with the trade-off benchmark's finalists: the whole prediction chain on whole shots."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby, product
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.privacy_studios import STUDIOS, base_model
from model.curves import outline
from model.evaluation import EvaluationClip
from model.frames import ArrayFrames
from model.methods import method_named
from model.network import RotoModel
from model.played_artist import play_artist
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


@dataclass(frozen=True)
class KeysJob:
    """Counting the keys of one whole shot with the base and with a seed's finalists."""

    work: Path
    seed: int
    studio: str
    number: int
    weights: tuple[tuple[str, Path], ...]  # names and weights of fusion networks

    def __call__(self) -> None:
        """Count, and note it in ``work/keys.jsonl``."""
        base, _ = base_model(self.work)
        models = {"base": base} | {name: _with_fusion(base, file) for name, file in self.weights}
        place = {"seed": self.seed, "studio": self.studio, "number": self.number}
        line = json.dumps(place | {"keys": _counted(models, **place)})
        with _log(self.work).open("a") as log:
            log.write(line + "\n")


def keys_jobs(work: Path, finalists: Iterable[tuple[int, str, Path]]) -> list[KeysJob]:
    """What has not been counted of (seed, name, weights of the fusion network), which come seed by seed."""
    done = {(row["seed"], row["studio"], row["number"]) for row in _rows(work)}
    named = {
        seed: tuple((name, file) for _, name, file in group)
        for seed, group in groupby(finalists, key=itemgetter(0))
    }
    return [
        KeysJob(work, seed, studio, number, named[seed])
        for number, seed, studio in product(range(CLIPS), named, STUDIOS)
        if (seed, studio, number) not in done
    ]


def keys_table(work: Path) -> Iterator[str]:
    """Keys by seed as a Markdown table, of what was counted."""
    yield "| seed | weights | shots | keys | keys saved a shot | studios better |"
    yield "|---|---|---|---|---|---|"
    for seed, group in groupby(sorted(_rows(work), key=itemgetter("seed")), key=itemgetter("seed")):
        rows = list(group)
        for name in rows[0]["keys"]:
            saved = paired_interval([r["keys"]["base"] for r in rows], [r["keys"][name] for r in rows])
            better = sum(
                sum(r["keys"][name] - r["keys"]["base"] for r in rows if r["studio"] == studio) < 0
                for studio in STUDIOS
            )
            total = sum(r["keys"][name] for r in rows)
            interval = f"{saved.mean:+.2f} [{saved.low:+.2f}, {saved.high:+.2f}]"
            yield f"| {seed} | {name} | {len(rows)} | {total} | {interval} | {better} of {len(STUDIOS)} |"


def _log(work: Path) -> Path:
    return work / "keys.jsonl"


def _rows(work: Path) -> list[dict[str, Any]]:
    log = _log(work)
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def _with_fusion(base: RotoModel, file: Path) -> RotoModel:
    matcher = {name: array for name, array in base.to_tensors().items() if name.startswith("matcher.")}
    return RotoModel.from_tensors(matcher | dict(load(file).tensors))


def _counted(models: dict[str, RotoModel], seed: int, studio: str, number: int) -> dict[str, int]:
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
    return {
        name: len(
            play_artist(
                clip, method_named("model", model, memory=memory),
                tolerance_px=TOLERANCE_PX, tolerance_percent=TOLERANCE_PERCENT,
            ).keys
        )
        for name, model in models.items()
    }  # fmt: skip
