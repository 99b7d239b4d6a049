"""An artist's own weights from files: written private, judged on what was kept aside, refused where that cannot be."""

import shutil
from dataclasses import replace

import pytest
import torch

from federation.errors import ConfigError
from model.errors import PredictionError
from model.evidence import CANDIDATES
from model.network import Fusion, RotoModel
from model.weights import load, save
from studio_node import tuning_windows
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


@pytest.fixture
def crooked_weights(tmp_path):
    """Weights that move every point off the blend of the trackers: a network that has something to learn."""
    fusion = Fusion()
    with torch.no_grad():
        fusion.head.bias[len(CANDIDATES) : -1] = 0.7
    save(tmp_path / "crooked.safetensors", RotoModel(fusion).to_tensors())
    return tmp_path / "crooked.safetensors"


def test_a_show_is_tuned_on_goes_on_after_a_stop_and_the_weights_predict(
    two_shots, crooked_weights, tmp_path, monkeypatch
):
    output, told = tmp_path / "mine.safetensors", []
    shots, _ = find_shots([two_shots[0].folder.parent])
    how = {"weights": crooked_weights, "windows": 8, "steps": 60}

    def stop(point):
        if point.step == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune_on_shots(shots, output, **how, on_point=stop)
    unfinished = tmp_path / "mine.safetensors.tuning"
    assert all(folder.stat().st_mode & 0o777 == 0o700 for folder in (unfinished, *unfinished.iterdir()))
    monkeypatch.setattr(tuning_windows, "windows_of_shot", None)  # what was read is not read again
    report = tune_on_shots(shots, output, **how, on_point=told.append)
    assert not unfinished.exists()
    assert set(report.shots) == {"sh001", "sh002"}
    assert report.learned
    assert report.aside
    assert "last 25%" in report.kept_aside
    assert [point.step for point in report.curve] == [0, 20, 40, 60]
    assert report.curve[2:] == tuple(told)
    assert report.output == output
    kept = next(point for point in report.curve if point.step == report.best_step)
    assert kept.step > 0
    assert report.error_after == kept.aside_error
    assert report.error_after < report.error_before
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
    assert report.error_after <= report.error_before


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
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("mine")] == []
