"""Pyramidal Lucas-Kanade on the outline's own points."""

from itertools import pairwise
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from model.pictures import Image, Pictures
from model.tracks import Points, Track

WINDOW: Final = (21, 21)
LEVELS: Final = 4
CRITERIA: Final = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 0.01)
RETURN_PX: Final = 1.5
"""A point that does not come back to within this distance when tracked back is not believed."""
CROP_ABOVE: Final = 1_000_000
"""Pictures with more pixels than this are cropped around the points first: building pyramids would take the time."""
CROP_MARGIN: Final = 128


def lk_chain(pictures: Pictures, order: list[int], start: Points) -> Track:
    """Carry an outline by LK from picture to picture; points that fail follow a robust similarity of the others."""
    points = [start]
    drift = [np.zeros(len(start))]
    for here, there in pairwise(order):
        moved, returned = lk_step(pictures.grey(here), pictures.grey(there), points[-1])
        good = returned < RETURN_PX
        moved[~good] = follow(points[-1], moved, good)[~good]
        points.append(moved)
        drift.append(drift[-1] + np.minimum(returned, 2 * RETURN_PX))
    return Track(np.stack(points), np.stack(drift))


def lk_step(here: Image, there: Image, points: Points) -> tuple[Points, NDArray[np.float64]]:
    """Track points [M, 2] (plate pixels) to the next picture.

    Returns:
        The new places, and by how many pixels each point misses its origin when tracked back (infinite where LK
        gave up).
    """
    offset = np.array([0.5, 0.5])
    if here.size > CROP_ABOVE:
        height, width = here.shape
        low = np.clip(np.floor(points.min(0)).astype(int) - CROP_MARGIN, 0, [width - 64, height - 64])
        high = np.clip(np.ceil(points.max(0)).astype(int) + CROP_MARGIN, low + 64, [width, height])
        here, there = (picture[low[1] : high[1], low[0] : high[0]] for picture in (here, there))
        offset = offset + low
    sent = np.ascontiguousarray(points - offset, np.float32).reshape(-1, 1, 2)
    # The stubs want an array for the initial guess, which is optional.
    arrived, sent_ok, _ = cv2.calcOpticalFlowPyrLK(
        here, there, sent, None, None, None, WINDOW, LEVELS, CRITERIA
    )  # type: ignore[call-overload]
    back, back_ok, _ = cv2.calcOpticalFlowPyrLK(
        there, here, arrived, None, None, None, WINDOW, LEVELS, CRITERIA
    )  # type: ignore[call-overload]
    returned = np.linalg.norm((back - sent)[:, 0], axis=1).astype(np.float64)
    returned[(sent_ok.ravel() == 0) | (back_ok.ravel() == 0)] = np.inf
    return arrived[:, 0].astype(np.float64) + offset, returned


def follow(before: Points, after: Points, good: NDArray[np.bool_]) -> Points:
    """Where all points go if they follow the robust similarity of the good ones."""
    if good.sum() >= 4:
        similarity, _ = cv2.estimateAffinePartial2D(
            before[good], after[good], method=cv2.RANSAC, ransacReprojThreshold=2.0
        )
        if similarity is not None and np.isfinite(similarity).all():
            return np.asarray(before @ similarity[:, :2].T + similarity[:, 2], np.float64)
    if good.any():
        return np.asarray(before + np.median(after[good] - before[good], axis=0), np.float64)
    return before.copy()
