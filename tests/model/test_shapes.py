"""Shapes: the coordinate convention, transforms to the screen, lifetimes, and what is refused at birth."""

from dataclasses import replace

import numpy as np
import pytest

from model.errors import KeyframeError, ShapeError
from model.keyframes import Keyed
from model.shapes import Lifetime, Shape, ShapeSet
from model.transforms import Transform, combined


def square(frames=(1001, 1011), move=10.0):
    centres = np.array([[10, 10], [30, 10], [30, 30], [10, 30.0]])
    controls = np.zeros((len(frames), 4, 3, 2))
    controls[:, :, 1] = centres + move * np.arange(len(frames))[:, None, None]
    controls[:, :, 0], controls[:, :, 2] = (-4, 1), (4, -1)
    return Shape.from_keys("square", frames, controls)


def transform(pivot=(0, 0), translate=(0, 0), rotate_deg=0.0, scale=(1, 1)):
    return Transform(*(Keyed.constant(v) for v in (pivot, translate, rotate_deg, scale)))


def test_without_transforms_local_space_is_the_screen():
    shape = square()
    assert np.array_equal(shape.at(1001), shape.controls[0])
    assert shape.at(1006)[0, 1] == pytest.approx([15, 15])


def test_a_quarter_turn_is_clockwise_on_screen_about_its_pivot():
    turned = replace(square(), transforms=(transform(pivot=(10, 10), rotate_deg=90),))
    controls = turned.at(1001)
    assert controls[0, 1] == pytest.approx([10, 10])
    assert controls[1, 1] == pytest.approx([10, 30])  # right of the pivot goes below it
    assert controls[0, 2] == pytest.approx([1, 4])  # a tangent turns, but is not shifted


def test_nested_transforms_apply_from_the_inside_out():
    outer, inner = transform(translate=(100, 0)), transform(scale=(2, 3))
    shape = replace(square(), transforms=(outer, inner))
    assert shape.at(1001)[1, 1] == pytest.approx([160, 30])
    assert combined((outer, inner), 0) @ [30, 10, 1] == pytest.approx([160, 30, 1])


def test_transforms_are_animated_with_the_frame():
    drift = Transform(
        Keyed.constant((0.0, 0.0)),
        Keyed.smooth([1001, 1011], [[0.0, 0.0], [20.0, 0.0]]),
        Keyed.constant(0.0),
        Keyed.constant((1.0, 1.0)),
    )
    assert not drift.is_identity
    assert replace(square(move=0), transforms=(drift,)).at(1006)[0, 1] == pytest.approx([20, 10])


def test_feather_offsets_turn_with_the_shape_but_do_not_shift():
    feather = Keyed.constant(np.full((4, 3, 2), [5.0, 0.0]), 1001)
    shape = replace(square(), feather=feather, transforms=(transform(translate=(9, 9), rotate_deg=90),))
    assert shape.feather_at(1001) == pytest.approx(np.full((4, 3, 2), [0.0, 5.0]))
    assert square().feather_at(1001) is None


def test_key_frames_are_whole_and_a_key_between_frames_counts_for_the_nearer():
    assert square((1001, 1004.4, 1009.6)).key_frames == (1001, 1004, 1010)


@pytest.mark.parametrize(
    ("lifetime", "alive"),
    [
        (Lifetime(), {0, 1000, 1005, 2000}),
        (Lifetime(first=1000), {1000, 1005, 2000}),
        (Lifetime(last=1005), {0, 1000, 1005}),
        (Lifetime(1000, 1000), {1000}),
        (Lifetime(visibility=Keyed.smooth([999, 1000, 1005, 1006], [0.0, 1.0, 1.0, 0.0])), {1000, 1005}),
    ],
)
def test_lifetime_ends_are_inclusive_and_visibility_holds_from_key_to_key(lifetime, alive):
    shape = replace(square(), lifetime=lifetime)
    assert {f for f in (0, 1000, 1005, 2000) if shape.is_alive(f)} == alive


def test_equality_is_by_content():
    assert square() == square()
    assert square() != square(move=10.000001)
    assert square() != replace(square(), opacity=Keyed.constant(0.5))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"name": ""}, "name"),
        ({"kind": "nurbs"}, "nurbs"),
        ({"controls": np.zeros((2, 4, 2))}, "shape"),
        ({"controls": np.zeros((2, 0, 3, 2))}, r"\(2, 0, 3, 2\)"),
        ({"feather": Keyed.constant(np.zeros((3, 3, 2)))}, "feather"),
        ({"key_sources": ("artist",)}, "sources"),
        ({"key_sources": ("artist", "robot")}, "sources"),
        ({"key_confidence": np.array([0.5, 1.5])}, "confidences"),
        ({"opacity": Keyed.constant((1.0, 1.0))}, "opacity"),
    ],
)
def test_a_shape_that_cannot_be_is_refused_with_what_is_wrong(change, what):
    if "controls" in change:
        change |= {"slopes_in": change["controls"], "slopes_out": change["controls"]}
    with pytest.raises(ShapeError, match=what):
        replace(square(), **change)


def test_controls_without_a_key_time_each_are_refused():
    with pytest.raises(KeyframeError, match="key times"):
        Shape.from_keys("a", [1, 2, 3], np.zeros((2, 4, 3, 2)))


def test_find_takes_a_path_or_a_name_that_only_one_has():
    one, two = replace(square(), path="Roto1:a/square"), replace(square(), path="Roto1:b/square")
    other = replace(square(), name="hand", path="Roto1:b/hand")
    shapes = ShapeSet((one, two, other), 1920, 1080)
    assert shapes.find("Roto1:b/square") is two
    assert shapes.find("hand") is other
    with pytest.raises(ShapeError, match=r"several.*Roto1:a/square, Roto1:b/square"):
        shapes.find("square")
    with pytest.raises(ShapeError, match=r"no shape.*Roto1:b/hand"):
        shapes.find("foot")


@pytest.mark.parametrize(
    "change",
    [
        {"width": 0},
        {"pixel_aspect": 0.0},
        {"first_frame": 5, "last_frame": 4},
        {"shapes": (square(), square())},
    ],
)
def test_a_set_that_cannot_be_is_refused(change):
    with pytest.raises(ShapeError):
        replace(ShapeSet((), 1920, 1080), **change)
