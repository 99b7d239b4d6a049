"""The roto text of Nuke 6 (``AnimTree``), read into the same elements as the newer grammar; never written.

::

    AnimTree: "" {Version: NUM Flag: INT RootNode: INT node}
    node      := Node: {NodeName: NAME {Flag: INT NodeType: INT [Transform: ...] [CurveGroup: "" {group}] attributes}
                        NumOfChildren: INT node*}
    group     := Transform: ... Flag: INT NumOfCubicCurves: INT curve* attributes
    curve     := CubicCurve: "" {Type: INT Flag: INT Dim: 2 NumOfPoints: INT (INT series series INT)*}
    attributes:= NumOfAttributes: INT (NAME series)*
    series    := S 0 VALUE | S COUNT (TIME VALUE){COUNT}

Three entries a point and offsets as in Nuke 7; the second curve is the feather. The numbers of a transform come in an
order that no sample tells, so what a transform moves is left out with a warning: re-saved by Nuke 7 it is read.

Source: read off scripts of Nuke 6.0 and 6.3 (docs/formats.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model.formats.nuke_elements import Layer, PointList, Scalar, Spline, constant
from model.formats.nuke_numbers import NumberReader
from model.formats.tcl import NAME_MAX, Atom, Group, text_of

_LAYER, _CURVE_GROUP = 1, 3  # NodeType; strokes and whatever else there is are left out
_TYPES = {0: "bezier"}
_AT_REST = (0.0, 0.0, 0.0, 1.0, 1.0, 0.0)  # the first six series of a transform; the last two are its pivot


def is_animtree(payload: Group) -> bool:
    """True for a ``curves`` knob in the text of Nuke 6."""
    return (
        bool(payload.items) and isinstance(payload.items[0], Atom) and payload.items[0].text == b"AnimTree:"
    )


class AnimTreeReader(NumberReader):
    """Reads the ``AnimTree`` payloads of one file."""

    def root(self, payload: Group) -> Layer | None:
        """The root layer, or None where the tree is empty."""
        tree = _Labels(self, self._group(payload.items, 2, payload))
        return next((n for n in self._nodes(tree) if isinstance(n, Layer)), None)

    def _nodes(self, labels: _Labels) -> tuple[Layer | Spline, ...]:
        nodes = (self._node(body) for body in labels.groups(b"Node:"))
        return tuple(node for node in nodes if node is not None)

    def _node(self, body: Group) -> Layer | Spline | None:
        outer = _Labels(self, body)
        at = outer.place(b"NodeName:")
        name = self._name(body.items, at + 1, body)
        inner = _Labels(self, self._group(body.items, at + 2, body))
        kind = inner.integer(b"NodeType:")
        groups = inner.groups(b"CurveGroup:")
        part = _Labels(self, groups[0]) if groups else inner
        if kind not in (_LAYER, _CURVE_GROUP) or (kind == _CURVE_GROUP and not groups):
            self.warnings.add(self.data, body.start, f"{name:.40} is no layer and no shape; left out")
            return None
        if not self._rests(part):
            self.warnings.add(
                self.data,
                body.start,
                f"{name:.40} is moved by a transform of Nuke 6, which is not read; left out, re-save in Nuke 7",
            )
            return None
        attributes = self._attributes(part)
        if kind == _LAYER:
            flags = inner.integer(b"Flag:")
            return Layer(name, flags, (), attributes, self._nodes(outer), body.start)
        return self._spline(name, inner.integer(b"Flag:"), part, attributes)

    def _spline(self, name: str, flags: int, part: _Labels, attributes: dict[str, Scalar]) -> Spline | None:
        curves = [_Labels(self, g) for g in part.groups(b"CubicCurve:")]
        if not 1 <= len(curves) <= 2:
            raise self.fail(
                part.body, f"a CurveGroup has {len(curves)} curves; it has one, or two with feather"
            )
        number = curves[0].integer(b"Type:")
        lists = [self._points(c) for c in curves]
        return Spline(
            name=name,
            flags=flags,
            type_name=_TYPES.get(number, f"Nuke 6 type {number}"),
            main=lists[0],
            feather=lists[1] if len(lists) == 2 else None,
            transform=(),
            attributes=attributes,
            start=part.body.start,
            curves=(part.body.start, part.body.end),
        )

    def _points(self, curve: _Labels) -> PointList:
        items, at = curve.body.items, curve.place(b"NumOfPoints:")
        if curve.integer(b"Dim:") != 2:
            raise self.fail(curve.body, "a CubicCurve has two numbers a point (Dim: 2)")
        count, at = self.integer(self._item(items, at + 1, curve.body)), at + 2
        entries = []
        while at < len(items):
            self.integer(items[at])
            x, at = self._series(items, at + 1, curve.body)
            y, at = self._series(items, at, curve.body)
            self.integer(self._item(items, at, curve.body))
            entries.append((x, y))
            at += 1
        if len(entries) != count:
            raise self.fail(curve.body, f"a CubicCurve says {count} points and has {len(entries)}")
        listed = PointList(curve.integer(b"Flag:"), tuple(entries), None, curve.body.start)
        self.spend(2 * len(entries) * len(listed.key_times()), curve.body)
        return listed

    def _attributes(self, part: _Labels) -> dict[str, Scalar]:
        at = part.find(b"NumOfAttributes:")
        if at is None:
            return {}
        items, attributes = part.body.items, dict[str, Scalar]()
        count, at = self.integer(self._item(items, at + 1, part.body)), at + 2
        for _ in range(count):
            name = self._name(items, at, part.body)
            attributes[name], at = self._series(items, at + 1, part.body)
        return attributes

    def _rests(self, part: _Labels) -> bool:
        """Whether a transform leaves everything in place."""
        at = part.find(b"Transform:")
        if at is None:
            return True
        items, at = part.body.items, at + 3  # two whole numbers stand before the series
        for value in _AT_REST:
            series, at = self._series(items, at, part.body)
            if any(v != value for v in series.values):
                return False
        return True

    def _series(self, items: Sequence[Atom | Group], at: int, within: Group) -> tuple[Scalar, int]:
        """One number and the place behind it."""
        word = self._item(items, at, within)
        if not isinstance(word, Atom) or word.text != b"S":
            raise self.fail(word, "a series of keys (S count ...) is expected here")
        count = self.integer(self._item(items, at + 1, within))
        at += 2
        if count < 0 or at + max(2 * count, 1) > len(items):
            raise self.fail(word, f"a series says it has {count} keys; the text holds fewer")
        numbers = [self.number(i) for i in items[at : at + max(2 * count, 1)]]
        if not count:
            return constant(numbers[0]), at + 1
        values, no_slopes = np.array(numbers[1::2]), np.full((count, 2), np.nan)
        return Scalar(tuple(numbers[::2]), values, no_slopes), at + 2 * count

    def _item(self, items: Sequence[Atom | Group], at: int, within: Group) -> Atom | Group:
        if at >= len(items):
            raise self.fail(within, "the roto text of Nuke 6 is cut short here")
        return items[at]

    def _group(self, items: Sequence[Atom | Group], at: int, within: Group) -> Group:
        item = self._item(items, at, within)
        if not isinstance(item, Group):
            raise self.fail(item, "braces are expected here")
        return item

    def _name(self, items: Sequence[Atom | Group], at: int, within: Group) -> str:
        item = self._item(items, at, within)
        if isinstance(item, Group) or not item.text or len(item.text) > NAME_MAX:
            raise self.fail(item, f"a name of up to {NAME_MAX} characters is expected here")
        return text_of(item.text)


class _Labels:
    """The labelled parts of one braced text."""

    def __init__(self, reader: AnimTreeReader, body: Group) -> None:
        self.reader = reader
        self.body = body

    def find(self, label: bytes) -> int | None:
        """Where a label stands first."""
        for at, item in enumerate(self.body.items):
            if isinstance(item, Atom) and item.text == label:
                return at
        return None

    def place(self, label: bytes) -> int:
        """Where a label stands; FormatError where it does not."""
        at = self.find(label)
        if at is None:
            raise self.reader.fail(self.body, f"{text_of(label)} is missing in the roto text of Nuke 6")
        return at

    def integer(self, label: bytes) -> int:
        """The whole number behind a label."""
        items, at = self.body.items, self.place(label) + 1
        if at >= len(items):
            raise self.reader.fail(self.body, f"{text_of(label)} has no value")
        return self.reader.integer(items[at])

    def groups(self, label: bytes) -> list[Group]:
        """The braced texts behind every occurrence of a label, past the empty name that some have."""
        items, found = self.body.items, list[Group]()
        for at, item in enumerate(items):
            if isinstance(item, Atom) and item.text == label:
                behind = [i for i in items[at + 1 : at + 3] if isinstance(i, Group)]
                if not behind:
                    raise self.reader.fail(item, f"{text_of(label)} has no braces")
                found.append(behind[0])
        return found
