"""Long work on the terminal: a bar with the time left where a person watches, plain lines where a log does."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Protocol

from federation.cli.output import progress


class Step(Protocol):
    """How far some work is."""

    @property
    def text(self) -> str:
        """What just happened."""
        ...

    @property
    def done(self) -> int:
        """Parts that are through."""
        ...

    @property
    def total(self) -> int:
        """Parts in all."""
        ...

    @property
    def seconds_left(self) -> float | None:
        """About how long the rest takes; None while nobody can tell."""
        ...


@contextlib.contextmanager
def progress_bar() -> Iterator[Callable[[Step], None]]:
    """Yield a function that shows a step on stderr."""
    if not sys.stderr.isatty():
        yield lambda step: progress(step.text + _left(step))
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[left]}"),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None, left="")
        yield lambda step: bar.update(
            task, completed=step.done, total=step.total, left=_left(step).lstrip("; "), description=step.text
        )


def duration(seconds: float) -> str:
    """Write seconds as people do: ``40 s``, ``12 min``, ``3 h 20 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _left(step: Step) -> str:
    return "" if step.seconds_left is None else f"; about {duration(step.seconds_left)} left"
