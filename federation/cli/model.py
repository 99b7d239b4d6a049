"""``fedroto model``: base weights that anyone can make again, and what weights are worth on the public benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from federation.cli.output import Json, progress, show, table

app = typer.Typer(no_args_is_help=True, help="Make and measure weights, on public data only.")


@app.command(epilog="Example: fedroto model pretrain base.safetensors --seed 1")
def pretrain(
    output: Path = typer.Argument(..., help="The .safetensors file to write."),
    seed: int = typer.Option(1, help="Chooses the procedural shots, the first weights and the order."),
    steps: int = typer.Option(400, help="Optimiser steps."),
    shots: int = typer.Option(60, help="Procedural shots."),
    matcher: Path | None = typer.Option(None, help="Frozen matcher to build on; default: the packaged one."),
    as_json: bool = Json,
) -> None:
    """Train base weights from nothing but procedural shots: the same seed gives the same weights."""
    from model.network import RotoModel
    from model.pretrain import pretrain as run_pretrain
    from model.weights import load_public

    source = RotoModel.base() if matcher is None else RotoModel.from_tensors(load_public(matcher).tensors)

    def tell(stage: str, done: int, of: int) -> None:
        if done % max(1, of // 50) == 0:
            progress(f"{stage} {done} of {of}")

    result = run_pretrain(output, seed, steps=steps, shots=shots, matcher=source.matcher, progress=tell)
    show(
        result,
        as_json,
        lambda done: (
            f"{output}: {done.shots} shots, {done.windows} windows, {done.steps} steps, loss {done.loss:.4f}"
        ),
    )


@app.command(epilog="Example: fedroto model evaluate candidate.safetensors")
def evaluate(
    weights: Path | None = typer.Argument(None, help="A .safetensors file; default: the packaged base."),
    as_json: bool = Json,
) -> None:
    """Score weights and every baseline on the public benchmark: procedural shots that no pretraining has seen."""
    from model.network import RotoModel
    from model.public_benchmark import build_clips
    from model.public_benchmark import evaluate as run_evaluate
    from model.weights import load

    model = RotoModel.base() if weights is None else RotoModel.from_tensors(load(weights).tensors)
    scores = run_evaluate({"model": model}, build_clips(model.matcher))
    show({"scores": scores}, as_json, lambda done: _scores_text(done["scores"]))


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
