"""``fedroto desk``: the artist's page."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import typer

from federation.cli.options import ColourSpace, MovieStart
from federation.cli.output import Json


def register(app: typer.Typer) -> None:
    """Add the command to the command tree."""
    app.command(epilog="Example: fedroto desk shot.####.exr --shapes artist.nk --release releases")(desk)


def desk(
    plate: str = typer.Argument(
        ..., help="The plate: shot.####.exr, shot.%04d.exr, a folder, or one file of it."
    ),
    shapes: Path | None = typer.Option(
        None, "--shapes", help="Shapes to begin with: .nk, .gizmo, .fxs or .json."
    ),
    work: Path | None = typer.Option(
        None, "--work", help="Folder for autosave, proxies and exports; default: <shot>.desk here."
    ),
    release: Path | None = typer.Option(
        None, "--release", help="A pulled release's folder, verified before use; default: the packaged base."
    ),
    weights: Path | None = typer.Option(
        None, "--weights", help="Instead: a .safetensors file of your own, which nothing verifies."
    ),
    port: int = typer.Option(0, help="Port on 127.0.0.1; 0 takes a free one."),
    rate: float = typer.Option(24.0, help="Frames per second of playback."),
    fresh: bool = typer.Option(False, "--fresh", help="Begin from the shape file; an autosave is set aside."),
    trust_plate_size: bool = typer.Option(
        False, "--trust-plate-size", help="Take the plate's size where the script's format says another."
    ),
    colour_space: str | None = ColourSpace,
    movie_start: int = MovieStart,
    browser: bool = typer.Option(True, "--browser/--no-browser", help="Open the page in the browser."),
    as_json: bool = Json,
) -> None:
    """Open a shot on the desk: draw or import shapes, set keys, get the frames between, correct, export.

    The page is served on 127.0.0.1 to whoever has its address; from another machine use an SSH tunnel
    (ssh -L PORT:127.0.0.1:PORT). Ctrl-C ends it; everything is saved at every step.
    """
    # Before numpy comes: one thread predicts and one serves the page; more of them would only take turns.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from federation.cli.artist import weights_to_use
    from studio_node.desk.opening import open_desk

    def told(opened: Any) -> None:
        if as_json:
            facts = {
                "address": opened.address,
                "work": str(opened.work),
                "shapes": opened.shapes,
                "restored": opened.restored,
                "notes": list(opened.notes),
            }
            typer.echo(json.dumps(facts))
        else:
            typer.echo(f"desk: {opened.shapes} shape(s); work is saved in {opened.work}")
            for note in opened.notes:
                typer.echo(f"desk: {note}")
            typer.echo(f"desk: {opened.address}")
            typer.echo("desk: this address opens your plate to whoever has it; Ctrl-C ends the desk")
        if browser and not as_json:
            typer.launch(opened.address)

    open_desk(
        plate,
        shapes,
        work=work,
        weights=weights_to_use(release, weights),
        port=port,
        fresh=fresh,
        trust_plate_size=trust_plate_size,
        colour_space=colour_space,
        movie_start=movie_start,
        frame_rate=rate,
        on_open=told,
    )
