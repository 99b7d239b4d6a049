"""Membership: can anybody tell from what a whole plan releases whether a certain shot was trained on?

The likelihood-ratio attack, offline: many trainings of the real network by the real private step, in each of which a
coin decides for every shot whether it takes part. Half of them, the shadows, teach the attacker how a shot's score is
distributed with the shot and without; the other half are attacked. Two scores are tried: the shot's loss under the
trained weights (the classical one), and how far the weights moved along the shot's own gradient, which only somebody
who holds both the base and the release can compute. The shots are procedural, so the attacker knows each of them whole,
which is more than anybody outside a studio would.

The same attack on trainings without noise stands beside it: an attack that finds nothing there shows nothing here.

Source: Carlini et al., "Membership inference attacks from first principles" (2022), the online attack with one Gaussian
per shot and side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from federation.errors import PlanError
from federation.plan import PrivacyConstants
from model.curves import outline
from model.frames import ArrayFrames
from model.losses import window_loss
from model.network import Fusion, RotoModel
from model.procedural import make_shot
from model.procedural_settings import ShotSettings
from model.windows import Window, cut_windows
from model.working import to_working
from studio_node.audit.canaries import CanaryResult, CanaryRun, Claim, judge
from studio_node.noise import poisson_sample
from studio_node.private_training import PrivateTrainer, TrainingSettings

SHOTS = 16
WINDOWS = 2
LEARNING_RATE = 0.05
FALSE_ALARMS = 0.01
SHADOWS_MIN = 8
"""Trainings to learn from; with fewer a shot's two Gaussians are guesswork."""
SEED = 5
KIND = ShotSettings(width=128, height=96, frames=13, occluder_chance=0.0, parts_chance=0.0)
SCORES = ("its loss", "the way of the weights along its gradient")


@dataclass(frozen=True)
class Recognition:
    """How well one score tells who was in.

    Attributes:
        score: its name.
        noise_multiplier: of the trainings.
        shot_right: chance that of two shots, one in and one out, the one in is named; .5 is guessing.
        caught: share of the shots that were in which are named when 1 in 100 of the others is named wrongly.
    """

    score: str
    noise_multiplier: float
    shot_right: float
    caught: float


@dataclass(frozen=True)
class Membership:
    """The attack's outcome.

    Attributes:
        trainings: with each amount of noise; half of them were attacked.
        shots: that a coin put in or left out of every training.
        recognised: by noise and score.
        bounds: of the trainings with the plan's noise, by score: lower bounds on epsilon beside the claim.
    """

    trainings: int
    shots: int
    recognised: tuple[Recognition, ...]
    bounds: tuple[CanaryResult, ...]

    @property
    def fires(self) -> bool:
        """Whether a bound is above the claim."""
        return any(result.fires for result in self.bounds)


def attack_membership(
    privacy: PrivacyConstants,
    rounds: int,
    delta: float,
    trainings: int,
    *,
    progress: Callable[[str], None] = lambda _: None,
) -> Membership:
    """Train, learn, attack.

    Args:
        privacy: the claimed constants; windows of a shot are `WINDOWS`, which changes no cost.
        rounds: of the plan.
        delta: of the claim.
        trainings: with each amount of noise, at least twice `SHADOWS_MIN`.
        progress: told of every tenth training.

    Raises:
        PlanError: the constants have no noise, or there are too few trainings.
    """
    if trainings < 2 * SHADOWS_MIN:
        raise PlanError(f"{trainings} trainings teach an attacker too little; take {2 * SHADOWS_MIN} or more")
    steps = rounds * privacy.steps_per_round
    fitting = privacy.model_copy(update={"windows_per_shot": WINDOWS})
    claims = [Claim.of(name, fitting, steps, delta, f"all {steps} steps") for name in SCORES]
    shots = [made_up_shot(number) for number in range(SHOTS)]
    recognised: list[Recognition] = []
    bounds: list[CanaryResult] = []
    for share in (0.0, 1.0):
        constants = fitting.model_copy(
            update={"noise_multiplier": share * privacy.noise_multiplier, "steps_per_round": steps}
        )
        runs = []
        for number in range(trainings):
            if number % 10 == 0:
                progress(
                    f"membership: training {number} of {trainings}, noise {constants.noise_multiplier:g}"
                )
            runs.append(trained_once(constants, shots))
        for claim, scores in zip(claims, np.stack([run.scores for run in runs], axis=1), strict=True):
            included = np.stack([run.included for run in runs])
            attacked = likelihood_ratios(included, scores, shadows=trainings // 2)
            recognised.append(recognition(claim.name, constants.noise_multiplier, attacked))
            if share:
                bounds.append(judge(claim, attacked))
    return Membership(trainings, SHOTS, tuple(recognised), tuple(bounds))


def made_up_shot(number: int) -> list[Window]:
    """A procedural shot's windows."""
    rng = np.random.default_rng([SEED, number])
    shot = make_shot(rng, KIND)
    pictures = ArrayFrames([to_working(frame) for frame in shot.frames], first_frame=shot.first_frame)
    truth = outline(shot.truth[0], "bezier", True, 16)
    alive = np.ones(len(truth), np.float32)
    return cut_windows(pictures, truth, alive, matcher=None, rng=rng, count=WINDOWS, gaps=(4, 8))


@dataclass(frozen=True)
class TrainedOnce:
    """One training: who was in [shots], and each shot's scores [scores, shots]; higher speaks for being in."""

    included: NDArray[np.bool_]
    scores: NDArray[np.float64]


def trained_once(constants: PrivacyConstants, shots: Sequence[Sequence[Window]]) -> TrainedOnce:
    """Train the shipped network on the shots that a coin puts in."""
    base, network = RotoModel.base().fusion, RotoModel.base().fusion.requires_grad_(True)
    included = np.zeros(len(shots), bool)
    included[poisson_sample(len(shots), 0.5)] = True
    drawn = max(1.0, constants.sample_rate * len(shots) / 2)
    settings = TrainingSettings(constants, drawn, LEARNING_RATE, research=constants.noise_multiplier == 0)
    opened: list[Callable[[], Sequence[Window]]] = [
        partial(list, shots[int(index)]) for index in np.flatnonzero(included)
    ]
    PrivateTrainer(network, window_loss, settings).train(opened)
    with torch.no_grad():
        losses = [-float(window_loss(network, windows)) for windows in shots]
    moved = flat(network) - flat(base)
    along = [-float(moved @ gradient(base, windows)) for windows in shots]
    return TrainedOnce(included, np.array([losses, along]))


def gradient(base: Fusion, windows: Sequence[Window]) -> torch.Tensor:
    """A shot's gradient at the base weights, of length 1."""
    base.requires_grad_(True)
    parts = torch.autograd.grad(window_loss(base, windows), list(base.parameters()))
    whole = torch.cat([part.ravel() for part in parts])
    return torch.nn.functional.normalize(whole, dim=0)


def flat(network: Fusion) -> torch.Tensor:
    """All weights in one row."""
    return torch.cat([parameter.detach().ravel() for parameter in network.parameters()])


def likelihood_ratios(included: NDArray[np.bool_], scores: NDArray[np.float64], *, shadows: int) -> CanaryRun:
    """Score the attacked trainings: how much likelier a shot's score is with it than without, by the shadows.

    Args:
        included: [trainings, shots].
        scores: [trainings, shots].
        shadows: how many trainings, the first ones, teach.

    Returns:
        Every shot of every attacked training, in one row.
    """
    ratios = np.zeros_like(scores[shadows:])
    for shot in range(scores.shape[1]):
        taught, inside = scores[:shadows, shot], included[:shadows, shot]
        if inside.sum() < 2 or (~inside).sum() < 2:
            continue  # the coin fell on one side only: nothing is known of this shot
        spread = max(float(np.sqrt((taught[inside].var() + taught[~inside].var()) / 2)), 1e-12)
        off_inside, off_outside = (scores[shadows:, shot] - taught[side].mean() for side in (inside, ~inside))
        ratios[:, shot] = (off_outside**2 - off_inside**2) / (2 * spread**2)
    return CanaryRun(included[shadows:].ravel(), ratios.ravel())


def recognition(score: str, noise_multiplier: float, run: CanaryRun) -> Recognition:
    """How well ratios tell those in from those out."""
    inside, outside = run.scores[run.included], run.scores[~run.included]
    right = (inside[:, None] > outside).mean()
    threshold = np.quantile(outside, 1 - FALSE_ALARMS)
    return Recognition(score, noise_multiplier, float(right), float((inside > threshold).mean()))
