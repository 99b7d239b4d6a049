"""``fedroto shapes``: shape files of every format looked at, compared, turned into one another and drawn."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from federation.cli.output import Json, progress, show, table
from federation.errors import ConfigError

if TYPE_CHECKING:
    from model.shapes import ShapeSet

app = typer.Typer(
    no_args_is_help=True, help="Shape files: .nk, .gizmo, .fxs, .json; written only: .jsx, .setting, .py."
)
_SIZE = re.compile(r"(\d{1,6})x(\d{1,6})")
_RANGE = re.compile(r"(-?\d{1,8})(?:-(-?\d{1,8}))?")
_LISTED = 20

Source = typer.Argument(..., help="A shape file; its ending says what it is.")
Width = typer.Option(None, help="Of the plate, pixels, where a Nuke script has no format of its own.")
Height = typer.Option(None, help="Of the plate, pixels, likewise.")
Only = typer.Option(None, "--shape", help="Only these shapes, by path or name; repeat.")
Overwrite = typer.Option(False, "--overwrite", help="Replace what is there already.")


@app.command(epilog="Example: fedroto shapes info shot.fxs")
def info(
    source: Path = Source, width: int | None = Width, height: int | None = Height, as_json: bool = Json
) -> None:
    """List the shapes of a file, and what of it is no shape or was not read."""
    from studio_node.shape_files import read_shape_file

    found = read_shape_file(source, width=width, height=height)
    shapes = found.shapes
    result = {
        "width": shapes.width,
        "height": shapes.height,
        "pixel_aspect": shapes.pixel_aspect,
        "first_frame": shapes.first_frame,
        "last_frame": shapes.last_frame,
        "shapes": [_described(shape) for shape in shapes.shapes],
        "strokes": found.strokes,
        "warnings": found.warnings,
    }
    show(result, as_json, _info_text)


@app.command(epilog="Example: fedroto shapes convert shot.nk shot.fxs")
def convert(
    source: Path = Source,
    output: Path = typer.Argument(..., help="File to write; its ending says in which format."),
    into: Path | None = typer.Option(
        None,
        "--into",
        help="The Nuke script that the shapes came from: write a copy of it with their points and keys put back.",
    ),
    width: int | None = Width,
    height: int | None = Height,
    shape: list[str] | None = Only,
    overwrite: bool = Overwrite,
    as_json: bool = Json,
) -> None:
    """Turn a shape file into another format, and say what got lost on the way."""
    from studio_node import shape_conversion

    names = tuple(shape or ())
    if into is None:
        result = shape_conversion.convert(
            source, output, width=width, height=height, shapes=names, overwrite=overwrite
        )
    else:
        result = shape_conversion.put_back(
            source, into, output, width=width, height=height, shapes=names, overwrite=overwrite
        )
    show(result, as_json, _conversion_text)


@app.command(epilog="Example: fedroto shapes diff before.nk after.fxs --tolerance 0.01")
def diff(
    one: Path = Source,
    other: Path = typer.Argument(..., help="The file to compare it with, of any format."),
    tolerance: float = typer.Option(0.0, help="Pixels on screen that count as equal."),
    width: int | None = Width,
    height: int | None = Height,
    as_json: bool = Json,
) -> None:
    """Compare two shape files on screen, frame by frame; ends with 1 where they differ."""
    from model.shape_diff import difference
    from studio_node.shape_files import read_shape_file

    sets = [read_shape_file(path, width=width, height=height).shapes for path in (one, other)]
    found = difference(sets[0], sets[1], tolerance_px=tolerance)
    show({"differences": found}, as_json, _diff_text)
    if found:
        raise typer.Exit(1)


@app.command(epilog="Example: fedroto shapes render shot.nk mattes/matte.####.exr --frames 1001-1048")
def render(
    source: Path = Source,
    output: Path = typer.Argument(..., help="matte.####.exr (half float) or matte.####.png (16 bit)."),
    frames: str | None = typer.Option(
        None, help="As 1001-1048 or 1001; default: the file's range, or that of its keys."
    ),
    size: str | None = typer.Option(None, help="As 1920x1080; default: the file's. Shapes are scaled to it."),
    per_shape: bool = typer.Option(False, "--per-shape", help="One sequence a shape instead of one for all."),
    shutter: float | None = typer.Option(
        None, help="Frames that the shutter is open, centred; 0: no motion blur. Default: each shape's own."
    ),
    samples: int = typer.Option(16, help="Of motion blur, per frame."),
    width: int | None = Width,
    height: int | None = Height,
    shape: list[str] | None = Only,
    overwrite: bool = Overwrite,
    resume: bool = typer.Option(False, "--resume", help="Draw only what is missing."),
    as_json: bool = Json,
) -> None:
    """Draw mattes with feather, opacity, blend modes and motion blur."""
    from dataclasses import replace

    from model.mattes import Shutter
    from studio_node.matte_frames import MattePlan, draw_mattes
    from studio_node.shape_files import read_shape_file

    found = read_shape_file(source, width=width, height=height)
    shapes = found.shapes
    if shape:
        shapes = replace(shapes, shapes=tuple(shapes.find(name) for name in shape))
    first, last = _frames(frames, shapes)
    wide, high = _size(size, shapes)
    plan = MattePlan(
        pattern=output,
        first_frame=first,
        last_frame=last,
        width=wide,
        height=high,
        per_shape=per_shape,
        shutter=Shutter(samples, shutter),
        overwrite=overwrite,
        resume=resume,
    )

    def tell(done: int, of: int) -> None:
        if done == of or done % 10 == 0:
            progress(f"{done} of {of} frames")

    report = draw_mattes(shapes, plan, tell)
    stale = [
        f"{s.path} from its last numbers only: {s.read_only_reason}"
        for s in shapes.shapes
        if s.read_only_reason
    ]
    show({"report": report, "stale": stale, "warnings": found.warnings}, as_json, _render_text)
    if report.rejected:
        raise typer.Exit(1)


@app.command(epilog="Example: fedroto shapes schema")
def schema(as_json: bool = Json) -> None:
    """Print the JSON Schema of fedroto's own shape files."""
    import json

    from model.formats.roto_json import json_schema

    show(json_schema(), as_json, lambda result: json.dumps(result, indent=2))


def _described(shape: Any) -> dict[str, Any]:
    frames = shape.frames
    return {
        "path": shape.path,
        "kind": shape.kind,
        "closed": shape.closed,
        "points": shape.points,
        "keys": len(frames),
        "first_key": float(frames[0]),
        "last_key": float(frames[-1]),
        "predicted_keys": shape.key_sources.count("predicted"),
        "baked_keys": shape.key_sources.count("baked"),
        "soft_edge": shape.has_soft_edge,
        "transforms": len(shape.transforms),
        "read_only_reason": shape.read_only_reason,
    }


def _info_text(result: dict[str, Any]) -> str:
    first, last = result["first_frame"], result["last_frame"]
    span = f", frames {first}-{last}" if first is not None and last is not None else ""
    lines = [f"{result['width']}x{result['height']}{span}, {len(result['shapes'])} shapes"]
    rows = [
        [
            one["path"],
            one["kind"] + ("" if one["closed"] else ", open"),
            one["points"],
            one["keys"],
            f"{one['first_key']:g}-{one['last_key']:g}",
            "soft" if one["soft_edge"] else "",
            f"{one['predicted_keys']} predicted" if one["predicted_keys"] else "",
        ]
        for one in result["shapes"]
    ]
    if rows:
        lines.append(table(["shape", "kind", "points", "keys", "from-to", "edge", ""], rows))
    lines += [
        f"read-only: {s['path']}: {s['read_only_reason']}" for s in result["shapes"] if s["read_only_reason"]
    ]
    if result["strokes"]:
        lines.append(f"{len(result['strokes'])} paint strokes and warp pins, which are no shapes")
    return "\n".join(lines + _listed("not read", result["warnings"]))


def _conversion_text(done: Any) -> str:
    lines = [f"{done.output}: {done.shapes} shapes, {done.keys} keys"]
    lost = [
        f"{what} ({paths[0] if len(paths) == 1 else f'{len(paths)} shapes'})"
        for what, paths in done.losses.items()
    ]
    return "\n".join(lines + _listed("not read", done.warnings) + _listed("lost", lost))


def _diff_text(result: dict[str, Any]) -> str:
    lines = []
    for one in result["differences"]:
        worst = max((f.points_max_px for f in one.frames), default=0.0)
        apart = f"{len(one.frames)} frames apart, up to {worst:.4g} px" if one.frames else ""
        lines.append(f"{one.path}: {'; '.join([*one.facts, *([apart] if apart else [])])}")
    return "\n".join(lines) or "no difference"


def _render_text(result: dict[str, Any]) -> str:
    report = result["report"]
    kept = f", {report.kept} were there" if report.kept else ""
    lines = [f"{report.written} files written{kept}; {len(report.shapes)} shapes"]
    lines += _listed("drawn", result["stale"])
    lines += _listed("not drawn", [f"{one.where}: {one.reason}" for one in report.rejected])
    return "\n".join(lines + _listed("not read", result["warnings"]))


def _listed(what: str, texts: Any) -> list[str]:
    shown = [f"{what}: {text}" for text in texts[:_LISTED]]
    return shown + ([f"{what}: and {len(texts) - _LISTED} more; see --json"] if len(texts) > _LISTED else [])


def _frames(text: str | None, shapes: ShapeSet) -> tuple[int, int]:
    if text is not None:
        match = _RANGE.fullmatch(text)
        if match is None:
            raise ConfigError(f"{text!r} is no range of frames; write 1001-1048 or 1001")
        return int(match[1]), int(match[2] or match[1])
    if shapes.first_frame is not None and shapes.last_frame is not None:
        return shapes.first_frame, shapes.last_frame
    keys = [frame for shape in shapes.shapes for frame in shape.key_frames]
    if not keys:
        raise ConfigError("the file has no shapes and no range of frames; say --frames")
    return min(keys), max(keys)


def _size(text: str | None, shapes: ShapeSet) -> tuple[int, int]:
    if text is None:
        return shapes.width, shapes.height
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ConfigError(f"{text!r} is no size; write 1920x1080")
    return int(match[1]), int(match[2])
