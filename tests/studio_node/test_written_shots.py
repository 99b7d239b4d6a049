import json
from dataclasses import replace

import numpy as np
import pytest

from federation.errors import FedrotoError, IngestError
from model.formats import nuke, roto_json
from model.procedural_settings import ShotSettings
from studio_node import written_shots
from studio_node.pictures import read_pixels, write_jpg
from studio_node.plates import PlateSequence
from studio_node.written_shots import artist_frames, make_clip_shots, make_procedural_shots

SMALL = ShotSettings(width=64, height=48, frames=5, parts_chance=0.0)


def _read(path, height):
    return nuke.loads(path.read_bytes(), height=height).shapes


def test_a_procedural_shot_is_a_plate_with_approved_and_sparse_shapes(show):
    shot = show[0]
    plate = PlateSequence.open(shot.plate)
    assert (plate.first_frame, plate.last_frame, plate.width, plate.height) == (1001, 1009, 72, 56)
    assert plate.linear
    assert all(plate.working(frame) is not None for frame in range(1001, 1010))
    truth = roto_json.loads(shot.truth_file.read_text())
    approved, artist = _read(shot.approved_file, 56), _read(shot.artist_file, 56)
    assert [shape.name for shape in approved.shapes] == list(shot.shapes)
    for exact, written, sparse in zip(truth.shapes, approved.shapes, artist.shapes, strict=True):
        assert written.key_frames == tuple(range(1001, 1010))
        np.testing.assert_allclose(written.controls, exact.controls, atol=1e-4)
        assert sparse.key_frames == shot.artist_keys == (1001, 1005, 1009)
        for key in sparse.key_frames:
            np.testing.assert_allclose(sparse.at(key), exact.at(key), atol=1e-4)


def test_a_shot_follows_from_its_seed_and_number_alone(tmp_path):
    two = make_procedural_shots(tmp_path / "a", seed=4, count=2, settings=SMALL)
    one = make_procedural_shots(tmp_path / "b", seed=4, count=1, settings=SMALL)
    other = make_procedural_shots(tmp_path / "c", seed=5, count=1, settings=SMALL)
    same, changed = (
        [read_pixels(shot.folder / "plate.1003.exr")[1] for shot in (two[0], rival)]
        for rival in (one[0], other[0])
    )
    np.testing.assert_array_equal(*same)
    assert not np.array_equal(*changed)
    assert two[0].approved_file.read_bytes() == one[0].approved_file.read_bytes()
    assert two[0].approved_file.read_bytes() != two[1].approved_file.read_bytes()


def test_a_shot_that_is_there_is_never_replaced(show, tmp_path):
    before = sorted((path, path.stat().st_mtime_ns) for path in show[0].folder.iterdir())
    with pytest.raises(IngestError, match="sh001 is there already"):
        make_procedural_shots(tmp_path / "show", seed=1, count=1, settings=SMALL, prefix="sh")
    assert sorted((path, path.stat().st_mtime_ns) for path in show[0].folder.iterdir()) == before


def test_a_failure_half_way_leaves_no_half_shot(tmp_path, monkeypatch):
    def refuse(*_):
        raise FedrotoError("the disk is full")

    monkeypatch.setattr(written_shots.nuke, "dumps", refuse)
    with pytest.raises(FedrotoError, match="the disk is full"):
        make_procedural_shots(tmp_path / "show", seed=1, count=1, settings=SMALL)
    assert list((tmp_path / "show").iterdir()) == []


def test_a_file_in_the_place_of_the_folder_is_an_error(tmp_path):
    (tmp_path / "show").write_text("x")
    with pytest.raises(IngestError, match="cannot write"):
        make_procedural_shots(tmp_path / "show", seed=1, count=1, settings=SMALL)


def test_progress_and_bad_counts(tmp_path):
    said = []
    make_procedural_shots(tmp_path / "a", seed=1, count=1, settings=SMALL, progress=said.append)
    assert said == ["shot001: 5 frames, 1 shapes"]
    with pytest.raises(IngestError, match="0 shots"):
        make_procedural_shots(tmp_path / "b", seed=1, count=0)
    with pytest.raises(IngestError, match="a gap of 0 frames"):
        make_procedural_shots(tmp_path / "b", seed=1, count=1, settings=SMALL, artist_gap=0)


@pytest.mark.parametrize(
    ("first", "last", "gap", "keys"),
    [
        (1001, 1025, 12, (1001, 1013, 1025)),
        (1001, 1003, 12, (1001, 1003)),
        (1, 1, 5, (1,)),
        (1, 4, 1, (1, 2, 3, 4)),
    ],
)
def test_the_artist_keys_first_last_and_between(first, last, gap, keys):
    assert artist_frames(first, last, gap) == keys


@pytest.fixture
def clips(tmp_path):
    folder = tmp_path / "clips" / "ball"
    (folder / "frames").mkdir(parents=True)
    for frame in range(4):
        write_jpg(folder / "frames" / f"{frame:05d}.jpg", np.full((48, 64, 3), 40 + 20 * frame, np.uint8))
    points = [[[10.0 + f, 8.0], [30.0 + f, 8.0], [30.0 + f, 28.0], [10.0 + f, 28.0]] for f in range(4)]
    clip = {
        "name": "ball", "width": 64, "height": 48, "first_frame": 0, "frames": 4, "closed": True,
        "convention": "pixel centre at integer coordinates, x right, y down", "shapes": points,
    }  # fmt: skip
    (folder / "shapes.json").write_text(json.dumps(clip))
    return tmp_path / "clips"


def test_a_clip_becomes_plate_files_and_shapes_half_a_pixel_further(clips, tmp_path):
    (shot,) = make_clip_shots(clips, [], tmp_path / "show", artist_gap=3)
    assert sorted(path.name for path in shot.folder.glob("plate.*")) == [
        f"plate.{f}.jpg" for f in range(1001, 1005)
    ]
    original = clips / "ball" / "frames" / "00002.jpg"
    assert (shot.folder / "plate.1003.jpg").read_bytes() == original.read_bytes()
    for file, keys in ((shot.approved_file, (1001, 1002, 1003, 1004)), (shot.artist_file, (1001, 1004))):
        (shape,) = _read(file, 48).shapes
        assert shape.key_frames == keys
        np.testing.assert_allclose(shape.at(1004)[0], [[0, 0], [13.5, 8.5], [0, 0]], atol=1e-4)
    assert not _read(shot.approved_file, 48).shapes[0].at(1002)[:, [0, 2]].any()


def test_png_plates_hold_the_same_pixels_as_the_clip(clips, tmp_path):
    (shot,) = make_clip_shots(clips, ["ball"], tmp_path / "show", plate_format="png")
    frame = read_pixels(clips / "ball" / "frames" / "00001.jpg")[1]
    np.testing.assert_array_equal(read_pixels(shot.folder / "plate.1002.png")[1], frame)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"shapes": [[[0, 0]]]}, "must be 4 frames"),
        ({"shapes": "none"}, "no clip's shapes"),
        ({"convention": "pixel corner"}, "counts pixels otherwise"),
        ({"width": None}, "no clip's shapes"),
    ],
)
def test_a_clip_of_another_form_is_refused(clips, tmp_path, change, said):
    path = clips / "ball" / "shapes.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(IngestError, match=said):
        make_clip_shots(clips, ["ball"], tmp_path / "show")
    assert not (tmp_path / "show" / "ball").exists()


def test_an_unknown_clip_lists_the_known_ones(clips, tmp_path):
    with pytest.raises(IngestError, match="has no clip cube; it has: ball"):
        make_clip_shots(clips, ["cube"], tmp_path / "show")


def test_settings_reach_the_pictures(tmp_path):
    (shot,) = make_procedural_shots(
        tmp_path, seed=1, count=1, settings=replace(SMALL, width=80, first_frame=7)
    )
    plate = PlateSequence.open(shot.plate)
    assert (plate.width, plate.first_frame, shot.last_frame) == (80, 7, 11)


def test_more_workers_write_the_same_files(tmp_path):
    settings = ShotSettings(width=64, height=48, frames=2)
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder, workers in zip(folders, (1, 2), strict=True):
        made = make_procedural_shots(folder, seed=3, count=2, settings=settings, workers=workers)
        assert [shot.name for shot in made] == ["shot001", "shot002"]
    files = sorted(path.relative_to(folders[0]) for path in folders[0].rglob("*") if path.is_file())
    assert len(files) == 10
    for file in files:
        one, two = (folder / file for folder in folders)
        if file.suffix == ".exr":  # an EXR's header holds the time of writing
            assert np.array_equal(read_pixels(one)[1], read_pixels(two)[1])
        else:
            assert one.read_bytes() == two.read_bytes()
