from pathlib import Path

import cv2
import numpy as np
import OpenImageIO as oiio
import pytest

from model.errors import PlateError
from model.working import to_working
from studio_node.pictures import (
    BAND_ROWS,
    HALF_MAX,
    read_header,
    read_pixels,
    rgb_channels,
    write_exr,
    write_jpg,
    write_png,
)
from studio_node.plates import PlateSequence


def _picture(seed: int = 0, height: int = 24, width: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).random((height, width, 3), dtype=np.float32)


def _plate(folder: Path, frames=range(1001, 1006), **size) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for frame in frames:
        write_exr(folder / f"plate.{frame}.exr", _picture(frame, **size))
    return folder


def _truncate(path: Path, part: float = 0.5) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])


def _raw_exr(
    path: Path,
    pixels: np.ndarray,
    *,
    names=(),
    origin=(0, 0),
    display=None,
    kind=oiio.HALF,
    compression="zip",
) -> None:
    spec = oiio.ImageSpec(pixels.shape[1], pixels.shape[0], pixels.shape[2], kind)
    spec.attribute("compression", compression)
    if names:
        spec.channelnames = names
    spec.x, spec.y = origin
    if display:
        spec.full_x, spec.full_y, spec.full_width, spec.full_height = display
    out = oiio.ImageOutput.create("openexr")
    assert out.open(str(path), spec)
    assert out.write_image(pixels)
    assert out.close()


def _integer_picture(path: Path, pixels: np.ndarray, bits: int = 0) -> None:
    spec = oiio.ImageSpec(pixels.shape[1], pixels.shape[0], 3, str(pixels.dtype))
    if bits:
        spec.attribute("oiio:BitsPerSample", bits)
    out = oiio.ImageOutput.create(str(path))
    assert out.open(str(path), spec)
    assert out.write_image(pixels)
    assert out.close()


def test_an_exr_comes_back_as_it_was_written(tmp_path):
    picture = _picture()
    write_exr(tmp_path / "a.exr", picture, half=False)
    header, pixels = read_pixels(tmp_path / "a.exr")
    assert (header.width, header.height, header.linear) == (32, 24, True)
    np.testing.assert_array_equal(pixels, picture)
    write_exr(tmp_path / "a.exr", picture)
    np.testing.assert_array_equal(read_pixels(tmp_path / "a.exr")[1], picture.astype(np.float16))


def test_values_beyond_half_float_are_written_finite(tmp_path):
    write_exr(tmp_path / "a.exr", np.full((4, 4, 3), 1e9, np.float32))
    assert read_pixels(tmp_path / "a.exr")[1].max() == HALF_MAX


@pytest.mark.parametrize("kind", ["png", "tif", "dpx"])
def test_eight_bit_pictures_pass_through_unchanged(tmp_path, kind):
    display = (_picture() * 255).astype(np.uint8)
    path = tmp_path / f"plate.1001.{kind}"
    if kind == "png":
        write_png(path, display)
    else:
        _integer_picture(path, display)
    plate = PlateSequence.open(tmp_path)
    assert not plate.linear
    assert plate.exposure == 0
    np.testing.assert_array_equal(plate.working(1001), display)


def test_a_jpeg_passes_through_nearly_unchanged(tmp_path):
    ramp = np.broadcast_to(np.arange(32, dtype=np.uint8)[None, :, None] * 7, (24, 32, 3)).copy()
    write_jpg(tmp_path / "plate.1001.jpg", ramp)
    assert np.abs(PlateSequence.open(tmp_path).working(1001).astype(int) - ramp).max() <= 3


def test_overscan_is_cut_to_the_display_window(tmp_path):
    pixels = _picture(height=30, width=40)
    _raw_exr(tmp_path / "a.exr", pixels, origin=(-4, -3), display=(0, 0, 32, 24), kind=oiio.FLOAT)
    header, seen = read_pixels(tmp_path / "a.exr")
    assert (header.width, header.height) == (32, 24)
    np.testing.assert_array_equal(seen, pixels[3:27, 4:36])


def test_a_data_window_inside_the_display_window_is_surrounded_by_black(tmp_path):
    pixels = _picture(height=5, width=6)
    _raw_exr(tmp_path / "a.exr", pixels, origin=(110, 103), display=(100, 100, 32, 24), kind=oiio.FLOAT)
    seen = read_pixels(tmp_path / "a.exr")[1]
    expected = np.zeros((24, 32, 3), np.float32)
    expected[3:8, 10:16] = pixels
    np.testing.assert_array_equal(seen, expected)


def test_a_data_window_beside_the_display_window_is_black(tmp_path):
    _raw_exr(tmp_path / "a.exr", _picture(), origin=(500, 0), display=(0, 0, 16, 8), kind=oiio.FLOAT)
    assert not read_pixels(tmp_path / "a.exr")[1].any()


LOSSLESS = {"none", "rle", "zips", "zip", "piz"}


@pytest.mark.parametrize(
    "compression", ["none", "rle", "zips", "zip", "piz", "pxr24", "b44", "b44a", "dwaa", "dwab"]
)
@pytest.mark.parametrize("kind", [oiio.HALF, oiio.FLOAT], ids=["half", "float"])
def test_every_exr_compression_is_read(tmp_path, compression, kind):
    ramp = np.linspace(0.1, 9, 64 * 64, dtype=np.float32).reshape(64, 64, 1).repeat(3, axis=2)
    _raw_exr(tmp_path / "plate.1001.exr", ramp, kind=kind, compression=compression)
    header, seen = read_pixels(tmp_path / "plate.1001.exr")
    assert header.linear
    lossless = compression in LOSSLESS or (kind == oiio.FLOAT and compression in ("b44", "b44a"))
    exact = ramp if kind == oiio.FLOAT else ramp.astype(np.float16).astype(np.float32)
    np.testing.assert_allclose(seen, exact, rtol=0 if lossless else 0.05)
    working = PlateSequence.open(tmp_path).working(1001)
    assert (np.diff(working[:, 0, 0].astype(int)) >= 0).all()


def test_a_tiled_exr_with_smaller_copies_is_read_at_full_size(tmp_path):
    pixels = _picture(height=64, width=64)
    assert oiio.ImageBufAlgo.make_texture(
        oiio.MakeTxTexture, oiio.ImageBuf(pixels), str(tmp_path / "a.exr"), oiio.ImageSpec()
    )
    header, seen = read_pixels(tmp_path / "a.exr")
    assert (header.width, header.height) == (64, 64)
    np.testing.assert_allclose(seen, pixels, atol=1e-3)


@pytest.mark.parametrize("exposure", [-12.0, 0.0, 2.5])
def test_halves_become_the_same_codes_as_floats(exposure):
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)[: 3 * 21845].reshape(1, -1, 3)
    np.testing.assert_array_equal(to_working(every, exposure), to_working(every.astype(np.float32), exposure))


def test_a_picture_developed_in_bands_is_the_one_developed_whole(tmp_path):
    tall = np.random.default_rng(1).gamma(1, 0.3, (2 * BAND_ROWS + 9, 6, 3)).astype(np.float32)
    _raw_exr(
        tmp_path / "p.1001.exr", tall, origin=(2, -5), display=(0, 0, 9, 2 * BAND_ROWS + 9), kind=oiio.HALF
    )
    plate = PlateSequence.open(tmp_path)
    whole = read_pixels(tmp_path / "p.1001.exr", sample="float16")[1]
    np.testing.assert_array_equal(plate.working(1001), to_working(whole, plate.exposure))


def test_a_plate_of_halves_and_floats_is_one_plate(tmp_path):
    picture = _picture()
    write_exr(tmp_path / "p.1001.exr", picture)
    write_exr(tmp_path / "p.1002.exr", picture, half=False)
    plate = PlateSequence.open(tmp_path)
    assert np.abs(plate.working(1001).astype(int) - plate.working(1002)).max() <= 1


def test_what_is_brighter_than_white_keeps_its_texture(tmp_path):
    sky = np.linspace(1, 12, 32, dtype=np.float32)[None, :, None] * np.ones((24, 32, 3), np.float32)
    write_exr(tmp_path / "p.1001.exr", np.concatenate([np.full((72, 32, 3), 0.18, np.float32), sky]))
    assert len(np.unique(PlateSequence.open(tmp_path).working(1001)[72:])) > 25


@pytest.mark.parametrize("kind", ["png", "tif", "dpx"])
def test_sixteen_bit_pictures_are_rounded_to_eight(tmp_path, kind):
    deep = (_picture() * 65535).astype(np.uint16)
    _integer_picture(tmp_path / f"plate.1001.{kind}", deep)
    working = PlateSequence.open(tmp_path).working(1001)
    assert np.abs(working - deep / 257.0).max() <= 0.51


def test_a_float_tiff_is_scene_linear(tmp_path):
    out = oiio.ImageOutput.create(str(tmp_path / "p.1001.tif"))
    assert out.open(str(tmp_path / "p.1001.tif"), oiio.ImageSpec(32, 24, 3, oiio.FLOAT))
    assert out.write_image(_picture() * 8)
    assert out.close()
    assert PlateSequence.open(tmp_path).linear


def test_a_log_plate_is_brought_to_scene_linear_light_by_its_declared_colour_space(tmp_path):
    linear = np.linspace(0.01, 8, 24 * 32, dtype=np.float32).reshape(24, 32, 1).repeat(3, axis=2)
    log = oiio.ImageBufAlgo.colorconvert(oiio.ImageBuf(linear), "scene_linear", "ACEScct").get_pixels(
        oiio.FLOAT
    )
    (tmp_path / "log").mkdir()
    _integer_picture(tmp_path / "log" / "p.1001.dpx", (log * 65535).round().astype(np.uint16), bits=10)
    (tmp_path / "linear").mkdir()
    write_exr(tmp_path / "linear" / "p.1001.exr", linear, half=False)
    declared = PlateSequence.open(tmp_path / "log", colour_space="ACEScct")
    expected = PlateSequence.open(tmp_path / "linear")
    assert declared.linear
    assert declared.exposure == pytest.approx(expected.exposure, abs=0.02)
    assert np.abs(declared.working(1001).astype(int) - expected.working(1001)).max() <= 2
    assert not PlateSequence.open(tmp_path / "log").linear


def test_an_unknown_colour_space_names_those_near_it(tmp_path):
    with pytest.raises(PlateError, match=r"no colour space 'ACESct'; near it: ACEScct"):
        PlateSequence.open(_plate(tmp_path), colour_space="ACESct")


def _movie(path: Path, pictures: int = 8) -> list[np.ndarray]:
    written = [np.full((48, 64, 3), 20 + 200 * index // pictures, np.uint8) for index in range(pictures)]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 24.0, (64, 48))
    assert writer.isOpened()
    for picture in written:
        writer.write(picture)
    writer.release()
    return written


@pytest.mark.parametrize("kind", ["mov", "mp4", "mkv", "avi"])
def test_a_movie_is_a_plate_whose_frames_may_be_asked_for_in_any_order(tmp_path, kind):
    written = _movie(tmp_path / f"sh010_v001.{kind}")
    plate = PlateSequence.open(tmp_path, movie_start=1001)
    assert (plate.first_frame, plate.last_frame, plate.width, plate.height) == (1001, 1008, 64, 48)
    for frame in (1008, 1001, 1005, 1002):
        assert np.abs(plate.working(frame).astype(int) - written[frame - 1001]).max() <= 6
    part = PlateSequence.open(tmp_path / f"sh010_v001.{kind}", first_frame=3, last_frame=4)
    assert np.abs(part.working(3).astype(int) - written[2]).max() <= 6


def test_a_movie_that_breaks_off_reports_each_frame_after_it(tmp_path):
    _movie(tmp_path / "a.avi", pictures=40)
    data = (tmp_path / "a.avi").read_bytes()
    start = data.index(b"movi")
    cut = start + (data.index(b"idx1") - start) // 2
    (tmp_path / "a.avi").write_bytes(data[:cut] + bytes(len(data) - cut))
    plate = PlateSequence.open(tmp_path / "a.avi")
    seen = [plate.working(frame) is not None for frame in range(1, 41)]
    assert seen[0]
    assert not seen[-1]
    assert len(plate.problems) == seen.count(False)
    assert "a.avi ends or breaks after" in plate.problems[-1].reason


def test_a_file_that_is_no_movie_says_so(tmp_path):
    (tmp_path / "a.mov").write_bytes(b"no movie" * 100)
    with pytest.raises(PlateError, match=r"a\.mov cannot be opened as a movie"):
        PlateSequence.open(tmp_path / "a.mov")


def test_red_green_and_blue_are_found_among_many_channels(tmp_path):
    pixels = np.random.default_rng(1).random((8, 9, 8), dtype=np.float32)
    names = ("Z", "B", "diff.B", "G", "diff.G", "R", "diff.R", "A")
    _raw_exr(tmp_path / "a.exr", pixels, names=names, kind=oiio.FLOAT)
    np.testing.assert_array_equal(read_pixels(tmp_path / "a.exr")[1], pixels[..., [5, 3, 1]])


@pytest.mark.parametrize(
    ("names", "channels"),
    [
        (("R", "G", "B"), (0, 1, 2)),
        (("B", "G", "R", "A"), (2, 1, 0)),
        (("Z", "beauty.R", "beauty.G", "beauty.B", "spec.R", "spec.G", "spec.B"), (1, 2, 3)),
        (("red", "green", "blue"), (0, 1, 2)),
        (("Y",), (0, 0, 0)),
        (("Y", "A"), (0, 0, 0)),
        (("Z",), None),
        (("R", "G"), None),
        (("u", "v"), None),
    ],
)
def test_channels_are_chosen_by_name(names, channels):
    assert rgb_channels(names) == channels


def test_a_file_without_colour_names_its_channels(tmp_path):
    _raw_exr(tmp_path / "a.exr", _picture()[..., :2], names=("u", "v"))
    with pytest.raises(PlateError, match=r"a\.exr has no colour picture \(channels: u, v\)"):
        read_header(tmp_path / "a.exr")


def test_a_later_part_of_a_file_may_hold_the_picture(tmp_path):
    depth = oiio.ImageSpec(8, 6, 1, oiio.FLOAT)
    depth.channelnames = ("Z",)
    colour = oiio.ImageSpec(8, 6, 3, oiio.FLOAT)
    depth.attribute("oiio:subimagename", "depth")
    colour.attribute("oiio:subimagename", "rgb")
    path, pixels = tmp_path / "a.exr", _picture(height=6, width=8)
    out = oiio.ImageOutput.create("openexr")
    assert out.open(str(path), (depth, colour))
    out.write_image(np.ones((6, 8, 1), np.float32))
    assert out.open(str(path), colour, "AppendSubimage")
    out.write_image(pixels)
    out.close()
    np.testing.assert_array_equal(read_pixels(path)[1], pixels)


def test_infinite_negative_and_undefined_pixels_are_made_harmless(tmp_path):
    pixels = np.full((4, 5, 3), 0.5, np.float32)
    pixels[0, 0], pixels[0, 1], pixels[0, 2] = np.nan, np.inf, -3.0
    _raw_exr(tmp_path / "plate.1001.exr", pixels)
    seen = read_pixels(tmp_path / "plate.1001.exr")[1]
    np.testing.assert_array_equal(seen[0, :4, 0], [0, HALF_MAX, 0, 0.5])


@pytest.mark.parametrize("part", [0.9, 0.5, 0.01, 0.0])
def test_a_truncated_exr_counts_as_missing_and_the_rest_goes_on(tmp_path, part):
    plate_folder = _plate(tmp_path)
    _truncate(plate_folder / "plate.1003.exr", part)
    plate = PlateSequence.open(plate_folder)
    seen = {frame: plate.working(frame) for frame in range(1001, 1006)}
    assert [frame for frame, image in seen.items() if image is None] == [1003]
    (problem,) = plate.problems
    assert problem.frame == 1003
    assert "plate.1003.exr" in problem.reason


@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_a_truncated_png_or_jpeg_is_not_taken_for_a_grey_picture(tmp_path, kind):
    display = (_picture() * 255).astype(np.uint8)
    for frame in (1, 2):
        (write_png if kind == "png" else write_jpg)(tmp_path / f"a.{frame:04d}.{kind}", display)
    _truncate(tmp_path / f"a.0002.{kind}", 0.8)
    plate = PlateSequence.open(tmp_path)
    assert plate.working(1) is not None
    assert plate.working(2) is None
    assert "truncated or corrupt" in plate.problems[0].reason


def test_a_missing_frame_is_reported_and_gives_no_picture(tmp_path):
    plate = PlateSequence.open(_plate(tmp_path, [1001, 1002, 1005]))
    assert plate.working(1003) is None
    assert plate.working(1005) is not None
    assert [str(problem) for problem in plate.problems] == [
        "frame 1003: there is no file",
        "frame 1004: there is no file",
    ]


def test_a_frame_of_another_resolution_counts_as_missing_and_the_rest_goes_on(tmp_path):
    _plate(tmp_path, [1001, 1002, 1003, 1005])
    _plate(tmp_path, [1004], width=40)
    plate = PlateSequence.open(tmp_path)
    assert (plate.width, plate.height) == (32, 24)
    assert [frame for frame in range(1001, 1006) if plate.working(frame) is None] == [1004]
    assert str(plate.problems[0]) == "frame 1004: it is 40x24 float, the plate is 32x24 float"


def test_mixed_resolutions_fail_and_name_the_frames(tmp_path):
    _plate(tmp_path, [1001, 1002, 1005])
    _plate(tmp_path, [1003, 1004], width=40)
    with pytest.raises(PlateError, match=r"32x24 float on 1001-1002, 1005; 40x24 float on 1003-1004"):
        PlateSequence.open(tmp_path)


def test_a_plate_without_one_readable_frame_says_why(tmp_path):
    (tmp_path / "plate.1001.exr").write_bytes(b"not a picture at all")
    with pytest.raises(PlateError, match=r"no frame of .* frame 1001: plate\.1001\.exr cannot be opened"):
        PlateSequence.open(tmp_path)


def test_a_frame_outside_the_plate_is_an_error(tmp_path):
    with pytest.raises(PlateError, match="frame 1000 is outside the plate 1001-1005"):
        PlateSequence.open(_plate(tmp_path)).working(1000)


def test_one_exposure_for_the_whole_shot_brings_its_median_to_middle_grey(tmp_path):
    for frame, level in enumerate([0.01, 0.02, 0.04], start=1001):
        write_exr(tmp_path / f"p.{frame}.exr", np.full((8, 8, 3), level, np.float32), half=False)
    plate = PlateSequence.open(tmp_path)
    assert plate.exposure == pytest.approx(np.log2(0.18 / 0.02), abs=1e-3)  # halves
    levels = [int(plate.working(frame)[0, 0, 0]) for frame in (1001, 1002, 1003)]
    assert levels == sorted(set(levels))  # brightness changes inside the shot are kept
    grey = to_working(np.full((1, 1, 3), 0.18, np.float32))
    assert levels[1] == int(grey[0, 0, 0])


def test_the_exposure_does_not_depend_on_the_order_of_reading(tmp_path):
    folder = _plate(tmp_path)
    _truncate(folder / "plate.1003.exr")
    forward, backward = PlateSequence.open(folder), PlateSequence.open(folder)
    images = {frame: forward.working(frame) for frame in range(1001, 1006)}
    for frame in range(1005, 1000, -1):
        image = backward.working(frame)
        assert (image is None) == (images[frame] is None)
        if image is not None:
            np.testing.assert_array_equal(image, images[frame])


def test_a_black_plate_has_exposure_zero(tmp_path):
    write_exr(tmp_path / "p.1.exr", np.zeros((4, 4, 3), np.float32))
    assert PlateSequence.open(tmp_path).exposure == 0


def test_the_cache_is_bounded_and_its_images_cannot_be_changed(tmp_path, monkeypatch):
    reads = []
    monkeypatch.setattr(
        "studio_node.plates.read_pixels",
        lambda path, **options: reads.append(path) or read_pixels(path, **options),
    )
    size = 24 * 32 * 3
    plate = PlateSequence.open(_plate(tmp_path), cache_bytes=2 * size)
    plate.working(1001)
    reads.clear()
    plate.working(1001)
    assert reads == []
    for frame in (1002, 1003, 1001):
        plate.working(frame)
    assert [path.name for path in reads] == ["plate.1002.exr", "plate.1003.exr", "plate.1001.exr"]
    with pytest.raises(ValueError, match="read-only"):
        plate.working(1001)[0, 0, 0] = 1


def test_a_picture_of_the_wrong_kind_is_not_written(tmp_path):
    with pytest.raises(PlateError, match="float32, not float64"):
        write_exr(tmp_path / "a.exr", np.zeros((4, 4, 3)))
    with pytest.raises(PlateError, match="uint8, not float32"):
        write_png(tmp_path / "a.png", np.zeros((4, 4, 3), np.float32))
    with pytest.raises(PlateError, match=r"\[height, width, 3\]"):
        write_jpg(tmp_path / "a.jpg", np.zeros((4, 4), np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_writing_into_a_place_that_is_no_folder_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(PlateError, match="cannot write"):
        write_exr(tmp_path / "file" / "a.exr", _picture())
