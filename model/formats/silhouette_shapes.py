"""Silhouette's layers and shapes as ours: units and frames turned, layer transforms kept, what is not known named."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, replace

import numpy as np

from model.errors import FormatError, ModelError
from model.formats.key_tracks import Interpolation, Track
from model.formats.silhouette_space import Space
from model.formats.xml_tree import Element
from model.keyframes import FloatArray, Keyed, product
from model.shapes import ALWAYS, KeySource, Lifetime, Shape, ShapeKind
from model.transforms import Affine, AnyTransform, Transform

KINDS: dict[str, ShapeKind] = {"bezier": "bezier", "bspline": "bspline"}
MODES = {"add": 0, "subtract": 12, "difference": 13, "max": 4, "inside": 5}  # Nuke's numbers, see "bm" there
# Attributes that only this format knows.
STROKE_WIDTH, CATMULLROM = "silhouette.stroke_width", "silhouette.catmullrom"
NOTES: dict[KeySource, str] = {  # a shape's note: what its keys are but for those that are listed behind it
    "predicted": "fedroto predicted this; keys by the artist:",
    "baked": "fedroto converted this; keys by the artist:",
}
WARNINGS_MAX = 100
NAME_MAX = 500  # characters of a label; paths repeat the labels around them
FRAME_MAX = 10_000_000
_AT_REST = {"position": (0.0, 0.0), "anchor": (0.0, 0.0), "scale": (1.0, 1.0), "rotate": (0.0,)}
_POINTS_MAX = 20_000_000  # numbers of one file with every point spelled out
_CORNERS = {"ul": (0.0, 0.0), "ur": (1.0, 0.0), "lr": (1.0, 1.0), "ll": (0.0, 1.0)}
_NOT_READ = ("feather", "blur", "adjust")  # one number for a whole shape, in a unit that no sample tells


@dataclass(frozen=True)
class _Around:
    """What the layers around a shape hand down to it."""

    path: str = ""
    transforms: tuple[AnyTransform, ...] = ()
    opacity: tuple[Keyed, ...] = ()
    hidden: bool = False
    reason: str | None = None


@dataclass
class ShapeReader:
    """Turns the objects of one file into shapes; a shape that cannot be read is left out with its reason."""

    space: Space
    warnings: list[str] = field(default_factory=list)
    paths: dict[str, int] = field(default_factory=dict)
    numbers_left: int = _POINTS_MAX

    def shapes(self, parent: Element, around: _Around = _Around()) -> list[Shape]:
        """All shapes below an element, the last object first: Silhouette lists what is in front first."""
        found: list[Shape] = []
        for element in reversed(parent.children):
            kind = element.attributes.get("type", element.name)
            if kind == "Layer":
                found += self._layer(element, around)
            elif kind == "Shape":
                found += self._shape(element, around)
            elif element.name == "Object":
                self._warn(element, f"an object of type {kind:.40} is left out")
        return found

    def _layer(self, element: Element, around: _Around) -> list[Shape]:
        properties, name = _properties(element), _label(element, "Layer")
        objects = properties.get("objects")
        if objects is None:
            return []
        try:
            transforms, reason = self._transforms(properties)
            opacity = self._opacity(properties).keyed()
        except ModelError as error:
            self._warn(element, f"layer {name:.40} and what is in it are left out: {error}")
            return []
        for odd in (
            p for p, usual in (("mode", "add"), ("invert", "false")) if _word(properties, p, usual) != usual
        ):
            self._warn(element, f"the {odd} of layer {name:.40} is not read; its shapes are")
        inner = _Around(
            path=f"{around.path}{name}/",
            transforms=around.transforms + transforms,
            opacity=(*around.opacity, opacity),
            hidden=around.hidden or element.attributes.get("hidden") == "True",
            reason=around.reason or (reason and f"layer {name} {reason}"),
        )
        return self.shapes(objects, inner)

    def _shape(self, element: Element, around: _Around) -> list[Shape]:
        name = _label(element, "Shape")
        try:
            return [self._built(element, name, around)]
        except ModelError as error:
            self._warn(element, f"shape {name:.40} is left out: {error}")
            return []

    def _built(self, element: Element, name: str, around: _Around) -> Shape:
        properties = _properties(element)
        path = properties.get("path")
        if path is None:
            raise element.fail("it has no path")
        controls, kind, closed, smooth = self._path(path, element.attributes.get("shape_type", ""))
        lifetime, opacity = _life(self._opacity(properties))
        for outer in around.opacity:
            opacity = product(opacity, outer)
        if around.hidden or element.attributes.get("hidden") == "True":
            lifetime = Lifetime(visibility=Keyed.constant(0.0))
        for name_left in _NOT_READ:
            if any(n != 0 for n in _value_numbers(properties.get(name_left))):
                self._warn(element, f"{name_left} of {name:.40} is not read; the shape is")
        attributes = [(STROKE_WIDTH, n) for n in _value_numbers(properties.get("strokeWidth"))[:1] if n]
        attributes += [(CATMULLROM, 1.0)] if smooth else []
        shape = Shape(
            name=name,
            kind=kind,
            closed=closed,
            frames=controls.frames,
            controls=controls.values,
            slopes_in=controls.slopes_in,
            slopes_out=controls.slopes_out,
            transforms=around.transforms,
            lifetime=lifetime,
            opacity=opacity,
            attributes=tuple((n, Keyed.constant(v)) for n, v in _drawing(properties) + attributes),
            read_only_reason=around.reason,
            path=self._unique(around.path + name),
        )
        return _with_sources(shape, properties.get("note"))

    def _path(self, element: Element, shape_type: str) -> tuple[Keyed, ShapeKind, bool, bool]:
        """Controls [K, N, 3, 2] in plate pixels, the kind, whether closed and whether any key is catmullrom."""
        keys = list(element.all("Key"))
        paths = [k.first("Path") for k in keys]
        if not keys and (value := element.first("Value")) is not None:  # a path that never moves
            keys, paths = [value], [value.first("Path")]
        if not keys or any(p is None for p in paths):
            raise element.fail("its path has no keys")
        drawn = [p for p in paths if p is not None]
        type_name = (shape_type or drawn[0].attributes.get("type", "")).lower()
        if type_name not in KINDS:
            raise element.fail(f"it is of type {type_name or 'unknown'!r}; read are Bezier and Bspline")
        kind = KINDS[type_name]
        blocks = [self._points(p, kind) for p in drawn]
        if len({len(b) for b in blocks}) > 1:
            raise element.fail("its keys have different numbers of points")
        controls = self.space.to_plate(np.array(blocks))
        controls[:, :, ::2] -= controls[:, :, 1:2]  # handles are absolute there, offsets here
        track = self._track(keys, controls)
        closed = drawn[0].attributes.get("closed", "True").lower() != "false"
        return track.keyed(), kind, closed, "catmullrom" in track.interpolations

    def _points(self, path: Element, kind: ShapeKind) -> FloatArray:
        """Positions [N, 3, 2] in Silhouette's units: in-handle, centre, out-handle; absolute."""
        points = []
        for point in path.all("Point"):
            numbers = _numbers(point)
            if len(numbers) not in ((6, 2) if kind == "bezier" else (2,)):
                raise point.fail(
                    f"a point has {len(numbers)} numbers; a {kind} has {6 if kind == 'bezier' else 2}"
                )
            centre = numbers[:2]
            points.append([numbers[2:4] or centre, centre, numbers[4:] or centre])
            self.numbers_left -= 6
        if not points:
            raise path.fail("a key of its path has no points")
        if self.numbers_left < 0:
            raise path.fail(f"the file holds more than {_POINTS_MAX} numbers; split it into smaller ones")
        return np.array(points)

    def _track(self, keys: list[Element], values: FloatArray) -> Track:
        frames = np.array([_frame(k) for k in keys]) + self.space.start_frame
        order = np.argsort(frames, kind="stable")
        kinds = tuple(self._interpolation(keys[i]) for i in order)
        return Track(frames[order], values[order], kinds)

    def _interpolation(self, key: Element) -> Interpolation:
        word = key.attributes.get("interp", "linear").lower()
        if word == "hold":
            return "hold"
        if word == "catmullrom":
            return "catmullrom"
        if word != "linear":
            self._warn(key, f"keys of kind {word:.40} are not known; read as linear")
        return "linear"

    def _track_of(self, element: Element | None, default: tuple[float, ...]) -> Track:
        """A property of so many numbers as keys [K, n]; its default where it is not there or empty."""
        keys = [] if element is None else [k for k in element.all("Key") if k.text.strip()]
        if element is None or not keys:
            value = None if element is None else element.first("Value")
            numbers = [] if value is None or not value.text.strip() else _numbers(value)
            keys, rows = [], [numbers or list(default)]
        else:
            rows = [_numbers(k) for k in keys]
        if element is not None and any(len(row) < len(default) for row in rows):
            name = element.attributes.get("id", "a property")
            raise element.fail(f"{name:.40} has not the {len(default)} numbers it needs")
        values = np.array([row[: len(default)] for row in rows])
        return self._track(keys, values) if keys else Track(np.zeros(1), values, ("linear",))

    def _opacity(self, properties: dict[str, Element]) -> Track:
        """Opacity 0..1, [K]."""
        track = self._track_of(properties.get("opacity"), (100.0,))
        return replace(track, values=track.values[:, 0] / 100)

    def _transforms(self, properties: dict[str, Element]) -> tuple[tuple[AnyTransform, ...], str | None]:
        """A layer's transforms, outermost first, and why shapes below them must not be rewritten."""
        for corner, place in _CORNERS.items():
            for kind in ("pin", "surface"):
                track = self._track_of(properties.get(f"transform.{kind}_{corner}"), place)
                if (track.values != place).any():
                    raise FormatError("it is pinned by its corners, which is not read; bake it in Silhouette")
        found: tuple[AnyTransform, ...] = ()
        matrix = properties.get("transform.matrix")
        if matrix is not None:
            found += self._matrix(matrix)
        parts = {n: self._track_of(properties.get(f"transform.{n}"), v).keyed() for n, v in _AT_REST.items()}
        anchor, turn, scale = parts["anchor"], parts["rotate"], parts["scale"]
        own = Transform(
            pivot=Keyed(
                anchor.frames,
                self.space.to_plate(anchor.values),
                self.space.offset_to_plate(anchor.slopes_in),
                self.space.offset_to_plate(anchor.slopes_out),
            ),
            translate=parts["position"].scaled(self.space.offset_to_plate(np.ones(2))),
            rotate_deg=Keyed(turn.frames, turn.values[:, 0], turn.slopes_in[:, 0], turn.slopes_out[:, 0]),
            scale=scale,
        )
        turns = bool(turn.values.any() or (scale.values != 1).any())
        reason = None
        if turns and anchor.values.any():
            reason = "turns or scales about an anchor, which has not been compared with Silhouette"
        elif turn.values.any() and self.space.pixel_aspect != 1:
            reason = "turns pixels that are not square, which has not been compared with Silhouette"
        return found + (() if own.is_identity else (own,)), reason

    def _matrix(self, element: Element) -> tuple[AnyTransform, ...]:
        track = self._track_of(element, tuple(np.eye(4).ravel()))
        matrices = track.values.reshape(-1, 4, 4)
        if matrices[:, [0, 1], 3].any() or not matrices[:, 3, 3].all():
            raise element.fail("its matrix has perspective, which is not read; bake it in Silhouette")
        matrices = matrices / matrices[:, 3:, 3:]
        affine = Affine(replace(track, values=self.space.affine_to_plate(matrices)).keyed())
        return () if affine.is_identity else (affine,)

    def _unique(self, path: str) -> str:
        while path in self.paths:
            self.paths[path] += 1
            path = f"{path}#{self.paths[path]}"
        self.paths[path] = 1
        return path

    def _warn(self, element: Element, message: str) -> None:
        if len(self.warnings) < WARNINGS_MAX:
            self.warnings.append(f"line {element.line}: {message}")
        elif len(self.warnings) == WARNINGS_MAX:
            self.warnings.append("and more of the kind")


def _life(opacity: Track) -> tuple[Lifetime, Keyed]:
    """Opacity 0 is how shapes are born and die: when the shape lives, and its opacity while it does."""
    frames, values, kinds = opacity.frames, opacity.values, opacity.interpolations
    if values.all():
        return ALWAYS, opacity.keyed()
    shown = set(values[values != 0].tolist())
    if len(shown) <= 1 and (not shown or set(kinds[:-1]) <= {"hold"}):
        return _visible(frames, values != 0), Keyed.constant(max(shown, default=1.0))
    times, on = [], []
    for i, frame in enumerate(frames.tolist()):
        times.append(frame)
        on.append(bool(values[i]))
        rises = i + 1 < len(frames) and kinds[i] != "hold" and not values[i] and bool(values[i + 1])
        if rises and frame + 1 < frames[i + 1]:
            times.append(frame + 1)
            on.append(True)
    return _visible(np.array(times), np.array(on)), opacity.keyed()


def _visible(frames: FloatArray, on: np.ndarray) -> Lifetime:
    shown = on.astype(np.float64)
    return Lifetime(visibility=Keyed(frames, shown, np.zeros_like(shown), np.zeros_like(shown)))


def _drawing(properties: dict[str, Element]) -> list[tuple[str, float]]:
    """Blend mode, invert, motion blur and outline colour where they are not the usual ones, by Nuke's names."""
    found: list[tuple[str, float]] = []
    mode = MODES.get(_word(properties, "mode", "add"), 0)
    found += [("bm", float(mode))] if mode else []
    found += [
        (ours, 1.0)
        for theirs, ours in (("invert", "inv"), ("motionBlur", "mbo"))
        if _word(properties, theirs, "") == "true"
    ]
    colour = _value_numbers(properties.get("outlineColor"))[:3]
    return found + list(zip(("ro", "go", "bo"), colour, strict=False))


def _with_sources(shape: Shape, note: Element | None) -> Shape:
    """Tell the artist's keys from others in a shape that we wrote."""
    value = None if note is None else note.first("Value")
    listed = "" if value is None else value.text.strip()
    for source, words in NOTES.items():
        if listed.startswith(words):
            try:
                artist = {float(frame) for frame in json.loads(listed[len(words) :])}
            except (ValueError, TypeError, RecursionError):
                return shape
            sources = ("artist" if frame in artist else source for frame in shape.frames.tolist())
            return replace(shape, key_sources=tuple(sources))
    return shape


def _properties(element: Element) -> dict[str, Element]:
    holder = element.first("Properties")
    return {} if holder is None else {p.attributes.get("id", ""): p for p in holder.all("Property")}


def _label(element: Element, default: str) -> str:
    return (element.attributes.get("label") or default)[:NAME_MAX]


def _word(properties: dict[str, Element], name: str, default: str) -> str:
    value = properties[name].first("Value") if name in properties else None
    return default if value is None else value.text.strip().lower() or default


def _value_numbers(element: Element | None) -> list[float]:
    value = None if element is None else element.first("Value")
    return [] if value is None or not value.text.strip() else _numbers(value)


def _numbers(element: Element) -> list[float]:
    """Numbers such as ``(1,2),(3,4)``, ``(1,2,3)`` or ``4``."""
    words = element.text.replace("(", " ").replace(")", " ").replace(",", " ").split()
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        raise element.fail(f"numbers are expected, not {element.text.strip()!r:.60}") from None
    if not numbers or not all(math.isfinite(n) for n in numbers):
        raise element.fail(f"finite numbers are expected, not {element.text.strip()!r:.60}")
    return numbers


def _frame(key: Element) -> float:
    word = key.attributes.get("frame", "")
    try:
        frame = float(word) if key.name == "Key" else 0.0
    except ValueError:
        raise key.fail(f"a key's frame is a number, not {word!r:.40}") from None
    if not abs(frame) <= FRAME_MAX:
        raise key.fail(f"a key at frame {word:.40} cannot be")
    return frame
