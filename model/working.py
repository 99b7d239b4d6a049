"""The working image: what trackers and the network look at, made from a plate of any kind."""

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from model.errors import PlateError

SLOPE = 60.0
"""How steep the log curve is near black: mid grey (0.18) lands at about a third of the range."""
WHITE = 16.0
"""Scene-linear value that becomes 255: four stops above diffuse white, so highlights keep their texture."""


def to_working(linear: NDArray[np.float32] | NDArray[np.float16], exposure: float = 0.0) -> NDArray[np.uint8]:
    """Turn a scene-linear plate into a working image by log compression.

    Values above 1 are compressed, not clipped: the texture inside highlights is what trackers hold on to. Negative
    values and NaN become black, infinity becomes white.

    Args:
        linear: [H, W, 3] scene-linear RGB. Half floats go through a table of all 65,536 of them: the same codes as by
            way of float32, a fiftieth of the time.
        exposure: stops added before the compression.

    Returns:
        [H, W, 3] uint8, display-like.

    Raises:
        PlateError: the plate has another shape.
    """
    if linear.ndim != 3 or linear.shape[2] != 3:
        raise PlateError(f"a plate has shape {linear.shape}; it must be [height, width, 3] RGB")
    if linear.dtype == np.float16:
        return np.asarray(cv2.LUT(linear.view(np.uint16), _half_codes(exposure)), np.uint8)
    return _codes(np.asarray(linear, np.float32), exposure)


def _codes(linear: NDArray[np.float32], exposure: float) -> NDArray[np.uint8]:
    finite = (
        linear if np.isfinite(linear).all() else np.nan_to_num(linear, nan=0.0, posinf=np.inf, neginf=0.0)
    )
    exposed = np.maximum(finite, 0.0) * np.float32(2.0**exposure)
    code = np.log1p(SLOPE * np.minimum(exposed, WHITE)) * np.float32(255.0 / np.log1p(SLOPE * WHITE))
    return np.asarray(np.rint(code), dtype=np.uint8)


@lru_cache(maxsize=8)
def _half_codes(exposure: float) -> NDArray[np.uint8]:
    """The code of every half float, by its bits."""
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    return _codes(halves.astype(np.float32), exposure)


def from_working(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The scene-linear values [H, W, 3] that `to_working` at exposure 0 maps onto a working image."""
    return np.asarray(
        np.expm1(image.astype(np.float32) * (np.log1p(SLOPE * WHITE) / 255.0)) / SLOPE, np.float32
    )
