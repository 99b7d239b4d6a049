"""Nuke scripts (``.nk``, ``.gizmo``): roto shapes in, predictions and fresh scripts out.

Nuke counts from the bottom-left corner, y up, pixel centres at .5, so ``y_plate = height - y_nuke`` and nothing
else. The height is the plate's; a script's root format is only asked where no plate is at hand.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from model.errors import FormatError, NoRotoError, OldFormatError
from model.formats.nuke_curves import CurvesReader
from model.formats.nuke_script import ROTO_CLASSES, RotoNode, read_script
from model.formats.nuke_shapes import ShapeReader
from model.formats.tcl import Atom, nested
from model.shapes import Shape, ShapeSet

ARTIST_KEYS_KNOB = "fedroto_artist_keys"  # JSON in a node of ours: shape name -> frames that the artist keyed


@dataclass(frozen=True)
class NukeScript:
    """What a script holds for us.

    Attributes:
        shapes: all its roto shapes, in file and drawing order.
        nodes: its roto nodes, also those without shapes.
        warnings: well-formed parts that were left out, each with its line.
    """

    shapes: ShapeSet
    nodes: tuple[RotoNode, ...]
    warnings: tuple[str, ...] = ()


def loads(data: bytes, *, height: int | None = None, width: int | None = None) -> NukeScript:
    """Read the roto shapes of a script.

    Args:
        data: the file as it is; it need not be UTF-8.
        height: of the plate, px; it wins over the script's root format.
        width: of the plate, px.

    Raises:
        NoRotoError: a script without a roto node.
        OldFormatError: roto in the text of Nuke 6 and nothing newer.
        FormatError: malformed text (with its line), or no size from either plate or script.
    """
    script = read_script(data)
    if not script.nodes:
        classes = ", ".join(sorted(c.decode() for c in ROTO_CLASSES))
        raise NoRotoError(
            f"the script has no roto node ({classes}); export the shapes or choose another script"
        )
    high, wide = height or script.height, width or script.width
    if high is None or wide is None:
        raise FormatError(
            "the script's root has no format, so y cannot be turned; give the plate's width and height"
        )
    curves = CurvesReader(data)
    reader = ShapeReader(data, high, curves.warnings)
    shapes: list[Shape] = []
    old: list[RotoNode] = []
    for node in script.nodes:
        if node.curves is None:
            continue
        payload = nested(data, node.curves.start, node.curves.end)
        if payload.items and isinstance(payload.items[0], Atom) and payload.items[0].text == b"AnimTree:":
            old.append(node)
            continue
        root = curves.root(payload)
        if root is not None:
            shapes += _with_sources(reader.shapes(root, node.name), node)
    if old:
        text = f"{old[0].name} is in the roto text of Nuke 6; re-save the script in Nuke 7 or later"
        if not shapes:
            raise OldFormatError(text, line=old[0].line)
        curves.warnings.texts.append(f"line {old[0].line}: {text}")
    first, last = script.first_frame, script.last_frame
    if first is not None and last is not None and first > last:
        first = last = None
    return NukeScript(
        ShapeSet(tuple(shapes), wide, high, first, last), script.nodes, tuple(curves.warnings.texts)
    )


def _with_sources(shapes: list[Shape], node: RotoNode) -> list[Shape]:
    """Tell predicted keys from the artist's in a node that ``add_prediction`` wrote."""
    try:
        listed = json.loads(node.knobs.get(ARTIST_KEYS_KNOB, "null"))
    except (ValueError, RecursionError):
        return shapes
    if not isinstance(listed, dict):
        return shapes
    marked = []
    for shape in shapes:
        frames = listed.get(shape.name)
        if isinstance(frames, list) and all(isinstance(f, int | float) for f in frames):
            artist = {float(f) for f in frames}
            sources = tuple("artist" if float(f) in artist else "predicted" for f in shape.frames)
            shape = replace(shape, key_sources=sources)  # type: ignore[arg-type]
        marked.append(shape)
    return marked
