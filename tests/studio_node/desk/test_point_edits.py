from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.curves import outline, smooth_points
from model.errors import ShapeError
from model.keyframes import Keyed
from model.shapes import Shape
from studio_node.desk.document import DeskShape
from studio_node.desk.point_edits import with_point, with_tangents, without_points

from .conftest import circle

KEYS = np.stack([circle((20, 30), 10), circle((40, 30), 14), circle((60, 40), 8)])


def drawn(closed=True):
    shape = Shape.from_keys("round", [1, 11, 21], KEYS, closed=closed)
    feather = Keyed.smooth([1, 21], 0.2 * KEYS[[0, 2]])
    return DeskShape(
        1, replace(shape, feather=feather), placed={11: frozenset({0, 5})}, accepted={4: shape.at(4)}
    )


@settings(deadline=None, max_examples=25)
@given(segment=st.integers(0, 7), share=st.floats(0.05, 0.95), frame=st.floats(1, 21))
def test_an_added_point_lies_on_the_curve_and_moves_nothing_at_any_frame(segment, share, frame):
    one = drawn()
    after, change = with_point(one, segment, share)
    assert after.shape.points == 9
    fine = outline(one.shape.at(frame), "bezier", True, 800)
    new = outline(after.shape.at(frame), "bezier", True, 8)
    nearest = np.linalg.norm(fine[None] - new[:, None], axis=-1).min(axis=1)
    assert nearest.max() < 0.02
    np.testing.assert_allclose(after.accepted[4], change(one.accepted[4]))
    np.testing.assert_allclose(after.shape.feather_at(frame), change(one.shape.feather_at(frame)), atol=1e-9)
    kept = [i for i in range(9) if i != segment + 1]
    np.testing.assert_allclose(after.shape.at(frame)[kept, 1], one.shape.at(frame)[:, 1], atol=1e-9)


def test_points_keep_their_history_under_their_new_numbers():
    after, _ = with_point(drawn(), 2, 0.5)
    assert after.placed[11] == {0, 6, 3}
    fewer, _ = without_points(drawn(), [3, 5])
    assert fewer.placed[11] == {0}
    assert fewer.shape.points == 6


def test_an_open_shape_has_no_segment_behind_its_end():
    with_point(drawn(closed=False), 6, 0.5)
    for segment, share in ((7, 0.5), (-1, 0.5), (3, 0.0)):
        with pytest.raises(ShapeError, match="no place"):
            with_point(drawn(closed=False), segment, share)


def test_an_outline_is_always_left():
    with pytest.raises(ShapeError, match="2 point"):
        without_points(drawn(), range(6))


def test_smooth_and_sharp_are_the_same_at_every_key():
    sharp, _ = with_tangents(drawn(), [2, 3], smooth=False)
    assert smooth_points(sharp.shape.controls).tolist() == [True, True, False, False, True, True, True, True]
    assert not sharp.shape.at(6)[2, [0, 2]].any()
    again, _ = with_tangents(sharp, [2], smooth=True)
    assert smooth_points(again.shape.controls)[2]
    with pytest.raises(ShapeError, match="no tangents"):
        with_tangents(replace(drawn(), shape=replace(drawn().shape, kind="bspline")), [1], smooth=True)
