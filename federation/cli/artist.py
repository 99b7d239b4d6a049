"""``fedroto pull`` and ``fedroto predict``: what an artist, or a farm for artists, runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from federation.cli.output import Json, progress, show, table


def register(app: typer.Typer) -> None:
    """Add the artist's commands to the command tree."""
    app.command()(pull)
    app.command()(predict)


def pull(
    destination: Path = typer.Argument(..., help="Folder that holds the releases you have pulled."),
    home: Path | None = typer.Option(None, "--home", help="The studio's folder: knows the address and the keys."),
    source: Path | None = typer.Option(None, "--from", help="Instead: a release's folder, copied by hand."),
    release_key: Path | None = typer.Option(None, help="With --from: the coordinator's release key (PEM)."),
    number: int | None = typer.Option(None, help="Release number; default: the newest."),
    as_json: bool = Json,
) -> None:
    """Fetch a release, verify its signature, and refuse one that is older than what you hold."""
    from federation.cli.releases import pull_release

    result = pull_release(destination, home, source, release_key, number, progress)
    show(
        result,
        as_json,
        lambda done: f"release {done.number} is in {done.folder}; its signature holds",
    )


def predict(
    plate: str = typer.Argument(..., help="The plate: shot.####.exr, shot.%04d.exr, a folder, or one file of it."),
    shapes: Path = typer.Option(..., "--shapes", help="The artist's .nk or .json with two keys or more a shape."),
    output: Path = typer.Option(..., "-o", "--output", help="File to write; the input is never touched."),
    shape: list[str] | None = typer.Option(None, "--shape", help="Only these shapes; repeat."),
    release: Path | None = typer.Option(None, "--release", help="A pulled release's folder; default: packaged base."),
    as_json: bool = Json,
) -> None:
    """Predict the keys between an artist's keys, on the artist's own points, into a node of their own."""
    from studio_node.predict_shot import predict_shot

    result = predict_shot(plate, shapes, release, output, names=tuple(shape or ()), progress=progress)
    show(result, as_json, _prediction_text)
    if not result.predicted:
        raise typer.Exit(1)


def _prediction_text(result: Any) -> str:
    rows = [
        [
            one.name,
            f"{one.first_frame}-{one.last_frame}",
            one.frames_predicted,
            f"{one.confidence_min:.2f}",
            one.next_key if one.next_key is not None else "-",
        ]
        for one in result.predicted
    ]
    lines = [table(["shape", "frames", "predicted", "least confidence", "next key"], rows)]
    lines += [f"{one.name}: {one.reason}" for one in result.skipped]
    return "\n".join([*lines, *result.notes, f"written: {result.output}"])
