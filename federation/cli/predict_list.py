"""``fedroto predict --batch``: the shots of a list, one after the other, with a report that grows as they end."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import typer

from federation.cli.output import plain, progress, show, table


def predict_list(
    batch: Path,
    weights: Path | None,
    report: Path | None,
    *,
    overwrite: bool,
    as_json: bool,
    settings: dict[str, Any],
) -> None:
    """Predict the shots of a list and say what became of each.

    Raises:
        ConfigError: the list cannot be read.
        typer.Exit: with 1, where a shot or a shape was not predicted.
    """
    from model.device import chosen_device
    from studio_node.predict_batch import JobReport, journal_of, predict_batch, read_jobs

    jobs = read_jobs(batch)
    chosen_device(settings["device"])  # said once, not for every shot
    ended: list[JobReport] = []

    def keep(one: JobReport) -> None:
        ended.append(one)
        if report is not None:
            write_report(report, {"of": len(jobs), "shots": ended})

    predict_batch(
        jobs,
        journal_of(batch),
        weights=weights,
        overwrite=overwrite,
        progress=progress,
        on_report=keep,
        **settings,
    )
    show({"of": len(jobs), "shots": ended}, as_json, _text)
    if not all(one.whole for one in ended):
        raise typer.Exit(1)


def write_report(path: Path, result: Any) -> None:
    """Write a result as JSON that appears whole or not at all.

    Raises:
        FedrotoError: the disk refused.
    """
    from federation.durable import write_atomic

    write_atomic(path, (json.dumps(plain(result), indent=2, sort_keys=True) + "\n").encode())


def _text(found: dict[str, Any]) -> str:
    rows = []
    for one in found["shots"]:
        shapes = [] if one.result is None else one.result["shapes"]
        least = min((min(shape["confidence"]) for shape in shapes), default=None)
        rows.append(
            [
                one.output,
                one.state,
                len(shapes),
                "-" if least is None else f"{least:.2f}",
                f"{one.seconds:.1f}",
            ]
        )
    lines = [table(["output", "state", "shapes", "least confidence", "s"], rows)]
    for one in found["shots"]:
        if one.error is not None:
            lines.append(f"{one.output}: {one.error}")
        lines += [
            f"{one.output}: not predicted: {shape['where']}: {shape['reason']}"
            for shape in (one.result or {"rejected": []})["rejected"]
        ]
    counts = Counter(one.state for one in found["shots"])
    lines.append(", ".join(f"{count} {state}" for state, count in sorted(counts.items())))
    return "\n".join(lines)
