"""An artist's own weights from files: written private, judged on what was kept aside, refused where that cannot be."""

import shutil
from dataclasses import replace

import pytest

from federation.errors import ConfigError
from model.errors import PredictionError
from model.weights import load
from studio_node.predict_shot import predict_shot
from studio_node.shot_folders import find_shots
from studio_node.tuning import single_shot, tune_on_shots
from studio_node.written_shots import make_procedural_shots
from tests.studio_node.conftest import SMALL


@pytest.fixture(scope="module")
def two_shots(tmp_path_factory):
    """Two small shots, long enough to keep a quarter aside; the dates in their files choose other spans each time."""
    folder = tmp_path_factory.mktemp("tuning") / "show"
    settings = replace(SMALL, frames=21)
    return make_procedural_shots(folder, seed=12, count=2, settings=settings, prefix="sh", artist_gap=5)


def test_a_show_is_tuned_on_and_the_weights_predict(two_shots, small_weights, tmp_path):
    output, told = tmp_path / "mine.safetensors", []
    shots, _ = find_shots([two_shots[0].folder.parent])
    report = tune_on_shots(shots, output, weights=small_weights, windows=8, steps=60, on_point=told.append)
    assert set(report.shots) == {"sh001", "sh002"}
    assert report.learned
    assert report.aside
    assert "last 25%" in report.kept_aside
    assert report.curve == tuple(told)
    assert report.output == output, "the untrained network has something to learn"
    kept = next(point for point in report.curve if point.step == report.best_step)
    assert kept.step > 0
    assert kept.aside_loss == min(point.aside_loss for point in report.curve)
    assert report.error_after == kept.aside_error
    assert "private" in load(output).metadata
    assert output.stat().st_mode & 0o777 == 0o600
    predicted = predict_shot(
        two_shots[0].plate, two_shots[0].artist_file, tmp_path / "predicted.nk", weights=output
    )
    assert predicted.weights == f"{output} (private)"


def test_from_five_shots_on_whole_shots_are_kept_aside(show, small_weights, tmp_path):
    folder = tmp_path / "five"
    for number in range(5):
        shutil.copytree(show[number % 2].folder, folder / f"sh{number}")
    shots, _ = find_shots([folder])
    report = tune_on_shots(shots, tmp_path / "mine.safetensors", weights=small_weights, windows=2, steps=20)
    assert report.kept_aside.startswith("of 5 shots: sh")
    assert 0 < report.aside < report.learned


def test_a_bad_shot_is_reported_and_the_rest_goes_on(two_shots, small_weights, tmp_path):
    shutil.copytree(two_shots[0].folder.parent, tmp_path / "show")
    (tmp_path / "show" / "sh002" / "shapes.nk").write_text("Root {\n")
    shots, _ = find_shots([tmp_path / "show"])
    report = tune_on_shots(shots, tmp_path / "mine.safetensors", weights=small_weights, windows=4, steps=20)
    assert report.shots == ("sh001",)
    assert [one.where for one in report.rejected] == ["sh002"]


def test_what_cannot_be_judged_is_refused_and_nothing_is_written(show, small_weights, tmp_path):
    shot = single_shot(show[0].plate, show[0].artist_file)
    output = tmp_path / "mine.safetensors"
    shutil.copyfile(small_weights, tmp_path / "other.safetensors")
    with pytest.raises(ConfigError, match="no tuned weights of yours"):
        tune_on_shots([shot], tmp_path / "other.safetensors", weights=small_weights)
    with pytest.raises(ConfigError, match=r"no \.safetensors"):
        tune_on_shots([shot], tmp_path / "mine.nk", weights=small_weights)
    with pytest.raises(PredictionError, match="0 windows to learn from"):
        tune_on_shots([], output, weights=small_weights)
    assert not output.exists()
