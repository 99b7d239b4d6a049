"""``fedroto plates``: plates and shapes to try things on, written as the files that a studio has."""

from __future__ import annotations

from pathlib import Path

import typer

from federation.cli.output import Json, progress, show

app = typer.Typer(no_args_is_help=True, help="Plates to try things on.")


@app.command(epilog="Example: fedroto plates make plates --count 4 --width 320 --height 192")
def make(
    folder: Path = typer.Argument(..., help="Where the shots' folders go."),
    count: int = typer.Option(4, help="Procedural shots to make."),
    seed: int = typer.Option(1, help="Chooses the procedural shots."),
    frames: int = typer.Option(24, help="Frames a shot."),
    width: int = typer.Option(320, help="Pixels."),
    height: int = typer.Option(192, help="Pixels."),
    motion: float = typer.Option(1.0, help="Speed of figures and camera; 1 is usual."),
    deformation: float = typer.Option(1.0, help="Bending of figures; 1 is usual, 0 rigid."),
    contrast: float = typer.Option(1.0, help="Of textures; 1 is usual."),
    clips: Path | None = typer.Option(None, help="Instead: a folder of real clips (frames, masks, shapes)."),
    name: list[str] | None = typer.Option(
        None, "--name", help="With --clips: which ones; repeat. Default: all."
    ),
    as_json: bool = Json,
) -> None:
    """Write shots: EXR or JPEG plates, approved shapes in a .nk, and a sparsely keyed .nk as an artist would begin."""
    from model.procedural import ShotSettings
    from studio_node.written_shots import make_clip_shots, make_procedural_shots

    if clips is not None:
        result = make_clip_shots(clips, name or [], folder, progress=progress)
    else:
        result = make_procedural_shots(
            folder,
            seed=seed,
            count=count,
            settings=ShotSettings(
                frames=frames,
                width=width,
                height=height,
                motion=motion,
                deformation=deformation,
                contrast=contrast,
            ),
            progress=progress,
        )
    show({"shots": result}, as_json, lambda done: "\n".join(str(shot.folder) for shot in done["shots"]))
