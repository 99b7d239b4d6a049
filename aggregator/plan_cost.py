"""What a campaign costs a shot, round by round: from the signed plan's public constants, and from nothing else.

One figure takes the accountant about a second, so they are computed on a thread beside whoever shows them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from queue import Queue
from typing import Final

from federation.plan import TrainingPlan
from federation.privacy import epsilon, event_of

POINTS_MAX: Final = 8
Accountant = Callable[[TrainingPlan, int, float], float]


@dataclass(frozen=True)
class TierCost:
    """What one size tier's shots are charged at most.

    Attributes:
        tier: its name.
        delta: of the guarantee.
        epsilon: by number of rounds begun; the figures that are known by now.
        rounds: how many rounds have begun.
        spent: after those; None while it is being computed.
        planned: after all rounds of the plan; None while it is being computed.
    """

    tier: str
    delta: float
    epsilon: Mapping[int, float]
    rounds: int
    spent: float | None
    planned: float | None


class PlanCosts:
    """Computes costs on a thread of its own and answers at once with what is known.

    A figure bounds each studio's: rounds in which it did not take part cost it nothing, and its ledger has the sum.
    """

    def __init__(self, accountant: Accountant | None = None, *, points_max: int = POINTS_MAX) -> None:
        """Begin with nothing known.

        Args:
            points_max: points of a curve, besides the rounds begun and all rounds.
            accountant: epsilon of a plan after a number of rounds at a delta; the charged one by default.
        """
        self._accountant, self._points_max = accountant or _charged, points_max
        self._known: dict[tuple[str, float, int], float] = {}
        self._asked: set[tuple[str, float, int]] = set()
        self._queue: Queue[tuple[TrainingPlan, float, int]] = Queue()
        threading.Thread(target=self._work, name="plan-costs", daemon=True).start()

    def costs(self, plan: TrainingPlan, rounds_begun: int, *, wait: bool = False) -> tuple[TierCost, ...]:
        """Return what is known of a plan's costs, and have the rest computed.

        Args:
            plan: the signed plan.
            rounds_begun: how many of its rounds have begun.
            wait: until everything is known; some seconds.
        """
        numbers = sorted({rounds_begun, plan.rounds, *_spread(plan.rounds, self._points_max)} - {0})
        tiers = {name: plan.size_tiers[name].delta for name in sorted(set(plan.studios.values()))}
        for delta in dict.fromkeys(tiers.values()):
            for number in sorted(numbers, key=lambda n: (n != rounds_begun, n != plan.rounds, n)):
                self._ask(plan, delta, number)
        if wait:
            self._queue.join()
        return tuple(self._tier(plan, name, delta, rounds_begun, numbers) for name, delta in tiers.items())

    def _tier(self, plan: TrainingPlan, name: str, delta: float, begun: int, numbers: list[int]) -> TierCost:
        held = {number: self._known.get((plan.digest, delta, number)) for number in numbers}
        known = {number: value for number, value in held.items() if value is not None}
        return TierCost(name, delta, known, begun, known.get(begun) if begun else 0.0, known.get(plan.rounds))

    def _ask(self, plan: TrainingPlan, delta: float, number: int) -> None:
        key = (plan.digest, delta, number)
        if key not in self._asked:
            self._asked.add(key)
            self._queue.put((plan, delta, number))

    def _work(self) -> None:
        while True:
            plan, delta, number = self._queue.get()
            try:
                self._known[plan.digest, delta, number] = self._accountant(plan, number, delta)
            finally:
                self._queue.task_done()


def _charged(plan: TrainingPlan, rounds: int, delta: float) -> float:
    return epsilon([event_of(plan, rounds=rounds)], delta)


def _spread(rounds: int, points_max: int) -> list[int]:
    """Up to ``points_max`` numbers of rounds from 1 to ``rounds``."""
    points = min(rounds, points_max)
    return [1 + round(step * (rounds - 1) / max(points - 1, 1)) for step in range(points)]
