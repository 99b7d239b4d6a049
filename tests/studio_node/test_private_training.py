import math
import random

import numpy as np
import pytest
import torch
from torch import nn

from federation.errors import IngestError, LedgerError, PlanError
from federation.plan import PrivacyConstants, UpdateBounds, byte_grid
from model.errors import ShapeError
from model.evidence import SpanEvidence, evidence_shapes
from model.losses import window_loss
from model.network import Fusion
from model.weights import pack
from model.windows import Window
from studio_node import private_training
from studio_node.private_training import PrivateTrainer, TrainingSettings, bounded_update

torch.set_num_threads(1)
DENOMINATOR = 7.5


def _window(seed: int, frames: int = 4, samples: int = 12) -> Window:
    rng = np.random.default_rng(seed)
    arrays = {k: rng.random(s, dtype=np.float32) for k, s in evidence_shapes(frames, samples).items()}
    arrays["available"] = np.ones_like(arrays["available"])
    arrays["context"] = arrays["context"] + 5.0
    truth = rng.random((frames, samples, 2), dtype=np.float32)
    return Window(SpanEvidence(**arrays), truth, np.ones(frames, np.float32))


def _shot(seed: int, windows: int = 3):
    made = [_window(100 * seed + i, frames=3 + i) for i in range(windows)]
    return lambda: made


def _fusion(seed: int = 1) -> Fusion:
    torch.manual_seed(seed)
    fusion = Fusion()
    with torch.no_grad():  # the head starts at zero, which would leave the body without a gradient
        for parameter in fusion.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return fusion


def _settings(**changes) -> TrainingSettings:
    constants = {
        "sample_rate": 0.5,
        "windows_per_shot": 2,
        "max_grad_norm": 0.3,
        "noise_multiplier": 1.0,
        "steps_per_round": 1,
    }
    learning_rate = changes.pop("learning_rate", 0.5)
    return TrainingSettings(PrivacyConstants(**constants | changes), DENOMINATOR, learning_rate)


@pytest.fixture
def recorded(monkeypatch):
    """Record the noise that the real source draws; fix which shots and windows are drawn."""
    drawn: list[np.ndarray] = []

    def watched(count, deviation, grid):
        drawn.append(gaussian(count, deviation, grid))
        return drawn[-1]

    gaussian = private_training.gaussian
    monkeypatch.setattr(private_training, "gaussian", watched)
    monkeypatch.setattr(private_training, "poisson_sample", lambda count, rate: list(range(count)))
    monkeypatch.setattr(private_training, "draw_indices", lambda count, size: list(range(size)))
    return drawn


def _brute_force(
    fusion: Fusion, shots, settings: TrainingSettings, noise: list[np.ndarray], norms: list[float]
) -> np.ndarray:
    """One step written down from the definition, in float64, with nothing of Opacus in it; tells the shots' norms."""
    parameters = list(fusion.parameters())
    total = np.zeros(sum(p.numel() for p in parameters))
    for shot in shots:
        fusion.zero_grad()
        window_loss(fusion, shot()[: settings.privacy.windows_per_shot]).backward()
        gradient = np.concatenate([p.grad.double().numpy().ravel() for p in parameters])
        norms.append(float(np.linalg.norm(gradient)))
        total += gradient * min(1.0, settings.privacy.max_grad_norm / norms[-1])
    total += np.concatenate(noise)
    return -settings.learning_rate * total / settings.update_denominator


def _weights(fusion: Fusion) -> np.ndarray:
    return np.concatenate([p.detach().double().numpy().ravel() for p in fusion.parameters()])


@pytest.mark.parametrize(("clip", "clipped"), [(0.05, {5}), (1.6, set(range(6))), (1e3, {0})])
def test_a_step_is_the_definition_written_down_on_the_real_network(recorded, clip, clipped):
    # every shot clipped, some (which depends on the windows drawn), none;
    # a large rate keeps float32 weights from hiding the difference
    settings = _settings(max_grad_norm=clip, noise_multiplier=0.1 / clip, learning_rate=50.0)
    shots = [_shot(seed) for seed in range(5)]
    trained, reference = _fusion(), _fusion()
    before = _weights(trained)
    PrivateTrainer(trained, window_loss, settings).step(shots)
    norms: list[float] = []
    expected = _brute_force(reference, shots, settings, recorded, norms)
    assert sum(norm > clip for norm in norms) in clipped
    got = _weights(trained) - before
    assert np.linalg.norm(got - expected) / np.linalg.norm(expected) < 1e-4


def test_several_steps_follow_each_other_without_leftovers(recorded):
    settings = _settings(steps_per_round=3, learning_rate=20.0)
    shots = [_shot(seed) for seed in range(3)]
    trained, reference = _fusion(), _fusion()
    before = _weights(trained)
    PrivateTrainer(trained, window_loss, settings).train(shots)
    per_step = len(list(trained.parameters()))
    assert len(recorded) == 3 * per_step
    for step in range(3):
        noise = recorded[step * per_step : (step + 1) * per_step]
        move = _brute_force(reference, shots, settings, noise, [])
        start = 0
        with torch.no_grad():
            for parameter in reference.parameters():
                part = move[start : start + parameter.numel()]
                parameter.add_(torch.from_numpy(part.reshape(parameter.shape)).float())
                start += parameter.numel()
    got, expected = _weights(trained) - before, _weights(reference) - before
    assert np.linalg.norm(got - expected) / np.linalg.norm(expected) < 1e-4


def _clipped(trainer: PrivateTrainer, shot) -> np.ndarray:
    """A shot's contribution to the sum, taken out of the real optimiser."""
    trainer._optimizer.zero_grad(set_to_none=True)
    trainer._accumulate([g[None] for g in trainer.shot_gradient(shot)])
    summed = np.concatenate([p.summed_grad.double().numpy().ravel() for p in trainer._parameters])
    trainer._optimizer._is_last_step_skipped = False
    trainer._optimizer.zero_grad(set_to_none=True)
    return summed


def test_a_clipped_gradient_never_exceeds_its_bound(recorded):
    for clip in (1e-3, 0.3, 2.0):
        trainer = PrivateTrainer(_fusion(), window_loss, _settings(max_grad_norm=clip))
        for seed in range(6):
            assert np.linalg.norm(_clipped(trainer, _shot(seed))) <= clip * (1 + 1e-6)


def test_sums_are_whole_steps_and_exact_whatever_their_order(recorded):
    trainer = PrivateTrainer(_fusion(), window_loss, _settings(max_grad_norm=0.3))
    grid = trainer._optimizer.grid
    parts = [_clipped(trainer, _shot(seed)) for seed in range(4)]
    for part in parts:
        assert np.array_equal(np.rint(part / grid) * grid, part)
        assert np.linalg.norm(part) <= 0.3  # cutting to whole steps makes nothing longer, not by a rounding
    together = sum(parts)
    assert np.array_equal(together, sum(reversed(parts)))
    trainer.step([_shot(seed) for seed in range(4)])
    noise = np.concatenate(recorded)
    assert np.array_equal(np.rint(noise / grid) * grid, noise)
    assert np.array_equal((together + noise) - together, noise)


def test_changing_one_shot_moves_no_other_shots_clipped_gradient(recorded):
    shots = [_shot(seed) for seed in range(4)]
    trainer = PrivateTrainer(_fusion(), window_loss, _settings())
    alone = [_clipped(trainer, shot) for shot in shots]

    def summed(batch) -> np.ndarray:
        trainer = PrivateTrainer(_fusion(), window_loss, _settings())
        trainer._optimizer.zero_grad(set_to_none=True)
        for shot in batch:
            trainer._accumulate([g[None] for g in trainer.shot_gradient(shot)])
        return np.concatenate([p.summed_grad.double().numpy().ravel() for p in trainer._parameters])

    changed = [*shots[:2], _shot(99), shots[3]]
    # the sum moves by exactly what the one shot's own contribution moves, whatever else is in the batch
    np.testing.assert_allclose(
        summed(changed) - summed(shots), _clipped(trainer, changed[2]) - alone[2], atol=1e-6
    )
    np.testing.assert_allclose(summed(shots) - summed([*shots[:2], shots[3]]), alone[2], atol=1e-6)
    np.testing.assert_array_equal(_clipped(trainer, shots[0]), alone[0])


def test_windows_of_a_shot_are_clipped_together_and_not_one_by_one(recorded):
    trainer = PrivateTrainer(_fusion(), window_loss, _settings(max_grad_norm=0.01, windows_per_shot=3))
    contribution = np.linalg.norm(_clipped(trainer, _shot(1)))
    assert contribution == pytest.approx(0.01, rel=1e-3)  # three windows clipped one by one would reach 0.03


def test_noise_in_the_step_has_the_deviation_of_the_plan(monkeypatch):
    monkeypatch.setattr(private_training, "poisson_sample", lambda count, rate: [])
    settings = _settings(noise_multiplier=1.7, max_grad_norm=0.3, learning_rate=1.0)
    moves = []
    for _ in range(3):
        fusion = Fusion()
        before = _weights(fusion)
        PrivateTrainer(fusion, window_loss, settings).step([_shot(1)])
        moves.append(_weights(fusion) - before)
    moved = np.concatenate(moves)
    expected = 1.7 * 0.3 / DENOMINATOR
    assert moved.std() == pytest.approx(expected, abs=5 * expected / math.sqrt(2 * moved.size))
    assert abs(moved.mean()) < 5 * expected / math.sqrt(moved.size)


def test_an_empty_batch_is_noised_like_any_other(monkeypatch):
    monkeypatch.setattr(private_training, "poisson_sample", lambda count, rate: [])
    opened = []
    fusion = _fusion()
    before = _weights(fusion)
    PrivateTrainer(fusion, window_loss, _settings()).step([lambda: opened.append(1)])
    assert not opened
    assert np.count_nonzero(_weights(fusion) - before) > 0.99 * before.size
    fusion, before = _fusion(), _weights(_fusion())
    PrivateTrainer(fusion, window_loss, _settings()).step([])  # no shot at all: the same
    assert np.count_nonzero(_weights(fusion) - before) > 0.99 * before.size


def test_the_denominator_is_the_plans_and_not_the_batchs(recorded):
    one, many = _fusion(), _fusion()
    before = _weights(one)
    quiet = _settings(max_grad_norm=0.05, noise_multiplier=1e-9, learning_rate=100.0)
    PrivateTrainer(one, window_loss, quiet).step([_shot(1)])
    PrivateTrainer(many, window_loss, quiet).step([_shot(1)] * 6)
    np.testing.assert_allclose(_weights(many) - before, 6 * (_weights(one) - before), atol=3e-5)


def test_the_same_seeds_give_other_noise(monkeypatch):
    monkeypatch.setattr(private_training, "poisson_sample", lambda count, rate: list(range(count)))
    results = []
    for _ in range(2):
        torch.manual_seed(3)
        np.random.seed(3)
        random.seed(3)
        fusion = _fusion()
        torch.manual_seed(3)
        PrivateTrainer(fusion, window_loss, _settings()).step([_shot(1)])
        results.append(_weights(fusion))
    assert np.count_nonzero(results[0] == results[1]) < 0.01 * results[0].size


def _raising(error: Exception):
    def open_shot():
        raise error

    return open_shot


class _Poisoned(nn.Module):
    """Its loss is not finite on windows marked so, and neither is its gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.unused = nn.Parameter(torch.ones(2))


def _poisoned_loss(module: _Poisoned, windows) -> torch.Tensor:
    return (module.weight * torch.tensor(float(np.mean(windows)))).sum()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e39])
def test_a_shot_whose_gradient_is_not_finite_contributes_zero(recorded, value):
    warned = []
    trainer = PrivateTrainer(_Poisoned(), _poisoned_loss, _settings(), warn=warned.append)
    assert not np.any(_clipped(trainer, lambda: [value, value]))
    assert "not finite" in warned[0]
    # and the others of the batch are as they were
    assert np.linalg.norm(_clipped(trainer, lambda: [2.0, 2.0])) == pytest.approx(0.3, rel=1e-4)


def test_a_gradient_whose_norm_overflows_is_still_clipped(recorded):
    trainer = PrivateTrainer(_Poisoned(), _poisoned_loss, _settings())
    contribution = _clipped(trainer, lambda: [1e30, 1e30])
    assert np.isfinite(contribution).all()
    assert np.linalg.norm(contribution) <= 0.3 * (1 + 1e-6)


@pytest.mark.parametrize(
    "error",
    [
        IngestError("pack /secret/sh010 is damaged"),
        ShapeError("a window is odd"),
        RuntimeError("no memory for this shot alone"),
        OSError(5, "the disk under this pack is gone"),
    ],
)
def test_a_shot_that_cannot_be_read_contributes_zero(recorded, error):
    warned = []
    trainer = PrivateTrainer(_fusion(), window_loss, _settings(), warn=warned.append)
    assert not np.any(_clipped(trainer, _raising(error)))
    assert str(error) in warned[0]


def test_a_shot_without_windows_contributes_zero(recorded):
    trainer = PrivateTrainer(_fusion(), window_loss, _settings())
    assert not np.any(_clipped(trainer, lambda: []))


def test_a_missing_charge_is_no_damaged_shot():
    trainer = PrivateTrainer(_fusion(), window_loss, _settings(sample_rate=1.0))
    with pytest.raises(LedgerError):
        trainer.step([_raising(LedgerError("not charged"))])


def test_training_without_noise_needs_to_say_so():
    quiet = PrivacyConstants(
        sample_rate=0.5, windows_per_shot=2, max_grad_norm=1.0, noise_multiplier=0.0, steps_per_round=1
    )
    with pytest.raises(PlanError, match="research"):
        TrainingSettings(quiet, 1.0, 0.1)
    TrainingSettings(quiet, 1.0, 0.1, research=True)


BOUNDS = UpdateBounds(norm_max=0.5, grid=2.0**-20)


def _is_on_grid(update: np.ndarray) -> bool:
    multiples = update.astype(np.float64) / BOUNDS.grid
    return bool((multiples == np.rint(multiples)).all())


@pytest.mark.parametrize("size", [1e-6, 1e-2, 0.3, 0.5, 10.0, 1e6])
def test_an_update_is_on_the_grid_and_within_its_norm(size):
    rng = np.random.default_rng(3)
    base = rng.standard_normal(10_007).astype(np.float32)
    move = rng.standard_normal(base.size)
    trained = (base + move * (size / np.linalg.norm(move))).astype(np.float32)
    update = bounded_update(trained, base, BOUNDS)
    assert update.dtype == np.float32
    assert update.shape == base.shape
    assert _is_on_grid(update)
    norm = np.linalg.norm(update.astype(np.float64))
    assert norm <= BOUNDS.norm_max
    if size >= 0.5:
        assert norm > 0.99 * BOUNDS.norm_max
        cosine = update.astype(np.float64) @ move / (norm * np.linalg.norm(move))
        assert cosine > 0.999
    if size == 0.3:
        np.testing.assert_allclose(update, trained - base, atol=BOUNDS.grid)


def test_rounding_never_carries_an_update_over_its_bound():
    # every value just above half a grid step: rounding to nearest would double the norm
    value = 0.51 * BOUNDS.grid
    count = 10_000
    bounds = UpdateBounds(norm_max=value * math.sqrt(count), grid=BOUNDS.grid)
    update = bounded_update(np.full(count, value, np.float32), np.zeros(count, np.float32), bounds)
    assert np.linalg.norm(update.astype(np.float64)) <= bounds.norm_max


BYTES = UpdateBounds(norm_max=0.5, grid=byte_grid(0.5, 10_007), value_bits=8)


@pytest.mark.parametrize("size", [1e-6, 0.1, 0.5, 10.0])
def test_values_of_one_byte_are_whole_steps_within_the_norm_and_keep_their_mean(size):
    rng = np.random.default_rng(3)
    base = np.zeros(10_007, np.float32)
    move = rng.standard_normal(base.size)
    trained = (move * (size / np.linalg.norm(move))).astype(np.float32)
    drawn = np.array([bounded_update(trained, base, BYTES) for _ in range(40)])
    assert (drawn.dtype, drawn.nbytes) == (np.int8, 40 * base.size)  # the size says nothing of the values
    values = drawn.astype(np.float64) * BYTES.grid
    assert np.linalg.norm(values, axis=1).max() <= BYTES.norm_max
    expected = trained * min(1.0, BYTES.norm_max / size)
    # rounding errs by at most half a step's deviation a draw; none of 10,007 means lies 6 deviations off
    allowed = 6 * BYTES.grid / 2 / math.sqrt(40) + 0.01 * np.abs(expected)
    assert (np.abs(values.mean(axis=0) - expected) <= allowed).all()


def test_values_beyond_the_range_of_a_byte_are_cut_and_rounding_is_not_a_torch_seed_s():
    trained = np.zeros(10_007, np.float32)
    trained[:2] = 0.4, -0.3
    update = bounded_update(trained, np.zeros_like(trained), BYTES)
    assert update[:2].tolist() == [127, -127]
    halves = np.full(10_007, 0.5 * BYTES.grid, np.float32)
    drawn = set()
    for _ in range(2):
        torch.manual_seed(0)
        np.random.seed(0)
        drawn.add(bounded_update(halves, np.zeros_like(halves), BYTES).tobytes())
    assert len(drawn) == 2


def test_a_diverged_training_gives_a_value_that_the_door_refuses():
    base = np.zeros(5, np.float32)
    for bad in (np.nan, np.inf):
        update = bounded_update(np.array([1, bad, 0, 0, 0], np.float32), base, BOUNDS)
        assert not np.isfinite(update).all()


def test_zero_has_one_bit_pattern():
    update = bounded_update(np.array([-1e-9, 1e-9], np.float32), np.zeros(2, np.float32), BOUNDS)
    assert update.tobytes() == bytes(8)


def test_packed_order_is_parameter_order():
    # bounded_update works on packed states; every trainable tensor must be in them
    fusion = _fusion()
    np.testing.assert_array_equal(pack(fusion), _weights(fusion).astype(np.float32))
