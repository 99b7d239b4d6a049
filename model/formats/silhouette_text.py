"""Shapes as Silhouette's XML: layers for the transforms, keys on whole frames, what cannot be said named by ``losses``.

Source: mirrors what NukeFXSExporter writes, which artists import; acceptance by Silhouette is checked by hand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from model.errors import ShapeError
from model.formats.key_tracks import SPAN_MAX, Track, all_of, opacity_track, track_of
from model.formats.silhouette_shapes import CATMULLROM, KINDS, MODES, NOTES, STROKE_WIDTH
from model.formats.silhouette_space import Space
from model.formats.xml_tree import attribute, text
from model.keyframes import FloatArray, Keyed
from model.shapes import Shape
from model.transforms import Affine, AnyTransform

_OUTLINE, _PREDICTED_OUTLINE = (1.0, 0.0, 0.0), (1.0, 0.5, 0.0)
# What Nuke writes with every shape, of paint tools and views, and of open splines' widths where there is none.
_OF_NO_MATTER = frozenset({"osw", "osf", "str", "sb", "spx", "spy", "tt", "nv", "view1", "src"})
_INDENT = "  "
_TAIL = re.compile(r"(\.\d*?)0+(?=[,)])")  # noughts behind the last figure that counts
_MINUS_NOUGHT = re.compile(r"-0(?=[,)])")


@dataclass
class _Node:
    """A layer to be written, with what lies in it in drawing order."""

    label: str
    transform: AnyTransform | None = None
    children: list[_Node | Shape] = field(default_factory=list)


def render(shapes: Sequence[Shape], space: Space, *, layer: str | None = None) -> Iterator[str]:
    """Lines of the ``Layer`` elements that hold these shapes.

    Args:
        shapes: in drawing order.
        space: of the file.
        layer: one layer around all of them, or None for the layers that their paths tell.

    Raises:
        ShapeError: a curve too long to be written out.
    """
    root = _Node("")
    for shape in shapes:
        _place(root, shape, layer)
    outer = root.children
    if any(isinstance(child, Shape) for child in outer):
        outer = [_Node(layer or "Root", children=list(outer))]
    for child in reversed(outer):
        if isinstance(child, _Node):
            yield from _layer(child, space, "Layer", _INDENT)


def losses(shape: Shape) -> list[str]:
    """What Silhouette's file cannot say of a shape."""
    lost = []
    if shape.has_soft_edge:
        lost.append("the feather of its points (Silhouette's feather is one number for a whole shape)")
    if shape.kind == "polygon":
        lost.append("that it is a polygon: it becomes a Bezier without handles")
    if shape.points < 2:
        lost.append("the shape itself: Silhouette takes none with a single point")
    if shape.key_confidence is not None:
        lost.append("how sure its predicted keys are")
    written = {"bm", "inv", "mbo", "ro", "go", "bo", STROKE_WIDTH, CATMULLROM}
    others = sorted(name for name, _ in shape.attributes if name not in written | _OF_NO_MATTER)
    if not shape.closed and "osw" in dict(shape.attributes):
        lost.append("the width of its open spline")
    if others:
        lost.append(f"attributes of other programs: {', '.join(others)}")
    if dict(shape.attributes).get("bm", Keyed.constant(0.0)).values[0] not in MODES.values():
        lost.append("its blend mode, which becomes Add")
    return lost


def _place(root: _Node, shape: Shape, layer: str | None) -> None:
    """Put a shape below the layers of its path; its transforms belong to the innermost of them."""
    labels = re.split("[:/]", shape.path)[:-1] if layer is None else [layer]
    levels: list[AnyTransform | None] = [None] * (len(labels) - len(shape.transforms)) + list(
        shape.transforms
    )
    labels += [f"{shape.name} transform"] * (len(levels) - len(labels))
    for label, transform in zip(labels, levels, strict=True):
        last = root.children[-1] if root.children else None
        if not isinstance(last, _Node) or (last.label, last.transform) != (label, transform):
            last = _Node(label, transform)
            root.children.append(last)
        root = last
    root.children.append(shape)


def _layer(node: _Node, space: Space, tag: str, pad: str) -> Iterator[str]:
    inner = pad + 2 * _INDENT
    yield f'{pad}<{tag} type="Layer" label={attribute(node.label)} expanded="True">\n{pad}{_INDENT}<Properties>\n'
    yield _value("color", "(1.000000,1.000000,1.000000)", inner)
    yield _value("invert", "false", inner)
    yield _value("mode", "Add", inner)
    if node.transform is not None:
        yield from _keys("transform.matrix", _matrix_track(node.transform, space), space, inner)
    yield f'{inner}<Property id="objects" constant="True" expanded="True">\n'
    for child in reversed(node.children):
        if isinstance(child, _Node):
            yield from _layer(child, space, "Object", inner + _INDENT)
        elif child.points > 1:
            yield from _shape(child, space, inner + _INDENT)
    yield f"{inner}</Property>\n{pad}{_INDENT}</Properties>\n{pad}</{tag}>\n"


def _shape(shape: Shape, space: Space, pad: str) -> Iterator[str]:
    inner, attributes = pad + 2 * _INDENT, dict(shape.attributes)
    kind = next((word.capitalize() for word, ours in KINDS.items() if ours == shape.kind), "Bezier")
    yield (
        f'{pad}<Object type="Shape" label={attribute(shape.name)} expanded="True" shape_type="{kind}" '
        f'hidden="False" locked="False">\n{pad}{_INDENT}<Properties>\n'
    )
    predicted = "predicted" in shape.key_sources
    path = track_of(shape.keyed, catmullrom=CATMULLROM in attributes)
    artist = _artist_frames(shape)
    if not set(path.frames.tolist()) <= set(artist):
        words = NOTES["predicted" if predicted else "baked"]
        yield _value("note", f"{words} {json.dumps([_whole(f) for f in artist])}", inner)
    yield from _keys("opacity", opacity_track(shape), space, inner)
    yield _value("motionBlur", "true" if _constant(attributes, "mbo") else "false", inner)
    outline = [attributes[n].values[0] for n in ("ro", "go", "bo") if n in attributes]
    usual = _PREDICTED_OUTLINE if predicted else _OUTLINE
    colour = outline if len(outline) == 3 and any(outline) and not predicted else usual
    yield _value("outlineColor", f"({','.join(f'{v:.6f}' for v in colour)})", inner)
    modes = {number: word.capitalize() for word, number in MODES.items()}
    yield _value("mode", modes.get(int(_constant(attributes, "bm")), "Add"), inner)
    yield _value("invert", "true" if _constant(attributes, "inv") else "false", inner)
    if STROKE_WIDTH in attributes:
        yield _value("strokeWidth", _number(_constant(attributes, STROKE_WIDTH)), inner)
    yield f'{inner}<Property id="path">\n'
    closed = "True" if shape.closed else "False"
    for frame, controls, how in zip(path.frames, path.values, path.interpolations, strict=True):
        yield f'{inner}{_INDENT}<Key frame="{_session(frame, space)}" interp="{how}">\n'
        yield f'{inner}{2 * _INDENT}<Path closed="{closed}" type="{kind}">\n'
        yield _points(controls, shape, space, inner + 3 * _INDENT)
        yield f"{inner}{2 * _INDENT}</Path>\n{inner}{_INDENT}</Key>\n"
    yield f"{inner}</Property>\n{pad}{_INDENT}</Properties>\n{pad}</Object>\n"


def _points(controls: FloatArray, shape: Shape, space: Space, pad: str) -> str:
    centres = controls[:, 1:2]
    absolute = np.concatenate([centres, controls[:, :1] + centres, controls[:, 2:] + centres], axis=1)
    if shape.kind == "bspline":
        absolute = centres
    units = space.from_plate(absolute)
    line = f"{pad}<Point>{','.join(['(%.12f,%.12f)'] * units.shape[1])}</Point>\n"
    written = (line * len(units)) % tuple(units.ravel().tolist())
    return _MINUS_NOUGHT.sub("0", _TAIL.sub(r"\1", written).replace(".,", ",").replace(".)", ")"))


def _keys(name: str, track: Track, space: Space, pad: str) -> Iterator[str]:
    """A property of numbers: one value where nothing moves, else its keys."""
    rows = [_row(v) for v in track.values]
    if len(set(rows)) == 1:
        yield _value(name, rows[0], pad)
        return
    yield f'{pad}<Property id="{name}">\n'
    for frame, row, how in zip(track.frames, rows, track.interpolations, strict=True):
        yield f'{pad}{_INDENT}<Key frame="{_session(frame, space)}" interp="{how}">{row}</Key>\n'
    yield f"{pad}</Property>\n"


def _row(value: FloatArray) -> str:
    numbers = [_number(v) for v in np.ravel(value)]
    return numbers[0] if len(numbers) == 1 else f"({','.join(numbers)})"


def _value(name: str, value: str, pad: str) -> str:
    return f'{pad}<Property id="{name}" constant="True"><Value>{text(value)}</Value></Property>\n'


def _matrix_track(transform: AnyTransform, space: Space) -> Track:
    """A transform as Silhouette's matrices: its own keys where they are linear, else one on every whole frame."""
    if isinstance(transform, Affine):
        track = track_of(transform.affine)
        times, kinds = track.frames, track.interpolations
    else:
        moving = transform.key_times
        first, last = (
            (np.floor(moving.min()), np.ceil(moving.max())) if len(moving) else (space.start_frame,) * 2
        )
        if last - first > SPAN_MAX:
            raise ShapeError(
                f"a transform moves over {last - first:.0f} frames; up to {SPAN_MAX} are written out"
            )
        times = np.arange(first, last + 1)
        kinds = all_of("linear", len(times))
    matrices = [space.affine_from_plate(transform.matrix(float(t))) for t in times]
    return Track(times, np.array(matrices), kinds)


def _artist_frames(shape: Shape) -> list[float]:
    return [f for f, s in zip(shape.frames.tolist(), shape.key_sources, strict=True) if s == "artist"]


def _constant(attributes: dict[str, Keyed], name: str) -> float:
    return float(attributes[name].values[0]) if name in attributes else 0.0


def _session(frame: float, space: Space) -> int:
    return round(frame) - space.start_frame


def _whole(frame: float) -> int | float:
    return int(frame) if frame == int(frame) else frame


def _number(value: float) -> str:
    """Decimals without an exponent, which Silhouette refuses: fine enough that what was read comes out again."""
    return f"{value:.12f}".rstrip("0").rstrip(".") if value else "0"
