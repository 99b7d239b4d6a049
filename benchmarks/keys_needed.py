"""How many keys an artist still has to set on real clips, by the evaluation's own simulated artist.

From the project's root, with the evaluation scripts and the clips at hand::

    PYTHONPATH=. python -m benchmarks.keys_needed --clips CLIPS --eval EVAL --out keys.json

The artist starts with keys on the first and the last frame and adds one on the worst frame until every frame is within
tolerance. Written after every clip and method; the same command goes on where it stopped. ``FEDROTO_WEIGHTS`` names
other weights than the shipped base.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.clip_cases import load_measure, save_json
from benchmarks.real_clips import predict

CLASSICAL = ("cubic", "lk_closed", "dis_closed", "planar_closed", "mix")
MODEL = "model"


def main() -> None:
    """Play the artist on every clip and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--eval", type=Path, required=True, help="folder of keys_saved.py")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--methods", default=MODEL, help=f"{MODEL}, {', '.join(CLASSICAL)}; commas between")
    parser.add_argument("--only", default="", help="clips, commas between")
    parser.add_argument("--tolerance", type=float, default=1.5, help="%% of the outline's size")
    parser.add_argument("--pixels", type=float, default=2.0, help="allowed at least")
    options = parser.parse_args()
    rule = {"tolerance": options.tolerance, "pixels": options.pixels}
    report = json.loads(options.out.read_text()) if options.out.exists() else {**rule, "clips": {}}
    if any(report[name] != value for name, value in rule.items()):
        raise SystemExit(f"{options.out} was made with another tolerance; name another --out")
    artist = load_measure(options.eval, "keys_saved")
    for folder in sorted(path.parent for path in options.clips.glob("*/shapes.npz")):
        if options.only and folder.name not in options.only.split(","):
            continue
        play(artist, folder, options.methods.split(","), report)
        save_json(options.out, report)
    print(table(report["clips"]))


def play(artist: Any, folder: Path, methods: list[str], report: dict[str, Any]) -> None:
    """Count the keys of one clip by every method that the report lacks."""
    row = report["clips"].setdefault(folder.name, {})
    missing = [method for method in methods if method not in row]
    if not missing:
        return
    frames, _, points = artist.load(str(folder))
    context = artist.context(frames)
    row["frames"] = len(frames)
    for method in missing:
        keys = artist.keys_needed(
            placed_by(artist, method, context), frames, points, report["tolerance"], report["pixels"]
        )
        row[method] = [int(key) for key in keys[1:-1]]
        print(folder.name, method, len(keys) - 2, row[method], flush=True)


def placed_by(artist: Any, method: str, context: Any) -> Callable[..., NDArray[np.float64]]:
    """The predictor that the simulated artist asks."""
    if method == MODEL:
        return predict
    if method not in CLASSICAL:
        raise SystemExit(f"there is no method '{method}'; choose of {MODEL}, {', '.join(CLASSICAL)}")
    classical = artist.METHODS[method]
    return lambda frames, keys, points: classical(frames, keys, points, context)


def table(clips: dict[str, dict[str, Any]]) -> str:
    """Keys added to the first and the last one, as Markdown, for the clips that every method has."""
    methods = [m for m in (*CLASSICAL, MODEL) if any(m in row for row in clips.values())]
    lines = [f"| clip | {' | '.join(methods)} |", "|---" * (len(methods) + 1) + "|"]
    whole = {name: row for name, row in clips.items() if all(method in row for method in methods)}
    for name, row in whole.items():
        lines.append(f"| {name} | {' | '.join(str(len(row[method])) for method in methods)} |")
    sums = {method: sum(len(row[method]) for row in whole.values()) for method in methods}
    lines.append(f"| **all {len(whole)}** | {' | '.join(str(sums[method]) for method in methods)} |")
    classical = [method for method in methods if method in CLASSICAL]
    if classical and MODEL in methods:
        best = sum(min(len(row[method]) for method in classical) for row in whole.values())
        lines += ["", f"best classical method per clip, with hindsight: {best}; the model: {sums[MODEL]}"]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
