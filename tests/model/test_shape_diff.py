"""Differences between two sets of shapes, in pixels per frame."""

from dataclasses import replace

import numpy as np
import pytest

from model.errors import ShapeError
from model.formats import nuke
from model.shape_diff import FrameDifference, difference
from model.shapes import Lifetime, Shape, ShapeSet


def hand(move=0.0, name="hand"):
    controls = np.random.default_rng(1).normal(0, 100, (2, 3, 3, 2))
    controls[1, 2, 1] += [3 * move, 4 * move]
    return Shape.from_keys(name, [1001, 1005], controls)


def shapes_of(*shapes):
    return ShapeSet(shapes, 1920, 1080)


def test_equal_sets_differ_in_nothing():
    assert difference(shapes_of(hand(), hand(name="b")), shapes_of(hand(), hand(name="b"))) == ()


def test_a_moved_point_is_told_per_frame_in_px():
    (found,) = difference(shapes_of(hand()), shapes_of(hand(move=1)))
    assert found.facts == ()
    assert [d.frame for d in found.frames] == [1002, 1003, 1004, 1005]
    assert found.frames[-1] == FrameDifference(1005, pytest.approx(5), pytest.approx(5 / 3), 0)
    assert [d.frame for d in difference(shapes_of(hand()), shapes_of(hand(1)), tolerance_px=3)[0].frames] == [
        1004,
        1005,
    ]


def test_shapes_on_one_side_only_are_named():
    found = difference(shapes_of(hand(), hand(name="a")), shapes_of(hand(), hand(name="b")))
    assert [(d.path, d.facts) for d in found] == [
        ("a", ("only in the first",)),
        ("b", ("only in the second",)),
    ]


def test_shapes_match_by_name_where_their_nodes_differ():
    moved = replace(hand(move=1), path="Roto1_fedroto:fedroto_pred/hand")
    (found,) = difference(shapes_of(replace(hand(), path="Roto1:hand")), shapes_of(moved))
    assert found.path == "Roto1:hand"
    assert len(found.frames) == 4


def test_facts_say_what_differs_as_a_whole():
    other = replace(hand(), kind="bspline", closed=False, lifetime=Lifetime(last=1002))
    (found,) = difference(shapes_of(hand()), shapes_of(other))
    assert found.facts == (
        "kind: bezier and bspline",
        "closed: True and False",
        "alive in one only: 3 frames from 1003",
    )
    fewer = Shape.from_keys("hand", [1001], np.zeros((1, 2, 3, 2)))
    (found,) = difference(shapes_of(hand()), shapes_of(fewer))
    assert found.facts == ("points: 3 and 2", "keys: 2 and 1")
    assert found.frames == ()


def test_a_round_trip_through_nuke_stays_within_float32():
    before = shapes_of(hand(), hand(move=2, name="b"))
    assert difference(before, nuke.loads(nuke.dumps(before)).shapes, tolerance_px=1e-4) == ()


def test_a_negative_tolerance_is_refused():
    with pytest.raises(ShapeError, match="-1"):
        difference(shapes_of(), shapes_of(), tolerance_px=-1)


def test_keys_unthinkably_far_apart_are_refused_and_not_walked():
    far = Shape.from_keys("hand", [1001, 1e9], np.zeros((2, 3, 3, 2)))
    with pytest.raises(ShapeError, match="frames apart"):
        difference(shapes_of(hand()), shapes_of(far))
