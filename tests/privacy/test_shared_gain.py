"""The number that a studio shares: bounded shot by shot, noised by the operating system, on a public grid."""

import numpy as np
import pytest
from studio_under_test import window

from federation.errors import IngestError
from federation.plan import GainConstants
from model.losses import window_error
from model.network import Fusion
from model.weights import pack, unpack
from model.windows import Window
from studio_node import shared_gain
from studio_node.shared_gain import noised_gain

GAIN = GainConstants(clip=0.125, noise_multiplier=4.0, windows_per_shot=4, shots=8)


@pytest.fixture(scope="module")
def weights():
    """Two sets of weights that differ: the campaign's first and its last."""
    first = pack(Fusion())
    return np.concatenate(
        [first, first + np.random.default_rng(1).normal(0, 0.02, first.size).astype(np.float32)]
    )


@pytest.fixture
def without_noise(monkeypatch):
    monkeypatch.setattr(shared_gain, "gaussian", lambda count, deviation, grid: np.zeros(count))


def shots(*seeds: int) -> list:
    return [lambda seed=seed: [window(10 * seed + n) for n in range(3)] for seed in seeds]


def fusion_of(packed) -> Fusion:
    fusion = Fusion().eval()
    unpack(fusion, packed)
    return fusion


def test_a_shots_gain_is_the_relative_fall_of_its_mean_error_and_shots_add_up(weights, without_noise):
    wide = GAIN.model_copy(update={"clip": 1.0})
    before, after = (fusion_of(packed) for packed in np.split(weights, 2))
    expected = []
    for open_shot in shots(1, 2):
        errors = [[window_error(fusion, one) for one in open_shot()] for fusion in (before, after)]
        expected.append(1 - np.mean(errors[1]) / np.mean(errors[0]))
    assert min(map(abs, expected)) > 1e-4
    grid = wide.bounds.grid
    assert noised_gain(wide, weights, shots(1, 2))[0] == pytest.approx(sum(expected), abs=grid)
    assert noised_gain(wide, weights, shots(2))[0] == pytest.approx(expected[1], abs=grid)


def test_no_shot_moves_the_sum_by_more_than_the_clip(weights, without_noise):
    swapped = np.concatenate(np.split(weights, 2)[::-1])
    for packed in (
        weights,
        swapped,
        np.concatenate([weights[: weights.size // 2] * 40, weights[weights.size // 2 :]]),
    ):
        for seed in (1, 2):
            tight = GAIN.model_copy(update={"clip": 2.0**-9})
            assert abs(noised_gain(tight, packed, shots(seed))[0]) <= tight.clip


def test_the_noise_has_the_plans_deviation_and_never_repeats(weights, monkeypatch):
    drawn = []
    gaussian = shared_gain.gaussian

    def watched(count, deviation, grid):
        drawn.append((count, deviation))
        return gaussian(count, deviation, grid)

    monkeypatch.setattr(shared_gain, "gaussian", watched)
    np.random.seed(1)
    told = {float(noised_gain(GAIN, weights, [])[0]) for _ in range(8)}
    assert drawn == [(1, GAIN.clip * GAIN.noise_multiplier)] * 8
    assert len(told) == 8, "no held-back shot is noised like any number of them, by no seed"


def test_what_leaves_is_within_public_bounds_whatever_the_noise(weights, monkeypatch):
    for drawn in (1e6, -1e6, 0.3):
        monkeypatch.setattr(
            shared_gain, "gaussian", lambda count, deviation, grid, to=drawn: np.full(count, to)
        )
        told = noised_gain(GAIN, weights, shots(1))
        assert told.dtype == np.float32
        assert told.shape == (1,)
        assert abs(told[0]) <= GAIN.bounds.norm_max
        assert float(told[0]) / GAIN.bounds.grid == round(float(told[0]) / GAIN.bounds.grid)


def test_a_shot_that_cannot_be_read_or_has_nothing_to_gain_contributes_zero(weights, without_noise):
    def broken():
        raise IngestError("damaged")

    def perfect() -> list[Window]:
        one = window(3)
        silent = Window(one.evidence, one.truth, np.zeros_like(one.weight))
        return [silent]

    warned: list[str] = []
    assert noised_gain(GAIN, weights, [broken, perfect, list], warn=warned.append)[0] == 0
    assert len(warned) == 2
