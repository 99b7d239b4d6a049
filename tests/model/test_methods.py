"""Methods by name: each exact at keys, honest about its error, and the best found by the artist's own keys."""

import numpy as np
import pytest
import torch

from model.curves import outline
from model.errors import KeyframeError, PredictionError
from model.frames import ArrayFrames
from model.methods import CLASSICAL, METHODS, BestMethod, key_errors, method_named
from model.network import Fusion, RotoModel
from model.pictures import Pictures
from model.predict import OutlinePrediction, predict_shape
from model.shapes import Shape
from model.trackers import lk_closed, smooth
from model.trackers_lk import lk_chain

KEYS = [0, 4, 8]


@pytest.fixture
def pictures(disc):
    return Pictures(ArrayFrames(disc[0]))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return RotoModel(Fusion())


@pytest.mark.parametrize("name", METHODS)
def test_every_method_follows_the_disc_and_is_exact_at_keys(pictures, disc, model, name):
    _, outlines = disc
    told = []
    found = method_named(name, model, tracker=lk_chain)(
        pictures, KEYS, outlines[KEYS], lambda *step: told.append(step)
    )
    assert np.array_equal(found.points[KEYS], outlines[KEYS])
    assert np.abs(found.points - outlines).max() < 1.0
    assert np.array_equal(found.confidence[KEYS], np.ones(3))
    assert ((found.confidence > 0) & (found.confidence <= 1)).all()
    assert found.next_key not in KEYS
    assert told[-1] == (9, 9)


def test_a_method_is_the_baseline_that_models_are_measured_against(pictures, disc):
    _, outlines = disc
    found = CLASSICAL["track"](pictures, KEYS, outlines[KEYS])
    assert np.array_equal(found.points, lk_closed(pictures, KEYS, outlines[KEYS]))
    assert found.method == "track"
    assert np.array_equal(
        CLASSICAL["smooth"](pictures, KEYS, outlines[KEYS]).points, smooth(KEYS, outlines[KEYS])
    )


def test_a_tracker_that_misses_the_other_key_is_less_sure(pictures, disc):
    _, outlines = disc
    sure = CLASSICAL["track"](pictures, [0, 8], outlines[[0, 8]])
    slipped = np.stack([outlines[0], outlines[8] + [6.0, 0.0]])
    assert CLASSICAL["track"](pictures, [0, 8], slipped).confidence[4] < 0.7 * sure.confidence[4]


def test_smooth_leaves_the_artists_curve_to_the_last_bit(pictures, disc):
    rng = np.random.default_rng(2)
    controls = rng.normal(0, 4, (3, 7, 3, 2))
    controls[:, :, 1] += 40
    shape = Shape.from_keys("wild", KEYS, controls)
    found = predict_shape(CLASSICAL["smooth"], pictures, shape)
    assert np.array_equal(found.controls, np.stack([shape.at(frame) for frame in range(9)]))
    assert found.method == "smooth"


def off_by(pixels):
    """A method that is right but for a shift, and exact at keys."""

    def place(frames, key_frames, key_points, progress=None, *, interpolation=None):
        times = np.arange(key_frames[0], key_frames[-1] + 1)
        start = np.array(key_points[0])
        points = np.stack([start + np.array([2.0, 1.0]) * (t - times[0]) + pixels for t in times])
        points[np.array(key_frames) - times[0]] = key_points
        even = np.ones(len(times))
        return OutlinePrediction(times, points, even, np.zeros(points.shape[:2]), None, f"off by {pixels}")

    return place


def test_best_takes_the_method_that_places_the_artists_own_keys_best(pictures, disc):
    _, outlines = disc
    methods = {"far": off_by(3.0), "near": off_by(0.5), "trusted": off_by(2.0)}
    errors = key_errors(methods, pictures, KEYS, outlines[KEYS])
    size = np.sqrt(np.pi) * 18  # square root of the disc's area
    assert errors["far"] == pytest.approx(3 * np.sqrt(2) / size, rel=0.01)
    found = BestMethod(methods)(pictures, KEYS, outlines[KEYS])
    assert found.method == "off by 0.5"
    assert found.key_errors == errors


def test_best_keeps_the_trusted_method_when_the_gain_is_slight_or_unmeasured(pictures, disc):
    _, outlines = disc
    methods = {"near": off_by(1.9), "trusted": off_by(2.0)}
    assert BestMethod(methods)(pictures, KEYS, outlines[KEYS]).method == "off by 2.0"
    alone = BestMethod({"near": off_by(0.1), "trusted": off_by(2.0)})(pictures, [0, 8], outlines[[0, 8]])
    assert (alone.method, alone.key_errors) == ("off by 2.0", {})


def test_shapes_go_through_any_method(pictures, disc):
    _, outlines = disc
    controls = np.zeros((3, 48, 3, 2))
    controls[:, :, 1] = outlines[KEYS]
    shape = Shape.from_keys("disc", KEYS, controls)
    found = predict_shape(CLASSICAL["flow"], pictures, shape)
    assert np.abs(outline(found.controls, "bezier", True, 4)[:, ::4] - outlines).max() < 1.0
    assert (found.method, found.next_key not in KEYS) == ("flow", True)


def test_unknown_names_missing_weights_and_bad_keys_are_refused(pictures, disc):
    with pytest.raises(PredictionError, match="smooth, track, planar, flow, tracker, model, best"):
        method_named("magic")
    with pytest.raises(PredictionError, match="needs weights"):
        method_named("best")
    for method in CLASSICAL.values():
        with pytest.raises(KeyframeError, match="at least two"):
            method(pictures, [3], disc[1][[3]])
