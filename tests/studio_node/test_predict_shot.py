import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from federation.errors import ConfigError, FedrotoError, IngestError
from model.errors import (
    FormatError,
    ModelError,
    NoRotoError,
    PlateError,
    PredictionError,
    ShapeError,
    WeightsError,
)
from model.formats import nuke, roto_json, silhouette
from model.frames import ArrayFrames
from model.keyframes import Keyed
from model.methods import METHODS
from model.shapes import Shape, ShapeSet
from model.transforms import Transform
from studio_node.predict_shot import predict_shot
from studio_node.shape_conversion import convert
from studio_node.shape_files import read_shape_file
from studio_node.shot_windows import is_prediction, unusable_reason
from studio_node.written_shots import WrittenShot

HEIGHT = 56


@pytest.fixture
def shot(show) -> WrittenShot:
    return show[0]


@pytest.fixture
def predict(shot, small_weights, tmp_path):
    def predict(output="out.nk", **options):
        given = {"plates": shot.plate, "shapes_file": shot.artist_file, "weights": small_weights} | options
        return predict_shot(given.pop("plates"), given.pop("shapes_file"), tmp_path / output, **given)

    return predict


def _shapes(path) -> ShapeSet:
    if path.suffix == ".json":
        return roto_json.loads(path.read_text())
    return nuke.loads(path.read_bytes(), height=HEIGHT).shapes


def _write(shot: WrittenShot, *shapes: Shape) -> None:
    shot.artist_file.write_bytes(nuke.dumps(replace(_shapes(shot.truth_file), shapes=shapes)))


def test_a_script_comes_back_with_predicted_keys_in_a_node_of_their_own(predict, shot):
    before = shot.artist_file.read_bytes()
    report = predict()
    assert shot.artist_file.read_bytes() == before
    (original, predicted) = _shapes(report.output).shapes
    assert original == _shapes(shot.artist_file).shapes[0]
    assert predicted.path.startswith("Roto1_fedroto:")
    assert predicted.key_frames == tuple(range(1001, 1010))
    assert [s for s in predicted.key_sources if s == "artist"] == ["artist"] * 3
    for key in shot.artist_keys:
        np.testing.assert_allclose(predicted.at(key), original.at(key), atol=1e-4)
    assert report.output.read_bytes().replace(before, b"", 1) != report.output.read_bytes()


def test_the_report_says_what_an_artist_needs_to_go_on(predict, shot, small_weights):
    said = []
    report = predict(progress=lambda *step: said.append(step))
    (shape,) = report.shapes
    assert shape.frames == tuple(range(1001, 1010))
    assert shape.artist_keys == shot.artist_keys == (1001, 1005, 1009)
    confidence = dict(zip(shape.frames, shape.confidence, strict=True))
    assert all(confidence[key] == 1 for key in shot.artist_keys)
    between = {frame: value for frame, value in confidence.items() if frame not in shot.artist_keys}
    assert all(0 <= value < 1 for value in between.values())
    assert shape.next_key == min(between, key=between.get)
    assert (shape.missing, report.rejected, report.problems) == ((), (), ())
    assert report.weights == str(small_weights)
    assert said[-1] == (shape.path, 9, 9)


@pytest.mark.parametrize("method", ["smooth", "track", "best"])
def test_an_artist_may_choose_the_method_and_the_report_says_which(predict, shot, method):
    report = predict(method=method, **({} if method == "best" else {"weights": Path("unread.safetensors")}))
    (shape,) = report.shapes
    assert report.method == method
    assert shape.method == method or method == "best"
    assert set(shape.key_errors) == ({*METHODS} - {"best", "tracker"} if method == "best" else set())
    assert (report.weights is None) == (method != "best")
    drawn, predicted = _shapes(report.output).shapes
    if method == "smooth":
        for frame in shape.frames:
            np.testing.assert_allclose(predicted.at(frame), drawn.at(frame), atol=1e-4)


def test_several_shapes_in_moving_layers_and_with_feather_come_out_where_they_are_on_screen(
    predict, shot, tmp_path
):
    drawn = _shapes(shot.artist_file)
    plain = drawn.shapes[0]
    turning = Transform(
        pivot=Keyed.constant([40.0, 20.0]),
        translate=Keyed.smooth([1001, 1009], [[3.0, 0.0], [9.0, -2.0]]),
        rotate_deg=Keyed.smooth([1001, 1009], [0.0, 12.0]),
        scale=Keyed.constant([1.1, 0.9]),
    )
    offsets = np.random.default_rng(0).normal(0, 2, plain.controls.shape)
    layered = replace(
        plain,
        name="layered",
        path="Roto1:Layer1/layered",
        transforms=(turning, turning),
        feather=Keyed.smooth(plain.frames, offsets),
    )
    source = tmp_path / "layers.json"
    source.write_text(roto_json.dumps(replace(drawn, shapes=(plain, layered))))
    report = predict("out.nk", shapes_file=source)
    assert [shape.path for shape in report.shapes] == [plain.path, layered.path]
    written = {shape.name: shape for shape in _shapes(report.output).shapes}
    for name, original in (("figure1", plain), ("layered", layered)):
        found = written[next(key for key in written if key.startswith(name))]
        assert found.points == original.points
        for frame in shot.artist_keys:
            np.testing.assert_allclose(found.at(frame), original.at(frame), atol=1e-3)
            if original.feather is not None:
                np.testing.assert_allclose(found.feather_at(frame), original.feather_at(frame), atol=1e-3)


def test_prediction_comes_nearer_to_the_truth_than_the_artists_curve_alone(predict, shot):
    truth = _shapes(shot.truth_file).shapes[0]
    original, predicted = _shapes(predict().output).shapes
    errors = [
        np.mean([np.abs(shape.at(f)[:, 1] - truth.at(f)[:, 1]).mean() for f in (1003, 1007)])
        for shape in (original, predicted)
    ]
    assert errors[1] < errors[0]


def test_json_output_marks_each_key_and_carries_its_confidence(predict):
    report = predict("out.json", every=2)
    (shape,) = _shapes(report.output).shapes
    assert shape.key_frames == (1001, 1003, 1005, 1007, 1009)
    assert shape.key_sources == ("artist", "predicted", "artist", "predicted", "artist")
    assert shape.key_confidence[0] == 1
    assert shape.key_confidence[1] < 1


def test_artist_keys_are_kept_whatever_the_step_of_predicted_keys(predict):
    (shape,) = _shapes(predict("out.json", every=3).output).shapes
    assert shape.key_frames == (1001, 1004, 1005, 1008, 1009)


def test_json_in_may_become_a_script_out(predict, shot, tmp_path):
    source = tmp_path / "artist.json"
    source.write_text(roto_json.dumps(_shapes(shot.artist_file)))
    (shape,) = _shapes(predict("out.nk", shapes_file=source).output).shapes
    assert shape.key_frames == tuple(range(1001, 1010))
    assert "predicted" in shape.key_sources


def test_a_silhouette_file_comes_back_with_predicted_keys_in_a_layer_of_their_own(predict, shot, tmp_path):
    artist = tmp_path / "artist.fxs"
    convert(shot.artist_file, artist, height=HEIGHT)
    report = predict("out.fxs", shapes_file=artist)
    before, after = artist.read_bytes(), report.output.read_bytes()
    end = before.rindex(b"</Silhouette>")
    assert (after[:end], after[-len(before) + end :]) == (before[:end], before[end:])
    shapes = silhouette.loads(after).shapes.shapes
    (drawn,) = [s for s in shapes if "fedroto_pred" not in s.path]
    (predicted,) = [s for s in shapes if s.path.startswith("fedroto_pred/")]
    assert drawn == silhouette.loads(before).shapes.shapes[0]
    keys = dict(zip(predicted.frames.astype(int).tolist(), predicted.key_sources, strict=True))
    assert keys == {f: "artist" if f in shot.artist_keys else "predicted" for f in range(1001, 1010)}
    for key in shot.artist_keys:
        np.testing.assert_allclose(predicted.at(key), drawn.at(key), atol=1e-6)
    again = predict("out.fxs", shapes_file=artist)  # a former prediction may be replaced
    assert again.output.read_bytes() == after
    assert unusable_reason(
        predicted, ArrayFrames([np.zeros((HEIGHT, 72, 3), np.uint8)] * 9, first_frame=1001)
    ).startswith("its keys are predicted")
    assert is_prediction(replace(predicted, key_sources=()))  # even where the note was lost


@pytest.mark.parametrize(
    ("source", "output"), [(".gizmo", ".gizmo"), (".gizmo", ".nk"), (".fxs", ".nk"), (".nk", ".fxs")]
)
def test_every_format_of_artists_is_taken_and_given(predict, shot, tmp_path, source, output):
    artist = tmp_path / f"artist{source}"
    convert(shot.artist_file, artist, height=HEIGHT)
    report = predict(f"out{output}", shapes_file=artist)
    found = read_shape_file(report.output, width=72, height=HEIGHT).shapes
    (predicted,) = [s for s in found.shapes if "predicted" in s.key_sources]
    assert predicted.key_frames == tuple(range(1001, 1010))
    assert len(found.shapes) == (1 if source == ".fxs" or output == ".fxs" else 2)


def test_predicting_again_starts_from_the_artists_keys_alone(predict, tmp_path):
    first = predict("first.json").output
    again = predict("again.json", shapes_file=first).output
    (before,), (after,) = _shapes(first).shapes, _shapes(again).shapes
    assert after.key_sources == before.key_sources
    np.testing.assert_allclose(after.controls, before.controls, atol=1e-3)


def test_a_script_that_holds_a_prediction_is_predicted_from_the_original(predict):
    first = predict("first.nk").output
    report = predict("again.nk", shapes_file=first)
    assert [shape.path for shape in report.shapes] == ["Roto1:figure1"]
    assert ["is a prediction itself" in one.reason for one in report.rejected] == [True]


def test_a_former_prediction_is_replaced_and_a_foreign_file_is_not(predict, tmp_path, shot):
    first = predict().output.read_bytes()
    assert predict().output.read_bytes() == first
    foreign = tmp_path / "other.nk"
    foreign.write_bytes(shot.approved_file.read_bytes())
    with pytest.raises(ConfigError, match="was not written by a prediction"):
        predict("other.nk")
    assert foreign.read_bytes() == shot.approved_file.read_bytes()
    assert predict("other.nk", overwrite=True).output.read_bytes() == first


def test_the_artists_own_file_is_never_written_to(predict, shot, tmp_path):
    before = shot.artist_file.read_bytes()
    link = tmp_path / "link.nk"
    link.symlink_to(shot.artist_file)
    for output in (shot.artist_file, link):
        with pytest.raises(ConfigError, match="is the artist's own file"):
            predict(output, overwrite=True)
    assert shot.artist_file.read_bytes() == before


def test_a_bad_shape_is_reported_and_the_others_are_predicted(predict, shot):
    (good,) = _shapes(shot.artist_file).shapes
    still = Shape.from_keys("still", [1001], good.controls[:1])
    elsewhere = Shape.from_keys("elsewhere", [1, 9], good.controls[:2])
    _write(shot, still, good, elsewhere)
    report = predict()
    assert [shape.path for shape in report.shapes] == ["Roto1:figure1"]
    reasons = {one.where: one.reason for one in report.rejected}
    assert "keys on 1 frame" in reasons["Roto1:still"]
    assert "keys on 1-9, the plate has frames 1001-1009" in reasons["Roto1:elsewhere"]


def test_nothing_is_written_where_no_shape_can_be_predicted(predict, shot, tmp_path):
    (good,) = _shapes(shot.artist_file).shapes
    _write(shot, Shape.from_keys("still", [1001], good.controls[:1]))
    with pytest.raises(PredictionError, match=r"no shape of artist\.nk .* set at least two"):
        predict()
    assert not (tmp_path / "out.nk").exists()


def test_shapes_are_chosen_by_name_and_a_wrong_name_lists_them(predict, shot):
    (good,) = _shapes(shot.artist_file).shapes
    _write(shot, good, replace(good, name="second", path=""))
    assert [shape.path for shape in predict(shapes=["second"]).shapes] == ["Roto1:second"]
    with pytest.raises(
        ShapeError, match="no shape is called 'third'; choose one of: Roto1:figure1, Roto1:second"
    ):
        predict(shapes=["third"])


def test_missing_and_damaged_frames_are_predicted_with_less_confidence_and_named(predict, shot):
    whole = predict("whole.nk").shapes[0]
    (shot.folder / "plate.1003.exr").unlink()
    damaged = shot.folder / "plate.1007.exr"
    damaged.write_bytes(damaged.read_bytes()[:400])
    report = predict("holes.nk")
    (shape,) = report.shapes
    assert shape.missing == (1003, 1007)
    assert [problem.split(":")[0] for problem in report.problems] == ["frame 1003", "frame 1007"]
    for frame in shape.missing:
        assert shape.confidence[frame - 1001] < whole.confidence[frame - 1001]
    assert _shapes(report.output).shapes[1].key_frames == tuple(range(1001, 1010))


def test_keys_beyond_the_plate_count_as_frames_without_a_picture(predict, shot):
    for frame in (1008, 1009):
        (shot.folder / f"plate.{frame}.exr").unlink()
    (shape,) = predict().shapes
    assert shape.missing == (1008, 1009)
    assert shape.frames[-1] == 1009


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("Blur {\n size 3\n}\n", NoRotoError, "no roto node"),
        ("Roto {\n curves {{{v x3f99999a}\n", FormatError, "line"),
    ],
)
def test_a_script_that_cannot_be_read_says_why(predict, shot, tmp_path, text, error, said):
    shot.artist_file.write_text(text)
    with pytest.raises(error, match=said):
        predict()
    assert not (tmp_path / "out.nk").exists()


def test_a_shape_with_an_expression_is_left_alone_with_the_reason(predict, shot):
    changed, times = re.subn(
        rb"(\{px \{[^}]*\}\n\{)\{(?:\{[^{}]*\} ?)+\}",
        rb"\1{=sin(frame) x3f800000}",
        shot.artist_file.read_bytes(),
        count=1,
    )
    assert times == 1
    shot.artist_file.write_bytes(changed)
    with pytest.raises(PredictionError, match="expression"):
        predict()


def test_a_plate_of_another_size_than_the_script_is_refused_unless_trusted(predict, shot):
    drawn = _shapes(shot.artist_file)
    shot.artist_file.write_bytes(nuke.dumps(replace(drawn, width=144, height=112)))
    with pytest.raises(IngestError, match="for pictures of 144x112, the plate has 72x56"):
        predict()
    assert predict(trust_plate_size=True).shapes


def test_weights_may_be_a_release_folder_and_bad_ones_are_named(predict, small_weights, tmp_path):
    assert small_weights.name == "weights.safetensors"
    by_folder = predict("a.nk", weights=small_weights.parent)
    assert by_folder.output.read_bytes() == predict("b.nk").output.read_bytes()
    (tmp_path / "bad.safetensors").write_bytes(b"no weights")
    with pytest.raises(WeightsError, match=r"bad\.safetensors"):
        predict("c.nk", weights=tmp_path / "bad.safetensors")
    with pytest.raises(WeightsError, match="cannot be read"):
        predict("c.nk", weights=tmp_path)


def test_the_packaged_weights_are_the_default(predict):
    assert predict(weights=None).weights == "base weights"


def test_an_output_that_cannot_be_written_is_an_error_that_leaves_nothing(predict, tmp_path, monkeypatch):
    (tmp_path / "folder").write_text("a file in the place of the folder")
    with pytest.raises(ConfigError, match="does not exist"):
        predict("folder/out.nk")
    (tmp_path / "gone").mkdir()
    monkeypatch.setattr("os.open", _refuse(tmp_path / "gone"))
    with pytest.raises(FedrotoError, match=r"cannot write .*gone/out\.nk: Permission denied"):
        predict("gone/out.nk")
    assert list((tmp_path / "gone").iterdir()) == []


def _refuse(folder):
    import os

    real = os.open

    def refuse(path, flags, *rest, **options):
        if str(path).startswith(str(folder)) and flags & os.O_CREAT:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, flags, *rest, **options)

    return refuse


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"output": "out.docx"}, "none of the endings"),
        ({"every": 0}, "every 0th frame"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_read(predict, options, said):
    with pytest.raises(ConfigError, match=said):
        predict(**options)


def test_a_plate_that_is_not_there_is_an_error(predict, tmp_path):
    with pytest.raises(PlateError, match="does not exist"):
        predict(plates=tmp_path / "nowhere" / "plate.%04d.exr")


def test_an_unreadable_shape_file_is_an_error(predict, tmp_path):
    with pytest.raises((FedrotoError, ModelError), match=r"gone\.nk"):
        predict(shapes_file=tmp_path / "gone.nk")
