"""Public pretraining and the public benchmark: repeatable, disjoint, and able to tell good from bad."""

import numpy as np
import pytest

from model import pretrain as pretraining
from model import public_benchmark as benchmark
from model.errors import PredictionError, WeightsError
from model.network import Fusion, RotoModel
from model.pretrain import pretrain, roughened, train, training_windows, unsteady_hand
from model.procedural_settings import ShotSettings
from model.public_benchmark import build_clips, evaluate, of_method, paired_interval, same_matcher
from model.weights import load


@pytest.fixture
def short_shots(monkeypatch):
    """Pretraining shots of nine small frames with one figure."""
    small = ShotSettings(width=96, height=96, frames=9, parts_chance=0)
    monkeypatch.setattr(pretraining, "random_settings", lambda rng: small)


@pytest.fixture(scope="module")
def clips():
    return build_clips(None, count=2)


def test_pretraining_repeats_to_the_byte_and_depends_on_the_seed(tmp_path, short_shots):
    told = []
    for name, seed in (("one", 1), ("two", 1), ("other", 2)):
        report = pretrain(
            tmp_path / name, seed, shots=1, steps=2, matcher=None, progress=lambda *call: told.append(call)
        )
        assert report.windows > 0
        assert np.isfinite(report.loss)
    one, two, other = ((tmp_path / name).read_bytes() for name in ("one", "two", "other"))
    assert one == two
    assert one != other
    assert told[:3] == [("shots", 1, 1), ("steps", 1, 2), ("steps", 2, 2)]
    found = load(tmp_path / "one")
    RotoModel.from_tensors(found.tensors)
    assert found.metadata["seed"] == "1"


def test_training_lowers_the_loss(window_of):
    rng = np.random.default_rng(0)
    windows = [window_of(rng, 3) for _ in range(8)]
    _, losses = train(windows, 0, steps=25)
    assert len(losses) == 25
    assert np.mean(losses[-5:]) < np.mean(losses[:5])


@pytest.mark.parametrize("stopped_at", [("shots", 2), ("steps", 3), ("steps", 4)])
def test_a_pretraining_that_was_stopped_goes_on_to_the_same_bytes(
    tmp_path, short_shots, monkeypatch, stopped_at
):
    monkeypatch.setattr(pretraining, "CHECKPOINT_STEPS", 2)
    made = []
    cut = pretraining.training_windows
    monkeypatch.setattr(pretraining, "training_windows", lambda *a, **k: made.append(a) or cut(*a, **k))

    def stop(stage, done, of):
        if (stage, done) == stopped_at:
            raise KeyboardInterrupt

    how = {"shots": 2, "steps": 5, "matcher": None}
    whole = pretrain(tmp_path / "whole", 1, **how)
    with pytest.raises(KeyboardInterrupt):
        pretrain(tmp_path / "cut", 1, **how, work=tmp_path / "work", progress=stop)
    assert not (tmp_path / "cut").exists()
    with pytest.raises(WeightsError, match="another training"):
        pretrain(tmp_path / "cut", 2, **how, work=tmp_path / "work")
    resumed = pretrain(tmp_path / "cut", 1, **how, work=tmp_path / "work")
    assert (tmp_path / "cut").read_bytes() == (tmp_path / "whole").read_bytes()
    assert resumed == whole
    assert len(resumed.curve) == 5
    assert len(made) == 4  # two for each file: none was made twice
    assert not (tmp_path / "work").exists()


def test_pretraining_and_benchmark_never_share_a_generator():
    assert pretraining.SEED_ROOM != benchmark.SEED_ROOM
    ours = np.random.default_rng([*pretraining.SEED_ROOM.encode(), 0, 0]).random(4)
    theirs = np.random.default_rng([*f"{benchmark.SEED_ROOM} {benchmark.RECIPE}".encode(), 0]).random(4)
    assert not np.isin(ours, theirs).any()


def test_a_shot_follows_from_its_seed_and_number(short_shots):
    first, again, other = (training_windows(3, None, index) for index in (0, 0, 1))
    assert len(first) == len(again)
    assert all(np.array_equal(a.truth, b.truth) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0].truth, other[0].truth)


def test_roughening_moves_no_point_and_leaves_at_most_one_tracker_out(window_of):
    rng = np.random.default_rng(1)
    window = window_of(rng)
    rough = [roughened(window, rng) for _ in range(20)]
    gone = [int((w.evidence.available == 0).any(axis=0).sum()) for w in rough]
    assert set(gone) == {0, 2}
    same = [np.array_equal(w.truth, window.truth) for w in rough]
    assert 0 < sum(same) < len(same)
    assert all(
        np.array_equal(w.truth, window.truth if s else window.truth[:, ::-1])
        for w, s in zip(rough, same, strict=True)
    )
    assert not any(np.array_equal(w.evidence.appearance, window.evidence.appearance) for w in rough)


def test_an_unsteady_hand_stays_near_the_outline():
    angle = 2 * np.pi * np.arange(64) / 64
    circle = np.tile(50 * np.stack([np.cos(angle), np.sin(angle)], axis=1), (5, 1, 1))
    moved = [unsteady_hand(np.random.default_rng(s), circle) for s in range(12)]
    assert max(np.abs(np.linalg.norm(m, axis=2) - 50).max() for m in moved) < 4
    assert any(np.array_equal(m, circle) for m in moved) or any(np.abs(m - circle).max() > 0.1 for m in moved)


def test_the_benchmark_scores_every_model_and_baseline_on_every_clip(clips):
    scores = evaluate({"one": RotoModel(Fusion()), "two": RotoModel(Fusion())}, clips)
    methods = [s.method for s in scores[: len(scores) // 2]]
    assert methods == [*benchmark.BASELINES, "one", "two"]
    assert of_method(scores, "one") == of_method(scores, "two")
    assert np.mean(of_method(scores, "one")) < np.mean(of_method(scores, "linear"))


def test_the_truth_scores_perfectly(clips):
    perfect = benchmark.score(clips[0], "truth", clips[0].truth)
    assert perfect.boundary == pytest.approx(0, abs=1e-6)
    assert perfect.iou == pytest.approx(1)
    assert perfect.point == 0


def test_clips_are_the_same_every_time_and_whatever_the_count(clips):
    again = build_clips(None, count=1)[0]
    assert again.name == clips[0].name
    assert np.array_equal(again.truth, clips[0].truth)
    assert np.array_equal(again.spans[0][1].points, clips[0].spans[0][1].points)


def test_the_recipe_cannot_change_unnoticed(clips):
    """A release check compares releases over time: another generator needs another name of the recipe."""
    assert benchmark.RECIPE == "procedural/1"
    expected = [[78.56, 119.447], [81.363, 108.388], [130.286, 94.159]]
    assert np.allclose(clips[0].truth[[0, 8, 16], [0, 20, 40]], expected, atol=0.01)


def test_a_model_cannot_pass_as_a_baseline(clips):
    with pytest.raises(WeightsError, match="lk_closed"):
        evaluate({"lk_closed": RotoModel(Fusion())}, clips)


def test_the_paired_interval_covers_a_known_difference():
    rng = np.random.default_rng(0)
    base = rng.normal(5, 3, 40)
    better = base - 0.5 + rng.normal(0, 0.2, 40)
    found = paired_interval(list(better), list(base))
    assert found.low < -0.5 < found.high < 0
    assert found == paired_interval(list(better), list(base))
    same = paired_interval(list(base), list(base))
    assert (same.mean, same.low, same.high) == (0, 0, 0)


@pytest.mark.parametrize(("one", "other"), [([1.0], [1.0]), ([1.0, 2.0], [1.0])])
def test_too_few_or_unmatched_clips_are_refused(one, other):
    with pytest.raises(PredictionError):
        paired_interval(one, other)


def test_models_without_matcher_share_evidence():
    assert same_matcher(RotoModel(Fusion()), RotoModel(Fusion()))
