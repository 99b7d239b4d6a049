"""Nuke scripts (``.nk``, ``.gizmo``): roto shapes in, predictions and fresh scripts out.

Nuke counts from the bottom-left corner, y up, pixel centres at .5, so ``y_plate = height - y_nuke`` and nothing
else. The height is the plate's; a script's root format is only asked where no plate is at hand.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from model.errors import FormatError, NoRotoError, ShapeError
from model.formats.nuke_animtree import AnimTreeReader, is_animtree
from model.formats.nuke_curves import CurvesReader
from model.formats.nuke_elements import Spline
from model.formats.nuke_script import ROTO_CLASSES, RotoNode, read_script
from model.formats.nuke_shapes import ShapeReader
from model.formats.nuke_text import VERSION, NodeText, unique_names, word
from model.formats.tcl import Warnings, nested, quoted
from model.shapes import PREDICTION_LAYER, Shape, ShapeSet
from model.transforms import Affine

ARTIST_KEYS_KNOB = "fedroto_artist_keys"  # JSON in a node of ours: shape name -> frames that the artist keyed
PREDICTION_SUFFIX = "_fedroto"
_BESIDE = (110, 0)  # where a new node lies in the node graph, seen from the original


@dataclass(frozen=True)
class NukeScript:
    """What a script holds for us.

    Attributes:
        shapes: all its roto shapes, in file and drawing order.
        nodes: its roto nodes, also those without shapes.
        warnings: well-formed parts that were left out, each with its line.
        strokes: paths of paint strokes and warp pins: no shapes, but they stay in the script.
        splines: the text that a shape was read from, by its path, where it can be written in place.
    """

    shapes: ShapeSet
    nodes: tuple[RotoNode, ...]
    warnings: tuple[str, ...] = ()
    strokes: tuple[str, ...] = ()
    splines: Mapping[str, Spline] = field(default_factory=dict, repr=False)


def loads(data: bytes, *, height: int | None = None, width: int | None = None) -> NukeScript:
    """Read the roto shapes of a script.

    Args:
        data: the file as it is; it need not be UTF-8.
        height: of the plate, px; it wins over the script's root format.
        width: of the plate, px.

    Raises:
        NoRotoError: a script without a roto node.
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
    warnings = Warnings()
    curves, old_curves = CurvesReader(data, warnings), AnimTreeReader(data, warnings)
    reader = ShapeReader(data, high, warnings)
    shapes: list[Shape] = []
    fixed: set[str] = set()  # paths of shapes whose text is of Nuke 6, which is never written
    for node in script.nodes:
        if node.curves is None:
            continue
        payload = nested(data, node.curves.start, node.curves.end)
        old = is_animtree(payload)
        root = old_curves.root(payload) if old else curves.root(payload)
        if root is not None:
            found = _with_sources(reader.shapes(root, node.name), node)
            fixed |= {s.path for s in found} if old else set()
            shapes += found
    first, last = script.first_frame, script.last_frame
    if first is not None and last is not None and first > last:
        first = last = None
    return NukeScript(
        shapes=ShapeSet(tuple(shapes), wide, high, first, last, script.pixel_aspect),
        nodes=script.nodes,
        warnings=tuple(warnings.texts),
        strokes=tuple(reader.strokes),
        splines={path: spline for path, spline in reader.splines.items() if path not in fixed},
    )


def own_size(data: bytes) -> tuple[int, int] | None:
    """The width and height of a script's own format, or None where it does not say."""
    script = read_script(data)
    return None if script.width is None or script.height is None else (script.width, script.height)


def losses(shape: Shape) -> list[str]:
    """What a script cannot say of a shape."""
    lost = []
    if shape.kind == "polygon":
        lost.append("that it is a polygon: it becomes a Bezier without tangents")
    if any(isinstance(t, Affine) for t in shape.transforms):
        lost.append("the matrices of its layers: their motion goes into the points, a key on every frame")
    if shape.key_confidence is not None:
        lost.append("how sure its predicted keys are")
    return lost


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


def add_prediction(
    data: bytes,
    predictions: Sequence[Shape],
    *,
    height: int | None = None,
    width: int | None = None,
    layer: str = PREDICTION_LAYER,
    note: str = "",
) -> bytes:
    """Write predictions into a script, each roto node's in a new node of its own; nothing else changes.

    The new node is called ``<node>_fedroto`` (with a number where that name is taken), lies beside the original in
    the node graph and has a colour of its own; its shapes lie in the layer ``fedroto_pred`` and have an orange
    overlay. Its knob ``fedroto_artist_keys``, on a tab of its own, lists the frames that the artist keyed; all other
    keys are predicted.

    It stands at the end of the list of nodes that the original belongs to (of its group, or of the script), not right
    behind it: a script is a stack machine, and a node written between others would become their input.

    Args:
        data: the script as ``loads`` read it.
        predictions: shapes in screen space (no transforms) with the ``path`` of their originals; their
            ``key_sources`` tell whose each key is.
        height: of the plate, px, as given to ``loads``.
        width: of the plate, px, as given to ``loads``.
        layer: the layer that holds the new shapes.
        note: a line added to the node's label.

    Raises:
        ShapeError: a prediction whose path names no node of the script, or that still has transforms.
        FormatError: as for ``loads``.
    """
    script = read_script(data)
    high = height or script.height
    if high is None:
        raise FormatError("the script's root has no format, so y cannot be turned; give the plate's height")
    wide = width or script.width or high  # only places the pivots, about which nothing turns
    nodes = {node.name: node for node in script.nodes}
    wanted: dict[str, list[Shape]] = {}
    for shape in predictions:
        node_name = shape.path.partition(":")[0]
        if node_name not in nodes:
            listed = ", ".join(nodes) or "none"
            raise ShapeError(f"no roto node {node_name!r} for {shape.path!r}; the script has: {listed}")
        if shape.transforms:
            raise ShapeError(
                f"the prediction for {shape.path!r} still has transforms; give it in screen space"
            )
        wanted.setdefault(node_name, []).append(shape)
    # From the last place to the first, so that the offsets of the earlier ones stay true.
    for node_name in sorted(wanted, key=lambda n: (nodes[n].scope_end, nodes[n].line), reverse=True):
        node = nodes[node_name]
        neighbours = {n.own_name for n in script.nodes if n.scope_end == node.scope_end}
        x, y = node.position()
        text = NodeText(
            name=_free_name(node.own_name + PREDICTION_SUFFIX, neighbours),
            layer=layer,
            shapes=tuple(wanted[node_name]),
            width=wide,
            height=high,
            predicted=True,
            knobs=_prediction_knobs(wanted[node_name], note),
            position=(x + _BESIDE[0], y + _BESIDE[1]),
            indent=node.depth,
        )
        data = _inserted(data, node.scope_end, text.render())
    return data


def _prediction_knobs(shapes: Sequence[Shape], note: str = "") -> tuple[bytes, ...]:
    """The label and the tab that tell an artist, and ``loads``, which keys are predicted."""
    names = unique_names(s.name for s in shapes)
    artist = {
        name: [_whole(f) for f, source in zip(s.frames, s.key_sources, strict=True) if source == "artist"]
        for name, s in zip(names, shapes, strict=True)
    }
    knob = ARTIST_KEYS_KNOB.encode()
    return (
        b"label " + quoted("fedroto: predicted keys" + (f"\n{note}" if note else "")),
        b"addUserKnob {20 fedroto}",
        b'addUserKnob {1 %s l "keys by the artist"}' % knob,
        knob + b" " + quoted(json.dumps(artist)),
    )


def _whole(frame: float) -> int | float:
    return int(frame) if frame == int(frame) else float(frame)


def _free_name(name: str, taken: set[str]) -> str:
    """The name, with a number where a neighbour has it already."""
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}{number}"
    return free


def _inserted(data: bytes, at: int, text: bytes) -> bytes:
    """``text`` on lines of its own before the line that holds byte ``at``."""
    line_start = data.rfind(b"\n", 0, at) + 1
    if not data[line_start:at].strip(b" \t"):
        return data[:line_start] + text + data[line_start:]
    return data[:at] + b"\n" + text + data[at:]


def dumps(shapes: ShapeSet, node_name: str = "Roto1", *, with_root: bool = True) -> bytes:
    """A small script with one Roto node that holds these shapes; predicted keys are marked as in ``add_prediction``.

    Args:
        shapes: their format and frame range become those of the script; a polygon becomes a Bezier without tangents.
        node_name: the node's name.
        with_root: False leaves the root out, for pasting into an open script whose settings should stay.

    Raises:
        ShapeError: coordinates beyond float32.
    """
    node = _own_node(shapes, node_name, 0)
    head = b"set cut_paste_input [stack 0]\n" + VERSION + b"\n"
    if not with_root:
        return head + b"push $cut_paste_input\n" + node
    size = f"{shapes.width} {shapes.height}"
    size_words = f"{size} 0 0 {size} {shapes.pixel_aspect:g} {word(node_name).decode()}_format"
    knobs = [b"inputs 0", b"format " + quoted(size_words)]
    if shapes.first_frame is not None:
        knobs.append(b"first_frame %d" % shapes.first_frame)
    if shapes.last_frame is not None:
        knobs.append(b"last_frame %d" % shapes.last_frame)
    return head + b"Root {\n" + b"".join(b" " + k + b"\n" for k in knobs) + b"}\n" + node


def dumps_gizmo(shapes: ShapeSet, name: str) -> bytes:
    """A gizmo with one Roto node that holds these shapes. A gizmo has no format and no frame range of its own.

    Raises:
        ShapeError: coordinates beyond float32.
    """
    head = b"%s\nGizmo {\n name %s\n}\n Input {\n  inputs 0\n  name Input1\n }\n" % (VERSION, word(name))
    return head + _own_node(shapes, "Roto1", 1) + b" Output {\n  name Output1\n }\nend_group\n"


def _own_node(shapes: ShapeSet, name: str, indent: int) -> bytes:
    """A Roto node for a file of ours; predicted keys are marked."""
    predicted = any("predicted" in s.key_sources for s in shapes.shapes)
    return NodeText(
        name=name,
        layer=PREDICTION_LAYER if predicted else None,
        shapes=shapes.shapes,
        width=shapes.width,
        height=shapes.height,
        predicted=predicted,
        knobs=_prediction_knobs(shapes.shapes) if predicted else (),
        indent=indent,
    ).render()
