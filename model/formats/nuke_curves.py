"""The grammar of Nuke's ``curves`` knob (Nuke 7 and later): layers, shapes, points, keys, in Nuke's own terms.

::

    curves := {v NUM} {f INT} {n layer}
    layer  := {layer NAME {f INT} {t scalar*} {a attr*} (layer | shape | stroke)*}
    shape  := {curvegroup NAME FLAGS TYPE {cc (cc | idem)} transform {a attr*}}
    stroke := {cubiccurve NAME FLAGS TYPE cc transform {a attr*}}
    cc     := {cc {f INT} ({p point*} | {px times point*})}      times := NUM | {NUM+}, shared by all points
    point  := {[{a attr*}] scalar*}                              missing scalars are 0
    scalar := NUM | {key+} | {=EXPRESSION (NUM | {key+})}
    key    := {[T] V} | {[T] V -} | {[T] V ls la rs ra} | {x N key} | V     T only where no times are shared

Slopes are value units per frame; ``-`` is flat on both sides; a key without slopes gets Nuke's default ones. One
key under several shared times holds at all of them. A second ``cc`` is the feather, ``idem`` means none. Here
y still points up; ``model.formats.nuke_shapes`` turns it.

Source: read off real scripts of Nuke 7 to 13 (docs/formats.md).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from model.errors import FormatError
from model.formats.nuke_elements import Layer, PointList, Scalar, Spline, Stroke, constant
from model.formats.nuke_keys import parse_keys
from model.formats.nuke_numbers import NumberReader, head
from model.formats.tcl import NAME_MAX, Atom, Group, text_of

_NOT_STORED = (np.nan, np.nan)


class CurvesReader(NumberReader):
    """Reads the ``curves`` payloads of one file; well-formed parts that we do not know are left out with a warning."""

    def root(self, payload: Group) -> Layer | None:
        """The root layer, or None where the knob is empty."""
        for item in payload.items:
            if isinstance(item, Group):
                body = self._part(item, b"n")
                if body is None:
                    continue
                for child in body.items[1:]:
                    if isinstance(child, Group) and head(child) == b"layer":
                        return self._layer(child)
        return None

    def _part(self, group: Group, *names: bytes) -> Group | None:
        for item in group.items:
            if isinstance(item, Group) and head(item) in names:
                return item
        return None

    def _layer(self, group: Group) -> Layer:
        children: list[Layer | Spline | Stroke] = []
        readers: dict[bytes, Callable[[Group], Layer | Spline | Stroke | None]] = {
            b"layer": self._layer,
            b"curvegroup": self._spline,
            b"cubiccurve": self._stroke,
        }
        for item in group.items[2:]:
            word = head(item) if isinstance(item, Group) else b""
            if isinstance(item, Group) and word in readers:
                child = readers[word](item)
                children += [] if child is None else [child]
            elif word not in (b"f", b"t", b"tx", b"a"):
                kind = text_of(word) or "something without a name"
                self.warnings.add(self.data, item.start, f"a layer holds {kind:.40}, which is left out")
        return Layer(
            self._name(group),
            self._flags(group),
            self._transform(group),
            self._attributes(self._part(group, b"a")),
            tuple(children),
            group.start,
        )

    def _stroke(self, group: Group) -> Stroke | None:
        """A stroke, or None with a warning: paint that cannot be read must not keep a script's shapes back."""
        name, curve, items = self._name(group), self._part(group, b"cc"), group.items
        try:
            if len(items) < 4 or curve is None or not isinstance(items[3], Atom):
                raise self.fail(
                    group, "a cubiccurve is cut short; it needs a name, flags, a type and its curve"
                )
            flags, points = self.integer(items[2]), self._points(curve)
            attributes = self._attributes(self._part(group, b"a"))
        except FormatError as error:
            self.warnings.add(self.data, group.start, f"the stroke {name:.40} is left out ({error})")
            return None
        return Stroke(name, flags, text_of(items[3].text), points, attributes, group.start)

    def _spline(self, group: Group) -> Spline:
        if len(group.items) < 5:
            raise self.fail(group, "a curvegroup is cut short; it needs a name, flags, a type and its curves")
        curves, type_atom = group.items[4], group.items[3]
        if not isinstance(curves, Group) or not isinstance(type_atom, Atom):
            raise self.fail(group, "a curvegroup needs a type and then its curves in braces")
        parts = [c for c in curves.items if isinstance(c, Group)]
        if not parts or len(parts) > 2:
            raise self.fail(curves, f"a curvegroup has {len(parts)} curves; it has one, or two with feather")
        return Spline(
            self._name(group),
            self.integer(group.items[2]),
            text_of(type_atom.text),
            self._points(parts[0]),
            self._points(parts[1]) if len(parts) == 2 else None,
            self._transform(group),
            self._attributes(self._part(group, b"a")),
            group.start,
            (curves.start, curves.end),
        )

    def _points(self, group: Group) -> PointList:
        body = self._part(group, b"p", b"px")
        if head(group) != b"cc" or body is None:
            raise self.fail(group, "a curve needs {cc {f flags} {p points}}")
        shared: tuple[float, ...] | None = None
        points = body.items[1:]
        if head(body) == b"px":
            if not points:
                raise self.fail(body, "px needs its key times before its points")
            shared, points = self._times(points[0]), points[1:]
        entries = []
        attributes = []
        for point in points:
            if not isinstance(point, Group):
                raise self.fail(point, f"a point is expected in braces, not {text_of(point.text)!r}")
            own = self._part(point, b"a")
            attributes.append(b"" if own is None else self.data[own.start : own.end])
            items = [i for i in point.items if i is not own]
            if len(items) > 3:
                raise self.fail(point, f"a point has {len(items)} numbers; it has two, or three in a stroke")
            numbers = [self._scalar(i, shared) for i in items[:2]]
            numbers += [constant(0.0)] * (2 - len(numbers))
            entries.append((numbers[0], numbers[1]))
        kept = tuple(attributes) if any(attributes) else ()
        points_read = PointList(self._flags(group), tuple(entries), shared, group.start, kept)
        self.spend(2 * len(entries) * len(points_read.key_times()), group)
        return points_read

    def _times(self, item: Atom | Group) -> tuple[float, ...]:
        if isinstance(item, Atom):
            return (self.number(item),)
        times = tuple(self.number(i) for i in item.items)
        if not times or any(b <= a for a, b in itertools.pairwise(times)):
            raise self.fail(item, "shared key times must be a list of increasing frames")
        return times

    def _transform(self, group: Group) -> tuple[Scalar, ...]:
        part = self._part(group, b"t", b"tx")
        if part is None:
            return ()
        if head(part) == b"t":
            return tuple(self._scalar(i, None) for i in part.items[1:])
        if len(part.items) < 2:
            raise self.fail(part, "tx needs its key time before its numbers")
        times = self._times(part.items[1])
        return tuple(self._scalar(i, times) for i in part.items[2:])

    def _attributes(self, group: Group | None) -> dict[str, Scalar]:
        if group is None:
            return {}
        items = group.items[1:]
        if len(items) % 2:
            raise self.fail(group, "attributes come as names and values; one value is missing")
        attributes = {}
        for name, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(name, Atom):
                raise self.fail(name, "an attribute's name is expected here, not braces")
            attributes[text_of(name.text)] = self._scalar(value, None)
        return attributes

    def _scalar(self, item: Atom | Group, shared: tuple[float, ...] | None) -> Scalar:
        if isinstance(item, Atom):
            return constant(self.number(item))
        plain = self._plain_keys(item, shared) if item.rows else None
        if plain is not None:
            return plain
        items, expression = item.items, None
        if items and isinstance(items[0], Atom) and items[0].text.startswith(b"="):
            expression, items = text_of(items[0].text[1:]).strip(), items[1:]
            if len(items) == 1 and isinstance(items[0], Group):
                items = items[0].items
            if not items:
                return replace(constant(0.0), expression=expression)
        if not items:
            raise self.fail(item, "a number or its keys are missing in these braces")
        return self._keys(item, items, shared, expression)

    def _plain_keys(self, item: Group, shared: tuple[float, ...] | None) -> Scalar | None:
        """A number with keys that all have slopes, or None to read it key by key."""
        keys = parse_keys(self.data[item.start : item.end], timed=shared is None)
        if keys is None or (shared is not None and len(keys) != len(shared)):
            return None
        self.spend(len(keys), item)
        frames = tuple(keys[:, 0].tolist()) if shared is None else shared
        value, left, left_length, right, right_length = keys[:, -5:].T
        stretched = bool((left_length != 1).any() or (right_length != 1).any())
        return Scalar(frames, value, np.stack([left, right], axis=1), stretched)

    def _keys(
        self,
        item: Group,
        items: Sequence[Atom | Group],
        shared: tuple[float, ...] | None,
        expression: str | None,
    ) -> Scalar:
        frames: list[float] = []
        values: list[float] = []
        slopes: list[tuple[float, float]] = []
        stretched = False
        for key in items:
            count, key = self._repeated(key)
            if count > 1 and (shared is None or len(values) + count > len(shared)):
                raise self.fail(key, f"a key is repeated {count} times, which is more than its key times")
            self.spend(count, key)
            frame, value, pair, odd = self._key(key, timed=shared is None)
            stretched |= odd
            frames += [] if frame is None else [frame] * count
            values += [value] * count
            slopes += [pair] * count
        if shared is not None:
            if len(values) not in (1, len(shared)):
                raise self.fail(item, f"a number has {len(values)} keys for {len(shared)} shared key times")
            frames = list(shared) if len(values) == len(shared) else []
        elif frames and len(frames) != len(values):
            raise self.fail(item, "some keys of a number have times and some have none")
        elif not frames and len(values) > 1:
            raise self.fail(item, "keys need their times")
        return Scalar(tuple(frames), np.array(values), np.array(slopes), stretched, expression)

    def _repeated(self, key: Atom | Group) -> tuple[int, Atom | Group]:
        if not (isinstance(key, Group) and head(key) == b"x"):
            return 1, key
        if len(key.items) != 3:
            raise self.fail(key, "a repeated key is {x count key}")
        count = self.integer(key.items[1])
        if count < 1:
            raise self.fail(key, f"a key is repeated {count} times; once is the least")
        return count, key.items[2]

    def _key(
        self, key: Atom | Group, *, timed: bool
    ) -> tuple[float | None, float, tuple[float, float], bool]:
        """Time (if ``timed``), value, slopes and whether its handles are stretched."""
        if isinstance(key, Atom):
            return None, self.number(key), _NOT_STORED, False
        items = key.items
        frame = self.number(items[0]) if timed and items else None
        rest = items[1:] if timed else items
        if not rest:
            raise self.fail(key, "a key has no value")
        value = self.number(rest[0])
        if len(rest) == 1:
            return frame, value, _NOT_STORED, False
        if len(rest) == 2 and isinstance(rest[1], Atom) and rest[1].text == b"-":
            return frame, value, (0.0, 0.0), False
        if len(rest) == 5:
            left, left_length, right, right_length = (self.number(i) for i in rest[1:])
            return frame, value, (left, right), (left_length, right_length) != (1.0, 1.0)
        raise self.fail(
            key, f"a key has {len(items)} numbers; known are a value, value -, value with 4 slopes"
        )

    def _name(self, group: Group) -> str:
        if len(group.items) < 2 or not isinstance(group.items[1], Atom) or not group.items[1].text:
            raise self.fail(group, "a layer or shape has no name")
        if len(group.items[1].text) > NAME_MAX:
            raise self.fail(group, f"the name of a layer or shape has more than {NAME_MAX} characters")
        return text_of(group.items[1].text)

    def _flags(self, group: Group) -> int:
        part = self._part(group, b"f")
        if part is None:
            return 0
        if len(part.items) != 2:
            raise self.fail(part, "flags are {f number}")
        return self.integer(part.items[1])
