"""Level 1: does the installed clip-and-noise code do what the plan says? Worst-case neighbours, thousands of draws.

Everything runs through the real :class:`studio_node.private_training.PrivateTrainer` and its optimiser, from outside:
what a step releases is read off the weights, as a coordinator would. A check's limit is what an honest implementation
stays within up to a chance of ``ALARM``; all statistical limits hold for any number of draws (``bounds``), so that a
whole self-test cries wolf less than once in a million runs. Deterministic checks allow for rounding only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from federation.plan import PrivacyConstants
from model.losses import window_loss
from studio_node.audit import made_up
from studio_node.audit.bounds import (
    at_most,
    distance_ceiling,
    gaussian_epsilon,
    normal_distance,
    spread_floor,
)
from studio_node.audit.findings import Finding
from studio_node.private_training import PrivateTrainer

ALARM = 2e-8
"""Chance of a false alarm that each of the at most 16 statistical checks is allowed."""
TRAINERS, STEPS, WEIGHTS = 5, 20, 2000
"""2e5 draws: trainers (each a new round), steps of each, weights of the probe."""
NEGLIGIBLE = 1e-7
"""A noise multiplier so small that a release is the clipped sum itself."""
ROUNDING = 1e-3
"""How far float32 weights may carry a clipped sum from its true value, in units of the clipping norm."""
TAIL = 3.5
DELTA = 1e-5

Shot = Callable[[], Sequence[Any]]
Rows = NDArray[np.float64]


def check_mechanism(privacy: PrivacyConstants) -> tuple[list[Finding], Rows]:
    """Run the self-test for a plan's constants.

    Args:
        privacy: whose ``max_grad_norm``, ``noise_multiplier`` and ``windows_per_shot`` are claimed.

    Returns:
        The findings, and the noise that was drawn (rows are steps, in standard deviations) for the check of repeats.
    """
    reach = largest_reach(privacy)
    findings = [
        Finding.below(
            "sensitivity",
            "Can one shot, however extreme, move the sum by more than the clipping norm?",
            reach,
            1 + ROUNDING,
            "largest move by one shot, in clipping norms; one window or many, alike or at right angles, over one "
            "tensor or all, gradients of 1e-3 to 1e30",
        ),
        Finding.below(
            "neighbours",
            "Does adding or removing one shot change what any other shot contributes?",
            moved_others(privacy),
            ROUNDING,
            "the real network on made-up shots, one of them extreme: change of the sum without that shot, less its "
            "own contribution, in clipping norms",
        ),
    ]
    alone = draw_noise(privacy, with_shot=False)
    beside = draw_noise(privacy, with_shot=True)
    findings += noise_findings(alone, beside, reach, privacy.noise_multiplier)
    return findings, np.concatenate([alone, beside])


def draw_noise(
    privacy: PrivacyConstants, *, with_shot: bool, trainers: int = TRAINERS, steps: int = STEPS
) -> Rows:
    """Draw a worst-case pair's releases through the real step and take away what the shot itself may add.

    Every generator that a program can seed is set to the same state before each trainer.

    Returns:
        [trainers * steps, WEIGHTS], in claimed standard deviations: standard normal if the claim holds.
    """
    direction = np.zeros(WEIGHTS)
    direction[:: WEIGHTS // 4] = 0.5  # a unit vector
    shot = [torch.from_numpy(1e6 * direction).float()] * 2
    shots: list[Shot] = [lambda: shot] if with_shot else []
    rows = []
    for _ in range(trainers):
        made_up.set_every_seed(0)
        rows += _released(privacy, noise_multiplier=privacy.noise_multiplier, shots=shots, steps=steps)
    added = direction if with_shot else np.zeros(WEIGHTS)
    return (np.array(rows) - added) / privacy.noise_multiplier


def noise_findings(alone: Rows, beside: Rows, reach: float, noise_multiplier: float) -> list[Finding]:
    """Judge standardised noise: is there enough of it, of the right form, in every weight?

    Args:
        alone: [steps, weights] from an empty batch.
        beside: the same from a batch with one extreme shot.
        reach: the measured sensitivity, in clipping norms.
        noise_multiplier: the claim.
    """
    findings = []
    for name, rows in (("noise, empty batch", alone), ("noise, one shot", beside)):
        values = rows.ravel()
        mean_square = float(np.mean(values**2))
        deviation = np.sqrt(mean_square / spread_floor(values.size, ALARM)) * noise_multiplier
        likely = np.sqrt(mean_square / spread_floor(values.size, 0.05)) * noise_multiplier
        claimed = gaussian_epsilon(1 / noise_multiplier, DELTA)
        findings.append(
            Finding.below(
                name,
                "Is there as much noise as the plan says?",
                float(max(reach, 1.0) / deviation) if deviation > 0 else float("inf"),
                (1 + ROUNDING) / noise_multiplier,
                f"lower bound on the Gaussian shift of one step from {values.size} draws; with 95% confidence one "
                f"unsampled step has epsilon of at least {gaussian_epsilon(float(reach / likely), DELTA):.3f} "
                f"of the claimed {claimed:.3f} (delta {DELTA:g})"
                if likely > 0
                else f"{values.size} draws, none of which differs from 0",
            )
        )
        findings.append(
            Finding.below(
                name.replace("noise", "form"),
                "Is the noise Gaussian?",
                normal_distance(values),
                distance_ceiling(values.size, ALARM),
                f"largest distance between the distribution of {values.size} draws and the claimed one "
                "(Kolmogorov-Smirnov)",
            )
        )
    both = np.concatenate([alone, beside])
    beyond = int(np.count_nonzero(np.abs(both) > TAIL))
    expected = 2 * (1 - NormalDist().cdf(TAIL))
    findings.append(
        Finding.below(
            "tails",
            "Does the noise reach far enough out?",
            _least(both.size, expected) / max(beyond, 1e-300),
            1.0,
            f"{beyond} of {both.size} lie beyond {TAIL} standard deviations, {expected * both.size:.0f} expected: "
            "the fewest that are honest, as a share of them. Noise cut off there would give shots away with certainty",
        )
    )
    steps, weights = both.shape
    floor = spread_floor(steps, ALARM / weights)
    findings.append(
        Finding.below(
            "every weight",
            "Is any weight released without noise?",
            float(floor / max(float(np.mean(both**2, axis=0).min()), 1e-300)),
            1.0,
            f"the quietest of {weights} weights over {steps} steps, as a share of the least noise that it can "
            "honestly show",
        )
    )
    return findings


def largest_reach(privacy: PrivacyConstants) -> float:
    """Return the largest norm, in clipping norms, that one shot adds to the released sum."""
    return max(float(np.linalg.norm(_sum_of(privacy, shot))) for shot in _extreme_shots(privacy))


def moved_others(privacy: PrivacyConstants) -> float:
    """Return by how much removing one extreme shot moves what the others contribute, in clipping norms."""
    privacy = _quiet(privacy, windows_per_shot=2)
    shots: list[Shot] = [_fixed([made_up.window(10 * shot + k) for k in range(2)]) for shot in range(4)]
    extreme = _fixed([made_up.window(99 + k, scale=50.0) for k in range(2)])

    def total(batch: Sequence[Shot]) -> NDArray[np.float64]:
        network = made_up.fusion(1)
        before = _weights(network)
        trainer = PrivateTrainer(network, window_loss, made_up.plain_settings(privacy))
        trainer.train(batch)
        return (before - _weights(network)) / privacy.max_grad_norm

    change = total([*shots, extreme]) - total(shots)
    return float(np.linalg.norm(change - total([extreme])))


def _extreme_shots(privacy: PrivacyConstants) -> list[Shot]:
    many = privacy.windows_per_shot
    unit = torch.eye(WEIGHTS)[: max(many, 2)]
    even = torch.full((1, WEIGHTS), WEIGHTS**-0.5)
    limit = privacy.max_grad_norm
    return [
        _fixed(list(windows))
        for windows in (
            1e6 * unit[:1],
            1e6 * unit[:1].repeat(many, 1),
            1e6 * unit[:many] * many,
            1e3 * even.repeat(many, 1),
            1e30 * even,
            limit * 1e-3 * even,
            limit * 0.9 * unit[:1],
            torch.cat([1e6 * unit[:1], -1e5 * unit[1:2]]),
        )
    ]


def _sum_of(privacy: PrivacyConstants, shot: Shot) -> NDArray[np.float64]:
    return _released(_quiet(privacy), noise_multiplier=NEGLIGIBLE, shots=[shot], steps=1)[0]


def _quiet(privacy: PrivacyConstants, **changes: Any) -> PrivacyConstants:
    quiet = {"noise_multiplier": NEGLIGIBLE, "sample_rate": 1.0, "steps_per_round": 1}
    return privacy.model_copy(update=quiet | changes)


def _released(
    privacy: PrivacyConstants, *, noise_multiplier: float, shots: Sequence[Shot], steps: int
) -> list[NDArray[np.float64]]:
    """Run real steps on a new probe; returns what each released, in clipping norms."""
    constants = privacy.model_copy(update={"noise_multiplier": noise_multiplier, "sample_rate": 1.0})
    probe = made_up.Probe(WEIGHTS)
    settings = made_up.plain_settings(constants)
    trainer: PrivateTrainer[made_up.Probe, torch.Tensor] = PrivateTrainer(probe, made_up.probe_loss, settings)
    released = []
    for _ in range(steps):
        with torch.no_grad():
            for parameter in probe.parameters():
                parameter.zero_()
        trainer.step(shots)
        released.append(-_weights(probe) / privacy.max_grad_norm)
    return released


def _weights(module: torch.nn.Module) -> NDArray[np.float64]:
    return np.concatenate([p.detach().double().numpy().ravel() for p in module.parameters()])


def _fixed(windows: list[Any]) -> Shot:
    return lambda: windows


def _least(draws: int, rate: float) -> int:
    """Return how few of so many draws may honestly lie in the tails: fewer have a chance of at most ``ALARM``."""
    low, high = 0, int(draws * rate)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if at_most(middle, draws, rate) <= ALARM else (low, middle)
    return low
