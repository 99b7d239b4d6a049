"""Mattes: soft edges, motion blur, open splines, and how several are blended."""

from dataclasses import replace

import numpy as np
import pytest

from model.curves import polygon_controls
from model.errors import ShapeError
from model.keyframes import Keyed
from model.mattes import SHARP, Shutter, combined_matte, matte
from model.rasteriser import coverage
from model.shapes import Lifetime, Shape

SIZE = (40, 50)  # height, width


def square(left=10.0, right=30.0, *, frames=(1,), **more):
    """A square, Bezier with straight sides, from x ``left`` to ``right`` and y 10 to 30."""
    corners = np.array([[left, 10], [right, 10], [right, 30], [left, 30]])
    drawn = Shape.from_keys("square", frames, np.repeat(polygon_controls(corners)[None], len(frames), axis=0))
    return replace(drawn, **more)


def attributes(**numbers):
    return tuple((name, Keyed.constant(float(value))) for name, value in numbers.items())


def outward(offset):
    """Feather whose centres lie ``offset`` px outside of the corners along x and y."""
    feather = np.zeros((4, 3, 2))
    feather[:, 1] = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * offset
    return Keyed.constant(feather, 1)


def test_without_feather_it_is_the_exact_coverage():
    corners = [[10.25, 10], [30, 10], [30, 30], [10.25, 30]]
    assert matte(square(left=10.25), 1, *SIZE) == pytest.approx(coverage(corners, *SIZE), abs=1e-6)


def test_a_soft_edge_falls_from_the_outline_to_the_feather():
    drawn = matte(square(feather=outward(8.0)), 1, *SIZE)
    assert drawn[20, 10:30] == pytest.approx(np.ones(20), abs=1e-5)
    assert drawn[20, 2:10] == pytest.approx((np.arange(8) + 0.5) / 8, abs=0.03)
    assert drawn[20, 39] == 0


def test_falloff_bends_the_edge_and_feather_can_be_off_or_inward():
    soft = square(feather=outward(8.0))
    bent = matte(replace(soft, attributes=attributes(ff=2)), 1, *SIZE)
    assert bent[20, 2:10] == pytest.approx(((np.arange(8) + 0.5) / 8) ** 2, abs=0.03)
    off = matte(replace(soft, attributes=attributes(fo=0)), 1, *SIZE)
    assert off == pytest.approx(matte(square(), 1, *SIZE))
    inward = matte(square(feather=outward(-4.0)), 1, *SIZE)
    assert inward[20, 10] == pytest.approx(0.125, abs=0.03)
    assert inward[20, 14] == 1


def test_feather_of_the_whole_shape_goes_outward():
    drawn = matte(square(attributes=attributes(fx=8, fy=8)), 1, *SIZE)
    assert drawn[20, 2:10] == pytest.approx((np.arange(8) + 0.5) / 8, abs=0.03)
    reverse = square(left=30, right=10, attributes=attributes(fx=8, fy=8))
    assert matte(reverse, 1, *SIZE)[20, 4] == pytest.approx(drawn[20, 4], abs=1e-4)


def moving():
    still = square(frames=(1, 2))
    controls = still.controls.copy()
    controls[1, :, 1, 0] += 8
    return replace(still, controls=controls, slopes_out=controls * 0 + (controls[1] - controls[0]),
                   slopes_in=controls * 0 + (controls[1] - controls[0]))  # fmt: skip


def test_motion_blur_is_the_mean_over_the_shutter():
    drawn = matte(moving(), 1.5, *SIZE, shutter=Shutter(64, open_frames=1.0))
    assert drawn[20, 10:18] == pytest.approx((np.arange(8) + 0.5) / 8, abs=0.02)
    assert drawn[20, 30:38] == pytest.approx(1 - (np.arange(8) + 0.5) / 8, abs=0.02)
    assert drawn.sum() == pytest.approx(400, rel=1e-5)


def test_blur_of_a_soft_edge_that_stands_still_is_the_soft_edge():
    soft = square(feather=outward(8.0))
    blurred = matte(soft, 1, *SIZE, shutter=Shutter(16, open_frames=1.0))
    assert blurred == pytest.approx(matte(soft, 1, *SIZE), abs=0.03)


@pytest.mark.parametrize(("offset", "middle"), [(0, 14), (1, 14 + 2), (2, 14 - 2)])
def test_a_shape_knows_its_own_shutter(offset, middle):
    own = replace(moving(), attributes=attributes(mbo=1, mbs=0.5, mbsot=offset))
    drawn = matte(own, 1.5, *SIZE, shutter=Shutter(32))
    edge = 30 - drawn[20, :30].sum()  # where the left side stands on average
    assert edge == pytest.approx(middle, abs=0.1)
    assert matte(moving(), 1.5, *SIZE, shutter=Shutter(32)).sum() == pytest.approx(
        matte(moving(), 1.5, *SIZE).sum()
    )


def test_opacity_invert_and_lifetime():
    half = square(opacity=Keyed.constant(0.5))
    assert matte(half, 1, *SIZE)[20, 20] == 0.5
    assert matte(replace(half, attributes=attributes(inv=1)), 1, *SIZE)[20, 20] == 0
    assert matte(replace(half, attributes=attributes(inv=1)), 1, *SIZE)[0, 0] == 0.5
    assert not matte(square(lifetime=Lifetime(5, 6)), 1, *SIZE).any()


def test_open_splines_have_a_width_or_are_refused():
    line = Shape.from_keys("line", [1], polygon_controls([[10.0, 20], [30, 20]])[None], closed=False)
    drawn = matte(replace(line, attributes=attributes(osw=4)), 1, *SIZE)
    assert drawn[18:22, 10:30] == pytest.approx(np.ones((4, 20)), abs=1e-4)
    assert drawn.sum() == pytest.approx(80, rel=1e-3)
    with pytest.raises(ShapeError, match="without a width"):
        matte(line, 1, *SIZE)


@pytest.mark.parametrize(
    ("mode", "left", "both", "right"),
    [
        (0, 0.5, 0.75, 0.5),
        (12, 0.5, 0, 0),
        (13, 0.5, 0, 0.5),
        (4, 0.5, 0.5, 0.5),
        (5, 0, 0.25, 0),
        (99, 0.5, 0.75, 0.5),
    ],
)
def test_shapes_are_blended_in_drawing_order(mode, left, both, right):
    half = Keyed.constant(0.5)
    first, second = square(opacity=half), square(20.0, 40.0, opacity=half, attributes=attributes(bm=mode))
    drawn = combined_matte([(s, matte(s, 1, *SIZE)) for s in (first, second)], 1, *SIZE)
    assert [float(drawn[20, x]) for x in (15, 25, 35)] == pytest.approx([left, both, right])


def test_shutters_that_cannot_be_are_refused():
    for wrong in ({"samples": 0}, {"samples": 1000}, {"open_frames": -1.0}, {"open_frames": float("nan")}):
        with pytest.raises(ShapeError):
            Shutter(**wrong)
    assert SHARP.times(square(), 7) == [7]
