"""How a merged model is trained in the trade-off benchmark: the product's private step, averaged over three studios.

A studio of N shots is played by the pool that it is given (at most N of it): a step draws ``drawn`` of them on average,
and the noise is scaled so that the noised mean has the deviation that N shots, the plan's rate and the plan's noise
would give. So the noise is that of N shots, while the gradient's own sampling error and the overfitting are those of
fewer: gains are understated on both sides, private and not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Final, Literal

import numpy as np
import torch

from benchmarks.privacy_studios import Shots
from benchmarks.privacy_subsets import Subset, fusion_with, packed, trainable, unpacked
from federation.config import WEIGHT_MAX
from federation.plan import PrivacyConstants
from federation.privacy import PrivacyEvent, epsilon
from model.losses import window_loss
from model.network import Fusion
from model.pretrain import roughened
from model.windows import Window
from studio_node.private_training import PrivateTrainer, TrainingSettings

DELTA: Final = 1e-5


@dataclass(frozen=True)
class Choice:
    """One way to train.

    Attributes:
        subset: which weights.
        epsilon: of one shot over the whole training at `DELTA`; None trains without noise.
        shots: N of each studio.
        learning_rate: of the local SGD, for gradients in units of the subset's median norm.
        sample_rate: q of the plan that is simulated.
        drawn: shots that a step really draws on average, of those that play the studio.
        rounds, steps_per_round: their product is T.
        clipping: the norm that a shot's gradient is clipped to, in medians of the subset's own; 1000 never clips.
        augmented: windows are roughened as in pretraining before their gradients are averaged.
        ema: share of the old average that the released weights keep each round; 0 releases the last.
        momentum: of the server, over rounds.
        low_pass: coefficient of a first-order filter over the server's updates, debiased; 0 is off.
        mixed: studios of 200, 1,000 and 5,000 shots instead of ``shots``, weighted equally or by their noise.
    """

    subset: Subset = "full"
    epsilon: float | None = 3.0
    shots: int = 1000
    learning_rate: float = 0.3
    sample_rate: float = 0.25
    drawn: int = 16
    rounds: int = 8
    steps_per_round: int = 5
    clipping: float = 1.0
    augmented: bool = False
    ema: float = 0.0
    momentum: float = 0.0
    low_pass: float = 0.0
    mixed: Literal["", "equal", "noise"] = ""


def federated(choice: Choice, base: Fusion, pools: Sequence[Shots]) -> Fusion:
    """The merged network after all rounds, trained by the product's private step at every studio."""
    released = fusion_with(choice.subset, base)
    start = packed(released)
    weights, average, velocity = start, start, torch.zeros_like(start)
    filtered = torch.zeros_like(start)
    median = median_norm(fusion_with(choice.subset, base), pools)
    sizes = (200, 1000, 5000) if choice.mixed else (choice.shots,) * len(pools)
    for number in range(1, choice.rounds + 1):
        updates = []
        for pool, size in zip(pools, sizes, strict=True):
            local = fusion_with(choice.subset, base)
            unpacked(local, weights)
            played = pool[:size]
            settings = studio_settings(choice, size, min(choice.drawn / len(played), 1.0), median)
            opened = [partial(augmented if choice.augmented else list, windows) for windows in played]
            PrivateTrainer(local, window_loss, settings).train(opened)
            updates.append(packed(local) - weights)
        shares = torch.tensor([share(size) if choice.mixed == "noise" else 1.0 for size in sizes])
        mean_update = (torch.stack(updates) * (shares / shares.sum())[:, None]).sum(dim=0)
        filtered = choice.low_pass * filtered + (1 - choice.low_pass) * mean_update
        velocity = choice.momentum * velocity + filtered / (1 - choice.low_pass**number)
        weights = weights + velocity
        average = choice.ema * average + (1 - choice.ema) * weights
    unpacked(released, average)
    return released


def share(shots: int) -> float:
    """A studio's weight by inverse noise variance, capped as a plan caps it."""
    return min((shots / 200) ** 2, WEIGHT_MAX)


def studio_settings(choice: Choice, shots: int, rate: float, median: float) -> TrainingSettings:
    """The private step of a studio of ``shots`` shots, played by a pool that is drawn from at ``rate``."""
    deviation = 0.0
    if choice.epsilon is not None:
        noise = noise_for(choice.epsilon, choice.sample_rate, choice.rounds * choice.steps_per_round)
        deviation = noise * choice.drawn / (choice.sample_rate * shots)
    constants = PrivacyConstants(
        sample_rate=rate, windows_per_shot=1, max_grad_norm=choice.clipping * median, noise_multiplier=deviation,
        steps_per_round=choice.steps_per_round,
    )  # fmt: skip
    return TrainingSettings(
        constants, choice.drawn, choice.learning_rate / median, research=choice.epsilon is None
    )


@lru_cache
def noise_for(target: float, sample_rate: float, steps: int) -> float:
    """Smallest noise multiplier, to 1%, that keeps `steps` steps within epsilon ``target`` at `DELTA`; at least .8."""
    low, high = 0.8, 200.0
    if sample_rate == 1:
        low = 0.1
    while high / low > 1.01:
        middle = (low * high) ** 0.5
        if epsilon([PrivacyEvent(sample_rate, middle, steps)], DELTA) > target:
            low = middle
        else:
            high = middle
    return high


def median_norm(fusion: Fusion, pools: Sequence[Shots]) -> float:
    """Median norm of a shot's gradient at the base weights: these shots are public, so it costs nothing."""
    norms = []
    for windows in [windows for pool in pools for windows in pool[:24]]:
        gradients = torch.autograd.grad(window_loss(fusion, windows), trainable(fusion))
        norms.append(float(torch.cat([g.ravel() for g in gradients]).norm()))
    return float(np.median(norms))


def augmented(windows: list[Window]) -> list[Window]:
    """A shot's windows as other plates might have given them; seeds here decide nothing that protects."""
    rng = np.random.default_rng()
    return [roughened(window, rng) for window in windows]
