"""Silhouette's layers and shapes as ours: units and frames turned, layer transforms kept, what is not known named."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace

import numpy as np

from model.errors import ModelError
from model.formats.key_tracks import Track
from model.formats.silhouette_layers import layer_motion
from model.formats.silhouette_properties import Properties, numbers_of
from model.formats.silhouette_space import Space
from model.formats.tcl import Warnings
from model.formats.unique_paths import UniquePaths
from model.formats.xml_tree import Element
from model.keyframes import FloatArray, Keyed, product
from model.shapes import ALWAYS, KeySource, Lifetime, Shape, ShapeKind
from model.transforms import AnyTransform

KINDS: dict[str, ShapeKind] = {"bezier": "bezier", "bspline": "bspline"}
MODES = {"add": 0, "subtract": 12, "difference": 13, "max": 4, "inside": 5}  # Nuke's numbers, see "bm" there
# Attributes that only this format knows.
STROKE_WIDTH, CATMULLROM = "silhouette.stroke_width", "silhouette.catmullrom"
NOTES: dict[KeySource, str] = {  # a shape's note: what its keys are but for those that are listed behind it
    "predicted": "fedroto predicted this; keys by the artist:",
    "baked": "fedroto converted this; keys by the artist:",
}
NAME_MAX = 500  # characters of a label; paths repeat the labels around them
_POINTS_MAX = 20_000_000  # numbers of one file with every point spelled out
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
    warnings: Warnings = field(default_factory=Warnings)
    paths: UniquePaths = field(default_factory=UniquePaths)
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
                self.warnings.add_at(element.line, f"an object of type {kind:.40} is left out")
        return found

    def _layer(self, element: Element, around: _Around) -> list[Shape]:
        properties, name = self._properties(element), _label(element, "Layer")
        objects = properties.by_name.get("objects")
        if objects is None:
            return []
        try:
            motion, opacity = layer_motion(properties, self.space), properties.opacity().keyed()
        except ModelError as error:
            self.warnings.add_at(element.line, f"layer {name:.40} and what is in it are left out: {error}")
            return []
        for what, usual in (("mode", "add"), ("invert", "false")):
            if properties.word(what, usual) != usual:
                self.warnings.add_at(
                    element.line, f"the {what} of layer {name:.40} is not read; its shapes are"
                )
        inner = _Around(
            path=f"{around.path}{name}/",
            transforms=around.transforms + motion.transforms,
            opacity=(*around.opacity, opacity),
            hidden=around.hidden or element.attributes.get("hidden") == "True",
            reason=around.reason or (motion.reason and f"layer {name} {motion.reason}"),
        )
        return self.shapes(objects, inner)

    def _shape(self, element: Element, around: _Around) -> list[Shape]:
        name = _label(element, "Shape")
        try:
            return [self._built(element, name, around)]
        except ModelError as error:
            self.warnings.add_at(element.line, f"shape {name:.40} is left out: {error}")
            return []

    def _built(self, element: Element, name: str, around: _Around) -> Shape:
        properties = self._properties(element)
        controls, kind, closed, smooth = self._path(properties)
        lifetime, opacity = _life(properties.opacity())
        for outer in around.opacity:
            opacity = product(opacity, outer)
        if around.hidden or element.attributes.get("hidden") == "True":
            lifetime = Lifetime(visibility=Keyed.constant(0.0))
        unread = [what for what in _NOT_READ if any(properties.numbers(what))]
        unread += [] if properties.word("mode", "add") in MODES else ["mode"]
        for what in unread:
            self.warnings.add_at(element.line, f"{what} of {name:.40} is not read; the shape is")
        attributes = [(STROKE_WIDTH, n) for n in properties.numbers("strokeWidth")[:1] if n]
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
            path=self.paths.take(around.path + name),
        )
        return _with_sources(shape, properties.text("note"))

    def _properties(self, element: Element) -> Properties:
        return Properties(element, self.space.start_frame, self.warnings)

    def _path(self, properties: Properties) -> tuple[Keyed, ShapeKind, bool, bool]:
        """Controls [K, N, 3, 2] in plate pixels, the kind, whether closed and whether any key is catmullrom."""
        element = properties.by_name.get("path")
        if element is None:
            raise properties.element.fail("it has no path")
        keys = list(element.all("Key"))
        paths = [k.first("Path") for k in keys]
        if not keys and (value := element.first("Value")) is not None:  # a path that never moves
            keys, paths = [value], [value.first("Path")]
        if not keys or any(p is None for p in paths):
            raise element.fail("its path has no keys")
        drawn = [p for p in paths if p is not None]
        declared = properties.element.attributes.get("shape_type") or drawn[0].attributes.get("type", "")
        type_name = declared.lower()
        if type_name not in KINDS:
            raise element.fail(f"it is of type {type_name or 'unknown'!r}; read are Bezier and Bspline")
        kind = KINDS[type_name]
        blocks = [self._points(p, kind) for p in drawn]
        if len({len(b) for b in blocks}) > 1:
            raise element.fail("its keys have different numbers of points")
        controls = self.space.to_plate(np.array(blocks))
        controls[:, :, ::2] -= controls[:, :, 1:2]  # handles are absolute there, offsets here
        track = properties.keys(keys, controls)
        closed = drawn[0].attributes.get("closed", "True").lower() != "false"
        return track.keyed(), kind, closed, "catmullrom" in track.interpolations

    def _points(self, path: Element, kind: ShapeKind) -> FloatArray:
        """Positions [N, 3, 2] in Silhouette's units: in-handle, centre, out-handle; absolute."""
        points = []
        for point in path.all("Point"):
            numbers = numbers_of(point)
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


def _drawing(properties: Properties) -> list[tuple[str, float]]:
    """Blend mode, invert, motion blur and outline colour where they are not the usual ones, by Nuke's names."""
    found: list[tuple[str, float]] = []
    mode = MODES.get(properties.word("mode", "add"), 0)
    found += [("bm", float(mode))] if mode else []
    found += [
        (ours, 1.0)
        for theirs, ours in (("invert", "inv"), ("motionBlur", "mbo"))
        if properties.word(theirs, "") == "true"
    ]
    colour = properties.numbers("outlineColor")[:3]
    return found + list(zip(("ro", "go", "bo"), colour, strict=False))


def _with_sources(shape: Shape, note: str) -> Shape:
    """Tell the artist's keys from others in a shape that we wrote."""
    for source, words in NOTES.items():
        if note.startswith(words):
            try:
                artist = {float(frame) for frame in json.loads(note[len(words) :])}
            except (ValueError, TypeError, RecursionError):
                return shape
            sources = ("artist" if frame in artist else source for frame in shape.frames.tolist())
            return replace(shape, key_sources=tuple(sources))
    return shape


def _label(element: Element, default: str) -> str:
    return (element.attributes.get("label") or default)[:NAME_MAX]
