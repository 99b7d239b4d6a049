"""The keys of one number, parsed all at once: most of a script is nothing else.

What does not look like a plain list of keys (repeats, keys without slopes, damage) is left to
``model.formats.nuke_curves``, which reads key by key and says what is wrong where.
"""

from __future__ import annotations

import re

import numpy as np

from model.keyframes import FloatArray

_NUMBER = rb"(?:x[0-9a-fA-F]{1,8}|[+-]?(?:\d++\.?\d*+|\.\d++)(?:[eE][+-]?\d++)?)"
_ROW = rb"\{\s*+%s(?:\s++-|(?:\s++%s){4})\s*+\}\s*+"
_ROWS = {
    timed: re.compile(
        rb"\{\s*+(?:%s)++\}" % (_ROW % (_NUMBER + rb"\s++" + _NUMBER if timed else _NUMBER, _NUMBER))
    )
    for timed in (False, True)
}
_FLAT = re.compile(rb"-\s*\}")
_FLAT_SPELLED_OUT = b"0 1 0 1}"  # left slope and length, right slope and length
_TO_SPACES = bytes.maketrans(b"{}", b"  ")
_HEX_DIGITS = 8
_HEX_MARK = ord("x")


def parse_keys(text: bytes, *, timed: bool) -> FloatArray | None:
    """Keys ``{[T] V ls la rs ra}`` or ``{[T] V -}`` in one list of braces.

    Args:
        text: the list with its braces.
        timed: each key begins with its time.

    Returns:
        [K, 5], or [K, 6] with the time first; None for anything else, numbers that are not finite included.
    """
    if not _ROWS[timed].fullmatch(text):
        return None
    words = _FLAT.sub(_FLAT_SPELLED_OUT, text).translate(_TO_SPACES).split()
    numbers = _numbers(words).reshape(-1, 6 if timed else 5)
    return numbers if np.isfinite(numbers).all() else None


def _numbers(words: list[bytes]) -> FloatArray:
    """Decimals, or the bits of float32 in hexadecimal digits."""
    packed = np.array(words)
    coded = packed.view(np.uint8).reshape(len(words), -1)[:, 0] == _HEX_MARK
    numbers = np.empty(len(words))
    numbers[~coded] = packed[~coded].astype(np.float64)
    digits = b"".join([word[1:].rjust(_HEX_DIGITS, b"0") for word in words if word[0] == _HEX_MARK])
    numbers[coded] = np.frombuffer(bytes.fromhex(digits.decode()), dtype=">f4")
    return numbers
