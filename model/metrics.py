"""How far a prediction is from the truth. A perfect prediction scores 1 (overlap) or 0 (distances).

Distances are in px of the plate. Where one side is lost altogether (an empty mask against a full one)
the distance is the picture's diagonal, so that losing a shape never looks cheap.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from model.errors import ShapeError
from model.keyframes import FloatArray


def iou(one: ArrayLike, other: ArrayLike) -> float:
    """Intersection over union of two mattes or masks [H, W], 0..1; soft mattes count by min and max.

    Two empty ones agree: 1.
    """
    a, b = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    _same_shape("masks", a, b)
    union = float(np.maximum(a, b).sum())
    return float(np.minimum(a, b).sum()) / union if union > 0 else 1.0


def boundary_distance_px(one: ArrayLike, other: ArrayLike) -> float:
    """Symmetric mean distance between the boundaries of two masks [H, W], px.

    The boundary is the mask's own outermost pixels (4-neighbourhood); the picture's edge is no boundary. A
    soft matte is cut at one half. Two masks without boundary agree: 0.
    """
    a, b = _binary(one), _binary(other)
    _same_shape("masks", a, b)
    edge_a, edge_b = _boundary(a), _boundary(b)
    if not edge_a.any() or not edge_b.any():
        # Neither has an edge, being empty or covering the picture: only then can they still agree.
        agree = not edge_a.any() and not edge_b.any() and bool((a == b).all())
        return 0.0 if agree else float(np.hypot(*a.shape))
    both = edge_a | edge_b
    rows, columns = np.flatnonzero(both.any(axis=1)), np.flatnonzero(both.any(axis=0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    edge_a, edge_b = edge_a[box], edge_b[box]
    return float((_distance_to(edge_b)[edge_a].mean() + _distance_to(edge_a)[edge_b].mean()) / 2)


def outline_distance_px(one: ArrayLike, other: ArrayLike, *, closed: bool = True) -> float:
    """Symmetric mean distance between two outlines given as dense samples [M, 2] and [M', 2], px.

    Each sample is measured to the nearest place on the other outline, corner or not, so the numbers of samples
    need not agree and sliding along the outline costs nothing.
    """
    a, b = _points(one), _points(other)
    return float((_distances(a, b, closed).mean() + _distances(b, a, closed).mean()) / 2)


def outline_distance_max_px(one: ArrayLike, other: ArrayLike, *, closed: bool = True) -> float:
    """Largest distance from a sample of either outline to the other outline (Hausdorff), px."""
    a, b = _points(one), _points(other)
    return float(max(_distances(a, b, closed).max(), _distances(b, a, closed).max()))


def outline_distances_px(samples: ArrayLike, outline: ArrayLike, *, closed: bool = True) -> FloatArray:
    """Distance [M] of each sample [M, 2] to the nearest place on an outline [M', 2], px."""
    return _distances(_points(samples), _points(outline), closed)


def point_error_px(predicted: ArrayLike, truth: ArrayLike, frame_weight: ArrayLike | None = None) -> float:
    """Mean distance of matching points, [T, N, 2] against [T, N, 2], px.

    Args:
        predicted: points per frame.
        truth: points per frame, same order.
        frame_weight: weight per frame [T]; 0 for frames outside the shape's lifetime. None counts all alike.
    """
    a, b = np.asarray(predicted, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    _same_shape("point tracks", a, b)
    return _weighted_mean(np.linalg.norm(a - b, axis=-1).mean(axis=-1), frame_weight)


def chatter_px(predicted: ArrayLike, truth: ArrayLike, frame_weight: ArrayLike | None = None) -> float:
    """Mean size of the second difference in time of the *error*, [T, N, 2] px: flicker that the truth has not.

    Measured on every frame with two neighbours; where one of the three frames has weight 0 it does not count.
    A constant offset or a steady drift is no chatter.
    """
    a, b = np.asarray(predicted, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    _same_shape("point tracks", a, b)
    if len(a) < 3:
        return 0.0
    bend = np.diff(a - b, n=2, axis=0)
    weight = np.ones(len(a)) if frame_weight is None else np.asarray(frame_weight, dtype=np.float64)
    triple = np.minimum(np.minimum(weight[:-2], weight[1:-1]), weight[2:])
    return _weighted_mean(np.linalg.norm(bend, axis=-1).mean(axis=-1), triple)


def _weighted_mean(per_frame: FloatArray, frame_weight: ArrayLike | None) -> float:
    weight = np.ones(len(per_frame)) if frame_weight is None else np.asarray(frame_weight, dtype=np.float64)
    if weight.shape != per_frame.shape or (weight < 0).any():
        raise ShapeError(
            f"frame weights have shape {weight.shape}; give one weight >= 0 per frame {per_frame.shape}"
        )
    total = float(weight.sum())
    return float((weight * per_frame).sum()) / total if total > 0 else 0.0


def _same_shape(what: str, a: NDArray[np.generic], b: NDArray[np.generic]) -> None:
    if a.shape != b.shape:
        raise ShapeError(f"the two {what} have shapes {a.shape} and {b.shape}; they must agree")


def _points(outline_px: ArrayLike) -> FloatArray:
    points = np.asarray(outline_px, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) == 0 or not np.isfinite(points).all():
        raise ShapeError(f"an outline has shape {points.shape}; it is [points, 2], finite and not empty")
    return points


def _distances(samples: FloatArray, outline_px: FloatArray, closed: bool) -> FloatArray:
    """Distance of each sample [M] to the nearest place on an outline's straight pieces."""
    ends = np.roll(outline_px, -1, axis=0) if closed else outline_px[1:]
    starts = outline_px if closed else outline_px[:-1]
    if len(starts) == 0:  # an open outline of one point
        starts = ends = outline_px
    along = ends - starts
    length2 = np.maximum((along**2).sum(axis=1), 1e-300)
    to = samples[:, None] - starts[None]
    u = np.clip((to * along).sum(axis=-1) / length2, 0.0, 1.0)
    gap = to - u[..., None] * along
    return np.asarray(np.sqrt((gap**2).sum(axis=-1)).min(axis=1))


def _binary(mask: ArrayLike) -> NDArray[np.bool_]:
    values = np.asarray(mask)
    return values if values.dtype == np.bool_ else np.asarray(values >= 0.5)


def _boundary(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    inner = cv2.erode(mask.astype(np.uint8), cross, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(mask & (inner == 0))


def _distance_to(edge: NDArray[np.bool_]) -> NDArray[np.float32]:
    away = cv2.distanceTransform((~edge).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(away, dtype=np.float32)
