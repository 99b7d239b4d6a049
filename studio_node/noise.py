"""Noise and sampling of private training: every random bit from the operating system's CSPRNG.

There is no seed, no state and no way to pass one in: what cannot be replayed cannot be subtracted. Seeds of torch,
numpy and ``random`` do not reach this module.
"""

from __future__ import annotations

import math
import os

import numpy as np
from numpy.typing import NDArray

_DRAWS = 4
"""Independent Gaussian draws that are summed for one value, against attacks on a single draw's floating point."""


def gaussian(count: int, standard_deviation: float) -> NDArray[np.float64]:
    """Draw Gaussian noise.

    Guarantee: independent values from N(0, standard_deviation^2) up to float64 rounding. Floating-point attacks on
    the noise are made harder (four draws are summed, the release is rounded to a public grid), not excluded.

    Source: Box and Muller (1958) on 53-bit uniforms; the sum of four draws over two after Holohan and Braghin,
    "Secure random sampling in differential privacy" (2021), section 5.

    Args:
        count: number of values.
        standard_deviation: 0 draws zeros (research mode).

    Returns:
        float64 [count].
    """
    if not 0 <= standard_deviation < math.inf:
        raise ValueError(f"standard_deviation is {standard_deviation}, expected a finite number of 0 or more")
    if standard_deviation == 0:
        return np.zeros(count)
    pairs = (count + 1) // 2
    total = np.zeros(2 * pairs)
    for _ in range(_DRAWS):
        radius = np.sqrt(-2.0 * np.log(_uniform(pairs)))
        angle = 2.0 * np.pi * _uniform(pairs)
        total[:pairs] += radius * np.cos(angle)
        total[pairs:] += radius * np.sin(angle)
    return np.asarray(total[:count] * (standard_deviation / math.sqrt(_DRAWS)))


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


def _uniform(count: int) -> NDArray[np.float64]:
    """Draw from (0, 1] with 53 bits."""
    return np.asarray(((_words(count) >> np.uint64(11)) + np.uint64(1)) * 2.0**-53, np.float64)


def _words(count: int) -> NDArray[np.uint64]:
    return np.frombuffer(os.urandom(8 * count), np.uint64)
