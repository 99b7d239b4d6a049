"""The trade-off benchmark's runs as Markdown tables; negative differences are gains."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final

import numpy as np

from benchmarks.privacy_choices import Row, Run, choices, finalists, repeats, subsets, whole
from benchmarks.privacy_training import Choice

TARGETS: Final = (None, 8.0, 3.0, 1.0)


def table(rows: Sequence[Row]) -> Iterator[str]:
    """Every stage's table, of what is done."""
    found = {Run.of(row): row for row in rows}
    yield from _grid(found)
    yield ""
    yield from _listed("nothing simulated", [found[run] for run in whole(rows) if run in found])
    if not {Run(1, Choice(epsilon=target)) for target in (None, 3.0)} <= set(found):
        return
    yield ""
    yield from _listed("one thing at a time", [found[run] for run in choices(rows) if run in found])
    yield ""
    yield from _drawn([found[run] for run in (*finalists(rows), *repeats(rows)) if run in found])


def _grid(found: dict[Run, Row]) -> Iterator[str]:
    yield "| trained (weights) | rate | " + " | ".join(map(_target, TARGETS)) + " |"
    yield "|---|---|" + "---|" * len(TARGETS)
    asked = dict.fromkeys(
        (run.choice.subset, run.choice.clipping, run.choice.learning_rate) for run in subsets([])
    )
    for subset, clipping, rate in asked:
        made = (
            found.get(Run(1, Choice(subset=subset, clipping=clipping, learning_rate=rate, epsilon=target)))
            for target in TARGETS
        )
        cells = [_cell(row) if row else "" for row in made]
        if any(cells):
            yield (
                f"| {subset}{', never clipped' if clipping > 1 else ''} | {rate} | "
                + " | ".join(cells)
                + " |"
            )


def _cell(row: Row) -> str:
    return f"{_interval(row['loss_difference'])}; {_interval(row['across_percent'], 2)}%; {_better(row)}"


def _listed(heading: str, rows: Sequence[Row]) -> Iterator[str]:
    yield f"| {heading} | epsilon | pool | loss | across, % | studios better |"
    yield "|---|---|---|---|---|---|"
    for row in rows:
        differs = {name: v for name, v in row["choice"].items() if v != getattr(Choice(), name)}
        said = ", ".join(
            f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in differs.items()
            if name != "epsilon"
        )
        yield (
            f"| {said} | {_target(row['choice']['epsilon'])} | {row['pool']} | {_interval(row['loss_difference'])} "
            f"| {_interval(row['across_percent'], 2)} | {_better(row)} |"
        )


def _drawn(rows: Sequence[Row]) -> Iterator[str]:
    """The finalists, mean and range over draws of batches and noise."""
    yield "| seed | trained, rate, epsilon | draws | loss | across, % | studios better in every draw |"
    yield "|---|---|---|---|---|---|"

    def what(row: Row) -> tuple[int, str]:
        choice = row["choice"]
        return row["seed"], f"{choice['subset']}, {choice['learning_rate']}, {_target(choice['epsilon'])}"

    for (seed, said), group in groupby(sorted(rows, key=what), key=what):
        draws = list(group)
        loss, across = (
            [row[name]["mean"] for row in draws] for name in ("loss_difference", "across_percent")
        )
        yield (
            f"| {seed} | {said} | {len(draws)} | {_range(loss, 4)} | {_range(across, 2)} "
            f"| {min(map(_better, draws))} |"
        )


def _target(target: float | None) -> str:
    return "none" if target is None else f"{target:g}"


def _interval(found: dict[str, float], digits: int = 4) -> str:
    return f"{found['mean']:+.{digits}f} [{found['low']:+.{digits}f}, {found['high']:+.{digits}f}]"


def _range(values: Sequence[float], digits: int) -> str:
    return f"{np.mean(values):+.{digits}f} ({min(values):+.{digits}f} to {max(values):+.{digits}f})"


def _better(row: Row) -> str:
    """How many studios are better off, by the loss and across the contour."""
    return " and ".join(
        str(sum(after < before for before, after in row[name].values()))
        for name in ("by_studio", "by_studio_across")
    )
