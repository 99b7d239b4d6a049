"""Level 2: thousands of canary shots go through the real training loop, and an attacker guesses which were in.

A canary is a shot whose clipped gradient is the clipping norm in one weight of its own: the worst case, since it moves
nothing but what the attacker looks at. Whether it takes part is a fair coin; whether a step includes it is the real
Poisson sampler's doing. The attacker, who knows every constant, sees the release of every single step (more than a
coordinator, who sees rounds) and scores each canary by the likelihood ratio of the subsampled Gaussian.

Three lower bounds on epsilon follow from how well the surest guesses do (``bounds``); the audit fires where the largest
is above the claim. Each is right with probability ``1 - SIGNIFICANCE``; the two that read results through the curve
of a Gaussian mechanism assume that the real curve is no lower, which subsampling keeps true here by a margin.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from federation.errors import PlanError
from federation.plan import PrivacyConstants
from federation.privacy import PrivacyEvent, epsilon
from studio_node.audit.bounds import independent_epsilon, independent_gaussian_epsilon, one_run_epsilon
from studio_node.audit.made_up import plain_settings
from studio_node.noise import poisson_sample
from studio_node.private_training import PrivateTrainer

CANARIES = 10_000
SIGNIFICANCE = 1e-3
GUESSED = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
"""Shares of the canaries that the attacker says were in, the surest first; every bound pays for all of them."""
OPENINGS_MAX = 150_000
"""Most canary gradients that one claim may cost; a longer plan is rehearsed for fewer rounds, and says so."""
_LOUD = 1e4


@dataclass(frozen=True)
class Claim:
    """What is claimed of so many noised steps, and checked.

    Attributes:
        name: for the report.
        privacy: the constants of a step.
        steps: how many are run.
        delta: of the claim.
        epsilon: what the accountant says that these steps cost a shot.
        scope: which part of the plan that is.
    """

    name: str
    privacy: PrivacyConstants
    steps: int
    delta: float
    epsilon: float
    scope: str

    @classmethod
    def of(cls, name: str, privacy: PrivacyConstants, steps: int, delta: float, scope: str) -> Claim:
        """Make the claim that the accountant makes for these steps."""
        if privacy.noise_multiplier <= 0:
            raise PlanError("a plan without noise claims nothing that could be audited")
        event = PrivacyEvent(privacy.sample_rate, privacy.noise_multiplier, steps)
        return cls(name, privacy, steps, delta, epsilon([event], delta), scope)


@dataclass(frozen=True)
class CanaryRun:
    """What the attacker has after one run: whether each canary was in [m], and its score [m]."""

    included: NDArray[np.bool_]
    scores: NDArray[np.float64]


@dataclass(frozen=True)
class CanaryResult:
    """What one run says about a claim.

    Attributes:
        claim: what was rehearsed.
        canaries: how many there were.
        included: how many the coin put in.
        surest: how many of the hundred surest guesses "in" were right; 50 is chance.
        one_run: lower bound on epsilon without assuming independence.
        independent: the same by Clopper-Pearson, canaries taken as independent.
        independent_gaussian: the same, read through a Gaussian curve.
        ceiling: the largest ``one_run`` bound that so many canaries can show at all.
        fires: whether a bound is above the claim.
    """

    claim: Claim
    canaries: int
    included: int
    surest: int
    one_run: float
    independent: float
    independent_gaussian: float
    ceiling: float
    fires: bool


def rehearsals() -> tuple[Claim, ...]:
    """The two claims that every audit rehearses, whatever the plan: a bug by a factor of two shows at both."""
    common = {"sample_rate": 0.25, "windows_per_shot": 4, "max_grad_norm": 1.0, "steps_per_round": 10}
    return tuple(
        Claim.of(
            f"rehearsal at epsilon {target}",
            PrivacyConstants.model_validate({**common, "noise_multiplier": noise_multiplier}),
            10,
            1e-5,
            "10 steps",
        )
        for target, noise_multiplier in ((3, 1.54), (1, 3.42))
    )


def production_claim(
    name: str, privacy: PrivacyConstants, rounds: int, delta: float, *, canaries: int = CANARIES
) -> Claim:
    """Make the claim of as many of a plan's rounds as can be rehearsed at once."""
    per_step = privacy.sample_rate * canaries / 2
    fitting = min(rounds, int(OPENINGS_MAX / (per_step * privacy.steps_per_round)))
    if fitting == 0:
        steps = max(1, int(OPENINGS_MAX / per_step))
        scope = f"{steps} of the {privacy.steps_per_round} steps of a round"
        return Claim.of(name, privacy, steps, delta, scope)
    scope = f"{fitting} of {rounds} rounds, {privacy.steps_per_round} steps each"
    return Claim.of(name, privacy, fitting * privacy.steps_per_round, delta, scope)


def audit_claim(claim: Claim, *, canaries: int = CANARIES) -> CanaryResult:
    """Run canaries through the real loop under a claim's constants and judge the claim."""
    return judge(claim, run_canaries(claim, canaries=canaries))


def run_canaries(claim: Claim, *, canaries: int = CANARIES) -> CanaryRun:
    """Train on the canaries that the coin put in, and score all of them from what every step released."""
    included = np.zeros(canaries, bool)
    included[poisson_sample(canaries, 0.5)] = True
    shots: list[Callable[[], Sequence[int]]] = [
        partial(_windows, int(own), claim.privacy.windows_per_shot) for own in np.flatnonzero(included)
    ]
    network = CanaryNetwork(canaries)
    trainer = PrivateTrainer(network, canary_loss, plain_settings(claim.privacy))
    scores = np.zeros(canaries)
    for _ in range(claim.steps):
        with torch.no_grad():
            network.weight.zero_()
        trainer.step(shots)
        released = -network.weight.detach().double().numpy() / claim.privacy.max_grad_norm
        scores += likelihood_ratio(released, claim.privacy)
    return CanaryRun(included, scores)


def likelihood_ratio(released: NDArray[np.float64], privacy: PrivacyConstants) -> NDArray[np.float64]:
    """Logarithm of how much likelier a step's released values are with a canary in the data than without.

    Args:
        released: in clipping norms.
        privacy: the claimed constants.
    """
    inside = (2 * released - 1) / (2 * privacy.noise_multiplier**2)
    if privacy.sample_rate == 1:
        return inside
    outside, drawn = np.log1p(-privacy.sample_rate), np.log(privacy.sample_rate)
    return np.asarray(np.logaddexp(outside, drawn + inside), np.float64)


def judge(claim: Claim, run: CanaryRun) -> CanaryResult:
    """Turn an attacker's scores into lower bounds on epsilon."""
    order = np.argsort(-run.scores, kind="stable")
    canaries, included = len(order), int(run.included.sum())
    significance = SIGNIFICANCE / len(GUESSED)
    best = {"one_run": 0.0, "independent": 0.0, "independent_gaussian": 0.0}
    for share in GUESSED:
        guesses = max(1, int(share * canaries))
        hits = int(run.included[order[:guesses]].sum())
        best["one_run"] = one_run_epsilon(
            canaries, guesses, hits, delta=claim.delta, significance=significance, at_least=best["one_run"]
        )
        for name, bound in (
            ("independent", independent_epsilon),
            ("independent_gaussian", independent_gaussian_epsilon),
        ):
            found = bound(
                hits,
                included,
                guesses - hits,
                canaries - included,
                delta=claim.delta,
                significance=significance,
            )
            best[name] = max(best[name], found)
    return CanaryResult(
        claim,
        canaries,
        included,
        surest=int(run.included[order[:100]].sum()),
        **best,
        ceiling=_ceiling(canaries, claim.delta),
        fires=max(best.values()) > claim.epsilon,
    )


class CanaryNetwork(nn.Module):
    """One weight for every canary."""

    def __init__(self, canaries: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(canaries))


def canary_loss(network: CanaryNetwork, windows: Sequence[int]) -> torch.Tensor:
    """Mean over a canary's windows: each has a gradient far above any clipping norm, in the canary's own weight."""
    return _LOUD * network.weight[torch.tensor(list(windows))].mean()


def _windows(own: int, count: int) -> Sequence[int]:
    return [own] * count


def _ceiling(canaries: int, delta: float) -> float:
    significance = SIGNIFICANCE / len(GUESSED)
    best = 0.0
    for share in GUESSED:
        guesses = max(1, int(share * canaries))
        best = one_run_epsilon(
            canaries, guesses, guesses, delta=delta, significance=significance, at_least=best
        )
    return best
