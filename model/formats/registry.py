"""Every shape format by the ending of its files: one way in, one way out, and what gets lost on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from model.errors import FormatError
from model.formats import (
    after_effects,
    blender,
    fusion,
    nuke,
    program_shapes,
    roto_json,
    silhouette,
    silhouette_text,
)
from model.shapes import Shape, ShapeSet


@dataclass(frozen=True)
class ShapeFile:
    """What a file holds.

    Attributes:
        shapes: in drawing order.
        warnings: parts that were left out or not read, each with its line.
        strokes: paths of paint strokes and warp pins, which are no shapes.
    """

    shapes: ShapeSet
    warnings: tuple[str, ...] = ()
    strokes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ShapeFormat:
    """One format.

    Attributes:
        name: for people.
        suffixes: endings of its files, lower case, the usual one first.
        loads: text, the plate's width and height if known; None where we only write.
        dumps: the file for some shapes; the name is for a node, where a format has nodes.
        losses: what such a file cannot say of a shape.
    """

    name: str
    suffixes: tuple[str, ...]
    loads: Callable[[bytes, int | None, int | None], ShapeFile] | None
    dumps: Callable[[ShapeSet, str], bytes]
    losses: Callable[[Shape], list[str]]


def _loads_nuke(data: bytes, width: int | None, height: int | None) -> ShapeFile:
    script = nuke.loads(data, width=width, height=height)
    return ShapeFile(script.shapes, script.warnings, script.strokes)


def _loads_silhouette(data: bytes, _width: int | None, _height: int | None) -> ShapeFile:
    found = silhouette.loads(data)
    return ShapeFile(found.shapes, found.warnings)


def _loads_json(data: bytes, _width: int | None, _height: int | None) -> ShapeFile:
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise FormatError(f"the file is not UTF-8 text: {error}") from error
    return ShapeFile(roto_json.loads(text))


NUKE = ShapeFormat(
    "Nuke script",
    (".nk",),
    _loads_nuke,
    nuke.dumps,
    nuke.losses,
)
GIZMO = ShapeFormat(
    "Nuke gizmo",
    (".gizmo",),
    _loads_nuke,
    nuke.dumps_gizmo,
    nuke.losses,
)
SILHOUETTE = ShapeFormat(
    "Silhouette shapes",
    (".fxs",),
    _loads_silhouette,
    lambda shapes, _name: silhouette.dumps(shapes),
    silhouette_text.losses,
)
JSON = ShapeFormat(
    "fedroto's own shapes",
    (".json",),
    _loads_json,
    lambda shapes, _name: roto_json.dumps(shapes).encode(),
    lambda _shape: [],
)
AFTER_EFFECTS = ShapeFormat(
    "After Effects script", (".jsx",), None, after_effects.dumps, program_shapes.losses
)
FUSION = ShapeFormat("Fusion masks", (".setting",), None, fusion.dumps, program_shapes.losses)
BLENDER = ShapeFormat("Blender script", (".py",), None, blender.dumps, program_shapes.losses)
FORMATS = (NUKE, GIZMO, SILHOUETTE, JSON, AFTER_EFFECTS, FUSION, BLENDER)
NUKE_FAMILY = NUKE.suffixes + GIZMO.suffixes
READABLE = tuple(s for f in FORMATS if f.loads is not None for s in f.suffixes)
WRITABLE = tuple(s for f in FORMATS for s in f.suffixes)


def format_of(path: Path, *, reading: bool) -> ShapeFormat:
    """The format of a file by its ending.

    Raises:
        FormatError: none of ours, or one that we only write.
    """
    for known in FORMATS:
        if path.suffix.lower() in known.suffixes and (known.loads is not None or not reading):
            return known
    endings = ", ".join(READABLE if reading else WRITABLE)
    verb = "read" if reading else "written"
    raise FormatError(f"{path.name} has none of the endings that are {verb}: {endings}")


def loads(data: bytes, path: Path, *, width: int | None = None, height: int | None = None) -> ShapeFile:
    """Read a file's shapes, by its ending.

    Args:
        data: the file as it is.
        path: its name.
        width: of the plate, px, if known; only Nuke scripts, which need not say it, take it.
        height: of the plate, px, if known.

    Raises:
        FormatError: an ending that is not read, or as for the format's own ``loads``.
    """
    read = format_of(path, reading=True).loads
    if read is None:
        raise FormatError(f"{path.name} is of a format that is only written")
    return read(data, width, height)
