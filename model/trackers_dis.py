"""Dense inverse search flow, averaged over the inside of the object only."""

from itertools import pairwise
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from model.pictures import Flow, Pictures
from model.tracks import Points, Track

MARGIN: Final = 24
BLUR: Final = 4.0
PIXELS_MIN: Final = 30
RETURN_MAX_PX: Final = 3.0


def dis_chain(pictures: Pictures, order: list[int], start: Points) -> Track:
    """Carry an outline by the flow of the pixels inside it: flow at the outline itself mixes in the background's."""
    factor = pictures.flow_factor
    points = [start]
    drift = [np.zeros(len(start))]
    for here, there in pairwise(order):
        sent = points[-1] * factor - 0.5
        moved, probe = object_step(pictures.flow(here, there), sent)
        back = sample(pictures.flow(there, here), probe + (moved - sent))
        returned = np.linalg.norm(moved - sent + back, axis=1) / factor
        points.append((moved + 0.5) / factor)
        drift.append(drift[-1] + np.minimum(returned, RETURN_MAX_PX))
    return Track(np.stack(points), np.stack(drift))


def object_step(flow: Flow, points: Points) -> tuple[Points, Points]:
    """Move points [M, 2] by the flow inside their own outline.

    Args:
        flow: [h, w, 2].
        points: in the flow's pixels, pixel CENTRES at integers.

    Returns:
        The moved points and where the flow was read, a touch inside the outline.
    """
    height, width = flow.shape[:2]
    mask = filled(points, height, width)
    area = int(mask.sum())
    if area < PIXELS_MIN:
        return points + sample(flow, points), points
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, bottom = max(0, int(rows[0]) - MARGIN), min(height, int(rows[-1]) + MARGIN + 1)
    left, right = max(0, int(columns[0]) - MARGIN), min(width, int(columns[-1]) + MARGIN + 1)
    inner = inside_flow(flow[top:bottom, left:right], mask[top:bottom, left:right])
    centre = points.mean(axis=0)
    probe = centre + (points - centre) * (1 - 1.5 / max(8.0, np.sqrt(area)))
    return points + sample(inner, probe - [left, top]), probe


def inside_flow(flow: Flow, mask: NDArray[np.bool_]) -> Flow:
    """Flow smoothed over the mask's pixels only (normalised convolution), carried a little past its edge."""
    weight = mask.astype(np.float32)
    total = cv2.GaussianBlur(weight, (0, 0), BLUR)
    summed = cv2.GaussianBlur(flow * weight[..., None], (0, 0), BLUR)
    return np.asarray(summed / np.maximum(total, 1e-3)[..., None], np.float32)


def sample(field: Flow, points: Points) -> Points:
    """Bilinear values [M, 2] of a field at points (pixel centres at integers), clamped to its edge."""
    height, width = field.shape[:2]
    x = np.clip(points[:, :1], 0, width - 1).astype(np.float32)
    y = np.clip(points[:, 1:], 0, height - 1).astype(np.float32)
    return np.asarray(cv2.remap(field, x, y, cv2.INTER_LINEAR)[:, 0], np.float64)


def filled(points: Points, height: int, width: int) -> NDArray[np.bool_]:
    """Pixels whose centre (at integers) lies inside a closed outline, non-zero winding.

    `cv2.fillPoly` is not used: it also paints the outline, half a pixel too much.
    """
    mask = np.zeros((height, width), np.bool_)
    size = np.array([width, height])
    low = np.clip(np.floor(points.min(axis=0)), 0, size).astype(int)
    high = np.clip(np.ceil(points.max(axis=0)) + 1, low, size).astype(int)
    if (high > low).all():
        mask[low[1] : high[1], low[0] : high[0]] = _wound(points - low, *(high - low)[::-1])
    return mask


def _wound(points: Points, height: int, width: int) -> NDArray[np.bool_]:
    following = np.roll(points, -1, axis=0)
    y0, y1 = points[:, 1], following[:, 1]
    first = np.clip(np.ceil(np.minimum(y0, y1)), 0, height).astype(int)
    count = np.clip(np.ceil(np.maximum(y0, y1)), 0, height).astype(int) - first
    edge = np.repeat(np.arange(len(points)), count)
    winding = np.zeros((height, width + 1), np.int32)
    if len(edge):
        row = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count) + first[edge]
        across = (row - y0[edge]) / (y1[edge] - y0[edge])
        x = points[edge, 0] + across * (following[edge, 0] - points[edge, 0])
        column = np.clip(np.ceil(x), 0, width).astype(int)
        np.add.at(winding, (row, column), np.where(y1[edge] > y0[edge], 1, -1))
    return np.asarray(np.cumsum(winding, axis=1)[:, :width] != 0)
