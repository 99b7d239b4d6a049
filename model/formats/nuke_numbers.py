"""Numbers in Nuke's roto text, of both its grammars, and the bound on how many one script may ask for."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field

import numpy as np

from model.errors import FormatError
from model.formats.tcl import Atom, Group, Warnings, error_at, text_of

NUMBERS_MAX = 20_000_000  # numbers in one script with every key spelled out; about 200 heavy shapes
_HEX = re.compile(rb"x[0-9a-fA-F]{1,8}")
_DECIMAL = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


@dataclass
class NumberReader:
    """What the readers of one file share; ``data`` is the whole file, for the line in an error.

    ``numbers_left`` bounds the memory that a few bytes of repeated keys can ask for.
    """

    data: bytes
    warnings: Warnings = field(default_factory=Warnings)
    numbers_left: int = NUMBERS_MAX

    def fail(self, at: Atom | Group, message: str) -> FormatError:
        """A FormatError that points at a part of the text."""
        return error_at(self.data, at.start, message)

    def spend(self, numbers: int, at: Atom | Group) -> None:
        """Count numbers about to be held in memory; too many are a FormatError."""
        self.numbers_left -= numbers
        if self.numbers_left < 0:
            raise self.fail(
                at, f"the script holds more than {NUMBERS_MAX} numbers; split it into smaller ones"
            )

    def integer(self, item: Atom | Group) -> int:
        """A whole number."""
        number = self.number(item)
        if number != int(number):
            raise self.fail(item, f"a whole number is expected, not {number:g}")
        return int(number)

    def number(self, item: Atom | Group) -> float:
        """A finite number, in decimals or as the bits of a float32."""
        if isinstance(item, Group):
            raise self.fail(item, "a number is expected here, not braces")
        if _HEX.fullmatch(item.text):
            value = float(struct.unpack(">f", bytes.fromhex(item.text[1:].decode().zfill(8)))[0])
        elif _DECIMAL.fullmatch(item.text):
            value = float(item.text)
        else:
            raise self.fail(item, f"a number is expected, not {text_of(item.text)!r:.40}")
        if not np.isfinite(value):
            raise self.fail(item, f"{text_of(item.text)} is not a finite number")
        return value


def head(group: Group) -> bytes:
    """The first word of a group, or b"" where it begins with braces or is empty."""
    if group.rows or not group.items or not isinstance(group.items[0], Atom):
        return b""
    return group.items[0].text
