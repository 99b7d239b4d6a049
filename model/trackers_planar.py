"""Planar tracking: corners inside the key's outline, followed by LK, carry the whole outline by one affine motion."""

from itertools import pairwise
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from model.pictures import Image, Pictures
from model.trackers_dis import filled
from model.trackers_lk import RETURN_PX, lk_step
from model.tracks import Points, Track

CORNERS_MAX: Final = 300
CORNERS_MIN: Final = 12
AREA_CHANGE: Final = (0.5, 2.2)


def planar_chain(pictures: Pictures, order: list[int], start: Points) -> Track:
    """Carry an outline by a robust affine motion from the key (re-seeded when too few corners are left)."""
    base = current = np.eye(3)
    source = corners(pictures.grey(order[0]), start)
    target, seeded = source, len(source)
    points = [start]
    for here, there in pairwise(order):
        if len(source) < max(CORNERS_MIN, 0.25 * seeded):
            base = current
            source = corners(pictures.grey(here), points[-1])
            target, seeded = source, len(source)
        if len(source) >= 4:
            moved, returned = lk_step(pictures.grey(here), pictures.grey(there), target)
            good = returned < RETURN_PX
            source, target = source[good], moved[good]
            motion = fit_motion(source, target)
            if motion is not None:
                current = np.vstack([motion, [0.0, 0.0, 1.0]]) @ base
        points.append(start @ current[:2, :2].T + current[:2, 2])
    return Track(np.stack(points), np.zeros((len(points), len(start))))


def corners(grey: Image, outline: Points) -> Points:
    """Good features [n, 2] (plate pixels) strictly inside an outline."""
    height, width = grey.shape
    mask = cv2.erode(filled(outline - 0.5, height, width).astype(np.uint8), np.ones((3, 3), np.uint8))
    if not mask.any():
        return np.zeros((0, 2))
    found = cv2.goodFeaturesToTrack(grey, CORNERS_MAX, 0.004, 4, mask=mask)
    return np.zeros((0, 2)) if found is None else found[:, 0].astype(np.float64) + 0.5


def fit_motion(source: Points, target: Points) -> NDArray[np.float64] | None:
    """Robust affine [2, 3]; a similarity where points are few or the affine would change the area absurdly."""
    motion = None
    if len(source) >= CORNERS_MIN:
        motion, _ = cv2.estimateAffine2D(source, target, method=cv2.RANSAC, ransacReprojThreshold=2.5)
        if motion is not None and not AREA_CHANGE[0] < np.linalg.det(motion[:, :2]) < AREA_CHANGE[1]:
            motion = None
    if motion is None and len(source) >= 4:
        motion, _ = cv2.estimateAffinePartial2D(source, target, method=cv2.RANSAC, ransacReprojThreshold=2.5)
    return None if motion is None else np.asarray(motion, np.float64)
