"""Points added to a shape, taken away, made smooth or sharp: the same at every key, so that points stay places.

Adding and removing are linear in a point's vectors; what is done to the keys is done to slopes, feather and accepted
frames alike, and an added point leaves a Bezier where it was at every frame.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from model.errors import ShapeError
from model.keyframes import FloatArray, Keyed, default_slopes
from model.shapes import ShapeKind
from studio_node.desk.document import DeskShape

IN, CENTRE, OUT = 0, 1, 2
POINTS_MIN: Final = {True: 3, False: 2}
"""Fewest points of a closed and of an open shape."""
SMOOTH_ARM: Final = 1 / 6
"""Length of a new smooth tangent, as a share of the way between the point's neighbours."""
Change = Callable[[FloatArray], FloatArray]


def with_point(one: DeskShape, segment: int, share: float) -> tuple[DeskShape, Change]:
    """Add a point on a segment.

    Args:
        one: the shape.
        segment: between point ``segment`` and the next one.
        share: where on it, 0..1 of the curve's parameter.

    Returns:
        The shape, and what was done to controls [..., N, 3, 2], to be done to its course as well.

    Raises:
        ShapeError: there is no such segment.
    """
    count, closed = one.shape.points, one.shape.closed
    if not (0 <= segment < count - (not closed) and 0 < share < 1):
        raise ShapeError(
            f"'{one.shape.name}' has no place {share:g} on segment {segment}; it has {count} points"
        )

    def change(block: FloatArray) -> FloatArray:
        return _split(block, segment, share, one.shape.kind)

    def renumbered(point: int) -> int:
        return point + 1 if point > segment else point

    placed = {
        frame: frozenset({*map(renumbered, points), segment + 1}) for frame, points in one.placed.items()
    }
    return _changed(one, change, placed), change


def without_points(one: DeskShape, points: Sequence[int]) -> tuple[DeskShape, Change]:
    """Take points away.

    Raises:
        ShapeError: too few would be left.
    """
    gone = sorted(set(points))
    kept = [i for i in range(one.shape.points) if i not in set(gone)]
    if len(kept) < POINTS_MIN[one.shape.closed]:
        raise ShapeError(
            f"'{one.shape.name}' would be left with {len(kept)} point(s), which make no outline; "
            "delete the shape instead"
        )

    def change(block: FloatArray) -> FloatArray:
        return np.asarray(block[..., kept, :, :])

    numbers = {old: new for new, old in enumerate(kept)}
    placed = {f: frozenset(numbers[i] for i in found if i in numbers) for f, found in one.placed.items()}
    return _changed(one, change, placed), change


def with_tangents(one: DeskShape, points: Sequence[int], *, smooth: bool) -> tuple[DeskShape, Change]:
    """Make points smooth (tangents along their neighbours) or sharp (no tangents), at every key.

    Raises:
        ShapeError: the shape has no tangents.
    """
    if one.shape.kind != "bezier":
        raise ShapeError(
            f"'{one.shape.name}' is a {one.shape.kind} and has no tangents; only Bezier points do"
        )
    chosen = sorted(set(points))

    def change(block: FloatArray) -> FloatArray:
        after = block.copy()
        centres = block[..., CENTRE, :]
        arms = SMOOTH_ARM * (np.roll(centres, -1, axis=-2) - np.roll(centres, 1, axis=-2))
        after[..., chosen, IN, :] = -arms[..., chosen, :] if smooth else 0.0
        after[..., chosen, OUT, :] = arms[..., chosen, :] if smooth else 0.0
        return after

    shape = one.shape
    controls = change(shape.controls)
    slopes_in, slopes_out = shape.slopes_in.copy(), shape.slopes_out.copy()
    new_in, new_out = default_slopes(shape.frames, controls)
    for vector in (IN, OUT):
        slopes_in[:, chosen, vector] = new_in[:, chosen, vector]
        slopes_out[:, chosen, vector] = new_out[:, chosen, vector]
    after = replace(shape, controls=controls, slopes_in=slopes_in, slopes_out=slopes_out)
    accepted = {frame: change(kept) for frame, kept in one.accepted.items()}
    return replace(one, shape=after, accepted=accepted), change


def _changed(one: DeskShape, change: Change, placed: dict[int, frozenset[int]]) -> DeskShape:
    shape = one.shape
    feather = shape.feather
    if feather is not None:
        feather = Keyed(
            feather.frames, change(feather.values), change(feather.slopes_in), change(feather.slopes_out)
        )
    after = replace(
        shape,
        controls=change(shape.controls),
        slopes_in=change(shape.slopes_in),
        slopes_out=change(shape.slopes_out),
        feather=feather,
    )
    accepted = {frame: change(kept) for frame, kept in one.accepted.items()}
    return replace(one, shape=after, accepted=accepted, placed=placed)


def _split(block: FloatArray, segment: int, share: float, kind: ShapeKind) -> FloatArray:
    """Blocks [..., N, 3, 2] with a point more; de Casteljau for a Bezier, halfway along the straight line otherwise."""
    following = (segment + 1) % block.shape[-3]
    after = np.insert(block, segment + 1, 0.0, axis=-3)
    left, right = block[..., segment, :, :], block[..., following, :, :]
    if kind != "bezier":
        after[..., segment + 1, CENTRE, :] = (1 - share) * left[..., CENTRE, :] + share * right[
            ..., CENTRE, :
        ]
        return after

    def mix(a: FloatArray, b: FloatArray) -> FloatArray:
        return np.asarray((1 - share) * a + share * b)

    p0, p3 = left[..., CENTRE, :], right[..., CENTRE, :]
    p1, p2 = p0 + left[..., OUT, :], p3 + right[..., IN, :]
    a, b, c = mix(p0, p1), mix(p1, p2), mix(p2, p3)
    d, e = mix(a, b), mix(b, c)
    middle = mix(d, e)
    beyond = segment + 2 if following else 0
    after[..., segment, OUT, :] = a - p0
    after[..., segment + 1, :, :] = np.stack([d - middle, middle, e - middle], axis=-2)
    after[..., beyond, IN, :] = c - p3
    return after
