"""Does the picture just inside the outline look as it did at the keys?"""

import math
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from model.pictures import Pictures
from model.tracks import Points

DEPTHS: Final = (0.02, 0.06, 0.12)
"""How far inside the outline to look, in outline sizes."""
SIZE_SEEN: Final = 64.0
"""The picture is reduced by two until the outline is no larger than about this: fine grain says nothing."""


def appearance_difference(
    pictures: Pictures,
    key_frames: tuple[int, int],
    keys: Points,
    frame: int,
    candidates: Points,
    *,
    size: float,
) -> Points:
    """Compare the inside of candidate outlines with the inside at both keys.

    Args:
        pictures: the shot.
        key_frames: frames of the left and right key.
        keys: [2, M, 2] plate pixels.
        frame: the frame to look at.
        candidates: [M, C, 2] plate pixels.
        size: the outline's size in pixels.

    Returns:
        [M, C, 2] mean absolute colour difference to the left and right key, 0..1, smoothed along the contour.
    """
    level, sign = level_of(size), winding(keys)
    depths = sign * np.array(DEPTHS)
    seen = inner_colours(pictures.colour(frame, level), candidates, depths * size, level)
    difference = np.empty((*candidates.shape[:2], 2))
    for side in (0, 1):
        key = inner_colours(
            pictures.colour(key_frames[side], level), keys[side][:, None], depths * size, level
        )
        difference[..., side] = np.abs(seen - key).mean(axis=(2, 3)) / 255.0
    return np.asarray((np.roll(difference, 1, 0) + 2 * difference + np.roll(difference, -1, 0)) / 4)


def inner_colours(
    image: NDArray[np.uint8], outlines: Points, depths_px: Points, level: int
) -> NDArray[np.float32]:
    """Colours [M, C, D, 3] of a reduced picture beside outlines [M, C, 2], 0..255.

    Args:
        image: the picture, reduced ``level`` times by two.
        outlines: plate pixels.
        depths_px: [D] how far to the right of the outline's course (on the screen, y down), plate pixels; times
            `winding` that is how far inside.
        level: of the picture.
    """
    places = outlines[:, :, None] + normals(outlines, axis=0)[:, :, None] * depths_px[:, None]
    # pyrDown keeps pixel centre 0 at 0 (centres at integers), so centres scale without a shift.
    centres = ((places - 0.5) / 2**level).astype(np.float32).reshape(len(outlines), -1, 2)
    colours = cv2.remap(
        image, centres[..., 0], centres[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(colours, np.float32).reshape(*places.shape[:3], 3)


def normals(outlines: Points, axis: int = -2) -> Points:
    """Unit normals of closed outlines whose points lie along ``axis``, to the right of their course on the screen."""
    along = np.roll(outlines, -2, axis=axis) - np.roll(outlines, 2, axis=axis)
    along /= np.linalg.norm(along, axis=-1, keepdims=True) + 1e-9
    return np.stack([-along[..., 1], along[..., 0]], axis=-1)


def level_of(size: float) -> int:
    """How often to halve the picture so that an outline of this size, in pixels, is no larger than `SIZE_SEEN`."""
    return max(0, round(math.log2(max(size, 1.0) / SIZE_SEEN)))


def winding(keys: Points) -> float:
    """1 where the inside of outlines [..., M, 2] lies to the right of their course on the screen, else -1."""
    return float(np.sign(signed_area(keys).sum()) or 1.0)


def signed_area(outlines: Points) -> Points:
    """Area of closed outlines [..., M, 2]; positive where they run clockwise on the screen (y down)."""
    following = np.roll(outlines, -1, axis=-2)
    cross = outlines[..., 0] * following[..., 1] - outlines[..., 1] * following[..., 0]
    return np.asarray(0.5 * cross.sum(axis=-1))
