"""Means, paired intervals and the Markdown table of a comparison on real clips. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from model.public_benchmark import paired_interval

Scores = dict[str, dict[str, dict[str, float]]]  # clip -> gap -> measure -> value
Rows = dict[str, dict[str, float]]  # clip -> measure -> value
CLASSICAL = ("smooth", "lk_closed", "dis_closed", "planar_closed")
BEST = "best classical per clip, hindsight"
PAIRS = (
    ("research", "base"),
    ("alone", "base"),
    ("research", "alone"),
    ("private", "base"),
    ("control", "base"),
    ("private", "control"),
    ("private", "research"),
    ("base", "lk_closed"),
    ("research", "lk_closed"),
    ("private", "lk_closed"),
    ("base", BEST),
    ("research", BEST),
)
TITLES = {
    "smooth": "smooth (Nuke's rule)",
    "lk_closed": "LK closed",
    "dis_closed": "DIS in object, closed",
    "planar_closed": "planar, closed",
    "base": "base weights",
    "research": "federated, no noise (research mode, NOT PRIVATE)",
    "alone": "each studio alone, no noise (mean of the three)",
    "private": "federated, with noise (plan's defaults)",
    "control": "control: base moved at random as far as the noise moves it",
}


def summarise(found: dict[str, list[Scores]], suitable: Collection[str], clips: Sequence[str]) -> Any:
    """Compare methods on the clips, for all and for the suitable ones.

    Args:
        found: per method one or more runs; a clip's runs are averaged before anything else.
        suitable: clips that one outline can follow.
        clips: those to compare on; every method has them.
    """
    report: dict[str, Any] = {}
    groups = {"suitable": [c for c in clips if c in suitable], "all": list(clips)}
    for group, members in groups.items():
        gaps = sorted({gap for clip in members for gap in found["base"][0][clip]}, key=int)
        report[group] = {
            gap: _at_gap(found, [c for c in members if gap in found["base"][0][c]], gap) for gap in gaps
        }
    return report


def _at_gap(found: dict[str, list[Scores]], clips: Sequence[str], gap: str) -> dict[str, Any]:
    rows = {name: _averaged(runs, clips, gap) for name, runs in found.items()}
    rows[BEST] = {
        clip: {
            "boundary": min(rows[name][clip]["boundary"] for name in CLASSICAL),
            "iou": max(rows[name][clip]["iou"] for name in CLASSICAL),
        }
        for clip in clips
    }
    means = {name: {m: round(_mean(one, m), 4) for m in ("iou", "boundary")} for name, one in rows.items()}
    for name, runs in found.items():
        if len(runs) > 1:
            each = [_mean(_averaged([run], clips, gap), "boundary") for run in runs]
            means[name]["runs"] = len(runs)
            means[name]["boundary_spread_over_runs"] = round(float(np.ptp(each)), 4)
    pairs = {f"{a} - {b}": _pair(rows[a], rows[b]) for a, b in PAIRS if a in rows and len(clips) > 1}
    return {"clips": len(clips), "means": means, "pairs": pairs}


def _averaged(runs: Sequence[Scores], clips: Sequence[str], gap: str) -> Rows:
    return {
        clip: {m: float(np.mean([run[clip][gap][m] for run in runs])) for m in ("boundary", "iou")}
        for clip in clips
    }


def _mean(rows: Rows, measure: str) -> float:
    return float(np.mean([row[measure] for row in rows.values()]))


def _pair(one: Rows, other: Rows) -> dict[str, Any]:
    pair: dict[str, Any] = {}
    for measure in ("boundary", "iou"):
        values = [[side[clip][measure] for clip in one] for side in (one, other)]
        interval = paired_interval(*values)
        pair[measure] = [round(v, 4) for v in (interval.mean, interval.low, interval.high)]
    pair["won"] = sum(one[clip]["boundary"] < other[clip]["boundary"] for clip in one)
    return pair


def table(summary: Any) -> str:
    """Write a summary as Markdown: means first, then paired differences with their 95% intervals."""
    lines = []
    for group, gaps in summary.items():
        count = max(found["clips"] for found in gaps.values())
        lines += ["", f"**{group}, {count} clips** (IoU / boundary in % of the outline's size)", ""]
        lines += [
            "| method | " + " | ".join(f"gap {gap}" for gap in gaps) + " |",
            "|---" * (len(gaps) + 1) + "|",
        ]
        names = list(next(iter(gaps.values()))["means"])
        for name in names:
            cells = [_cell(found["means"][name]) for found in gaps.values()]
            lines.append(f"| {TITLES.get(name, name)} | " + " | ".join(cells) + " |")
        lines += ["", "| boundary difference, % | " + " | ".join(f"gap {gap}" for gap in gaps) + " |"]
        lines.append("|---" * (len(gaps) + 1) + "|")
        for pair in next(iter(gaps.values()))["pairs"]:
            cells = [_difference(found["pairs"][pair], found["clips"]) for found in gaps.values()]
            lines.append(f"| {pair} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(mean: dict[str, float]) -> str:
    text = f"{mean['iou']:.4f} / {mean['boundary']:.3f}"
    spread = mean.get("boundary_spread_over_runs")
    return text if spread is None else f"{text} (runs within {spread:.3f})"


def _difference(pair: dict[str, Any], clips: int) -> str:
    mean, low, high = pair["boundary"]
    return f"{mean:+.3f} [{low:+.3f}, {high:+.3f}], better on {pair['won']}/{clips}"
