"""``fedroto plates``: plates and shapes to try things on, written as the files that a studio has."""

from __future__ import annotations

from pathlib import Path

import typer

from federation.cli.output import Json, progress, show

app = typer.Typer(no_args_is_help=True, help="Plates to try things on.")
LOOK = "Kind of shot"
MOTION = "Kind of motion"


@app.command(epilog="Example: fedroto plates make plates --count 8 --width 320 --height 192 --studio 3")
def make(
    context: typer.Context,
    folder: Path = typer.Argument(..., help="Where the shots' folders go."),
    count: int = typer.Option(4, help="Procedural shots to make."),
    seed: int = typer.Option(1, help="Chooses the procedural shots."),
    frames: int = typer.Option(24, help="Frames a shot."),
    width: int = typer.Option(320, help="Pixels."),
    height: int = typer.Option(192, help="Pixels."),
    workers: int | None = typer.Option(
        None, min=1, help="Processes; default: one a core, no more than shots."
    ),
    key_gap: int = typer.Option(12, help="Frames between the keys in artist.nk, about."),
    studio: int | None = typer.Option(
        None, help="Shots of this invented studio: it has its own motion, textures, grain, lens and light."
    ),
    figures: int | None = typer.Option(None, help="Figures with shapes.", rich_help_panel=LOOK),
    contrast: float | None = typer.Option(
        None, help="Of textures; 1 is usual, 0 flat.", rich_help_panel=LOOK
    ),
    grain: float | None = typer.Option(None, help="Standard deviation at mid grey.", rich_help_panel=LOOK),
    softness: float | None = typer.Option(None, help="Of edges; 1 is usual.", rich_help_panel=LOOK),
    lens: float | None = typer.Option(
        None, help="Distortion and vignetting; 0 none, 1 wide.", rich_help_panel=LOOK
    ),
    light: float | None = typer.Option(
        None, help="Change of exposure and shading; 1 is usual.", rich_help_panel=LOOK
    ),
    offset_px: float | None = typer.Option(
        None, "--offset", help="Pixels by which the artist draws outside the edge.", rich_help_panel=LOOK
    ),
    motion: float | None = typer.Option(
        None, help="Speed of figures and camera; 1 is usual.", rich_help_panel=MOTION
    ),
    deformation: float | None = typer.Option(
        None, help="Bending of figures; 1 is usual, 0 rigid.", rich_help_panel=MOTION
    ),
    parts_chance: float | None = typer.Option(
        None, "--parts", help="Chance of articulated parts.", rich_help_panel=MOTION
    ),
    blur_chance: float | None = typer.Option(
        None, "--blur", help="Chance of motion blur.", rich_help_panel=MOTION
    ),
    shutter: float | None = typer.Option(
        None, help="Exposure of blurred pictures, frames; 0.4 is usual.", rich_help_panel=MOTION
    ),
    occluder_chance: float | None = typer.Option(
        None, "--occluders", help="Chance of something in front.", rich_help_panel=MOTION
    ),
    passing_chance: float | None = typer.Option(
        None,
        "--passing",
        help="Chance of something that passes right over each figure.",
        rich_help_panel=MOTION,
    ),
    turning: float | None = typer.Option(
        None, help="Radians by which surfaces turn under their outlines.", rich_help_panel=MOTION
    ),
    leaving: float | None = typer.Option(
        None, help="1: figures end outside the picture.", rich_help_panel=MOTION
    ),
    clips: Path | None = typer.Option(None, help="Instead: a folder of real clips (frames, masks, shapes)."),
    name: list[str] | None = typer.Option(
        None, "--name", help="With --clips: which ones; repeat. Default: all."
    ),
    as_json: bool = Json,
) -> None:
    """Write shots: EXR or JPEG plates, approved shapes in a .nk, and a sparsely keyed .nk as an artist would begin."""
    from dataclasses import fields, replace

    from federation.worker_pool import usable_cores
    from model.procedural_settings import ShotSettings, studio_settings
    from studio_node.written_shots import make_clip_shots, make_procedural_shots

    if clips is not None:
        result = make_clip_shots(clips, name or [], folder, artist_gap=key_gap, progress=progress)
    else:
        usual = ShotSettings(width=width, height=height, frames=frames)
        # The parameter of each knob has the name of its field, whatever the option is called.
        knobs = {field.name for field in fields(ShotSettings)} - {"width", "height", "frames"}
        given = {knob: context.params[knob] for knob in knobs if context.params.get(knob) is not None}
        result = make_procedural_shots(
            folder,
            seed=seed,
            count=count,
            settings=replace(
                usual if studio is None else studio_settings(studio, usual),
                **given,
            ),
            artist_gap=key_gap,
            workers=workers or usable_cores(),
            progress=progress,
        )
    show({"shots": result}, as_json, lambda done: "\n".join(str(shot.folder) for shot in done["shots"]))
