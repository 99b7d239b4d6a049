"""Strict access to parsed JSON: every field asked for by name and type, every error with the field's path."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar

import numpy as np

from model.errors import FormatError
from model.keyframes import FloatArray

T = TypeVar("T")


def parsed(text: str) -> Any:
    """JSON text as Python values; no NaN, no doubled field, no nesting beyond the interpreter's.

    Raises:
        FormatError: anything else than that.
    """
    try:
        return json.loads(text, parse_constant=_no_constant, object_pairs_hook=_no_doubles)
    except json.JSONDecodeError as error:
        raise FormatError(f"not JSON: {error.msg}", line=error.lineno) from error
    except RecursionError as error:
        raise FormatError("the JSON nests too deep to be a shape file") from error
    except ValueError as error:  # a whole number of thousands of digits
        raise FormatError(f"not JSON that we read: {error}") from error


def _no_constant(name: str) -> NoReturn:
    raise FormatError(f"{name} is no number a shape can have; remove or redraw that key")


def _no_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        names = [name for name, _ in pairs]
        doubled = next(name for name in names if names.count(name) > 1)
        raise FormatError(f"field {doubled!r:.60} is there twice in one object; keep one of them")
    return fields


@dataclass
class Fields:
    """One JSON object, or a list of mixed items asked by position, and which of its fields have been read."""

    values: Any
    path: str
    read: set[str | int] = field(default_factory=set)

    def __post_init__(self) -> None:
        if not isinstance(self.values, dict | list):
            raise FormatError(f"{self.path or 'the file'}: an object is expected, not {_kind(self.values)}")

    def has(self, name: str) -> bool:
        """True where the object has the field."""
        return isinstance(self.values, dict) and name in self.values

    def nothing_else(self) -> None:
        """Refuse fields that nobody asked for."""
        if isinstance(self.values, dict):
            unknown = sorted(set(self.values) - self.read, key=str)
            if unknown:
                raise FormatError(f"{self._at(unknown[0])}: unknown field; remove it or update fedroto")

    def optional(self, name: str, read: Callable[[str], T]) -> T | None:
        """The field through ``read``, or None where it is null; it has to be there."""
        return None if self._get(name) is None else read(name)

    def text(self, name: str | int) -> str:
        """A string."""
        value = self._get(name)
        return value if isinstance(value, str) else self._refuse(name, "text", value)

    def boolean(self, name: str) -> bool:
        """True or false."""
        value = self._get(name)
        return value if isinstance(value, bool) else self._refuse(name, "true or false", value)

    def integer(self, name: str) -> int:
        """A whole number."""
        value = self._get(name)
        whole = isinstance(value, int) and not isinstance(value, bool)
        return int(value) if whole else self._refuse(name, "a whole number", value)

    def number(self, name: str) -> float:
        """A finite number."""
        value = self._get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            self._refuse(name, "a number", value)
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        return number if math.isfinite(number) else self._refuse(name, "a number within range", value)

    def array(self, name: str) -> FloatArray:
        """Nested lists of numbers, all of one length per level."""
        value = self._get(name)
        if not isinstance(value, list):
            self._refuse(name, "a list of numbers", value)
        try:
            array = np.array(value)
        except (ValueError, OverflowError):
            return self._refuse(name, "lists of equal length", value)
        if array.size and array.dtype.kind not in "if":  # text, null, true or whole numbers beyond 64 bits
            return self._refuse(name, "numbers only", value)
        return array.astype(np.float64)

    def object(self, name: str | int) -> Fields:
        """An object within this one."""
        value = self._get(name)
        if not isinstance(value, dict):
            self._refuse(name, "an object", value)
        return Fields(value, self._at(name))

    def items(self, name: str) -> list[Fields]:
        """A list of objects."""
        value = self._get(name)
        if not isinstance(value, list) or not all(isinstance(v, dict) for v in value):
            self._refuse(name, "a list of objects", value)
        return [Fields(v, f"{self._at(name)}[{i}]") for i, v in enumerate(value)]

    def pairs(self, name: str) -> list[Fields]:
        """A list of lists of two."""
        value = self._get(name)
        if not isinstance(value, list) or not all(isinstance(v, list) and len(v) == 2 for v in value):
            self._refuse(name, "a list of pairs", value)
        return [Fields(v, f"{self._at(name)}[{i}]") for i, v in enumerate(value)]

    def _get(self, name: str | int) -> Any:
        self.read.add(name)
        try:
            return self.values[name]
        except (KeyError, IndexError, TypeError):
            raise FormatError(
                f"{self._at(name)}: missing; the file is incomplete or of another version"
            ) from None

    def _at(self, name: str | int) -> str:
        if isinstance(name, int):
            return f"{self.path}[{name}]"
        return f"{self.path}.{name}" if self.path else name

    def _refuse(self, name: str | int, expected: str, value: Any) -> NoReturn:
        raise FormatError(f"{self._at(name)}: {expected} is expected, not {_kind(value)}")


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), f"{value!r:.40}")
