"""How far across a predicted outline the colours of the keys' edge are found: evidence that placed no point.

At every point the colours across the outline, shifted by a little, are compared with those at the keys; how they differ
makes a soft choice of the shift. Single shifts do not mend places (benchmarks/model/log.md, row 16), but their size,
taken over an outline, tells how far that is off.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.appearance import inner_colours, level_of, winding
from model.draft import along_contour
from model.pictures import Pictures
from model.tracks import Points

STEP: Final = 0.01
"""Shifts and depths are multiples of this, in outline sizes."""
SHIFTS: Final = np.arange(-8, 9)
DEPTHS: Final = np.array([-12, -8, -5, -2, 2, 5, 8, 12])
NEAR: Final = 6.0
"""Colours this many steps from the edge count half or less."""
SOFTNESS: Final = 0.02
"""Difference in colour, 0..1, by which a shift must be better to be chosen clearly."""
REACH: Final = int(SHIFTS.max() + DEPTHS.max())
"""Steps to look to each side."""


def edge_shifts(pictures: Pictures, first: int, outlines: Points, size: float) -> Points:
    """How far the edge seems to be from the outline, frame by frame.

    Args:
        pictures: the shot.
        first: frame of the left key.
        outlines: [T + 2, M, 2] plate pixels: the key, the frames between, the other key.
        size: the outline's size in pixels.

    Returns:
        [T] root mean square shift in the frames between, outline sizes; NaN without a picture there or at a key.
    """
    found = np.full(len(outlines) - 2, np.nan)
    last = first + len(outlines) - 1
    if not (pictures.has(first) and pictures.has(last)):
        return found
    level = level_of(size)
    depths_px = winding(outlines[[0, -1]]) * size * STEP * np.arange(-REACH, REACH + 1, dtype=np.float64)

    def across(row: int) -> NDArray[np.float32]:
        image = pictures.colour(first + row, level)
        return inner_colours(image, outlines[row][:, None], depths_px, level)[:, 0] / np.float32(255)

    keys = [across(row)[:, REACH + DEPTHS] for row in (0, len(outlines) - 1)]
    for row in range(1, len(outlines) - 1):
        if pictures.has(first + row):
            shown = across(row)[:, REACH + SHIFTS[:, None] + DEPTHS]
            found[row - 1] = _soft_shift([np.abs(shown - key[:, None]).mean(axis=3) for key in keys])
    return found


def _soft_shift(differences: list[NDArray[np.float32]]) -> float:
    """Mean size of the shift, outline sizes, from the differences [M, shifts, depths] to either key."""
    near = np.exp(-((DEPTHS / NEAR) ** 2))
    cost = along_contour(np.minimum(*(difference @ (near / near.sum()) for difference in differences)))
    choice = np.exp((cost.min(axis=1, keepdims=True) - cost) / SOFTNESS)
    choice /= choice.sum(axis=1, keepdims=True)
    return float(STEP * np.sqrt(choice @ SHIFTS**2).mean())
