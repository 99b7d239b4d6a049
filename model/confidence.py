"""Confidence in frames, the error it stands for, and which frame is most worth a key."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.tracks import Points

TOLERANCE: Final = 0.015
"""Expected error, in outline sizes, at which confidence is one half: where a frame begins to want a key."""


def confidence_of(error: Points) -> Points:
    """Confidence 0..1 in a frame whose expected error, in outline sizes, is ``error``."""
    return np.asarray(1.0 / (1.0 + (error / TOLERANCE) ** 2))


def expected_error(confidence: Points) -> Points:
    """The expected error, in outline sizes, that `confidence_of` made a confidence of."""
    return np.asarray(TOLERANCE * np.sqrt(1.0 / np.maximum(confidence, 1e-9) - 1.0))


def row_most_worth_a_key(error: Points, known: NDArray[np.bool_]) -> int | None:
    """Where the next key should go.

    A key mends its neighbours too, so the error counts more in a long stretch without keys. Weighed by the root of its
    length, keys were fewest on real clips (benchmarks/model/confidence.md): without it an uncertain place draws one key
    after the other, however well they do.

    Args:
        error: [T] expected.
        known: [T] frames that have a key, or were seen and found good.

    Returns:
        A row that is not known, or None where all are.
    """
    if known.all():
        return None
    stretch = known.cumsum()
    frames = np.bincount(stretch, weights=~known)
    return int(np.where(known, -1.0, error * np.sqrt(frames[stretch])).argmax())
