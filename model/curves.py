"""Splines: Bezier, uniform cubic B-spline and polygon, as linear maps from controls to outline samples.

A point is (in-tangent offset, centre, out-tangent offset), see ``model.shapes``. For every kind the
outline is linear in those vectors, so one matrix per shape does the sampling and its transpose the fitting.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from model.curve_fitting import BoolArray, fit_frame
from model.errors import ShapeError
from model.keyframes import FloatArray
from model.shapes import ShapeKind

IN, CENTRE, OUT = 0, 1, 2  # which of a point's three vectors
SMOOTH_SINE_MAX = 0.01  # tangents within 0.6 degrees of one line count as smooth: float32 files round them


def sample_count(points: int, kind: ShapeKind, closed: bool, samples_per_segment: int) -> int:
    """How many outline samples [M] ``sampling_matrix`` makes; a polygon's samples are its vertices."""
    if kind == "polygon":
        return points
    return points * samples_per_segment if closed else (points - 1) * samples_per_segment + 1


@lru_cache(maxsize=256)
def sampling_matrix(points: int, kind: ShapeKind, closed: bool, samples_per_segment: int) -> FloatArray:
    """The linear map from a shape's controls to samples of its outline.

    Args:
        points: N.
        kind: ``bezier``: sample ``i * samples_per_segment`` is point i itself. ``bspline``: the uniform cubic,
            ``(C[i-1] + 4 C[i] + C[i+1]) / 6`` at the same index; an open one is extended so that it
            begins and ends on its end points. ``polygon``: the vertices, whatever ``samples_per_segment`` is.
        closed: False leaves out the segment from the last point to the first.
        samples_per_segment: even steps of the curve's parameter, at least 1.

    Returns:
        [M, 3 N], read-only: ``samples = matrix @ controls.reshape(3 N, 2)`` with the three vectors of a
        point in the order in-tangent offset, centre, out-tangent offset. M is ``sample_count(...)``.

    Raises:
        ShapeError: no points, no samples, or an unknown kind.
    """
    if points < 1 or samples_per_segment < 1:
        raise ShapeError(f"{points} points with {samples_per_segment} samples per segment make no outline")
    if kind == "bezier":
        weights = _bezier_weights(points, closed, samples_per_segment)
    elif kind == "bspline":
        weights = _bspline_weights(points, closed, samples_per_segment)
    elif kind == "polygon":
        weights = np.zeros((points, points, 3))
        weights[np.arange(points), np.arange(points), CENTRE] = 1.0
    else:
        raise ShapeError(f"curves of kind {kind!r} are unknown; use bezier, bspline or polygon")
    matrix = weights.reshape(len(weights), 3 * points)
    matrix.setflags(write=False)
    return matrix


def _parameters(points: int, closed: bool, samples_per_segment: int) -> tuple[np.ndarray, FloatArray]:
    """Segment index and parameter 0..1 of every sample; the end of an open curve closes its last segment."""
    segments = points if closed else points - 1
    index = np.repeat(np.arange(segments), samples_per_segment)
    u = np.tile(np.arange(samples_per_segment) / samples_per_segment, segments)
    if not closed:
        index, u = np.append(index, max(segments - 1, 0)), np.append(u, 1.0 if segments else 0.0)
    return index, u


def _bezier_weights(points: int, closed: bool, samples_per_segment: int) -> FloatArray:
    left, u = _parameters(points, closed, samples_per_segment)
    right = (left + 1) % points
    b0, b1, b2, b3 = (1 - u) ** 3, 3 * u * (1 - u) ** 2, 3 * u**2 * (1 - u), u**3
    weights = np.zeros((len(u), points, 3))
    row = np.arange(len(u))  # one entry per row and statement, so += never meets an index twice
    weights[row, left, CENTRE] += b0 + b1
    weights[row, left, OUT] += b1
    weights[row, right, CENTRE] += b2 + b3
    weights[row, right, IN] += b2
    return weights


def _bspline_weights(points: int, closed: bool, samples_per_segment: int) -> FloatArray:
    left, u = _parameters(points, closed, samples_per_segment)
    basis = (
        (1 - u) ** 3 / 6,
        (3 * u**3 - 6 * u**2 + 4) / 6,
        (-3 * u**3 + 3 * u**2 + 3 * u + 1) / 6,
        u**3 / 6,
    )
    weights = np.zeros((len(u), points, 3))
    row = np.arange(len(u))
    for offset, b in zip((-1, 0, 1, 2), basis, strict=True):
        i = left + offset
        if closed:
            weights[row, i % points, CENTRE] += b
            continue
        # Beyond an end: the reflection 2 C[end] - C[inner], which puts the curve's end on the end point.
        inside = np.clip(i, 0, points - 1)
        reflected = np.clip(2 * inside - i, 0, points - 1)
        outside = i != inside
        weights[row, inside, CENTRE] += np.where(outside, 2 * b, b)
        weights[row, reflected, CENTRE] += np.where(outside, -b, 0.0)
    return weights


def outline(controls: ArrayLike, kind: ShapeKind, closed: bool, samples_per_segment: int) -> FloatArray:
    """Samples of the outline, [..., M, 2] px, from controls [..., N, 3, 2]; see ``sampling_matrix``."""
    points = np.asarray(controls, dtype=np.float64)
    if points.ndim < 3 or points.shape[-2:] != (3, 2):
        raise ShapeError(f"controls have shape {points.shape}; they are [..., points, 3, 2]")
    n = points.shape[-3]
    flat = points.reshape(*points.shape[:-3], 3 * n, 2)
    return np.asarray(sampling_matrix(n, kind, closed, samples_per_segment) @ flat)


def bezier_controls(controls: ArrayLike, kind: ShapeKind, closed: bool) -> FloatArray:
    """Controls [..., N, 3, 2] of the Bezier with the same outline; exact for every kind.

    Args:
        controls: [..., N, 3, 2] of a curve of this kind.
        kind: see ``sampling_matrix``.
        closed: see ``sampling_matrix``.
    """
    points = np.array(controls, dtype=np.float64)
    if kind == "polygon":
        return polygon_controls(points[..., CENTRE, :])
    if kind == "bezier":
        return points
    centres = points[..., CENTRE, :]
    before, after = np.roll(centres, 1, axis=-2), np.roll(centres, -1, axis=-2)
    if not closed:  # reflected beyond the ends, as in ``_bspline_weights``
        before[..., 0, :] = 2 * centres[..., 0, :] - centres[..., min(1, centres.shape[-2] - 1), :]
        after[..., -1, :] = 2 * centres[..., -1, :] - centres[..., max(-2, -centres.shape[-2]), :]
    along = (after - before) / 6
    return np.stack([-along, (before + 4 * centres + after) / 6, along], axis=-2)


def polygon_controls(vertices: ArrayLike) -> FloatArray:
    """Controls [..., N, 3, 2] with zero tangents for vertices [..., N, 2]."""
    centres = np.asarray(vertices, dtype=np.float64)
    controls = np.zeros((*centres.shape[:-1], 3, 2))
    controls[..., CENTRE, :] = centres
    return controls


def smooth_points(controls: ArrayLike) -> BoolArray:
    """Which points [N] are smooth: their two tangents lie on one line, on opposite sides, at every key.

    Args:
        controls: [..., N, 3, 2], all keys of a shape at once; a point with a zero tangent is not smooth.
    """
    points = np.asarray(controls, dtype=np.float64)
    into, out = points[..., IN, :], points[..., OUT, :]
    lengths = np.linalg.norm(into, axis=-1) * np.linalg.norm(out, axis=-1)
    cross = into[..., 0] * out[..., 1] - into[..., 1] * out[..., 0]
    opposite = (into * out).sum(-1) < 0
    smooth = (lengths > 0) & opposite & (np.abs(cross) <= SMOOTH_SINE_MAX * lengths)
    return np.asarray(smooth.all(axis=tuple(range(smooth.ndim - 1))))


def fit_controls(
    base: ArrayLike,
    displacements_px: ArrayLike,
    *,
    kind: ShapeKind,
    closed: bool,
    samples_per_segment: int,
    smooth: BoolArray | None = None,
    trust: ArrayLike | None = None,
) -> FloatArray:
    """Move a spline so that its outline samples follow given displacements.

    Centres and tangents move; smooth points keep their tangents on one line, cusps stay cusps, zero tangents
    stay zero, and a segment too small to tell its own motion follows its neighbours. Where the displacements
    are those of a shift, turn and scale, the controls are carried by exactly that. A polygon's vertices land
    exactly on their samples.

    Args:
        base: controls before, [..., N, 3, 2] px.
        displacements_px: movement of each sample of ``outline(base, ...)``, [..., M, 2] px.
        kind: see ``sampling_matrix``.
        closed: see ``sampling_matrix``.
        samples_per_segment: see ``sampling_matrix``; 4 or more for a Bezier, so that its tangents are told.
        smooth: points to keep smooth [N]; None judges by ``base`` alone (``smooth_points``). Pass the
            artist's keys to ``smooth_points`` to judge by them: an in-between may be a little off the line.
        trust: weight of each sample, [..., M] or [M], >= 0; None trusts all alike.

    Returns:
        Controls after, same shape as ``base``.

    Raises:
        ShapeError: shapes that do not fit each other, or values that are not finite.
    """
    points, moves = np.asarray(base, dtype=np.float64), np.asarray(displacements_px, dtype=np.float64)
    before = outline(points, kind, closed, samples_per_segment)
    if moves.shape != before.shape:
        raise ShapeError(f"displacements have shape {moves.shape}, the outline samples {before.shape}")
    weight = np.broadcast_to(1.0 if trust is None else np.asarray(trust, dtype=np.float64), before.shape[:-1])
    if not (np.isfinite(points).all() and np.isfinite(moves).all() and np.isfinite(weight).all()):
        raise ShapeError(
            "controls, displacements or trust are not finite; leave such samples out with trust 0"
        )
    target = before + moves
    if kind == "polygon":
        after = points.copy()
        after[..., CENTRE, :] = target
        return after
    n = points.shape[-3]
    keep = smooth_points(points) if smooth is None else np.asarray(smooth, dtype=np.bool_)
    matrix = sampling_matrix(n, kind, closed, samples_per_segment).reshape(-1, n, 3)
    frames = [
        fit_frame(matrix, b, t, keep, w)
        for b, t, w in zip(
            points.reshape(-1, n, 3, 2),
            target.reshape(-1, *target.shape[-2:]),
            weight.reshape(-1, weight.shape[-1]),
            strict=True,
        )
    ]
    return np.asarray(frames).reshape(points.shape)
