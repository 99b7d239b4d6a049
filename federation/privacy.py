"""What a charge costs: epsilon of recorded events, and the filter that holds an account's lifetime cap.

Two questions, two answers:

* What does a fixed sequence of events cost? :func:`epsilon`, by numerical composition of privacy loss random
  variables (Opacus' PRV accountant), held in tests against a refined privacy loss distribution.
* May one more event be added, when events were chosen after results had been seen? :class:`RenyiFilter`. Its order
  is fixed before the account's first event, so that its sum is a valid filter whatever comes after.

The unit is one shot; neighbours differ by one shot added or removed. Opacus' Gaussian-DP accountant under-reports
and is never used.
"""

from __future__ import annotations

import importlib.metadata
import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from federation.errors import PlanError
from federation.plan import GainConstants, TrainingPlan

RENYI_ORDERS: Final[tuple[int, ...]] = (*range(2, 33), 40, 48, 64, 96, 128, 256, 512)
NUMERIC_EPSILON_MAX = 40.0
"""Above this the numerical accountants need gigabytes; the Rényi bound, which is larger, is reported instead."""
NUMERIC_STEPS_MAX = 200_000
_EPSILON_ERROR = 0.01  # Opacus' own pad: its result lies above the truth by up to this


@dataclass(frozen=True)
class PrivacyEvent:
    """Some noised steps with the same constants: all that accounting needs to know of them.

    Attributes:
        sample_rate: probability with which a shot is included in a step, 0 < rate <= 1.
        noise_multiplier: noise standard deviation over ``max_grad_norm``; 0 means no noise and no guarantee.
        steps: number of noised releases; 0 costs nothing.
    """

    sample_rate: float
    noise_multiplier: float
    steps: int

    def __post_init__(self) -> None:
        if not 0 < self.sample_rate <= 1:
            raise PlanError(f"sample_rate is {self.sample_rate}, expected more than 0 and at most 1")
        if not 0 <= self.noise_multiplier < math.inf:
            raise PlanError(
                f"noise_multiplier is {self.noise_multiplier}, expected a finite number of 0 or more"
            )
        if self.steps < 0:
            raise PlanError(f"steps is {self.steps}, expected 0 or more")


def event_of(plan: TrainingPlan, *, rounds: int = 1) -> PrivacyEvent:
    """Return what ``rounds`` rounds of a plan cost every shot of an included show."""
    constants = plan.privacy
    return PrivacyEvent(constants.sample_rate, constants.noise_multiplier, constants.steps_per_round * rounds)


def gain_event_of(gain: GainConstants) -> PrivacyEvent:
    """Return what sharing the gain costs every held-back shot: one noised sum over all of them."""
    return PrivacyEvent(1.0, gain.noise_multiplier, 1)


def accountant_name() -> str:
    """Name the accountant and its version, as a ledger record states them (imports nothing heavy)."""
    return f"opacus.prv/{importlib.metadata.version('opacus')}"


def epsilon(events: Iterable[PrivacyEvent], delta: float) -> float:
    """Return an upper bound on epsilon of a sequence of events that was fixed before its first result was seen.

    Guarantee: (epsilon, delta)-DP for one shot, add-or-remove-one, Poisson sampling. No steps cost 0; a step without
    noise costs infinity; a ``sample_rate`` of 1 is composed exactly. Where numerical composition would overflow or
    fail, the larger Rényi bound is returned, never less.

    Source: Gopi, Lee, Wutschitz, "Numerical composition of differential privacy" (2021); for a rate of 1 the
    analytic Gaussian mechanism (Balle and Wang, 2018).

    Args:
        events: in any order.
        delta: more than 0, less than 1.

    Raises:
        PlanError: delta is out of range.
    """
    _check_delta(delta)
    return _epsilon(merge_events(events), delta)


@lru_cache(maxsize=256)
def _epsilon(events: tuple[PrivacyEvent, ...], delta: float) -> float:
    if not events:
        return 0.0
    if any(event.noise_multiplier == 0 for event in events):
        return math.inf
    if all(event.sample_rate == 1 for event in events):
        return _gaussian_epsilon(math.sqrt(sum(e.steps / e.noise_multiplier**2 for e in events)), delta)
    bound = renyi_epsilon(events, delta)
    if bound > NUMERIC_EPSILON_MAX or sum(event.steps for event in events) > NUMERIC_STEPS_MAX:
        return bound
    numeric = _prv_epsilon(events, delta)
    return bound if numeric is None else numeric


def renyi_epsilon(events: Iterable[PrivacyEvent], delta: float) -> float:
    """Return the Rényi bound on epsilon of a fixed sequence of events: valid, looser, and it never fails.

    Source: Mironov, Talwar, Zhang, "Rényi differential privacy of the sampled Gaussian mechanism" (2019); conversion
    of Balle et al., "Hypothesis testing interpretations and Rényi DP" (2020), theorem 21.
    """
    _check_delta(delta)
    merged = merge_events(events)
    if not merged:
        return 0.0
    spent = ((order, sum(renyi_divergence(event, order) for event in merged)) for order in RENYI_ORDERS)
    return max(0.0, min(_converted(order, divergence, delta) for order, divergence in spent))


def renyi_divergence(event: PrivacyEvent, order: int) -> float:
    """Return the Rényi divergence of an event at a whole order of at least 2; it adds up over events."""
    if event.steps == 0:
        return 0.0
    if event.noise_multiplier == 0:
        return math.inf
    variance = event.noise_multiplier**2
    if event.sample_rate == 1:
        return event.steps * order / (2 * variance)
    terms = [
        math.lgamma(order + 1)
        - math.lgamma(drawn + 1)
        - math.lgamma(order - drawn + 1)
        + drawn * math.log(event.sample_rate)
        + (order - drawn) * math.log1p(-event.sample_rate)
        + drawn * (drawn - 1) / (2 * variance)
        for drawn in range(order + 1)
    ]
    largest = max(terms)
    total = largest + math.log(math.fsum(math.exp(term - largest) for term in terms))
    return event.steps * max(0.0, total) / (order - 1)


@dataclass(frozen=True)
class RenyiFilter:
    """Whether an account may take one more event, when each event may depend on the results of those before.

    Guarantee: as long as only admitted events run, everything released from the account is (epsilon, delta)-DP for
    each of its shots, however adaptively the events were chosen.

    Source: Feldman and Zrnic, "Individual privacy accounting via a Rényi filter" (2021), theorem 4.3, with one order
    fixed before the first event.

    Attributes:
        order: whole, at least 2; see :func:`order_for`.
        epsilon: the lifetime cap.
        delta: of the guarantee.
    """

    order: int
    epsilon: float
    delta: float

    def __post_init__(self) -> None:
        _check_delta(self.delta)
        if self.order < 2 or not 0 < self.epsilon < math.inf:
            raise PlanError(
                f"a Rényi filter needs an order of 2 or more and a positive epsilon, "
                f"got {self.order} and {self.epsilon}"
            )

    @property
    def allowance(self) -> float:
        """The largest sum of divergences that still means ``epsilon``; 0 or less: no event fits."""
        return self.epsilon - _converted(self.order, 0.0, self.delta)

    def admits(self, events: Iterable[PrivacyEvent]) -> bool:
        """Whether all these events together stay within the cap; free ones always do."""
        return self.spent(events) <= max(self.allowance, 0.0)

    def spent(self, events: Iterable[PrivacyEvent]) -> float:
        """Return the divergence that these events have used."""
        return math.fsum(renyi_divergence(event, self.order) for event in merge_events(events))

    def fraction(self, events: Iterable[PrivacyEvent]) -> float:
        """Return which part of the lifetime allowance these events have used: 0 none, 1 all; it adds up."""
        spent = self.spent(events)
        if spent == 0:
            return 0.0
        return spent / self.allowance if self.allowance > 0 else math.inf

    def epsilon_of(self, events: Iterable[PrivacyEvent]) -> float:
        """Return the epsilon that holds for these events even when each was chosen after seeing the others."""
        spent = self.spent(events)
        return 0.0 if spent == 0 else _converted(self.order, spent, self.delta)


def order_for(event: PrivacyEvent, epsilon_lifetime: float, delta: float) -> int:
    """Choose an account's Rényi order from its first event: the one that fits most such events under the cap.

    The event is public and no result of the account has been seen yet, so the choice is independent of the data.
    """
    if event.steps == 0 or event.noise_multiplier == 0:
        return RENYI_ORDERS[0]
    return max(
        RENYI_ORDERS,
        key=lambda order: (
            RenyiFilter(order, epsilon_lifetime, delta).allowance / renyi_divergence(event, order)
        ),
    )


def _converted(order: int, divergence: float, delta: float) -> float:
    return divergence + math.log((order - 1) / order) - (math.log(delta) + math.log(order)) / (order - 1)


def merge_events(events: Iterable[PrivacyEvent]) -> tuple[PrivacyEvent, ...]:
    """Join events of the same constants, drop empty ones, and put them in one order (composition has none)."""
    steps: dict[tuple[float, float], int] = {}
    for event in events:
        key = (event.sample_rate, event.noise_multiplier)
        steps[key] = steps.get(key, 0) + event.steps
    return tuple(PrivacyEvent(*key, count) for key, count in sorted(steps.items()) if count)


def _prv_epsilon(events: Sequence[PrivacyEvent], delta: float) -> float | None:
    from opacus.accountants import PRVAccountant  # imports torch: seconds

    accountant = PRVAccountant()
    accountant.history = [(event.noise_multiplier, event.sample_rate, event.steps) for event in events]
    try:
        with warnings.catch_warnings():
            # Opacus warns about a helper bound's order and takes log(0) at a rate of 1; neither matters.
            warnings.simplefilter("ignore")
            value = float(accountant.get_epsilon(delta, eps_error=_EPSILON_ERROR))
    except (ArithmeticError, ValueError, RuntimeError, MemoryError):
        return None
    return value if math.isfinite(value) and value >= 0 else None


def _gaussian_epsilon(mean: float, delta: float) -> float:
    """Return epsilon of a Gaussian mechanism whose shift is ``mean`` standard deviations, rounded up."""
    low, high = 0.0, mean**2 / 2 + mean * math.sqrt(2 * math.log(2 / delta)) + 1
    if _gaussian_delta(mean, 0.0) <= delta:
        return 0.0
    while high - low > 1e-9 * (1 + high):
        middle = (low + high) / 2
        if _gaussian_delta(mean, middle) <= delta:
            high = middle
        else:
            low = middle
    return high


def _gaussian_delta(mean: float, at: float) -> float:
    above = _normal_tail(at / mean - mean / 2)
    log_below = _log_normal_tail(at / mean + mean / 2)
    return above - math.exp(at + log_below)


def _normal_tail(x: float) -> float:
    return math.erfc(x / math.sqrt(2)) / 2


def _log_normal_tail(x: float) -> float:
    if x < 30:
        return math.log(_normal_tail(x))
    # Below any float. Mills' ratio from below makes delta, from which this is subtracted, larger and never smaller.
    return -x * x / 2 - math.log(math.sqrt(2 * math.pi)) + math.log(x / (1 + x * x))


def _check_delta(delta: float) -> None:
    if not 0 < delta < 1:
        raise PlanError(f"delta is {delta}, expected more than 0 and less than 1")
