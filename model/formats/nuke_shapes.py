"""Nuke's layers and splines as shapes in plate convention: y turned over the plate's height, transforms along.

What only Nuke can compute (expressions, planar tracks, skews) leaves a shape readable but read-only, with the
reason. Lifetime and visibility of the layers around a shape count for the shape.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from model.errors import KeyframeError, ModelError
from model.formats.nuke_elements import (
    CLOSED_FLAGS,
    FLAG_ATTRIBUTES,
    OPEN_FLAGS,
    Layer,
    PointList,
    Scalar,
    Spline,
    Stroke,
    constant,
)
from model.formats.tcl import Warnings, error_at
from model.formats.unique_paths import UniquePaths
from model.keyframes import FloatArray, Keyed, product, stack
from model.shapes import Lifetime, Shape, ShapeKind
from model.transforms import Transform

# Places in Nuke's transform list: pivot xyz, translation xyz, rotation xyz in degrees, scale xyz. Read off real
# scripts; what follows (skew, extra matrix) has not been seen and is not interpreted.
_PIVOT, _TRANSLATE, _OUT_OF_PLANE, _ROTATE, _SCALE, _UNKNOWN = 0, 3, (6, 7), 8, 9, 12
_OPEN: Final = 1 << 5
_LIFETIME_ALL, _LIFETIME_START_TO, _LIFETIME_SINGLE, _LIFETIME_TO_END, _LIFETIME_RANGE = range(5)
_INTERPRETED = frozenset({"vis", "opc", "ltt", "ltn", "ltm"})


@dataclass(frozen=True)
class _Around:
    """What the layers around a shape hand down to it."""

    path: str
    transforms: tuple[Transform, ...] = ()
    visibility: tuple[Keyed, ...] = ()
    opacity: tuple[Keyed, ...] = ()
    reasons: tuple[str, ...] = ()


@dataclass
class ShapeReader:
    """Turns the layers of one file into shapes.

    Attributes:
        data: the whole file, for the line in an error.
        height: of the plate, px.
        warnings: what is left out.
        splines: what each shape was read from, by the shape's path.
        strokes: paths of paint strokes and warp pins, which are no shapes.
        paths: those given so far.
    """

    data: bytes
    height: int
    warnings: Warnings
    splines: dict[str, Spline] = field(default_factory=dict)
    strokes: list[str] = field(default_factory=list)
    paths: UniquePaths = field(default_factory=UniquePaths)

    def shapes(self, root: Layer, node_name: str) -> list[Shape]:
        """All splines below ``root``, in drawing order."""
        found: list[Shape] = []
        around = self._enter(root, _Around(f"{node_name}:"), is_root=True)
        open_layers: list[tuple[Iterator[Layer | Spline | Stroke], _Around]] = [(iter(root.children), around)]
        while open_layers:
            children, around = open_layers[-1]
            child = next(children, None)
            if child is None:
                open_layers.pop()
            elif isinstance(child, Spline):
                found += self._shape(child, around)
            elif isinstance(child, Stroke):
                self.strokes.append(around.path + child.name)
            else:
                open_layers.append((iter(child.children), self._enter(child, around, is_root=False)))
        return found

    def _enter(self, layer: Layer, around: _Around, *, is_root: bool) -> _Around:
        transform, reasons = self._transform(layer)
        own = {
            n: self._curve(layer.attributes[n], layer.start) for n in ("vis", "opc") if n in layer.attributes
        }
        return _Around(
            around.path if is_root else f"{around.path}{layer.name}/",
            around.transforms + transform,
            around.visibility + ((own["vis"],) if "vis" in own else ()),
            around.opacity + ((own["opc"],) if "opc" in own else ()),
            around.reasons + reasons + _driven(layer.attributes, f"layer {layer.name}"),
        )

    def _shape(self, spline: Spline, around: _Around) -> list[Shape]:
        kind = _kind_of(spline)
        if kind is None or not spline.main.entries:
            why = "no points" if kind else f"the unknown type {spline.type_name!r}"
            self.warnings.add(self.data, spline.start, f"{spline.name} has {why}; left out")
            return []
        try:
            shape = self._built(spline, kind, around)
            self.splines[shape.path] = spline
            return [shape]
        except ModelError as error:
            if getattr(error, "line", None) is not None:
                raise
            raise error_at(self.data, spline.start, str(error)) from error

    def _built(self, spline: Spline, kind: ShapeKind, around: _Around) -> Shape:
        points = self._points(spline, spline.main, kind)
        feather = None if spline.feather is None else self._points(spline, spline.feather, kind)
        transform, reasons = self._transform(spline)
        reasons = (*around.reasons, *_stiff(spline), *reasons, *_driven(spline.attributes, "the shape"))
        main = _turned(points, self.height)
        return Shape(
            name=spline.name,
            kind=kind,
            closed=not (spline.main.flags & _OPEN or spline.flags & _OPEN),
            frames=main.frames,
            controls=main.values,
            slopes_in=main.slopes_in,
            slopes_out=main.slopes_out,
            feather=None if feather is None else _turned(feather, None),
            transforms=around.transforms + transform,
            lifetime=self._lifetime(spline, around),
            opacity=self._opacity(spline, around),
            attributes=tuple(
                (name, self._curve(value, spline.start))
                for name, value in spline.attributes.items()
                if name not in _INTERPRETED
            )
            + _unusual_flags(spline),
            read_only_reason=reasons[0] if reasons else None,
            path=self.paths.take(around.path + spline.name),
        )

    def _points(self, spline: Spline, listed: PointList, kind: ShapeKind) -> Keyed:
        """Values [K, N, 3, 2] of the main or feather curve, still y up."""
        entries = len(listed.entries)
        if kind == "bspline" and entries % 3:
            # A B-spline has no tangents; a list that is not made of triples holds the points alone.
            zero = (constant(0.0), constant(0.0))
            spread = tuple(e for point in listed.entries for e in (zero, point, zero))
            listed, entries = PointList(listed.flags, spread, listed.shared, listed.start), 3 * entries
        if entries % 3:
            raise error_at(
                self.data,
                listed.start,
                f"{spline.name} has {entries} entries; a point is three: tangent, centre, tangent",
            )
        block = listed.keyed(self.data)
        return _reshaped(block, (entries // 3, 3, 2))

    def _transform(self, element: Layer | Spline) -> tuple[tuple[Transform, ...], tuple[str, ...]]:
        """The element's own transform, () where it moves nothing, and what in it only Nuke can compute."""
        scalars = element.transform
        if _stands_still(scalars):
            return (), ()
        start = min((s.frames[0] for s in scalars if s.frames), default=0.0)  # no key where nothing has one
        curves = [self._curve(s, element.start, start) for s in scalars]

        def place(index: int, default: float) -> Keyed:
            return curves[index] if index < len(curves) else Keyed.constant(default, start)

        reasons = tuple(
            f"the transform of {element.name} is driven by an expression ({s.expression})"
            for s in scalars
            if s.expression
        )
        out_of_plane = any(place(i, 0.0).values.any() for i in _OUT_OF_PLANE)
        if out_of_plane or any(c.values.any() for c in curves[_UNKNOWN:]):
            reasons += (
                f"the transform of {element.name} turns out of the picture, skews or has a matrix of its own",
            )
        pivot = stack([place(_PIVOT, 0.0), place(_PIVOT + 1, 0.0)], (2,))
        translate = stack([place(_TRANSLATE, 0.0), place(_TRANSLATE + 1, 0.0)], (2,))
        scale = stack([place(_SCALE, 1.0), place(_SCALE + 1, 1.0)], (2,))
        transform = Transform(
            pivot=_mirrored(pivot, np.array([0.0, self.height])),
            translate=_mirrored(translate, np.zeros(2)),
            rotate_deg=place(_ROTATE, 0.0).scaled(-1.0),
            scale=scale,
        )
        return (() if transform.is_identity else (transform,)), reasons

    def _opacity(self, spline: Spline, around: _Around) -> Keyed:
        """The shape's own opacity times that of the layers around it."""
        opacity = self._curve(spline.attributes.get("opc", constant(1.0)), spline.start)
        for outer in around.opacity:
            opacity = product(opacity, outer)
        return opacity

    def _lifetime(self, spline: Spline, around: _Around) -> Lifetime:
        own = self._curve(spline.attributes.get("vis", constant(1.0)), spline.start)
        curves = (*around.visibility, own)
        if all((c.values >= 0.5).all() for c in curves):
            visibility = None
        else:
            times = np.unique(np.concatenate([c.frames for c in curves]))
            shown = np.ones(len(times))
            for curve in curves:
                held = np.maximum(np.searchsorted(curve.frames, times, side="right") - 1, 0)
                shown *= curve.values[held] >= 0.5
            visibility = Keyed(times, shown, np.zeros_like(shown), np.zeros_like(shown))

        def number(name: str) -> float:
            return float(spline.attributes.get(name, constant(0.0)).values[0])

        kind, start, end = int(number("ltt")), number("ltn"), number("ltm")
        first = start if kind in (_LIFETIME_SINGLE, _LIFETIME_TO_END, _LIFETIME_RANGE) else None
        last = end if kind in (_LIFETIME_START_TO, _LIFETIME_RANGE) else None
        return Lifetime(first, start if kind == _LIFETIME_SINGLE else last, visibility)

    def _curve(self, scalar: Scalar, start: int, at_frame: float = 0.0) -> Keyed:
        try:
            return scalar.keyed(at_frame)
        except KeyframeError as error:
            raise error_at(self.data, start, str(error)) from error


def _stands_still(scalars: tuple[Scalar, ...]) -> bool:
    """True for the transform that nearly every element has: a pivot and nothing that moves."""
    if any(s.frames or s.expression is not None for s in scalars):
        return False
    values = [s.values[0] for s in scalars]
    return (
        not any(values[_TRANSLATE:_SCALE])
        and all(v == 1 for v in values[_SCALE:_UNKNOWN])
        and not any(values[_UNKNOWN:])
    )


def _kind_of(spline: Spline) -> ShapeKind | None:
    lowered = spline.type_name.lower().replace("-", "")
    if lowered == "bezier":
        return "bezier"
    # The token of a B-spline has not been seen in a real script; Nuke's Python calls the type "bspline".
    return "bspline" if lowered in ("bspline", "cubicbspline") else None


def _stiff(spline: Spline) -> tuple[str, ...]:
    """Why the points themselves depend on more than their keys."""
    lists = (spline.main,) if spline.feather is None else (spline.main, spline.feather)
    for scalar in (s for listed in lists for s in listed.scalars()):
        if scalar.expression is not None:
            return (f"points are driven by an expression ({scalar.expression}); bake it in Nuke",)
        if scalar.stretched:
            return ("a key has stretched handles, which a key per frame would replace; bake it in Nuke",)
    return ()


def _driven(attributes: dict[str, Scalar], whose: str) -> tuple[str, ...]:
    for name in sorted(_INTERPRETED - {"opc"} & set(attributes)):
        if name in attributes and attributes[name].expression is not None:
            return (f"{name} of {whose} is driven by an expression ({attributes[name].expression})",)
    if any(v.values.any() for name, v in attributes.items() if name.startswith("ptex")):
        return (f"{whose} follows a planar track, whose matrix only Nuke can compute; bake it in Nuke",)
    return ()


def _unusual_flags(spline: Spline) -> tuple[tuple[str, Keyed], ...]:
    """Flags that a new shape would not get (locked, selected, bits that nobody has named), kept as attributes."""
    usual = OPEN_FLAGS if spline.main.flags & _OPEN or spline.flags & _OPEN else CLOSED_FLAGS
    found = zip(FLAG_ATTRIBUTES, (spline.flags, spline.main.flags), usual, strict=True)
    return tuple((name, Keyed.constant(float(flags))) for name, flags, known in found if flags != known)


def _reshaped(block: Keyed, trailing: Sequence[int]) -> Keyed:
    shape = (len(block.frames), *trailing)
    return Keyed(
        block.frames,
        block.values.reshape(shape),
        block.slopes_in.reshape(shape),
        block.slopes_out.reshape(shape),
    )


def _mirrored(block: Keyed, origin: FloatArray) -> Keyed:
    """Values [..., 2] with y turned over, ``origin`` added after."""
    turned = block.scaled(np.array([1.0, -1.0]))
    return Keyed(turned.frames, turned.values + origin, turned.slopes_in, turned.slopes_out)


def _turned(points: Keyed, height: int | None) -> Keyed:
    """Points [K, N, 3, 2] with y turned over; centres are measured from the top where ``height`` is given."""
    origin = np.zeros((3, 2))
    origin[1, 1] = 0.0 if height is None else float(height)
    return _mirrored(points, origin)
