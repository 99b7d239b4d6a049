"""Rules that bear liars: weighted median, trimmed mean, geometric median and centred clipping of a round's updates.

Options of the plan beside the norm-clipped mean (``aggregator.aggregation``), which stays the default: under local
noise every honest update is mostly noise, so a rule that picks or trims throws signal away with it; what each costs and
bears is measured in docs/attacks.md. Each needs a least number of studios (``federation.plan.STUDIOS_MIN``), below
which it would bear nobody.

A studio has one voice: its late update and its fresh one are averaged by their weights first. Updates lie in an
unnamed file while a rule runs and are read in blocks of columns, so memory does not grow with the number of studios.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby
from types import TracebackType
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from aggregator.aggregation import Contribution, Mean, in_order, loaded, norm_clipped_mean
from aggregator.blocks import blocks
from aggregator.validation import norm
from federation.errors import RoundError
from federation.messages import packed_bytes
from federation.plan import STUDIOS_MIN, Aggregation

BLOCK_VALUES: Final = 1 << 20
TRIM: Final = 1 / 3
"""Share of the weights that the trimmed mean drops at either end of every coordinate."""
GEOMETRIC_STEPS, CLIPPING_STEPS = 20, 5
Weights = npt.NDArray[np.float64]  # [n], one a studio
Column = npt.NDArray[np.float64]  # [block], one value a coordinate


def aggregate(
    rule: Aggregation, contributions: Iterable[Contribution], *, parameters: int, norm_max: float
) -> Mean:
    """Aggregate updates by a plan's rule, each clipped to ``norm_max`` first.

    Args:
        rule: the plan's.
        contributions: at most one per studio and round; any order.
        parameters: length P of every update.
        norm_max: Euclidean norm beyond which an update is scaled down.

    Returns:
        float32 [P], of norm at most ``norm_max`` but for its rounding; the same contributions give the same bits.

    Raises:
        RoundError: fewer studios than the rule needs; and see :func:`aggregator.aggregation.norm_clipped_mean`.
    """
    ordered = in_order(contributions)
    studios = len({one.studio for one in ordered})
    if studios < STUDIOS_MIN[rule]:
        raise RoundError(f"{rule} needs updates of {STUDIOS_MIN[rule]} studios, there are {studios}")
    if rule == "norm_clipped_mean":
        return norm_clipped_mean(ordered, parameters=parameters, norm_max=norm_max)
    with _Voices(ordered, parameters, norm_max) as voices:
        result = _RULES[rule](voices)
    length = norm(result)
    if length > norm_max:
        result *= norm_max / length
    return result


class _Voices:
    """One row a studio, float32 [n, P] in an unnamed file, and the studios' weights."""

    def __init__(self, ordered: list[Contribution], parameters: int, norm_max: float) -> None:
        self.parameters = parameters
        weights = []
        self._file = tempfile.TemporaryFile(prefix="fedroto-voices-")  # noqa: SIM115  # closed by __exit__
        for _, of_studio in groupby(ordered, key=lambda one: one.studio):
            own = list(of_studio)
            self._file.write(packed_bytes(_voice(own, parameters, norm_max)))
            weights.append(max(one.weight for one in own))
        self.weights: Weights = np.array(weights) / sum(weights)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def blocks(self) -> Iterator[tuple[slice, npt.NDArray[np.float64]]]:
        """Yield columns and their values, float64 [n, block]."""
        studios = len(self.weights)
        width = max(1, BLOCK_VALUES // studios)
        for start in range(0, self.parameters, width):
            columns = slice(start, min(start + width, self.parameters))
            block = np.empty((studios, columns.stop - start))
            for row in range(studios):
                self._file.seek(4 * (row * self.parameters + start))
                block[row] = np.frombuffer(self._file.read(4 * (columns.stop - start)), np.float32)
            yield columns, block

    def by_columns(self, rule: Callable[[npt.NDArray[np.float64]], Column]) -> Mean:
        """Apply a rule that treats every coordinate by itself."""
        result = np.empty(self.parameters, np.float32)
        for columns, block in self.blocks():
            result[columns] = rule(block)
        return result

    def distances(self, center: Mean) -> Weights:
        """Euclidean distance of each voice from a point [P]."""
        squares = np.zeros(len(self.weights))
        for columns, block in self.blocks():
            squares += ((block - center[columns]) ** 2).sum(axis=1)
        return np.sqrt(squares)

    def weighted_sum(self, weights: Weights) -> Mean:
        """Sum of the voices by these weights."""
        return self.by_columns(lambda block: weights @ block)


def _voice(own: list[Contribution], parameters: int, norm_max: float) -> npt.NDArray[np.float32]:
    """Average a studio's updates, each clipped, by their weights."""
    voice, total = np.zeros(parameters, np.float32), sum(one.weight for one in own)
    for one in own:
        update, scale = loaded(one, parameters, norm_max)
        for part in blocks(parameters):
            voice[part] += one.weight / total * scale * update[part].astype(np.float64)
        del update
    return voice


def _sorted(block: npt.NDArray[np.float64], weights: Weights) -> tuple[npt.NDArray[np.float64], Weights]:
    """Sort each column; return the values and, for each, the share of the weights up to and with it."""
    order = np.argsort(block, axis=0, kind="stable")
    return np.take_along_axis(block, order, 0), np.cumsum(weights[order], axis=0)


def _median(voices: _Voices) -> Mean:
    """Weighted median of every coordinate, the mean of the two middle values where the weights meet at one half."""

    def middle(block: npt.NDArray[np.float64]) -> Column:
        values, share = _sorted(block, voices.weights)
        low, high = ((share < 0.5 + shift).sum(axis=0) for shift in (-1e-9, 1e-9))
        last = len(values) - 1
        rows = [np.minimum(index, last)[None] for index in (low, high)]
        picked = [np.take_along_axis(values, row, 0)[0] for row in rows]
        return np.asarray((picked[0] + picked[1]) / 2)

    return voices.by_columns(middle)


def _trimmed_mean(voices: _Voices) -> Mean:
    """Mean of what lies between the ``TRIM`` lowest and highest weights of every coordinate.

    Source: Yin et al., Byzantine-Robust Distributed Learning (ICML 2018), definition 2; weights as shares of the line.
    """

    def trimmed(block: npt.NDArray[np.float64]) -> Column:
        values, share = _sorted(block, voices.weights)
        kept = np.diff(np.clip(share, TRIM, 1 - TRIM), axis=0, prepend=TRIM)
        return np.asarray((kept * values).sum(axis=0) / kept.sum(axis=0))

    return voices.by_columns(trimmed)


def _geometric_median(voices: _Voices) -> Mean:
    """The point with the least weighted sum of distances, by Weiszfeld's iteration with a floor under distances.

    Source: Pillutla, Kakade, Harchaoui, Robust Aggregation for Federated Learning (IEEE TSP 2022), algorithm 2.
    """
    center = voices.weighted_sum(voices.weights)
    for _ in range(GEOMETRIC_STEPS):
        distances = voices.distances(center)
        pull = voices.weights / np.maximum(distances, 1e-6 * max(float(distances.max()), 1e-30))
        center = voices.weighted_sum(pull / pull.sum())
    return center


def _centred_clipping(voices: _Voices) -> Mean:
    """Steps from zero, each the mean of what is left of every voice clipped to the median distance.

    Source: Karimireddy, He, Jaggi, Learning from History for Byzantine Robust Optimization (ICML 2021), algorithm 2;
    no memory between rounds, and the radius is the weighted median of the distances instead of a constant.
    """
    center = np.zeros(voices.parameters, np.float32)
    for _ in range(CLIPPING_STEPS):
        distances = voices.distances(center)
        order = np.argsort(distances, kind="stable")
        middle = int((np.cumsum(voices.weights[order]) < 0.5 - 1e-9).sum())
        radius = distances[order][middle]
        if radius <= 0:
            return center
        pull = voices.weights * np.minimum(1.0, radius / np.maximum(distances, radius * 1e-12))
        step = voices.weighted_sum(pull)
        step += np.float32(1 - pull.sum()) * center
        center = step
    return center


_RULES: Final[Mapping[str, Callable[[_Voices], Mean]]] = {
    "median": _median,
    "trimmed_mean": _trimmed_mean,
    "geometric_median": _geometric_median,
    "centred_clipping": _centred_clipping,
}
