"""Shapes as the text of Nuke's ``curves`` knob and of the nodes around it.

Every number that Nuke would interpolate is written with its slopes, so Nuke shows exactly the curve we hold;
all keys of a shape share one list of key times. Numbers are float32, as in all of Nuke's roto.

Source: mirrors scripts that Nuke 10 to 13 wrote (docs/formats.md); acceptance by Nuke itself is checked by hand.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from model.errors import ShapeError
from model.formats.nuke_elements import CLOSED_FLAGS, FLAG_ATTRIBUTES, OPEN_FLAGS
from model.formats.tcl import NAME_MAX, quoted
from model.keyframes import FloatArray, Keyed, insert_keys
from model.screen_space import on_screen
from model.shapes import Lifetime, Shape
from model.transforms import Affine, Transform

VERSION = b"version 12.1 v1"
PREDICTION_TILE = 0xE0A030FF  # node colour of a prediction, RGBA: no artist's default
_OVERLAY = {"ro": 1.0, "go": 0.5, "bo": 0.0, "ao": 1.0}  # overlay colour of predicted shapes in the viewer
_NAME_KEPT = NAME_MAX - 50  # bytes; numbers and the names of transforms come behind it
_PLAIN_WORD = re.compile(r"[A-Za-z0-9_.+-]+")
_TOOL = {"bezier": 4.0, "bspline": 6.0, "polygon": 4.0}


@dataclass(frozen=True)
class NodeText:
    """What a Roto node of ours is made of.

    Attributes:
        name: the node's name.
        layer: the layer that holds the shapes, or None for the root.
        shapes: in drawing order.
        width: of the plate, px.
        height: of the plate, px.
        predicted: whether to mark node and shapes as predictions.
        knobs: further knob lines, complete (``b'label "..."'``).
        position: place in the node graph.
        indent: how deep in groups the node stands.
    """

    name: str
    layer: str | None
    shapes: tuple[Shape, ...]
    width: int
    height: int
    predicted: bool = False
    knobs: tuple[bytes, ...] = ()
    position: tuple[int, int] = (0, 0)
    indent: int = 0

    def render(self) -> bytes:
        """The node as script text, with a line end after its last brace."""
        pad = b" " * self.indent
        knobs = [
            b"inputs 0",
            b"output alpha",
            b"cliptype none",
            b"curves " + self._curves(),
            b'lifetime_type "all frames"',
            *self.knobs,
            *([b"tile_color 0x%08x" % PREDICTION_TILE] if self.predicted else []),
            b"name " + word(self.name),
            b"xpos %d" % self.position[0],
            b"ypos %d" % self.position[1],
        ]
        return b"".join([pad, b"Roto {\n", *(pad + b" " + k + b"\n" for k in knobs), pad, b"}\n"])

    def _curves(self) -> bytes:
        names = unique_names(s.name for s in self.shapes)
        inner = [
            shape_text(s, n, self.width, self.height, self.predicted)
            for s, n in zip(self.shapes, names, strict=True)
        ]
        pivot = b"{t %s %s}" % (number(self.width / 2), number(self.height / 2))
        if (
            self.predicted
        ):  # on screen, so that nothing turns or moves in the layers that the artist sorted them into
            placed = [re.split("[:/]", s.path)[":" in s.path : -1] for s in self.shapes]
            inner = _layered(list(zip(placed, inner, strict=True)), pivot)
        if self.layer is not None:
            inner = [_layer(self.layer, pivot, inner)]
        root = b"{layer Root\n{f 2097152}\n%s\n{a}\n%s}" % (pivot, b"\n".join(inner))
        return b"{{{v x3f99999a}\n{f 0}\n{n\n%s}}}" % root


def _layered(placed: list[tuple[list[str], bytes]], pivot: bytes) -> list[bytes]:
    """Shapes inside the layers that each names, in drawing order."""
    found: list[bytes] = []
    for name, group in groupby(placed, key=lambda one: one[0][:1]):
        members = list(group)
        if name:
            found.append(_layer(name[0], pivot, _layered([(way[1:], text) for way, text in members], pivot)))
        else:
            found += [text for _, text in members]
    return found


def _layer(name: str, pivot: bytes, inner: list[bytes]) -> bytes:
    return b"{layer %s\n{f 2097664}\n%s\n{a}\n%s}" % (word(name), pivot, b"\n".join(inner))


def shape_text(shape: Shape, name: str, width: int, height: int, predicted: bool) -> bytes:
    """One shape, inside a layer for each of its transforms, outermost first.

    Where one of them is a bare matrix, which Nuke's layers have no known place for, all go into the points.
    """
    if any(isinstance(t, Affine) for t in shape.transforms):
        shape = on_screen(shape)
    usual = CLOSED_FLAGS if shape.closed else OPEN_FLAGS
    # A prediction is neither locked nor selected, whatever the artist's own shape is.
    kept = {} if predicted else dict(shape.attributes)
    spline_flags, curve_flags = (
        int(kept[n].values[0]) if n in kept else flags
        for n, flags in zip(FLAG_ATTRIBUTES, usual, strict=True)
    )
    centre = shape.controls[0, :, 1].mean(axis=0)
    text = b"{curvegroup %s %d %s\n%s\n{tx %s %s %s}\n{a %s}}" % (
        word(name),
        spline_flags,
        b"bspline" if shape.kind == "bspline" else b"bezier",
        curves_text(shape, height, ListStyle(curve_flags), ListStyle(curve_flags)),
        number(shape.frames[0]),
        number(centre[0]),
        number(height - centre[1]),
        _attributes(shape, width, height, predicted),
    )
    levels = [t for t in shape.transforms if isinstance(t, Transform)]
    for level, transform in reversed(list(enumerate(levels))):
        layer = word(f"{name}_transform{level + 1}")
        text = b"{layer %s\n{f 2097664}\n%s\n{a}\n%s}" % (layer, _transform_text(transform, height), text)
    return text


@dataclass(frozen=True)
class ListStyle:
    """How one point list is written.

    Attributes:
        flags: of the curve.
        attributes: the text of each entry's own attributes, or ().
        triples: False writes the centres alone, as some B-splines are stored.
    """

    flags: int
    attributes: tuple[bytes, ...] = ()
    triples: bool = True


def curves_text(shape: Shape, height: int, main: ListStyle, feather: ListStyle) -> bytes:
    """The point lists of a shape in their braces, in its own (local) space: its curve, and its feather or ``idem``."""
    second = b"idem" if shape.feather is None else _curve_text(_turned(shape.feather, 0.0), feather)
    return b"{%s\n%s}" % (_curve_text(_turned(shape.keyed, float(height)), main), second)


def _turned(block: Keyed, height: float) -> Keyed:
    """Points [K, N, 3, 2] with y up; centres measured from the bottom of ``height``."""
    flip = np.array([1.0, -1.0])
    origin = np.zeros((3, 2))
    origin[1, 1] = height
    return Keyed(block.frames, block.values * flip + origin, block.slopes_in * flip, block.slopes_out * flip)


def _curve_text(block: Keyed, style: ListStyle) -> bytes:
    if (np.diff(block.frames.astype(np.float32)) <= 0).any():
        raise ShapeError(
            "two keys are too close for a Nuke script, whose times are float32; remove one of them"
        )
    times = b" ".join(numbers(block.frames))
    vectors = slice(None) if style.triples else slice(1, 2)
    columns = [
        a[:, :, vectors].reshape(len(block.frames), -1)
        for a in (block.values, block.slopes_in, block.slopes_out)
    ]
    scalars = [_scalar_text(*(c[:, i] for c in columns)) for i in range(columns[0].shape[1])]
    own = style.attributes or (b"",) * (len(scalars) // 2)
    points = b"\n".join(
        b"{%s%s %s}" % (a + b" " if a else b"", x, y)
        for a, x, y in zip(own, scalars[::2], scalars[1::2], strict=True)
    )
    shared = times if len(block.frames) == 1 else b"{%s}" % times
    return b"{cc\n{f %d}\n{px %s\n%s}}" % (style.flags, shared, points)


def _scalar_text(values: FloatArray, slopes_in: FloatArray, slopes_out: FloatArray) -> bytes:
    """One number over the shared key times; a single key stands for all of them where nothing moves."""
    value, left, right = numbers(values), numbers(slopes_in), numbers(slopes_out)
    if left.count(b"0") == len(left) and right.count(b"0") == len(right) and len(set(value)) == 1:
        return value[0] if len(value) == 1 else b"{{%s -}}" % value[0]
    keys = [
        b"{%s -}" % v if i == o == b"0" else b"{%s %s 1 %s 1}" % (v, i, o)
        for v, i, o in zip(value, left, right, strict=True)
    ]
    return b"{%s}" % b" ".join(keys)


def _timed_text(curve: Keyed) -> bytes:
    """One number with key times of its own, as in attributes and transforms."""
    if curve.is_constant:
        return number(curve.values[0])
    rows = zip(
        numbers(curve.frames),
        numbers(curve.values),
        numbers(curve.slopes_in),
        numbers(curve.slopes_out),
        strict=True,
    )
    return b"{%s}" % b" ".join(b"{%s %s %s 1 %s 1}" % row for row in rows)


def _transform_text(transform: Transform, height: int) -> bytes:
    """Pivot, translation, rotation and scale, x y z each; y turned up, z left alone."""

    def axis(block: Keyed, index: int, factor: float = 1.0, origin: float = 0.0) -> bytes:
        values, into, out = (a[:, index] * factor for a in (block.values, block.slopes_in, block.slopes_out))
        return _timed_text(Keyed(block.frames, values + origin, into, out))

    angle = transform.rotate_deg.scaled(-1.0)
    pivot, shift, scale = transform.pivot, transform.translate, transform.scale
    fields = [
        *(axis(pivot, 0), axis(pivot, 1, -1.0, float(height)), b"0"),
        *(axis(shift, 0), axis(shift, 1, -1.0), b"0"),
        *(b"0", b"0", _timed_text(angle)),
        *(axis(scale, 0), axis(scale, 1), b"1"),
    ]
    return b"{t %s}" % b" ".join(fields)


def _attributes(shape: Shape, width: int, height: int, predicted: bool) -> bytes:
    constants = {
        "osw": 10.0,
        "osf": 0.0,
        "str": 1.0,
        "spx": width / 2,
        "spy": height / 2,
        "sb": 1.0,
        "tt": _TOOL[shape.kind],
    }
    kept = {
        name: value for name, value in shape.attributes if "." not in name
    }  # those are other formats' own
    attributes = {name: Keyed.constant(value) for name, value in constants.items()} | kept
    if predicted:
        attributes |= {name: Keyed.constant(value) for name, value in _OVERLAY.items()}
    attributes |= _lifetime_attributes(shape.lifetime)
    if not shape.opacity.is_constant or shape.opacity.values[0] != 1:
        attributes["opc"] = shape.opacity
    return b" ".join(b"%s %s" % (word(name), _timed_text(value)) for name, value in attributes.items())


def _lifetime_attributes(lifetime: Lifetime) -> dict[str, Keyed]:
    """Nuke's lifetime types: 0 all frames, 1 start to frame, 2 single frame, 3 frame to end, 4 range."""
    first, last = lifetime.first, lifetime.last
    kind = {(False, False): 0, (False, True): 1, (True, False): 3, (True, True): 4}[
        first is not None, last is not None
    ]
    if kind == 4 and first == last:
        kind = 2
    attributes = {} if lifetime.visibility is None else {"vis": _held(lifetime.visibility)}
    if kind:
        start, end = first if first is not None else last, last if last is not None else first
        for name, value in (("ltn", start), ("ltm", end), ("ltt", kind)):
            attributes[name] = Keyed.constant(float(value or 0.0))
    return attributes


def _held(visibility: Keyed) -> Keyed:
    """On and off as flat keys: ours hold from key to key, and so does Nuke's once each change has a key beside it."""
    turns = visibility.frames[1:][np.diff(visibility.values) != 0]
    before = np.setdiff1d(turns - 1, visibility.frames)
    held = insert_keys(visibility, before[before > visibility.frames[0]])
    at = np.maximum(np.searchsorted(visibility.frames, held.frames, side="right") - 1, 0)
    flat = np.zeros_like(held.values)
    return Keyed(held.frames, visibility.values[at], flat, flat)


def numbers(values: FloatArray | Sequence[float]) -> list[bytes]:
    """Numbers as Nuke writes them: 0 and 1 plain, all else as the bits of a float32.

    Raises:
        ShapeError: a value beyond float32.
    """
    with np.errstate(over="ignore"):
        rounded = np.asarray(values, dtype=np.float64).astype(np.float32)
    if not np.isfinite(rounded).all():
        raise ShapeError("a coordinate is too large for a Nuke script, which holds float32; check the shape")
    plain = {0.0: b"0", 1.0: b"1"}
    return [
        plain.get(value) or b"x%08x" % bits
        for value, bits in zip(rounded.tolist(), rounded.view(np.uint32).tolist(), strict=True)
    ]


def number(value: float) -> bytes:
    """One number, see ``numbers``."""
    return numbers([value])[0]


def word(text: str) -> bytes:
    """A name as one Tcl word."""
    return text.encode("ascii") if _PLAIN_WORD.fullmatch(text) else quoted(text)


def unique_names(names: Iterable[str]) -> list[str]:
    """The names with a number added where one repeats: Nuke wants them unique in a layer; a very long one is cut."""
    given: set[str] = set()
    unique = []
    for name in names:
        name = name.encode("utf-8", "replace")[:_NAME_KEPT].decode("utf-8", "ignore")
        number_added, candidate = 1, name
        while candidate in given:
            number_added += 1
            candidate = f"{name}_{number_added}"
        given.add(candidate)
        unique.append(candidate)
    return unique
