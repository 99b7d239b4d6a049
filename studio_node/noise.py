"""Noise and sampling of private training: every random bit from the operating system's CSPRNG.

There is no seed, no state and no way to pass one in: what cannot be replayed cannot be subtracted. Seeds of torch,
numpy and ``random`` do not reach this module.
"""

from __future__ import annotations

import math
import os

import numpy as np
from numpy.typing import NDArray


def gaussian(count: int, standard_deviation: float, grid: float) -> NDArray[np.float64]:
    """Draw discrete Gaussian noise: whole steps of a grid, so that no bit of it comes from floating-point rounding.

    Guarantee: independent values ``k * grid``, k whole, with probability proportional to ``exp(-(k * grid)^2 /
    (2 standard_deviation^2))``, each within a statistical distance of 2^-50 (probabilities of acceptance are rounded
    to 53 bits). Added to sums of whole steps below 2^53 the result is exact.

    Source: Canonne, Kamath, Steinke, "The discrete Gaussian for differential privacy" (2020), algorithm 3. Its Rényi
    divergences at a shift by whole steps are those of the Gaussian (their theorem 4 and its proof).

    Args:
        count: number of values.
        standard_deviation: 0 draws zeros (research mode).
        grid: a power of two, so that multiples of it are exact.

    Returns:
        float64 [count].
    """
    if not 0 <= standard_deviation < math.inf:
        raise ValueError(f"standard_deviation is {standard_deviation}, expected a finite number of 0 or more")
    if standard_deviation == 0:
        return np.zeros(count)
    if math.frexp(grid)[0] != 0.5:
        raise ValueError(f"grid is {grid}, expected a power of two")
    drawn = np.zeros(0)
    while drawn.size < count:
        drawn = np.concatenate([drawn, _accepted(2 * (count - drawn.size) + 64, standard_deviation / grid)])
    return drawn[:count] * grid


def _accepted(count: int, deviation: float) -> NDArray[np.float64]:
    """Propose ``count`` whole numbers from a discrete Laplace distribution and return those that are accepted."""
    scale = math.floor(deviation) + 1
    words = _words(count)
    words = words[words <= np.uint64(2**64 - 1 - 2**64 % scale)]  # without modulo bias
    rest = (words % np.uint64(scale)).astype(np.float64)
    rest = rest[_happens(np.exp(-rest / scale))]
    size = rest + scale * _geometric(rest.size)
    negative = _happens(np.full(size.size, 0.5))
    kept = ~(negative & (size == 0))  # there is one zero
    proposed = np.where(negative, -size, size)[kept]
    likely = np.exp(-((np.abs(proposed) - deviation**2 / scale) ** 2) / (2 * deviation**2))
    return np.asarray(proposed[_happens(likely)], np.float64)


def _geometric(count: int) -> NDArray[np.float64]:
    """Draw how often in a row an event of probability 1/e happens."""
    times = np.zeros(count)
    going = np.arange(count)
    while going.size:
        going = going[_happens(np.full(going.size, math.exp(-1)))]
        times[going] += 1
    return times


def _happens(probability: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Draw events: each happens with its own probability, rounded to 53 bits and down to 2^-64."""
    words = _words(probability.size)
    certain = probability >= 1
    threshold = np.where(certain, 0.0, probability) * 2.0**64
    return np.asarray((words < threshold.astype(np.uint64)) | certain)


def poisson_sample(count: int, sample_rate: float) -> list[int]:
    """Include each of ``count`` items independently with probability ``sample_rate``; returns the included indices.

    The probability is exact to 2^-64 and never above ``sample_rate``; at 1 every item is included.
    """
    if not 0 <= sample_rate <= 1:
        raise ValueError(f"sample_rate is {sample_rate}, expected 0 to 1")
    threshold = int(sample_rate * 2**64)
    if threshold == 2**64:
        return list(range(count))
    return [int(i) for i in np.flatnonzero(_words(count) < np.uint64(threshold))]


def random_round(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round every value to one of the two whole numbers beside it, so that it keeps its value in the mean."""
    below = np.floor(values)
    return np.asarray(below + _happens(values - below))


def draw_indices(count: int, size: int) -> list[int]:
    """Draw ``size`` of ``count`` indices uniformly: without repetition while there are enough, else with."""
    if count < 1:
        raise ValueError("there is nothing to draw from")
    if size > count:
        return [_below(count) for _ in range(size)]
    order = list(range(count))
    for place in range(size):
        other = place + _below(count - place)
        order[place], order[other] = order[other], order[place]
    return order[:size]


def _below(bound: int) -> int:
    """Draw a whole number below ``bound`` without modulo bias."""
    limit = 2**64 - 2**64 % bound
    while (word := int.from_bytes(os.urandom(8), "little")) >= limit:
        pass
    return word % bound


def _words(count: int) -> NDArray[np.uint64]:
    return np.frombuffer(os.urandom(8 * count), np.uint64)
