"""Frame sources and working images."""

import numpy as np
import pytest

from model.errors import PlateError
from model.frames import ArrayFrames
from model.pictures import Pictures
from model.working import from_working, to_working


def picture(value=0, shape=(8, 12, 3)):
    return np.full(shape, value, np.uint8)


def test_frames_are_found_by_plate_number_and_gaps_are_none():
    frames = ArrayFrames([picture(1), None, picture(3)], first_frame=1001)
    assert (frames.first_frame, frames.last_frame, frames.width, frames.height) == (1001, 1003, 12, 8)
    assert frames.working(1003)[0, 0, 0] == 3
    assert frames.working(1002) is None
    with pytest.raises(PlateError, match="1001-1003"):
        frames.working(1004)


@pytest.mark.parametrize(
    "bad",
    [
        [None, None],
        [picture(), picture(shape=(9, 12, 3))],
        [picture(shape=(8, 12))],
        [picture(), picture().astype(np.float32)],
    ],
)
def test_frames_that_do_not_fit_are_refused(bad):
    with pytest.raises(PlateError):
        ArrayFrames(bad)


def test_a_picture_is_not_read_again_only_to_see_that_it_is_there(monkeypatch):
    frames = ArrayFrames([picture(1), None, picture(3)])
    read = []
    working = frames.working
    monkeypatch.setattr(ArrayFrames, "working", lambda _, frame: read.append(frame) or working(frame))
    pictures = Pictures(frames, cache_bytes=1)  # holds a single picture
    for _ in range(2):
        assert [pictures.has(frame) for frame in range(-1, 4)] == [False, True, False, True, False]
    assert read == [0, 1, 2]
    assert pictures.colour(0)[0, 0, 0] == 1


def test_working_images_keep_order_and_texture_above_one():
    ramp = np.linspace(0, 12, 200, dtype=np.float32)[None, :, None].repeat(3, axis=2)
    code = to_working(ramp)[0, :, 0].astype(int)
    assert (np.diff(code) >= 0).all()
    assert code[0] == 0
    bright = to_working(np.array([[[1.5, 3.0, 6.0]]], np.float32))[0, 0].astype(int)
    assert (np.diff(bright) > 10).all()


def test_values_that_are_no_light_do_no_harm():
    odd = np.array([[[-1.0, np.nan, np.inf]]], np.float32)
    assert to_working(odd)[0, 0].tolist() == [0, 0, 255]
    with pytest.raises(PlateError):
        to_working(np.zeros((4, 4), np.float32))


def test_exposure_counts_in_stops():
    grey = np.full((2, 2, 3), 0.18, np.float32)
    assert np.array_equal(to_working(grey, 1.0), to_working(2 * grey))


def test_from_working_leads_back_within_a_code_value():
    codes = np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, axis=2)
    assert np.array_equal(to_working(from_working(codes)), codes)
