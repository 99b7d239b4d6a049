"""Federated training on real footage: does it help on clips that no studio had?

Five rotations over fifteen clips: three studios of four clips each, grouped by kind, three clips left out. Plates and
shapes are written as real files, ingested by the real ingest and trained by real rounds (`benchmarks.simulation`),
at the plan's default constants with noise, and without noise in research mode; without noise also by each of the three
studios alone. From the project's root::

    python -m benchmarks.federation_real_clips --clips CLIPS --eval EVAL --work SCRATCH

Everything that is slow is kept in SCRATCH and read back by the next run. Frames, evidence and trained weights stay
there: the clips are licensed for evaluation only.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from benchmarks.clip_cases import (
    BASELINES,
    ClipCase,
    ClipTruth,
    clip_cases,
    evidence_digest,
    load_measure,
    predict,
    save_json,
)
from benchmarks.clip_report import summarise, table
from benchmarks.simulation import SHOW, Mode, SimulatedFederation
from federation import set_up
from federation.cli.demo import STUDIOS, _share_clips
from federation.config import PlanDefaults, StudioConfig
from federation.documents import canonical_json, digest
from federation.model_spec import base_model_spec, frozen_digest, pack_trainable, packed_digest
from model.network import Fusion, RotoModel
from model.weights import base_path, load, pack, unpack
from studio_node.catalogue import Catalogue, PackEntry
from studio_node.ingest import ingest
from studio_node.shot_windows import CutRecipe
from studio_node.written_shots import make_clip_shots

MODES: tuple[Mode, ...] = ("research", "private")
Scores = dict[str, dict[str, dict[str, float]]]  # clip -> gap -> measure -> value


def main() -> None:
    """Run what is missing and write the report."""
    arguments = _arguments()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    measure = load_measure(arguments.eval)
    tensors = load(base_path()).tensors
    base = RotoModel.from_tensors(tensors)
    cache = arguments.work / evidence_digest(frozen_digest(tensors))
    bench = _Bench(arguments, measure, base, cache)
    packs = bench.packs()
    cases = bench.cases()
    weights = packed_digest(pack_trainable(tensors, base_model_spec(tensors)))[:12]
    found: dict[str, list[Scores]] = {name: [bench.baseline(cases, name)] for name in BASELINES}
    found["base"] = [bench.of_model(base, cases, sorted(cases))]
    plan = PlanDefaults().model_dump()
    constants = digest(canonical_json(plan))[:8]
    campaigns: dict[str, list[dict[str, Any]]] = {}
    name = f"{weights}-{constants}-w{arguments.windows}"
    for mode in MODES:
        for repeat in range(arguments.repeats[mode]):
            merged: Scores = {}
            for rotation in arguments.rotations:
                run = cache / "runs" / f"{name}-{mode}-{rotation}-{repeat}"
                scores, facts = bench.trained(run, rotation, mode, STUDIOS, cases, packs)
                merged |= scores
                campaigns.setdefault(mode, []).append({"rotation": rotation, "repeat": repeat} | facts)
            found.setdefault(mode, []).append(merged)
    for studio in STUDIOS if arguments.alone else ():
        own: Scores = {}
        for rotation in arguments.rotations:
            run = cache / "runs" / f"{name}-{studio}-{rotation}"
            own |= bench.trained(run, rotation, "research", [studio], cases, packs)[0]
        found.setdefault("alone", []).append(own)
    if "private" in campaigns:
        length = float(np.mean([facts["moved"] for facts in campaigns["private"]]))
        found["control"] = [
            bench.of_model(moved_at_random(base, length, seed), cases, sorted(cases))
            for seed in range(arguments.controls)
        ]
    manifest = json.loads((arguments.clips / "manifest.json").read_text())["clips"]
    clips = sorted({clip for scores in found.get("research", found["base"]) for clip in scores})
    report = {
        "clips": {c["name"]: {"kind": c["object_class"], "suitable": c["suitable"]} for c in manifest},
        "machine": {"cpu": platform.machine(), "cores": os.cpu_count(), "threads": 1, "gpu": None},
        "torch": torch.__version__,
        "windows_per_clip_max": arguments.windows,
        "command": "python -m benchmarks.federation_real_clips --clips CLIPS --eval EVAL --work SCRATCH",
        "plan": plan,
        "base": {"fusion": weights, "frozen": frozen_digest(tensors)[:12]},
        "campaigns": campaigns,
        "scores": {name: [{c: r[c] for c in clips} for r in runs] for name, runs in found.items()},
        "summary": summarise(found, {c["name"] for c in manifest if c["suitable"]}, clips),
    }
    save_json(arguments.out, report)
    print(table(report["summary"]))


class _Bench:
    """The clips, prepared: plates on disk, packs, evidence and truth."""

    def __init__(self, arguments: argparse.Namespace, measure: Any, base: RotoModel, cache: Path) -> None:
        self._arguments, self._measure, self._base, self._cache = arguments, measure, base, cache
        self._shares = {r: _share_clips(arguments.clips, r) for r in arguments.rotations}
        used = {
            clip
            for shares in self._shares.values()
            for names in shares.values()
            for clip in names
            if not arguments.only or clip in arguments.only
        }
        self._clips = sorted(used)
        self._truth: dict[str, ClipTruth] = {}

    def packs(self) -> dict[str, PackEntry]:
        """Write every clip as a studio's files and ingest it."""
        home, plates = self._cache / "ingest", self._arguments.work / "plates"
        if not home.exists():
            config = StudioConfig(name="all", federation="benchmark")
            set_up.init_studio(home, config, size_tier="xs", now=datetime.now(UTC))
        todo = [clip for clip in self._clips if not (plates / clip).exists()]
        if todo:
            make_clip_shots(self._arguments.clips, todo, plates)
        recipe = CutRecipe(windows=self._arguments.windows)
        report = ingest(home, [plates], SHOW, recipe=recipe, progress=lambda step: _tell(step.text))
        if report.rejected:
            raise SystemExit(f"clips were rejected: {report.rejected}")
        with Catalogue.open(home) as catalogue:
            return {pack.shot_id: pack for pack in catalogue.packs()}

    def cases(self) -> dict[str, list[ClipCase]]:
        """Gather the evidence of every clip that is left out once."""
        held_out = {c for s in self._shares.values() for c in s["artist"]} & set(self._clips)
        found = {}
        for clip in sorted(held_out):
            folder = self._arguments.clips / clip
            found[clip] = clip_cases(
                self._measure, folder, self._arguments.gaps, self._base.matcher, self._cache / "evidence"
            )
            self._truth[clip] = ClipTruth(self._measure, folder)
            _tell(f"{clip}: evidence at gaps {[case.gap for case in found[clip]]}")
        return found

    def baseline(self, cases: dict[str, list[ClipCase]], name: str) -> Scores:
        """Score a classical method, once per evidence."""
        file = self._cache / "baselines" / f"{name}.json"
        known: Scores = json.loads(file.read_text()) if file.exists() else {}
        for clip, rows in cases.items():
            for case in rows:
                if str(case.gap) not in known.setdefault(clip, {}):
                    score = self._truth[clip].score(case, case.baselines[name])
                    known[clip][str(case.gap)] = asdict(score)
        save_json(file, known)
        return {clip: known[clip] for clip in cases}

    def of_model(self, model: RotoModel, cases: dict[str, list[ClipCase]], clips: Sequence[str]) -> Scores:
        """Score a model on some of the clips."""
        return {
            clip: {
                str(case.gap): asdict(self._truth[clip].score(case, predict(model, case)))
                for case in cases[clip]
            }
            for clip in clips
        }

    def trained(
        self,
        run: Path,
        rotation: int,
        mode: Mode,
        studios: Sequence[str],
        cases: dict[str, list[ClipCase]],
        packs: dict[str, PackEntry],
    ) -> tuple[Scores, dict[str, Any]]:
        """Train one rotation's studios, unless that was done; their model's scores on the clips left out, and facts."""
        done = run / "scores.json"
        if not done.exists():
            started = time.process_time()
            shares = self._shares[rotation]
            dealt = {s: [packs[c] for c in shares[s] if c in packs] for s in studios if shares[s]}
            attempt = run / f"attempt-{time.time_ns()}"
            federation = SimulatedFederation(attempt, dealt)
            result = federation.run("rotation", base_path(), mode, {"quorum": len(dealt)})
            if result.candidate is None:
                raise SystemExit(f"rotation {rotation} {mode} did not finish: {result.reason}")
            tensors = load(result.candidate).tensors
            spec = base_model_spec(tensors)
            packed, before = (pack_trainable(t, spec) for t in (tensors, load(base_path()).tensors))
            fusion = Fusion()
            unpack(fusion, packed)
            held_out = [clip for clip in shares["artist"] if clip in cases]
            scores = self.of_model(RotoModel(fusion), cases, held_out)
            epsilon = {tier: value for tier, value in result.epsilon.items() if not result.not_private}
            save_json(
                done,
                {
                    "scores": scores,
                    "moved": float(((packed - before) ** 2).sum() ** 0.5),
                    "not_private": result.not_private,
                    "epsilon": epsilon,
                    "cpu_s": round(time.process_time() - started, 1),
                },
            )
            _tell(f"rotation {rotation} {mode}: {time.process_time() - started:.0f} CPU-s")
        kept = json.loads(done.read_text())
        return kept.pop("scores"), kept


def moved_at_random(base: RotoModel, length: float, seed: int) -> RotoModel:
    """The base with its fusion weights moved by a random vector of this norm: what noise alone does."""
    packed = pack(base.fusion)
    noise = np.random.default_rng(seed).standard_normal(packed.size)
    fusion = Fusion()
    unpack(fusion, (packed + noise * (length / np.linalg.norm(noise))).astype(np.float32))
    return RotoModel(fusion)


def _tell(line: str) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S} {line}", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=Path, required=True, help="folder of clips with manifest.json")
    parser.add_argument("--eval", type=Path, required=True, help="folder of the evaluation scripts")
    parser.add_argument("--work", type=Path, required=True, help="scratch folder, outside of the project")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/federation_real_clips.json"))
    parser.add_argument("--gaps", type=_integers, default=[5, 10, 20])
    parser.add_argument("--rotations", type=_integers, default=[0, 1, 2, 3, 4])
    parser.add_argument("--repeats", type=int, default=3, help="research campaigns per rotation")
    parser.add_argument("--private-repeats", type=int, default=2, help="campaigns with noise per rotation")
    parser.add_argument(
        "--alone", action="store_true", help="also train each studio's own model, without noise"
    )
    parser.add_argument(
        "--windows", type=int, default=12, help="per clip at most; a studio's ingest cuts up to 32"
    )
    parser.add_argument(
        "--controls", type=int, default=5, help="random movements of the base to compare with"
    )
    parser.add_argument("--only", type=lambda text: text.split(","), help="these clips, for a quick look")
    arguments = parser.parse_args()
    arguments.repeats = {"research": arguments.repeats, "private": arguments.private_repeats}
    return arguments


def _integers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


if __name__ == "__main__":
    main()
