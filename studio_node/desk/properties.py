"""What an artist says of a shape besides its outline: name, layer, eye, lock, lifetime, on which frames it is seen."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import numpy as np

from federation.errors import MessageError
from model.keyframes import Keyed
from model.shapes import Lifetime
from studio_node.desk.document import DeskShape, Document
from studio_node.desk.heads import boolean, number, text

LONGEST_NAME: Final = 80
LONGEST_PLACE: Final = 400


def with_properties(one: DeskShape, head: dict[str, Any], document: Document) -> DeskShape:
    """The shape with what a message says of it.

    Args:
        one: the shape.
        head: of the message, with any of ``shown``, ``locked``, ``name``, ``layer`` (a place as in the list of
            shapes, or the name of a layer in the shape's own node), ``life`` (first and last frame, None for no
            end), and ``visible`` with the frames ``first`` and ``last``, inclusive.
        document: whose names are taken.

    Raises:
        MessageError: malformed.
        ShapeError: a lifetime that ends before it begins.
    """
    if "shown" in head:
        one = replace(one, shown=boolean(head, "shown"))
    if "locked" in head:
        one = replace(one, locked=boolean(head, "locked"))
    if "name" in head:
        name = text(head, "name", LONGEST_NAME)
        if name and name != one.shape.name:
            fresh = document.free_name(name)
            one = replace(one, shape=replace(one.shape, name=fresh, path=place_of(one.shape.path) + fresh))
    if "layer" in head:
        place = _place(one.shape.path, text(head, "layer", LONGEST_PLACE))
        one = replace(one, shape=replace(one.shape, path=place + one.shape.name))
    if "life" in head:
        first, last = _ends(head["life"])
        one = replace(
            one, shape=replace(one.shape, lifetime=replace(one.shape.lifetime, first=first, last=last))
        )
    if "visible" in head:
        first, last = sorted((number(head, "first"), number(head, "last")))
        life = with_visibility(one.shape.lifetime, first, last, visible=boolean(head, "visible"))
        one = replace(one, shape=replace(one.shape, lifetime=life))
    return one


def place_of(path: str) -> str:
    """Node and layers of a path, up to and with the sign before the shape's own name: ``Roto1:body/``."""
    return path[: max(path.rfind("/"), path.rfind(":")) + 1]


def with_visibility(life: Lifetime, first: int, last: int, *, visible: bool) -> Lifetime:
    """Show or hide a shape on frames ``first`` to ``last``, inclusive; all others stay as they are."""

    def seen(frame: float) -> bool:
        return replace(life, first=None, last=None).contains(frame)

    known = () if life.visibility is None else life.visibility.frames.tolist()
    turns = {first - 1: seen(first - 1), first: visible, last + 1: seen(last + 1)}
    turns |= {frame: seen(frame) for frame in known if not first - 1 <= frame <= last + 1}
    if all(turns.values()):
        return replace(life, visibility=None)
    frames = np.array(sorted(turns), np.float64)
    values = np.array([float(turns[frame]) for frame in sorted(turns)])
    return replace(life, visibility=Keyed(frames, values, np.zeros_like(values), np.zeros_like(values)))


def _place(path: str, wanted: str) -> str:
    """Where a shape goes: a whole place, or a layer of this name in its own node."""
    if not wanted or wanted.endswith((":", "/")):
        return wanted
    if ":" in wanted:
        raise MessageError(
            f"a layer cannot be called {wanted!r:.40}: ':' stands between a node and its layers"
        )
    node, sign, _ = path.rpartition(":")
    return f"{node}{sign}{wanted}/"


def _ends(life: Any) -> tuple[int | None, int | None]:
    if not (
        isinstance(life, list) and len(life) == 2 and all(end is None or type(end) is int for end in life)
    ):
        raise MessageError(f"a lifetime is {life!r:.40}; it is a first and a last frame, or null for no end")
    return life[0], life[1]
