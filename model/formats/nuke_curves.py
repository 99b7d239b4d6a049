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
y still points up; ``model.formats.nuke_shapes`` turns it. Strokes are recognised and left alone.

Source: read off real scripts of Nuke 7 to 13 (docs/formats.md).
"""

from __future__ import annotations

import itertools
import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from model.errors import FormatError
from model.formats.nuke_elements import Layer, PointList, Scalar, Spline, Stroke, constant
from model.formats.tcl import NAME_MAX, Atom, Group, Warnings, error_at, text_of

NUMBERS_MAX = 20_000_000  # numbers in one script with every key spelled out; about 200 heavy shapes
_HEX = re.compile(rb"x[0-9a-fA-F]{1,8}")
_DECIMAL = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


@dataclass
class CurvesReader:
    """Reads the ``curves`` payloads of one file; ``data`` is the whole file, for the line in an error.

    Well-formed parts that we do not know are left out and named in ``warnings``. ``numbers_left`` bounds the
    memory that a few bytes of repeated keys can ask for.
    """

    data: bytes
    warnings: Warnings = field(default_factory=Warnings)
    numbers_left: int = NUMBERS_MAX

    def root(self, payload: Group) -> Layer | None:
        """The root layer, or None where the knob is empty."""
        for item in payload.items:
            if isinstance(item, Group):
                body = self._part(item, b"n")
                if body is None:
                    continue
                for child in body.items[1:]:
                    if isinstance(child, Group) and _head(child) == b"layer":
                        return self._layer(child)
        return None

    def _fail(self, at: Atom | Group, message: str) -> FormatError:
        return error_at(self.data, at.start, message)

    def _spend(self, numbers: int, at: Atom | Group) -> None:
        self.numbers_left -= numbers
        if self.numbers_left < 0:
            raise self._fail(
                at, f"the script holds more than {NUMBERS_MAX} numbers; split it into smaller ones"
            )

    def _part(self, group: Group, *names: bytes) -> Group | None:
        for item in group.items:
            if isinstance(item, Group) and _head(item) in names:
                return item
        return None

    def _layer(self, group: Group) -> Layer:
        children: list[Layer | Spline | Stroke] = []
        readers: dict[bytes, Callable[[Group], Layer | Spline | Stroke]] = {
            b"layer": self._layer,
            b"curvegroup": self._spline,
            b"cubiccurve": self._stroke,
        }
        for item in group.items[2:]:
            head = _head(item) if isinstance(item, Group) else b""
            if isinstance(item, Group) and head in readers:
                children.append(readers[head](item))
            elif head not in (b"f", b"t", b"tx", b"a"):
                kind = text_of(head) or "something without a name"
                self.warnings.add(self.data, item.start, f"a layer holds {kind:.40}, which is left out")
        return Layer(
            self._name(group),
            self._flags(group),
            self._transform(group),
            self._attributes(self._part(group, b"a")),
            tuple(children),
            group.start,
        )

    def _stroke(self, group: Group) -> Stroke:
        return Stroke(self._name(group), group.start)

    def _spline(self, group: Group) -> Spline:
        if len(group.items) < 5:
            raise self._fail(
                group, "a curvegroup is cut short; it needs a name, flags, a type and its curves"
            )
        curves, type_atom = group.items[4], group.items[3]
        if not isinstance(curves, Group) or not isinstance(type_atom, Atom):
            raise self._fail(group, "a curvegroup needs a type and then its curves in braces")
        parts = [c for c in curves.items if isinstance(c, Group)]
        if not parts or len(parts) > 2:
            raise self._fail(curves, f"a curvegroup has {len(parts)} curves; it has one, or two with feather")
        return Spline(
            self._name(group),
            self._integer(group.items[2]),
            text_of(type_atom.text),
            self._points(parts[0]),
            self._points(parts[1]) if len(parts) == 2 else None,
            self._transform(group),
            self._attributes(self._part(group, b"a")),
            group.start,
        )

    def _points(self, group: Group) -> PointList:
        body = self._part(group, b"p", b"px")
        if _head(group) != b"cc" or body is None:
            raise self._fail(group, "a curve needs {cc {f flags} {p points}}")
        shared: tuple[float, ...] | None = None
        points = body.items[1:]
        if _head(body) == b"px":
            if not points:
                raise self._fail(body, "px needs its key times before its points")
            shared, points = self._times(points[0]), points[1:]
        entries = []
        for point in points:
            if not isinstance(point, Group):
                raise self._fail(point, f"a point is expected in braces, not {text_of(point.text)!r}")
            items = [i for i in point.items if not (isinstance(i, Group) and _head(i) == b"a")]
            if len(items) > 3:
                raise self._fail(point, f"a point has {len(items)} numbers; it has two, or three in a stroke")
            numbers = [self._scalar(i, shared) for i in items[:2]]
            numbers += [constant(0.0)] * (2 - len(numbers))
            entries.append((numbers[0], numbers[1]))
        points_read = PointList(self._flags(group), tuple(entries), shared, group.start)
        self._spend(2 * len(entries) * len(points_read.key_times()), group)
        return points_read

    def _times(self, item: Atom | Group) -> tuple[float, ...]:
        if isinstance(item, Atom):
            return (self._number(item),)
        times = tuple(self._number(i) for i in item.items)
        if not times or any(b <= a for a, b in itertools.pairwise(times)):
            raise self._fail(item, "shared key times must be a list of increasing frames")
        return times

    def _transform(self, group: Group) -> tuple[Scalar, ...]:
        part = self._part(group, b"t", b"tx")
        if part is None:
            return ()
        if _head(part) == b"t":
            return tuple(self._scalar(i, None) for i in part.items[1:])
        if len(part.items) < 2:
            raise self._fail(part, "tx needs its key time before its numbers")
        times = self._times(part.items[1])
        return tuple(self._scalar(i, times) for i in part.items[2:])

    def _attributes(self, group: Group | None) -> dict[str, Scalar]:
        if group is None:
            return {}
        items = group.items[1:]
        if len(items) % 2:
            raise self._fail(group, "attributes come as names and values; one value is missing")
        attributes = {}
        for name, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(name, Atom):
                raise self._fail(name, "an attribute's name is expected here, not braces")
            attributes[text_of(name.text)] = self._scalar(value, None)
        return attributes

    def _scalar(self, item: Atom | Group, shared: tuple[float, ...] | None) -> Scalar:
        if isinstance(item, Atom):
            return constant(self._number(item))
        items, expression = item.items, None
        if items and isinstance(items[0], Atom) and items[0].text.startswith(b"="):
            expression, items = text_of(items[0].text[1:]).strip(), items[1:]
            if len(items) == 1 and isinstance(items[0], Group):
                items = items[0].items
            if not items:
                return Scalar((), (0.0,), ((0.0, 0.0),), expression=expression)
        if not items:
            raise self._fail(item, "a number or its keys are missing in these braces")
        return self._keys(item, items, shared, expression)

    def _keys(
        self,
        item: Group,
        items: Sequence[Atom | Group],
        shared: tuple[float, ...] | None,
        expression: str | None,
    ) -> Scalar:
        frames: list[float] = []
        values: list[float] = []
        slopes: list[tuple[float, float] | None] = []
        stretched = False
        for key in items:
            count, key = self._repeated(key)
            if count > 1 and (shared is None or len(values) + count > len(shared)):
                raise self._fail(key, f"a key is repeated {count} times, which is more than its key times")
            self._spend(count, key)
            frame, value, pair, odd = self._key(key, timed=shared is None)
            stretched |= odd
            frames += [] if frame is None else [frame] * count
            values += [value] * count
            slopes += [pair] * count
        if shared is not None:
            if len(values) not in (1, len(shared)):
                raise self._fail(item, f"a number has {len(values)} keys for {len(shared)} shared key times")
            frames = list(shared) if len(values) == len(shared) else []
        elif frames and len(frames) != len(values):
            raise self._fail(item, "some keys of a number have times and some have none")
        elif not frames and len(values) > 1:
            raise self._fail(item, "keys need their times")
        return Scalar(tuple(frames), tuple(values), tuple(slopes), stretched, expression)

    def _repeated(self, key: Atom | Group) -> tuple[int, Atom | Group]:
        if not (isinstance(key, Group) and _head(key) == b"x"):
            return 1, key
        if len(key.items) != 3:
            raise self._fail(key, "a repeated key is {x count key}")
        count = self._integer(key.items[1])
        if count < 1:
            raise self._fail(key, f"a key is repeated {count} times; once is the least")
        return count, key.items[2]

    def _key(
        self, key: Atom | Group, *, timed: bool
    ) -> tuple[float | None, float, tuple[float, float] | None, bool]:
        """Time (if ``timed``), value, slopes and whether its handles are stretched."""
        if isinstance(key, Atom):
            return None, self._number(key), None, False
        items = key.items
        frame = self._number(items[0]) if timed and items else None
        rest = items[1:] if timed else items
        if not rest:
            raise self._fail(key, "a key has no value")
        value = self._number(rest[0])
        if len(rest) == 1:
            return frame, value, None, False
        if len(rest) == 2 and isinstance(rest[1], Atom) and rest[1].text == b"-":
            return frame, value, (0.0, 0.0), False
        if len(rest) == 5:
            left, left_length, right, right_length = (self._number(i) for i in rest[1:])
            return frame, value, (left, right), (left_length, right_length) != (1.0, 1.0)
        raise self._fail(
            key, f"a key has {len(items)} numbers; known are a value, value -, value with 4 slopes"
        )

    def _name(self, group: Group) -> str:
        if len(group.items) < 2 or not isinstance(group.items[1], Atom) or not group.items[1].text:
            raise self._fail(group, "a layer or shape has no name")
        if len(group.items[1].text) > NAME_MAX:
            raise self._fail(group, f"the name of a layer or shape has more than {NAME_MAX} characters")
        return text_of(group.items[1].text)

    def _flags(self, group: Group) -> int:
        part = self._part(group, b"f")
        if part is None:
            return 0
        if len(part.items) != 2:
            raise self._fail(part, "flags are {f number}")
        return self._integer(part.items[1])

    def _integer(self, item: Atom | Group) -> int:
        number = self._number(item)
        if number != int(number):
            raise self._fail(item, f"a whole number is expected, not {number:g}")
        return int(number)

    def _number(self, item: Atom | Group) -> float:
        if isinstance(item, Group):
            raise self._fail(item, "a number is expected here, not braces")
        if _HEX.fullmatch(item.text):
            value = float(struct.unpack(">f", bytes.fromhex(item.text[1:].decode().zfill(8)))[0])
        elif _DECIMAL.fullmatch(item.text):
            value = float(item.text)
        else:
            raise self._fail(item, f"a number is expected, not {text_of(item.text)!r:.40}")
        if not np.isfinite(value):
            raise self._fail(item, f"{text_of(item.text)} is not a finite number")
        return value


def _head(group: Group) -> bytes:
    """The first word of a group, or b"" where it begins with braces or is empty."""
    return group.items[0].text if group.items and isinstance(group.items[0], Atom) else b""
