"""What goes to the terminal: results to stdout, progress and errors to stderr.

An error is ``fedroto: error: what, with the values`` and, where there is a next step, ``fedroto: hint: ...``;
lower case, no full stop. With ``--json`` stdout carries exactly one JSON object, errors included.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import typer

BARS = "▁▂▃▄▅▆▇█"
Json = typer.Option(False, "--json", help="Print one JSON object instead of text.")


def show(result: Any, as_json: bool, render: Callable[[Any], str]) -> None:
    """Print a command's result once, as text or as JSON."""
    if as_json:
        typer.echo(json.dumps(plain(result), indent=2, sort_keys=True))
    else:
        typer.echo(render(result))


def progress(line: str) -> None:
    """Print one line of progress to stderr at once."""
    typer.echo(line, err=True)
    sys.stderr.flush()


def fail(error: Exception, as_json: bool) -> None:
    """Print an error raised on purpose, with its hint."""
    hint = getattr(error, "hint", None)
    if as_json:
        typer.echo(json.dumps({"error": str(error), "hint": hint, "kind": type(error).__name__}))
        return
    typer.echo(f"fedroto: error: {error}", err=True)
    if hint:
        typer.echo(f"fedroto: hint: {hint}", err=True)


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Lay out rows as aligned text columns."""
    cells = [[str(cell) for cell in row] for row in [headings, *rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headings))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]
    return "\n".join(line.rstrip() for line in lines)


def sparkline(values: Sequence[float]) -> str:
    """A curve as one line of text, from its lowest to its highest value."""
    low, high = min(values), max(values)
    return "".join(BARS[int((len(BARS) - 1) * (v - low) / (high - low or 1) + 0.5)] for v in values)


def plain(value: Any) -> Any:
    """Turn a result (dataclasses, models, arrays, paths) into what JSON can say."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value) if field.repr
        }
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json", by_alias=True)
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):  # a numpy array or scalar
        return plain(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, float) and value not in (float("inf"), float("-inf")) and value == value:
        return value
    if value is None or isinstance(value, bool | int | str):
        return value
    return str(value)
