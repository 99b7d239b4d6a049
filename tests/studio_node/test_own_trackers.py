"""A studio's own tracker: blended, alone or compared; its faults are named; it cannot reach what trains or sends."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from federation.errors import IngestError
from model.errors import PredictionError
from model.frames import ArrayFrames
from model.methods import method_named
from model.network import Fusion, RotoModel
from model.pictures import Pictures
from studio_node.own_trackers import SpanPictures, TrackerChain, load_tracker
from studio_node.predict_shot import predict_shot

PAGE = Path(__file__).parents[2] / "docs" / "own-tracker.md"
FRAMES = 9


@pytest.fixture
def grey():
    """Pictures that show nothing: only a tracker that knows can follow."""
    return Pictures(ArrayFrames([np.full((64, 64, 3), 90, np.uint8)] * FRAMES))


@pytest.fixture
def truth():
    """A circle whose way bends: [T, M, 2]."""
    angle = 2 * np.pi * np.arange(48) / 48
    circle = 10 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    time = np.arange(FRAMES)
    way = np.stack([25 + time, 30 + 6 * np.sin(np.pi * time / 8)], axis=1)
    return circle + way[:, None]


def knowing(truth):
    def track(pictures, outline):
        forward = np.abs(outline - truth[0]).max() < 1e-6
        return truth if forward else truth[::-1]

    return TrackerChain("knowing", track)


def test_a_tracker_that_knows_pulls_the_model_and_is_chosen_where_compared(grey, truth):
    model, keys = RotoModel(Fusion()), [0, 8]
    alone = method_named("model", model)(grey, keys, truth[keys])
    blended = method_named("model", model, tracker=knowing(truth))(grey, keys, truth[keys])
    own = method_named("tracker", tracker=knowing(truth))(grey, keys, truth[keys])
    assert np.allclose(own.points, truth)
    error = [np.abs(found.points - truth).max() for found in (alone, blended)]
    assert error[0] > 4
    assert error[1] < 0.75 * error[0]
    assert np.array_equal(blended.points[keys], truth[keys])
    assert ((blended.confidence > 0) & (blended.confidence <= 1)).all()


def test_a_tracker_is_asked_from_both_keys_and_its_miss_lowers_the_confidence(grey, truth):
    def still(pictures, outline):
        asked.append((len(pictures), pictures[0].shape, len(pictures[1:])))
        return np.repeat(outline[None], len(pictures), axis=0)

    asked = []
    chain = TrackerChain("still", still)
    found = method_named("tracker", tracker=chain)(grey, [0, 8], truth[[0, 8]])
    assert asked == [(9, (64, 64, 3), 8)] * 2
    sure = method_named("tracker", tracker=knowing(truth))(grey, [0, 8], truth[[0, 8]])
    assert found.confidence[4] < 0.5 * sure.confidence[4]


@pytest.mark.parametrize(
    ("track", "said"),
    [
        (lambda pictures, outline: outline, r"returned \(48, 2\), wanted finite \(9, 48, 2\)"),
        (lambda pictures, outline: np.full((9, 48, 2), np.nan), "wanted finite"),
        (lambda pictures, outline: pictures[99], "failed on frames 0 to 8: IndexError"),
    ],
)
def test_a_faulty_tracker_is_named_with_what_it_did(grey, truth, track, said):
    with pytest.raises(PredictionError, match=said):
        method_named("tracker", tracker=TrackerChain("bad", track))(grey, [0, 8], truth[[0, 8]])


def test_pictures_are_read_when_asked_for(truth):
    class Frames(ArrayFrames):
        def working(self, frame):
            read.append(frame)
            return super().working(frame)

    read = []
    span = SpanPictures(Pictures(Frames([np.zeros((8, 8, 3), np.uint8)] * 4)), [3, 2, 1])
    assert (len(span), read) == (3, [])
    assert span[1:][0].shape == (8, 8, 3)
    assert read == [2]


def test_the_worked_example_predicts_a_shot(show, tmp_path, monkeypatch):
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.S).group(1)
    (tmp_path / "my_tracker.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    report = predict_shot(
        show[0].plate, show[0].artist_file, tmp_path / "out.nk", method="tracker", tracker="my_tracker:follow"
    )
    assert (report.shapes[0].method, report.weights) == ("tracker", None)
    with pytest.raises(PredictionError, match="needs a tracker"):
        predict_shot(show[0].plate, show[0].artist_file, tmp_path / "other.nk", method="tracker")


def test_a_tracker_that_is_not_there_is_named():
    with pytest.raises(IngestError, match="no tracker 'ours'"):
        load_tracker("ours")
    with pytest.raises(IngestError, match="cannot be loaded"):
        load_tracker("no_such_module:follow")


def test_what_trains_and_sends_never_loads_own_trackers():
    """In a new process, so that nothing else has imported it; import-linter checks the same without running."""
    training = ("ingest", "packs", "shot_windows", "private_training", "roto_training", "local_round")
    modules = ", ".join(f"studio_node.{name}" for name in (*training, "runner", "egress", "uplink"))
    code = f"import sys, {modules}; print('studio_node.own_trackers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
