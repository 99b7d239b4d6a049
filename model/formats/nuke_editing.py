"""Shapes written back into the script they came from: their point lists change, and not one byte beside them.

Layers, transforms, flags, attributes, strokes and every other node stay as the artist's Nuke wrote them. This is for
corrections that an artist asked for; predictions go into a node of their own (``nuke.add_prediction``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from model.errors import ShapeError
from model.formats import nuke
from model.formats.nuke_elements import Spline
from model.formats.nuke_text import ListStyle, curves_text
from model.shapes import Shape

_WRITTEN = frozenset({"frames", "controls", "slopes_in", "slopes_out", "feather"})
_NO_PART_OF_THE_FILE = frozenset({"key_sources", "key_confidence"})


def replace_shapes(
    data: bytes, shapes: Sequence[Shape], *, height: int | None = None, width: int | None = None
) -> bytes:
    """A script with the points, keys, slopes and feather of some of its shapes replaced.

    Args:
        data: the script, as ``nuke.loads`` read it.
        shapes: with the ``path`` they have in the script; those that did not change leave their text as it is.
        height: of the plate, px, as given to ``nuke.loads``.
        width: of the plate, px, as given to ``nuke.loads``.

    Raises:
        ShapeError: a path that the script does not have, a shape that only Nuke can compute or that has the text of
            Nuke 6, or a change of something else than points, keys, slopes and feather.
        FormatError: as for ``nuke.loads``.
    """
    script = nuke.loads(data, height=height, width=width)
    old = {shape.path: shape for shape in script.shapes.shapes}
    edits: list[tuple[tuple[int, int], bytes]] = []
    for shape in shapes:
        before = old.get(shape.path)
        if before is None:
            listed = ", ".join(old) or "none at all"
            raise ShapeError(f"the script has no shape {shape.path!r}; it has: {listed}")
        if _changes(before, shape):
            spline = _writable(before, shape, script)
            edits.append((spline.curves, _text(shape, spline, script.shapes.height)))
    # From the last place to the first, so that the offsets of the earlier ones stay true.
    for (start, end), text in sorted(edits, reverse=True):
        data = data[:start] + text + data[end:]
    return data


def _changes(before: Shape, after: Shape) -> bool:
    same = {
        name: getattr(before, name)
        for name in _NO_PART_OF_THE_FILE
        if len(before.frames) == len(after.frames)
    }
    return before != replace(after, **same)


def _writable(before: Shape, after: Shape, script: nuke.NukeScript) -> Spline:
    """What the shape was read from, if the change can be written there."""
    path = before.path
    if before.read_only_reason is not None:
        raise ShapeError(f"{path} cannot be changed in its script: {before.read_only_reason}")
    if path not in script.splines:
        raise ShapeError(
            f"{path} has the text of Nuke 6, which is only read; re-save the script in Nuke 7 or later"
        )
    if before.points != after.points:
        raise ShapeError(
            f"{path} has {before.points} points in the script and {after.points} here; draw it anew in Nuke"
        )
    taken = {name: getattr(after, name) for name in _WRITTEN | _NO_PART_OF_THE_FILE}
    if replace(before, **taken) != after:
        differing = sorted(
            name
            for name in set(before.__dataclass_fields__) - _WRITTEN - _NO_PART_OF_THE_FILE
            if getattr(before, name) != getattr(after, name)
        )
        raise ShapeError(
            f"{path} differs in {', '.join(differing)}, which is changed in Nuke; set it back here"
        )
    return script.splines[path]


def _text(shape: Shape, spline: Spline, height: int) -> bytes:
    main, feather = (
        ListStyle(listed.flags, listed.attributes, triples=len(listed.entries) == 3 * shape.points)
        for listed in (spline.main, spline.feather or replace(spline.main, attributes=()))
    )
    return curves_text(shape, height, main, feather)
