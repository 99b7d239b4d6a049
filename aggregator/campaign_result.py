"""How a campaign ended or where it stopped, as frozen values for the command line and the console."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from aggregator.round_report import bytes_in
from aggregator.round_state import Standing
from aggregator.round_store import RoundRecord
from federation.errors import RoundError
from federation.plan import TrainingPlan
from federation.privacy import epsilon, event_of


@dataclass(frozen=True)
class RoundOutcome:
    """How one round went.

    Attributes:
        phase: "closed", "degraded", "failed", or where an unfinished one stands.
        returned: studios whose update came in time.
        late: studios whose update of the round before was used.
        missing: studios of the plan without an update.
        bytes_in: of all updates accepted while it ran.
        weights_digest: of the packed weights after it, once closed.
        rolled_back: whether the public benchmark found them worse, and the last good ones stayed.
        public_error: mean error of the round's weights on the public benchmark, where it is asked.
    """

    server_round: int
    phase: str
    reason: str
    attempt: int
    returned: tuple[str, ...]
    late: tuple[str, ...]
    missing: tuple[str, ...]
    bytes_in: int
    weights_digest: str | None
    rolled_back: bool = False
    public_error: float | None = None

    @classmethod
    def of(cls, record: RoundRecord) -> RoundOutcome:
        """Take the outcome from a round's record."""
        state, verdict = record.state, record.verdict
        return cls(
            record.server_round,
            state.phase.value,
            state.reason,
            record.attempt,
            state.accepted,
            tuple(sorted(s for s, turn in state.late.items() if turn.standing is Standing.ACCEPTED)),
            state.missing,
            bytes_in(state),
            record.weights_digest,
            verdict is not None and verdict.rolled_back,
            None if verdict is None else verdict.after,
        )


@dataclass(frozen=True)
class CampaignResult:
    """How a campaign ended, or where it stopped.

    Attributes:
        state: "complete"; or "degraded": a round stayed below its quorum and the campaign waits to be run again.
        reason: one sentence.
        plan_digest: of the signed plan.
        not_private: whether its updates carry no guarantee (research mode).
        rounds_planned: by the plan.
        rounds: those that were begun.
        epsilon: by size tier (see :func:`epsilon_by_tier`).
        candidate: file of all weights after the last round, once complete.
        candidate_digest: of its trained weights, packed.
    """

    federation: str
    campaign: str
    state: Literal["complete", "degraded"]
    reason: str
    folder: Path
    plan_digest: str
    not_private: bool
    rounds_planned: int
    rounds: tuple[RoundOutcome, ...]
    epsilon: Mapping[str, float] = field(default_factory=dict)
    candidate: Path | None = None
    candidate_digest: str | None = None

    @property
    def bytes_in(self) -> int:
        """Bytes of all accepted updates."""
        return sum(outcome.bytes_in for outcome in self.rounds)

    @property
    def exit_code(self) -> int:
        """The process exit status that says how it ended: 0, or that of a round that cannot go on."""
        return 0 if self.state == "complete" else RoundError.exit_code


def epsilon_by_tier(plan: TrainingPlan, records: Sequence[RoundRecord]) -> dict[str, float]:
    """Bound what a campaign has cost a shot, for each size tier that a studio of the plan is in, at its delta.

    Counts every round that was begun, whether or not a studio took part in it: an upper bound for each studio, whose
    own ledger has the exact figure. Infinite where the plan has no noise.
    """
    if not records:
        return {}
    event = event_of(plan, rounds=len(records))
    tiers = sorted(set(plan.studios.values()))
    return {tier: epsilon([event], plan.size_tiers[tier].delta) for tier in tiers}
