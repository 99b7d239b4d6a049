"""Mattes on disk: names, sizes, what is there already, and shapes that cannot be drawn."""

from dataclasses import replace

import numpy as np
import OpenImageIO as oiio
import pytest

from federation.errors import ConfigError, FedrotoError
from model.curves import polygon_controls
from model.keyframes import Keyed
from model.shapes import Shape, ShapeSet
from studio_node.matte_frames import MattePlan, draw_mattes


def pixels(path):
    picture = oiio.ImageBuf(str(path))
    return picture.get_pixels(oiio.FLOAT)[..., 0], picture.spec()


def square(name, left, right, **more):
    corners = np.array([[left, 4], [right, 4], [right, 12], [left, 12.0]])
    return replace(Shape.from_keys(name, [1001], polygon_controls(corners)[None]), **more)


def shapes(*drawn):
    return ShapeSet(drawn or (square("Left", 2, 8), square("Right", 10, 20)), 32, 16, 1001, 1003)


def plan(folder, pattern="matte.####.exr", **more):
    usual = {"first_frame": 1001, "last_frame": 1003, "width": 32, "height": 16}
    return MattePlan(folder / pattern, **(usual | more))


def test_one_file_a_frame_holds_all_shapes(tmp_path):
    told = []
    report = draw_mattes(shapes(), plan(tmp_path), lambda done, of: told.append((done, of)))
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"matte.{f}.exr" for f in (1001, 1002, 1003)]
    picture, spec = pixels(tmp_path / "matte.1002.exr")
    assert (spec.channelnames, str(spec.format)) == (("A",), "half")
    assert picture[8, [3, 9, 15, 25]].tolist() == [1, 0, 1, 0]
    assert (report.written, report.kept, report.rejected, told[-1]) == (3, 0, (), (3, 3))


def test_each_shape_can_have_its_own_files_as_png_and_at_another_size(tmp_path):
    drawn = shapes(square("Left", 2, 8), square("a/b", 10, 20, opacity=Keyed.constant(0.5), path="Roto1:a/b"))
    draw_mattes(drawn, plan(tmp_path, "m_%05d.png", per_shape=True, width=64, height=32, last_frame=1001))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m_Left_01001.png", "m_Roto1_a_b_01001.png"]
    picture, spec = pixels(tmp_path / "m_Roto1_a_b_01001.png")
    assert (spec.width, spec.height, spec.nchannels, str(spec.format)) == (64, 32, 1, "uint16")
    assert picture[16, 30] == pytest.approx(0.5, abs=1e-4)
    assert picture[16, 10] == 0


def test_a_shape_that_cannot_be_drawn_is_told_once_and_the_others_are_drawn(tmp_path):
    report = draw_mattes(shapes(square("open", 2, 8, closed=False), square("Right", 10, 20)), plan(tmp_path))
    assert (report.written, len(report.rejected)) == (3, 1)
    assert "open on frame 1001" in report.rejected[0].where
    assert pixels(tmp_path / "matte.1003.exr")[0][8, 15] == 1


def test_frames_that_are_there_are_kept_replaced_or_refused(tmp_path):
    draw_mattes(shapes(), plan(tmp_path, last_frame=1001))
    before = (tmp_path / "matte.1001.exr").stat().st_mtime_ns
    with pytest.raises(ConfigError, match=r"matte.1001.exr is there already"):
        draw_mattes(shapes(), plan(tmp_path))
    report = draw_mattes(shapes(), plan(tmp_path, resume=True))
    assert (report.written, report.kept) == (2, 1)
    assert (tmp_path / "matte.1001.exr").stat().st_mtime_ns == before
    assert draw_mattes(shapes(), plan(tmp_path, overwrite=True)).written == 3


@pytest.mark.parametrize(
    "wrong",
    [
        {"pattern": "matte.exr"},
        {"pattern": "matte.####.jpg"},
        {"pattern": "a##_##.exr"},
        {"first_frame": 5000},
        {"last_frame": 10_000_000},
        {"width": 0},
        {"height": 20_000},
    ],
)
def test_plans_that_cannot_be_are_refused(tmp_path, wrong):
    with pytest.raises(ConfigError):
        plan(tmp_path, **wrong)


def test_without_shapes_or_folder_nothing_is_drawn(tmp_path):
    with pytest.raises(ConfigError, match="no shape"):
        draw_mattes(ShapeSet((), 32, 16), plan(tmp_path))
    with pytest.raises(FedrotoError, match="does not exist"):
        draw_mattes(shapes(), plan(tmp_path / "nowhere"))
