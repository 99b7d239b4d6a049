"""Fields of a message's head, judged: the page is ours, but what arrives is only ever bytes."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from federation.errors import MessageError
from model.keyframes import FloatArray

SHAPES_MAX: Final = 1000


def number(head: dict[str, Any], name: str) -> int:
    """A whole number.

    Raises:
        MessageError: missing, or something else.
    """
    value = head.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > 2**31:
        raise MessageError(f"'{name}' of a {head['op']!r:.20} is {value!r:.40}; it is a whole number")
    return value


def boolean(head: dict[str, Any], name: str) -> bool:
    """True or false; false where it is missing."""
    value = head.get(name, False)
    if not isinstance(value, bool):
        raise MessageError(f"'{name}' of a {head['op']!r:.20} is {value!r:.40}; it is true or false")
    return value


def text(head: dict[str, Any], name: str, longest: int) -> str:
    """A text of at most ``longest`` printable characters; empty where it is missing."""
    value = head.get(name, "")
    if not isinstance(value, str) or len(value) > longest or not (value.isprintable()):
        raise MessageError(
            f"'{name}' of a {head['op']!r:.20} is {value!r:.40}; it is a text of up to {longest} characters"
        )
    return value.strip()


def shape_ids(head: dict[str, Any]) -> list[int]:
    """The numbers of the shapes that a message is about, each once."""
    value = head.get("shapes")
    if not isinstance(value, list) or len(value) > SHAPES_MAX or not all(type(i) is int for i in value):
        raise MessageError(f"'shapes' of a {head['op']!r:.20} is not a list of shape numbers")
    return list(dict.fromkeys(value))


def numbers_of(numbers: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """The numbers behind a head in their shape.

    Raises:
        MessageError: another count.
    """
    if numbers.size != int(np.prod(shape)):
        raise MessageError(f"a message brought {numbers.size} numbers; {shape} were expected")
    return numbers.reshape(shape)
