"""An update's values as they cross the wire: float32, or whole steps of the plan's grid in a byte (``value_bits``)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from federation.messages import PackedUpdate, PackedWeights
from federation.plan import STEPS_MAX, UpdateBounds


def wire_type(bounds: UpdateBounds) -> np.dtype[Any]:
    """Return the type of an update under these bounds: int8 or float32."""
    return np.dtype(np.int8 if bounds.value_bits == 8 else np.float32)


def values_of(update: PackedUpdate, bounds: UpdateBounds) -> PackedWeights:
    """Return an update's values, float32 [P]: itself, or its whole steps times the grid, which is exact."""
    if update.dtype == np.int8:
        return np.multiply(update, np.float32(bounds.grid), dtype=np.float32)
    return update.astype(np.float32, copy=False)


def steps_beyond(update: npt.NDArray[Any]) -> int:
    """Count whole steps that no update has: a byte could also say -128."""
    return int(np.count_nonzero(update < -STEPS_MAX)) if update.dtype == np.int8 else 0
