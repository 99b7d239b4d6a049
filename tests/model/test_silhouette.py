"""Silhouette's shape files: units, frames, keys, layers, and what each kind of damage is answered with."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model.errors import FormatError
from model.formats import nuke, silhouette
from model.formats.key_tracks import Track, track_of
from model.formats.silhouette_text import losses
from model.keyframes import Keyed
from model.screen_space import on_screen
from model.shape_diff import difference
from model.shapes import Lifetime, Shape, ShapeSet
from model.transforms import Transform

SAMPLE = (Path(__file__).parent / "scripts" / "shapes.fxs").read_bytes()
HEIGHT = 1080


def read(data=SAMPLE):
    return silhouette.loads(data).shapes


def swapped(old, new):
    assert old in SAMPLE
    return SAMPLE.replace(old, new)


# -- reading


def test_units_are_the_height_from_the_centre_and_frames_the_plates():
    shapes = read()
    assert (shapes.width, shapes.height, shapes.first_frame, shapes.last_frame) == (1920, 1080, 1001, 1100)
    front = shapes.find("front & top")
    assert (front.kind, front.closed, front.key_frames[0]) == ("bspline", True, 1001)
    assert front.at(1001)[:, 1] == pytest.approx(
        np.array([[960 + 108, 540 + 216], [960 + 324, 540 + 216], [960 + 216, 540 - 432]])
    )


def test_the_last_object_is_drawn_first():
    assert [s.path for s in read().shapes] == ["Man/Arm/back", "Man/front & top"]


def test_handles_are_absolute_there_and_offsets_here():
    back = read().find("back")
    assert back.controls[0, 1] == pytest.approx(np.array([[-108, 108], [960 + 540, 540], [108, -216]]))


def test_layers_move_their_shapes():
    back = read().find("back")
    assert back.at(1011)[0, 1] == pytest.approx([960 + 540 + 108, 540 - 270 + 108])
    assert back.at(1003)[0, 1, 0] == pytest.approx(960 + 540 * 0.2 + 108 * 0.5)


def test_a_matrix_turns_as_its_rows_say():
    # A quarter turn clockwise on screen, as row vectors with y down: x goes to y.
    turned = b"(0,1,0,0,-1,0,0,0,0,0,1,0,0,0,0,1)"
    data = swapped(b"(1,0,0,0,0,1,0,0,0,0,1,0,0,0,0,1)", turned)
    assert read(data).find("back").at(1001)[1, 1] == pytest.approx([960, 540 + 540])


def test_positions_turns_and_scales_of_a_layer():
    own = (
        b'<Property id="transform.rotate"><Value>90</Value></Property>'
        b'<Property id="transform.scale"><Value>(2,2,1)</Value></Property>'
    )
    back = read(
        swapped(b'<Property id="transform.position">', own + b'<Property id="transform.position">')
    ).find("back")
    assert back.read_only_reason is None
    assert back.at(1001)[1, 1] == pytest.approx([960, 540 + 1080])


def test_keys_hold_run_straight_or_are_smooth():
    front, back = read().find("front & top"), read().find("back")
    x = [front.keyed.at(f)[0, 1, 0] for f in (1001, 1005, 1008, 1009, 1050)]
    assert x == pytest.approx([960 + 108] * 3 + [960 + 216] * 2)
    assert front.key_frames == (1001, 1009)
    assert back.slopes_out[1, 0, 1, 1] == pytest.approx(0.4 * HEIGHT / 20)  # over both neighbours


def test_opacity_0_is_how_a_shape_is_born_and_dies():
    front = read().find("front & top")
    assert [f for f in range(1000, 1030) if front.is_alive(f)] == list(range(1006, 1021))
    assert front.opacity.is_constant
    assert front.opacity.at(1010) == 0.8
    fading = swapped(b'frame="4" interp="hold"', b'frame="4" interp="linear"')
    fading = fading.replace(b'frame="5" interp="hold"', b'frame="9" interp="linear"')
    front = read(fading).find("front & top")
    assert [f for f in range(1000, 1030) if front.is_alive(f)] == list(range(1006, 1021))
    assert front.opacity.at(1007) == pytest.approx(0.8 * 2 / 5)


def test_what_is_drawn_differently_is_kept_by_nukes_names():
    attributes = dict(read().find("front & top").attributes)
    assert {n: c.at(0) for n, c in attributes.items()} == {"bm": 12, "inv": 1, "mbo": 1}


def test_hidden_objects_never_live():
    hidden = read(swapped(b'hidden="False"', b'hidden="True"')).find("front & top")
    assert not any(hidden.is_alive(f) for f in (1001, 1010, 1090))


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        (b'shape_type="Bezier"', b'shape_type="Xspline"', "xspline"),
        (b"<Point>(0,0.1),(-0.1,0.1),(0.1,0.1)</Point>", b"", "different numbers of points"),
        (b"<Point>(0,0.1),(-0.1,0.1),(0.1,0.1)</Point>", b"<Point>(0,0.1)</Point>", None),
        (b"<Point>(0,0.1),(-0.1,0.1),(0.1,0.1)</Point>", b"<Point>(0,1,2)</Point>", "3 numbers"),
        (b"<Point>(0,0.1),(-0.1,0.1),(0.1,0.1)</Point>", b"<Point>(nan,0)</Point>", "finite"),
        (b"<Point>(0,0.1),(-0.1,0.1),(0.1,0.1)</Point>", b"<Point>zebra</Point>", "zebra"),
        (b'<Key frame="20" interp="linear">', b'<Key frame="10" interp="linear">', "not increasing"),
        (b'<Key frame="20" interp="linear">', b'<Key frame="x" interp="linear">', "a number"),
        (b'<Key frame="20" interp="linear">', b'<Key frame="1e99" interp="linear">', "cannot be"),
    ],
)
def test_one_bad_shape_is_left_out_with_its_reason_and_the_rest_is_read(old, new, what):
    found = silhouette.loads(swapped(old, new))
    names = [s.name for s in found.shapes.shapes]
    assert names == (["back", "front & top"] if what is None else ["front & top"])
    assert what is None or what in found.warnings[0]
    assert what is None or found.warnings[0].startswith("line ")


@pytest.mark.parametrize(
    ("new", "what"),
    [
        (b"(1,0,0,0,0,1,0,0,0,0,1,0,0.5,-0.25,0)", "16 numbers"),
        (b"(1,0,0,0.1,0,1,0,0,0,0,1,0,0.5,-0.25,0,1)", "perspective"),
    ],
)
def test_a_layer_that_cannot_be_read_takes_its_shapes_with_it(new, what):
    found = silhouette.loads(swapped(b"(1,0,0,0,0,1,0,0,0,0,1,0,0.5,-0.25,0,1)", new))
    assert found.shapes.shapes == ()
    assert what in found.warnings[0]


def test_a_corner_pin_is_named():
    found = silhouette.loads(swapped(b"<Value>(1.000000000,0.000000000)</Value>", b"<Value>(1.1,0)</Value>"))
    assert "pinned by its corners" in found.warnings[0]


def test_an_anchor_that_matters_makes_its_shapes_read_only():
    anchor = b'<Property id="transform.anchor"><Value>(0.1,0)</Value></Property>'
    turn = b'<Property id="transform.rotate"><Value>9</Value></Property>'
    back = read(
        swapped(b'<Property id="transform.position">', anchor + turn + b'<Property id="transform.position">')
    )
    assert "anchor" in back.find("back").read_only_reason
    assert back.find("front & top").read_only_reason is None


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "not XML"),
        (b"<Silhouette", "not XML"),
        (b"\x00\x01", "not XML"),
        (b'<?xml version="1.0" encoding="nonsense"?><a/>', "not XML"),
        (b"<Project/>", "not <Silhouette>"),
        (b'<Silhouette width="0" height="5"><Layer/></Silhouette>', "0x5"),
        (b'<Silhouette width="9" height="x"><Layer/></Silhouette>', "whole number"),
        (b'<Silhouette width="9" height="9" pixelAspect="0"><Layer/></Silhouette>', "aspect"),
        (b'<Silhouette width="9" height="9" sessionStartFrame="1e300"><Layer/></Silhouette>', "whole number"),
        (b'<!DOCTYPE a [<!ENTITY b "c">]><Silhouette>&b;</Silhouette>', "document type"),
        (b"<a>" * 300 + b"</a>" * 300, "deep"),
    ],
)
def test_files_that_are_none_say_why(data, what):
    with pytest.raises(FormatError, match=what):
        silhouette.loads(data)


def test_a_file_without_shapes_is_no_error():
    assert silhouette.loads(b'<Silhouette width="9" height="9"/>').shapes == ShapeSet((), 9, 9)


# -- writing


def test_read_write_read_changes_nothing():
    first = read()
    once = read(silhouette.dumps(first))  # a layer's position has become a matrix
    assert difference(first, once, tolerance_px=1e-9) == ()
    assert [(s.path, s.key_frames) for s in once.shapes] == [(s.path, s.key_frames) for s in first.shapes]
    assert read(silhouette.dumps(once)) == once
    assert [losses(shape) for shape in first.shapes] == [[], []]


def nuke_shape(**changes):
    rng = np.random.default_rng(3)
    frames = [1001, 1006, 1020]
    shape = Shape.from_keys("Arm", frames, rng.normal(0, 200, (3, 4, 3, 2)) + 500)
    return replace(shape, path="Roto1:Body/Arm", **changes)


def check_on_whole_frames(shape):
    written = silhouette.dumps(ShapeSet((shape,), 1920, HEIGHT, 1001, 1100, 1.5))
    found = read(written).shapes[0]
    for frame in range(995, 1030):
        assert found.is_alive(frame) == shape.is_alive(frame)
        if shape.is_alive(frame):
            assert found.at(frame) == pytest.approx(shape.at(frame), abs=1e-3)
            assert found.opacity.at(frame) == pytest.approx(shape.opacity.at(frame), abs=1e-3)
    return found


def test_smooth_curves_are_exact_on_every_frame_and_the_artists_keys_stay_known():
    found = check_on_whole_frames(nuke_shape())
    assert found.key_frames == (1001, 1006, 1020)
    assert found.key_sources.count("baked") == len(found.frames) - 3 > 0


def test_transforms_become_layers():
    turned = Transform(
        Keyed.constant((100.0, 700.0)),
        Keyed.smooth([1001, 1011], [[0.0, 5.0], [40.0, -9.0]]),
        Keyed.smooth([1001, 1006, 1011], [0.0, 30.0, -45.0]),
        Keyed.constant((1.5, 0.5)),
    )
    found = check_on_whole_frames(nuke_shape(transforms=(turned, turned)))
    assert len(found.transforms) == 2


@pytest.mark.parametrize(
    "lifetime",
    [
        Lifetime(1003, 1010),
        Lifetime(last=1010),
        Lifetime(
            visibility=Keyed(
                np.array([1000.0, 1004, 1009]), *(np.array(a, float) for a in ([1, 0, 1], [0] * 3, [0] * 3))
            )
        ),
        Lifetime(visibility=Keyed.constant(0.0)),
    ],
)
@pytest.mark.parametrize("opacity", [Keyed.constant(0.5), Keyed.smooth([1001, 1012], [0.25, 1.0])])
def test_lifetimes_become_opacity(lifetime, opacity):
    check_on_whole_frames(nuke_shape(lifetime=lifetime, opacity=opacity))


def test_what_the_file_cannot_say_is_listed():
    shape = nuke_shape(
        feather=Keyed.constant(np.full((4, 3, 2), 5.0)),
        kind="polygon",
        attributes=(("ff", Keyed.constant(2.0)),),
    )
    lost = " ".join(losses(shape))
    for word in ("feather", "polygon", "ff"):
        assert word in lost


def test_a_matrix_layer_goes_into_the_points_of_a_nuke_script():
    back = read().find("back")
    written = nuke.loads(nuke.dumps(ShapeSet((back,), 1920, HEIGHT))).shapes.shapes[0]
    for frame in range(1001, 1022):
        assert written.at(frame) == pytest.approx(back.at(frame), abs=1e-3)
    assert on_screen(back).key_frames == (1001, 1011, 1021)


def predicted(shape):
    frames = np.arange(1001, 1022)
    drawn = Shape.from_keys(shape.name, frames, np.stack([shape.at(f) for f in frames]))
    sources = tuple("artist" if f in shape.key_frames else "predicted" for f in frames)
    return replace(drawn, path=shape.path, kind=shape.kind, key_sources=sources)


def test_a_prediction_is_marked_and_no_byte_of_the_artist_changes():
    shapes = read().shapes
    out = silhouette.add_prediction(SAMPLE, [predicted(s) for s in shapes])
    end = SAMPLE.rindex(b"</Silhouette>")
    assert out.startswith(SAMPLE[:end])
    assert out.endswith(SAMPLE[end:])
    after = read(out)
    assert after.shapes[-2:] == shapes  # objects at the end of a file lie at the back
    for shape, new in zip(shapes, after.shapes, strict=False):
        assert new.path == f"fedroto_pred/{shape.name}"
        assert [f for f, s in zip(new.frames, new.key_sources, strict=True) if s == "artist"] == list(
            shape.key_frames
        )
        assert "predicted" in new.key_sources
        assert new.at(1011) == pytest.approx(shape.at(1011))


def test_a_file_that_does_not_end_as_it_should_takes_no_prediction():
    with pytest.raises(FormatError, match="does not end"):
        silhouette.add_prediction(SAMPLE.decode().encode("utf-16"), [])


# -- tracks


def test_tracks_come_back_as_they_were():
    for kinds in (("linear",) * 4, ("hold",) * 4, ("hold", "linear", "hold", "linear"), ("catmullrom",) * 4):
        frames, values = np.array([0.0, 3, 10, 11]), np.array([1.0, 5, 5, -2])
        back = track_of(Track(frames, values, kinds).keyed(), catmullrom="catmullrom" in kinds)
        assert back.frames.tolist() == frames.tolist()
        assert back.values.tolist() == values.tolist()
        assert Track(frames, values, back.interpolations).keyed() == Track(frames, values, kinds).keyed()


def test_keys_between_frames_become_keys_on_the_frames_around_them():
    curve = Keyed.smooth([0.5, 4.25, 9.0], [0.0, 10.0, 3.0])
    track = track_of(curve)
    assert track.frames.tolist() == [float(f) for f in range(10)]
    assert track.values.tolist() == curve.sample(track.frames).tolist()
