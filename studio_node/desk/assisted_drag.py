"""Drags: what the artist moves, what follows along the outline, and what follows in time, all in closed form.

A drag on a predicted frame says where one point truly is. The error of a prediction is alike at neighbouring points
and drifts as a whole, so the others are moved by the mean of a Gaussian process of that form, conditioned on the
dragged points and on those that the artist has placed before (which stay). In time a correction fades linearly to
the neighbouring anchors, which is how the trackers themselves close on a key; so a redraw needs no picture, and the
prediction made anew behind it starts from the same place.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.keyframes import FloatArray

CENTRE: Final = 1
SHARED: Final = 0.03
"""Share of a prediction's error that is common to the whole outline."""
REACH: Final = 0.06
"""How far the rest of it reaches along the outline, as a share of its length (one standard deviation)."""
JITTER: Final = 1e-6


def following(
    centres: FloatArray,
    moved: NDArray[np.int64],
    displacements: FloatArray,
    free: NDArray[np.bool_],
    *,
    closed: bool,
) -> FloatArray:
    """Displacements of all points where some were moved by hand.

    Args:
        centres: [N, 2] px before the drag.
        moved: [D] indices of the points that the artist moves.
        displacements: [D, 2] px, how far.
        free: [N] points that nobody has placed at this frame; all others stay where they are.
        closed: whether the outline's last point is next to its first.

    Returns:
        [N, 2] px: exactly ``displacements`` at ``moved``, 0 at points that are not free.
    """
    result = np.zeros_like(centres)
    if len(moved) == 0:
        return result
    loose = free.copy()
    loose[moved] = False
    if loose.any():
        held = np.setdiff1d(np.flatnonzero(~free), moved)
        known = np.concatenate([moved, held]).astype(int)
        values = np.concatenate([displacements, np.zeros((len(held), 2))])
        likeness = _likeness(centres, closed)
        weights = np.linalg.solve(likeness[np.ix_(known, known)] + JITTER * np.eye(len(known)), values)
        result[loose] = likeness[np.ix_(loose, known)] @ weights
    result[moved] = displacements
    return result


def _likeness(centres: FloatArray, closed: bool) -> FloatArray:
    """Covariance [N, N] of a prediction's error between points, 1 on the diagonal."""
    steps = np.linalg.norm(np.roll(centres, -1, axis=0) - centres, axis=1)
    if not closed:
        steps[-1] = 0.0
    along = np.concatenate([[0.0], np.cumsum(steps)[:-1]])
    length = max(float(steps.sum()), 1e-9)
    apart = np.abs(along[:, None] - along[None, :])
    if closed:
        # The distance around a ring as a chord keeps the covariance positive.
        apart = length / np.pi * np.sin(np.pi * apart / length)
    return np.asarray(SHARED + (1 - SHARED) * np.exp(-0.5 * (apart / (REACH * length)) ** 2))


def moved_handle(controls: FloatArray, point: int, part: int, to: FloatArray, *, exact: bool) -> FloatArray:
    """Controls [N, 3, 2] after one tangent handle was put at ``to`` (px on screen).

    A smooth point's other tangent turns along; ``exact`` moves this handle alone, which breaks the point.
    """
    after = controls.copy()
    old, new = controls[point, part], to - controls[point, CENTRE]
    after[point, part] = new
    other = 2 - part
    arm = controls[point, other]
    lengths = np.linalg.norm(old) * np.linalg.norm(arm)
    cross, dot = old[0] * arm[1] - old[1] * arm[0], float(old @ arm)
    smooth = lengths > 0 and dot < 0 and abs(cross) <= 0.02 * lengths
    reach = np.linalg.norm(new)
    if smooth and not exact and reach > 1e-6:
        after[point, other] = -new / reach * np.linalg.norm(arm)
    return after


def transformed(controls: FloatArray, points: NDArray[np.int64], matrix: FloatArray) -> FloatArray:
    """Controls [N, 3, 2] with some points taken through an affine map [2, 3], tangents along."""
    after = controls.copy()
    after[points] = controls[points] @ matrix[:, :2].T
    after[points, CENTRE] += matrix[:, 2]
    return after


def carried(
    track: FloatArray, row: int, controls: FloatArray, left: int | None, right: int | None
) -> FloatArray:
    """A shape's course after one frame of it was changed, at once and without pictures.

    Args:
        track: [T, N, 3, 2] every frame before the change.
        row: the frame that was changed.
        controls: [N, 3, 2] what it is now.
        left: row of the anchor before it, or None where there is none and the shape is held.
        right: row of the anchor after it, or None.

    Returns:
        [T, N, 3, 2]: the change fades linearly to both anchors, turned and scaled with the shape.
    """
    after = track.copy()
    first, last = 0 if left is None else left, len(track) - 1 if right is None else right
    rows = np.arange(first, last + 1)
    weight = np.ones(len(rows))
    if left is not None and row > left:
        before = rows <= row
        weight[before] = (rows[before] - left) / (row - left)
    if right is not None and row < right:
        behind = rows >= row
        weight[behind] = np.minimum(weight[behind], (right - rows[behind]) / (right - row))
    change = controls - track[row]
    as_number = change[..., 0] + 1j * change[..., 1]
    turned = _turns(track[rows], track[row])[:, None, None] * as_number * weight[:, None, None]
    after[rows] += np.stack([turned.real, turned.imag], axis=-1)
    after[row] = controls
    return after


def _turns(outlines: FloatArray, reference: FloatArray) -> NDArray[np.complex128]:
    """Rotation and scale [T], as complex numbers, that take the reference outline to each of the others."""
    centres = outlines[:, :, CENTRE, 0] + 1j * outlines[:, :, CENTRE, 1]
    origin = reference[:, CENTRE, 0] + 1j * reference[:, CENTRE, 1]
    centres = centres - centres.mean(axis=1, keepdims=True)
    origin = origin - origin.mean()
    size = float((np.abs(origin) ** 2).sum())
    if size < 1e-6:
        return np.ones(len(outlines), np.complex128)
    return np.asarray((np.conj(origin) * centres).sum(axis=1) / size)
