"""The same shape by a classical method, to look at beside the prediction or in its place."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.keyframes import FloatArray
from studio_node.desk.document import DeskShape, anchored, controls_over
from studio_node.desk.predictor import Predictor


def compared(
    predictor: Predictor, one: DeskShape, method: str, frames: NDArray[np.int64]
) -> FloatArray | None:
    """Controls on screen [T, N, 3, 2] by a method of ``model.methods.CLASSICAL``.

    Args:
        predictor: works it out behind.
        one: the shape.
        method: its name.
        frames: [T] the plate's frames, consecutive.

    Returns:
        None where it is not worked out yet, or where nothing lies between keys.
    """
    shown = controls_over(anchored(one), frames)
    if method == "smooth":
        return shown
    found = predictor.compared(one, method)
    if found is None:
        return None
    rows = np.arange(len(found)) + one.anchors[0] - int(frames[0])
    inside = (rows >= 0) & (rows < len(frames))
    shown[rows[inside]] = found[inside]
    return shown
