"""Packed arrays a block at a time: arithmetic in float64 on a model of any size needs no second model of memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

BLOCK_VALUES = 1 << 18


def blocks(size: int) -> Iterator[slice]:
    """Yield slices that cover ``size`` values in order."""
    for start in range(0, size, BLOCK_VALUES):
        yield slice(start, min(start + BLOCK_VALUES, size))


def is_finite(array: npt.NDArray[Any]) -> bool:
    """Whether no value of a one-dimensional array is NaN or infinite."""
    return all(bool(np.isfinite(array[part]).all()) for part in blocks(array.size))
