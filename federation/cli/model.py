"""``fedroto model``: base weights that anyone can make again, and what weights are worth on the public benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from federation.cli.output import Json, plain, progress, show, sparkline, table

if TYPE_CHECKING:
    from federation.cli.model_measure import Measured
    from model.evaluation import Difference, MethodScore

app = typer.Typer(no_args_is_help=True, help="Make and measure weights, on public data only.")


@app.command(epilog="Example: fedroto model pretrain base.safetensors --seed 1")
def pretrain(
    output: Path = typer.Argument(..., help="The .safetensors file to write."),
    seed: int = typer.Option(1, help="Chooses the procedural shots, the first weights and the order."),
    steps: int = typer.Option(200, help="Optimiser steps."),
    shots: int = typer.Option(20, help="Procedural shots."),
    matcher: Path | None = typer.Option(None, help="Frozen matcher to build on; default: the packaged one."),
    edges: Path | None = typer.Option(
        None, help="Edge network to put into it, from 'python -m model.edge_training'; default: its own."
    ),
    work: Path | None = typer.Option(
        None, help="Folder that keeps what was done; default: beside the output. Run again to go on."
    ),
    as_json: bool = Json,
) -> None:
    """Train base weights from nothing but procedural shots: the same seed gives the same weights.

    Stop it whenever you like: the same command goes on where it was, to the same bytes.
    """
    import json
    import time

    from federation.durable import write_atomic
    from federation.worker_pool import in_processes
    from model.network import matcher_of
    from model.pretrain import pretrain as run_pretrain
    from model.weights import base_path, load_public

    frozen = {
        name: array
        for name, array in load_public(matcher or base_path()).tensors.items()
        if name.startswith("matcher.") and not (edges and name.startswith("matcher.edges."))
    }
    if edges is not None:
        frozen |= load_public(edges).tensors
    started = time.monotonic()

    def tell(stage: str, done: int, of: int) -> None:
        if done % max(1, of // 50) == 0:
            left = (time.monotonic() - started) / done * (of - done)
            progress(f"{stage} {done} of {of}" + (f", about {left:.0f} s left" if stage == "shots" else ""))

    result = run_pretrain(
        output,
        seed,
        steps=steps,
        shots=shots,
        matcher=matcher_of(frozen),
        work=output.with_name(f"{output.name}.work") if work is None else work,
        progress=tell,
        spread=in_processes,
    )
    facts = plain(result) | {
        "weights": str(output),
        "seed": seed,
        "seconds": round(time.monotonic() - started, 1),
        "machine": _machine(),
    }
    write_atomic(output.with_suffix(".report.json"), json.dumps(facts, indent=1).encode())
    show(
        facts,
        as_json,
        lambda done: (
            f"{output}: {result.shots} shots, {result.windows} windows, {result.steps} steps, loss {result.loss:.4f}\n"
            f"loss  {sparkline(result.curve)}  {result.curve[0]:.4f} to {result.curve[-1]:.4f}\n"
            f"{done['seconds']} s here on {done['machine']}; all of it in {output.with_suffix('.report.json').name}"
        ),
    )


@app.command(epilog="Example: fedroto model evaluate candidate.safetensors --clips CLIPS --gaps 5,10,20")
def evaluate(
    weights: Path | None = typer.Argument(
        None, help="Weights or a release's folder; default: the packaged base."
    ),
    clips: str | None = typer.Option(
        None, help="A folder of clips, or 'procedural' for the hard cases; default: the public benchmark."
    ),
    gaps: str = typer.Option("5,10,20", help="Distances of keys on a folder's clips, frames."),
    per_case: int = typer.Option(4, help="Clips of each procedural case."),
    keys: bool = typer.Option(
        False, "--keys", help="Also count the keys an artist sets until all is near enough."
    ),
    pixels: float = typer.Option(
        2.0, help="With --keys: what a frame's outline may be off on average, pixels..."
    ),
    percent: float = typer.Option(1.5, help="...or percent of its size, where that is more."),
    as_json: bool = Json,
) -> None:
    """Score weights and every baseline: on the public benchmark, on your own clips, or on the procedural hard cases."""
    from federation.worker_pool import in_processes
    from model.public_benchmark import build_clips
    from model.public_benchmark import evaluate as run_evaluate
    from studio_node.predict_shot import load_model

    model, source = load_model(weights)
    if clips is None:
        scores = run_evaluate({"model": model}, build_clips(model.matcher, spread=in_processes))
        show({"scores": scores}, as_json, lambda done: _scores_text(done["scores"]))
        return
    from federation.cli.model_measure import (
        keys_text,
        means_text,
        measure_clips,
        models_as_methods,
        play_artists,
        reliability_text,
    )
    from federation.cli.model_page import DIFFERENCE_HEADINGS, difference_rows
    from model.methods import CLASSICAL
    from model.reliability import reliabilities

    methods = {**CLASSICAL, **models_as_methods({"model": model})}
    measured = measure_clips(clips, _gaps(gaps), methods, per_case=per_case)
    differences = _differences(measured.scores, [("model", name) for name in CLASSICAL])
    relied_on = reliabilities(measured.scores, "model")
    played = play_artists(measured, methods, pixels=pixels, percent=percent) if keys else {}

    def text(done: Any) -> str:
        parts = [f"{source} on {clips}", means_text(measured.scores)]
        parts.append(table(DIFFERENCE_HEADINGS, difference_rows(differences)))
        if relied_on:
            parts.append(reliability_text(relied_on))
        if played:
            parts.append(keys_text(played, list(CLASSICAL)))
        return "\n\n".join([*parts, *_left_out(measured.skipped)])

    found = _measured_json(measured, differences) | {
        "weights": source,
        "confidence": relied_on,
        "keys": played,
    }
    show(found, as_json, text)


@app.command(epilog="Example: fedroto model compare base candidate.safetensors CLIPS -o comparison.html")
def compare(
    one: str = typer.Argument(..., help="A: weights, a release's folder, or 'base'."),
    other: str = typer.Argument(..., help="B: the same."),
    clips: str = typer.Argument(..., help="A folder of clips, or 'procedural' for the hard cases."),
    output: Path = typer.Option(Path("comparison.html"), "-o", "--output", help="The page to write."),
    gaps: str = typer.Option("5,10,20", help="Distances of keys on a folder's clips, frames."),
    per_case: int = typer.Option(4, help="Clips of each procedural case."),
    as_json: bool = Json,
) -> None:
    """Put two weight files side by side: per clip, with paired intervals, and a page with the frames that tell most."""
    import time

    from federation.cli.model_measure import means_text, measure_clips, models_as_methods
    from federation.cli.model_page import DIFFERENCE_HEADINGS, comparison_page, difference_rows
    from federation.durable import write_atomic
    from model.methods import CLASSICAL
    from studio_node.predict_shot import load_model

    started = time.monotonic()
    loaded = {
        name: load_model(None if which == "base" else Path(which))
        for name, which in (("A", one), ("B", other))
    }
    methods = models_as_methods({name: model for name, (model, _) in loaded.items()}) | CLASSICAL
    measured = measure_clips(clips, _gaps(gaps), methods, per_case=per_case)
    pairs = [("B", "A"), *((name, method) for method in CLASSICAL for name in ("A", "B"))]
    differences = _differences(measured.scores, pairs)
    facts = {
        **{name: source for name, (_, source) in loaded.items()},
        "clips": clips,
        "seconds": round(time.monotonic() - started),
        "machine": _machine(),
    }
    write_atomic(output, comparison_page(measured, differences, facts).encode())

    def text(done: Any) -> str:
        shown = [row for row in difference_rows(differences) if row[2] == "B - A"]
        parts = [means_text(measured.scores), table(DIFFERENCE_HEADINGS, shown), f"page: {output}"]
        return "\n\n".join([*parts, *_left_out(measured.skipped)])

    show(_measured_json(measured, differences) | facts | {"page": output}, as_json, text)


def _gaps(text: str) -> list[int]:
    from federation.errors import ConfigError

    try:
        gaps = [int(part) for part in text.split(",")]
    except ValueError:
        gaps = []
    if not gaps or min(gaps) < 2:
        raise ConfigError(f"'{text}' are no distances of keys; give whole numbers of 2 or more, as 5,10,20")
    return gaps


def _differences(scores: Sequence[MethodScore], pairs: Sequence[tuple[str, str]]) -> list[Difference]:
    from model.evaluation import difference, groups_of

    found = [
        difference(scores, one, other, group=group, gap=gap)
        for group in groups_of(scores)
        for gap in sorted({score.gap for score in scores})
        for one, other in pairs
    ]
    return [one for one in found if one is not None]


def _measured_json(measured: Measured, differences: Sequence[Difference]) -> dict[str, Any]:
    scores = [
        {
            "clip": score.clip,
            "group": score.group,
            "gap": score.gap,
            "method": score.method,
            "boundary": score.mean_boundary,
            "iou": score.mean_iou,
            "worst": float(score.boundary.max()),
            "frames": len(score.rows),
        }
        for score in measured.scores
    ]
    return {"scores": scores, "differences": list(differences), "skipped": measured.skipped}


def _left_out(skipped: dict[str, str]) -> list[str]:
    return [f"left out: {name}: {why}" for name, why in skipped.items()]


def _machine() -> str:
    import os
    import platform

    import torch

    return f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}"


def _scores_text(scores: list[Any]) -> str:
    methods = list(dict.fromkeys(score.method for score in scores))
    rows = []
    for method in methods:
        of_method = [score for score in scores if score.method == method]
        count = len(of_method)
        rows.append(
            [
                method,
                f"{sum(score.boundary for score in of_method) / count:.3f}",
                f"{sum(score.iou for score in of_method) / count:.4f}",
                count,
            ]
        )
    return table(["method", "boundary, % of size", "IoU", "clips"], rows)
