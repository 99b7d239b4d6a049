"""What an artist gains by ``fedroto tune``, on real clips.

``python -m benchmarks.tuning_gain CLIPS --eval EVAL --cache SCRATCH [--out report.json]``, at gaps of 10 and 20 frames:

* own show: the weights are tuned on the other clips of the same kind (one of them kept aside), then used on the clip;
* own shot: they are tuned on the clip's first half (its last quarter kept aside), then used on its second half.

Base and tuned weights see the same evidence. A tuning that does not help on what was kept aside leaves the base as it
is, as the command does. Nothing is chosen on the clips that are measured.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import torch

from benchmarks.clip_cases import CENTRE, ClipTruth, clip_cases, load_measure, predict, save_json
from model.frames import ArrayFrames
from model.network import RotoModel
from model.public_benchmark import paired_interval
from model.tuning import Tuned, tune
from model.windows import Window, cut_windows
from studio_node.tuning_windows import LEARNED_SHARE

GAPS = (10, 20)
OWN_SHOT_FRAMES_MIN = 30
"""Half of a shorter clip has no span of ten frames to measure on and one to learn from."""
KINDS = {"rigid": "vehicle", "near-rigid": "vehicle", "deforming animal": "animal", "person": "person"}


def cut(
    measure: ModuleType, clip: Path, model: RotoModel, count: int, part: tuple[float, float]
) -> list[Window]:
    """Training windows from a part of a clip, shares of its length; every frame of the computed outline counts."""
    frames, _, points = measure.load(str(clip))
    first, last = (round(share * (len(frames) - 1)) for share in part)
    shown = [np.ascontiguousarray(frame[..., ::-1]) for frame in frames[first : last + 1]]
    truth = np.asarray(points[first : last + 1], np.float64) + CENTRE
    weight = np.ones(len(shown), np.float32)
    rng = np.random.default_rng([*clip.name.encode(), first])
    return cut_windows(ArrayFrames(shown), truth, weight, matcher=model.matcher, rng=rng, count=count)


def scores(
    measure: ModuleType, clip: Path, models: dict[str, RotoModel], cache: Path, *, from_share: float
) -> dict[str, Any]:
    """Boundary error (percent of the size) of each model on a clip's frames from a share of its length on, by gap."""
    base = models["base"]
    truth = ClipTruth(measure, clip)
    found: dict[str, Any] = {}
    for case in clip_cases(measure, clip, GAPS, base.matcher, cache):
        length = len(case.baselines["smooth"])
        judged = replace(case, keys=np.union1d(case.keys, np.arange(round(from_share * length))))
        found[str(case.gap)] = {
            name: truth.score(judged, predict(model, case)).boundary for name, model in models.items()
        }
    return found


def measured(
    measure: ModuleType, clip: Path, base: RotoModel, tuned: Tuned, cache: Path, from_share: float
) -> Any:
    models = {"base": base, "tuned": RotoModel(tuned.fusion, base.matcher)}
    return {
        "gaps": scores(measure, clip, models, cache, from_share=from_share),
        "best_step": tuned.best.step,
        "aside_error": [tuned.curve[0].aside_error, tuned.best.aside_error],
    }


def summary(clips: dict[str, Any]) -> dict[str, Any]:
    """Means and the paired difference tuned - base with its 95% interval, by gap."""
    found = {}
    for gap in map(str, GAPS):
        pairs = [one["gaps"][gap] for one in clips.values() if gap in one["gaps"]]
        base, tuned = ([pair[name] for pair in pairs] for name in ("base", "tuned"))
        interval = paired_interval(tuned, base)
        found[gap] = {
            "clips": len(pairs),
            "base": float(np.mean(base)),
            "tuned": float(np.mean(tuned)),
            "difference": asdict(interval),
            "better": sum(pair["tuned"] < pair["base"] for pair in pairs),
        }
    return found


def kinds_of(clips: Path) -> dict[str, str]:
    """The kind of every clip."""
    listed = json.loads((clips / "manifest.json").read_text())["clips"]
    return {clip["name"]: KINDS[clip["object_class"]] for clip in listed}


def companions(name: str, kinds: dict[str, str]) -> Sequence[str]:
    """The other clips of a clip's kind."""
    return [other for other in sorted(kinds) if other != name and kinds[other] == kinds[name]]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clips", type=Path)
    parser.add_argument("--eval", type=Path, required=True, help="folder of the evaluation scripts")
    parser.add_argument("--cache", type=Path, required=True, help="scratch folder for evidence")
    parser.add_argument("--windows", type=int, default=10, help="a clip, or a part of it")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--only", action="append", help="measure this clip; repeat. Default: all")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    measure, base = load_measure(options.eval), RotoModel.base()
    kinds = kinds_of(options.clips)
    chosen = options.only or list(kinds)
    paths = {name: options.clips / name for name in chosen}
    needed = sorted({other for name in chosen for other in companions(name, kinds)})
    whole = {name: cut(measure, options.clips / name, base, options.windows, (0, 1)) for name in needed}
    print(f"{sum(map(len, whole.values()))} windows of {len(whole)} clips", flush=True)
    report: dict[str, Any] = {"show": {}, "shot": {}}
    for name, path in paths.items():
        began = time.process_time()
        others = companions(name, kinds)
        learned = [window for other in others[1:] for window in whole[other]]
        show = tune(base.fusion, learned, whole[others[0]], steps=options.steps)
        report["show"][name] = measured(measure, path, base, show, options.cache, 0.0)
        middle = LEARNED_SHARE / 2
        long = len(list((path / "frames").iterdir())) >= OWN_SHOT_FRAMES_MIN
        parts = ((0, middle), (middle, 0.5)) if long else ()
        halves = [cut(measure, path, base, options.windows, part) for part in parts]
        if halves and all(halves):  # the part kept aside may be shorter than any span
            shot = tune(base.fusion, *halves, steps=options.steps)
            report["shot"][name] = measured(measure, path, base, shot, options.cache, 0.5)
        for way in report:
            print(f"{name}, own {way}: {json.dumps(report[way].get(name, 'too short'))}", flush=True)
        print(f"{name}: {time.process_time() - began:.0f} s of processor time", flush=True)
        if options.out is not None:
            save_json(options.out, {"windows": options.windows, "steps": options.steps, **report})
    for way, clips in report.items():
        print(f"own {way}: {json.dumps(summary(clips))}", flush=True)
    if options.out is not None:
        found = {way: {"summary": summary(clips), "clips": clips} for way, clips in report.items()}
        save_json(options.out, {"windows": options.windows, "steps": options.steps, **found})


if __name__ == "__main__":
    main()
