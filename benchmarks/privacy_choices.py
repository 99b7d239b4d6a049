"""What the trade-off benchmark runs, stage by stage: a grid of subsets and epsilons, finalists, one thing at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Any, Final, Literal, Self

from benchmarks.privacy_subsets import Subset
from benchmarks.privacy_training import Choice

RATES: Final[dict[Subset, tuple[float, ...]]] = {
    "full": (0.1, 0.3, 0.6, 1.2),
    "bias_norm_head": (0.03, 0.1, 0.3),
    "lora": (0.1, 0.3, 0.6, 1.2),
    "head": (0.03, 0.1, 0.3),
}
TARGETS: Final = (3.0, None, 8.0, 1.0)
POOLS: Final = {1: 1000, 2: 160, 3: 160}
"""Different shots that play a studio, by seed. Seed 1 chooses the settings; the shots of the others chose nothing."""
REPEATS: Final = (1, 2)
Measure = Literal["loss", "across"]
Row = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """One training of three studios: on a seed's shots, in one way, with the draws of one time."""

    seed: int
    choice: Choice
    draw: int = 0

    @classmethod
    def of(cls, row: Row) -> Self:
        """The run that a finished row tells of."""
        return cls(row["seed"], Choice(**row["choice"]), row["draw"])

    @property
    def name(self) -> str:
        """For files."""
        values = (self.seed, self.draw, *asdict(self.choice).values())
        return "-".join(str(value) for value in values)


def whole(_: Sequence[Row]) -> Iterator[Run]:
    """With and without noise where nothing is simulated: 1,000 shots a studio, of which a step draws a tenth."""
    for target in (3.0, None):
        yield Run(1, Choice(epsilon=target, sample_rate=0.1, drawn=100))


def subsets(_: Sequence[Row]) -> Iterator[Run]:
    """Every subset at several learning rates and every epsilon; all weights never clipped too."""
    for target in TARGETS:
        for subset, rates in RATES.items():
            for rate in rates:
                yield Run(1, Choice(subset=subset, epsilon=target, learning_rate=rate))
    yield Run(1, Choice(epsilon=None, clipping=1000.0))


def finalists(rows: Sequence[Row], draws: Sequence[int] = (0,)) -> Iterator[Run]:
    """The best with and without noise by either measure, on every seed's own shots."""
    chosen = {best(rows, target, measure) for target in (3.0, None) for measure in ("loss", "across")}
    for draw, seed, choice in product(draws, POOLS, sorted(chosen, key=str)):
        yield Run(seed, choice, draw)


def repeats(rows: Sequence[Row]) -> Iterator[Run]:
    """The finalists again, with other draws of batches and noise."""
    return finalists(rows, REPEATS)


def choices(rows: Sequence[Row]) -> Iterator[Run]:
    """One thing at a time, at epsilon 3, on the best subset.

    Where the clipping norm or the number of steps changes, the rate follows, so that the noise of a whole training
    stays about as large.
    """
    start = best(rows, 3.0)
    rate = start.learning_rate
    for smaller in (rate / 3, rate, 2 * rate):
        yield Run(1, replace(start, shots=200, learning_rate=smaller))
    for larger in (rate, 2 * rate, 4 * rate):
        yield Run(1, replace(start, shots=5000, learning_rate=larger))
    yield Run(1, replace(start, augmented=True))
    yield Run(1, replace(start, ema=0.5))
    yield Run(1, replace(start, steps_per_round=1, drawn=80, learning_rate=5 * rate))
    yield Run(1, replace(start, steps_per_round=1, sample_rate=0.5, drawn=80, learning_rate=5 * rate))
    few = replace(start, shots=200, steps_per_round=1, drawn=200, learning_rate=5 * rate / 3)
    yield Run(1, replace(few, sample_rate=1.0))
    yield Run(1, replace(start, rounds=4, learning_rate=2 * rate))
    yield Run(1, replace(start, rounds=16, learning_rate=rate / 2))
    for target in (None, 3.0):
        yield Run(1, replace(start, rounds=32, epsilon=target))
    yield Run(1, replace(start, momentum=0.7, learning_rate=rate / 2))
    yield Run(1, replace(start, low_pass=0.5))
    yield Run(1, replace(start, mixed="equal"))
    yield Run(1, replace(start, mixed="noise"))
    yield Run(1, replace(start, sample_rate=0.1))
    for clipping in (0.25, 0.5, 2.0):
        yield Run(1, replace(start, clipping=clipping, learning_rate=rate / clipping))


def best(rows: Sequence[Row], target: float | None, measure: Measure = "loss") -> Choice:
    """The choice that ended lowest among the runs of the grid."""
    grid = set(subsets(rows))
    found = [
        (row[measure][1], run.choice)
        for row in rows
        for run in [Run.of(row)]
        if run in grid and run.choice.epsilon == target
    ]
    return min(found, key=lambda pair: pair[0])[1]
