"""Bugs that have happened elsewhere, put into the real training code one at a time."""

from types import SimpleNamespace

import numpy as np
import torch

from studio_node import private_training
from studio_node.private_training import PrivateTrainer

REAL_GAUSSIAN = private_training.gaussian
REAL_GRADIENT = PrivateTrainer.shot_gradient
REAL_CLIPPING = private_training.CsprngOptimizer.clip_and_accumulate
REAL_STEP, REAL_TRAIN = PrivateTrainer.step, PrivateTrainer.train


def noise_scaled(monkeypatch, share: float) -> None:
    """The noise has ``share`` of the deviation that the plan says; 0: there is none."""
    monkeypatch.setattr(private_training, "gaussian", lambda count, *by: share * REAL_GAUSSIAN(count, *by))


def window_level_clipping(monkeypatch) -> None:
    """Every window is clipped on its own, as example-level DP-SGD does; a shot's windows then add up."""

    def step(self, shots):
        def apart(shot):
            return [(lambda one=one: [one]) for one in shot()]

        self._optimizer.zero_grad(set_to_none=True)
        for index in private_training.poisson_sample(len(shots), self._settings.privacy.sample_rate):
            for window in apart(shots[index]):
                self._accumulate([gradient[None] for gradient in self.shot_gradient(window)])
        self._accumulate([p.new_zeros((0, *p.shape)) for p in self._parameters], last=True)

    monkeypatch.setattr(PrivateTrainer, "step", step)


def tensor_level_clipping(monkeypatch) -> None:
    """Every tensor is clipped to the bound on its own, instead of all jointly."""

    def clip_and_accumulate(self):
        for parameter in self.params:
            alone = SimpleNamespace(params=[parameter], max_grad_norm=self.max_grad_norm, grid=self.grid)
            REAL_CLIPPING(alone)

    monkeypatch.setattr(private_training.CsprngOptimizer, "clip_and_accumulate", clip_and_accumulate)


def seed_in_the_trainer(monkeypatch) -> None:
    """Each round's trainer starts its own seeded generator."""
    generators = {}

    def gaussian(count, deviation, grid):
        key = id(torch.initial_seed)  # the same in every trainer
        rng = generators.setdefault(key, np.random.default_rng(7))
        return rng.standard_normal(count) * deviation

    def train_anew(self, *arguments, **named):
        generators.clear()
        REAL_INIT(self, *arguments, **named)

    REAL_INIT = PrivateTrainer.__init__
    monkeypatch.setattr(private_training, "gaussian", gaussian)
    monkeypatch.setattr(PrivateTrainer, "__init__", train_anew)


def global_generator(monkeypatch) -> None:
    """The noise comes from torch's global generator, which scripts seed."""

    def gaussian(count, deviation, grid):
        return torch.randn(count, dtype=torch.float64).numpy() * deviation

    monkeypatch.setattr(private_training, "gaussian", gaussian)


def one_noise_for_every_tensor(monkeypatch) -> None:
    """The generator is seeded anew for every tensor."""

    def add_noise(self):
        deviation = self.noise_multiplier * self.max_grad_norm
        fresh = REAL_GAUSSIAN(max(p.numel() for p in self.params), deviation, self.grid)
        for parameter in self.params:
            noise = torch.from_numpy(fresh[: parameter.numel()]).view_as(parameter)
            parameter.grad = (parameter.summed_grad.detach() + noise).to(parameter.dtype)

    monkeypatch.setattr(private_training.CsprngOptimizer, "add_noise", add_noise)


def bounded_noise(monkeypatch) -> None:
    """Outliers are cut off, for the sake of training."""

    def gaussian(count, deviation, grid):
        return np.clip(REAL_GAUSSIAN(count, deviation, grid), -3.4 * deviation, 3.4 * deviation)

    monkeypatch.setattr(private_training, "gaussian", gaussian)


def metric_in_the_weights(monkeypatch) -> None:
    """The last weight carries the mean loss of the round, so that somebody can plot it."""

    def train(self, shots):
        losses = [float(self._loss(self.module, shot()).detach()) for shot in shots]
        REAL_TRAIN(self, shots)
        with torch.no_grad():
            self._parameters[-1].view(-1)[-1] = float(np.mean(losses))

    monkeypatch.setattr(PrivateTrainer, "train", train)


def normaliser_across_shots(monkeypatch) -> None:
    """Each batch's windows are brought to the mean scale of all shots before training."""
    from dataclasses import replace

    def step(self, shots):
        opened = [shot() for shot in shots]
        scale = np.float32(np.mean([np.abs(w.truth).mean() for windows in opened for w in windows]))
        REAL_STEP(self, [lambda ws=ws: [replace(w, truth=w.truth / scale) for w in ws] for ws in opened])

    monkeypatch.setattr(PrivateTrainer, "step", step)
