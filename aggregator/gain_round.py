"""The question after a campaign's last round: how much do its weights gain at studios that share it.

Asked, validated, kept and resumed as any round (``aggregator.round_loop``). An answer is one noised number
(``federation.plan.GainConstants``); nothing enters the weights. A studio that does not share its gain refuses, which
costs it nothing. What the answers add up to is for the release check (``aggregator.shared_gain``).
"""

from __future__ import annotations

import numpy as np

from aggregator.round_loop import Campaign, LiveRound
from aggregator.round_report import Told
from aggregator.round_state import RoundState, open_round
from aggregator.round_store import RoundRecord, RoundStore
from federation.errors import RoundError
from federation.messages import PackedWeights
from federation.plan import TrainingPlan


def is_gain_open(store: RoundStore, plan: TrainingPlan) -> bool:
    """Whether studios are still to be asked for their gain.

    Raises:
        RoundError: the round's record is damaged.
    """
    if plan.gain_round is None:
        return False
    record = store.read_record(plan.gain_round)
    return record is None or not record.state.phase.is_over


def run_gain_round(campaign: Campaign) -> None:
    """Ask every studio of the plan for its gain, or go on with it; over when all are settled or the deadline has come.

    Raises:
        RoundError: the coordinator cannot go on (disk, damaged files); the same call goes on later.
    """
    if campaign.plan.gain_round is not None:
        _GainRound(campaign, campaign.plan.gain_round).run()


class _GainRound(LiveRound):
    def _read_base(self) -> PackedWeights:
        """The campaign's first weights and behind them its last, float32 [2 P]."""
        sets = [self._store.read_weights(number) for number in (0, self._plan.rounds)]
        found = [weights for weights in sets if weights is not None]
        if len(found) < len(sets):
            raise RoundError(f"the weights before or after the campaign are missing in {self._store.folder}")
        return np.concatenate(found)

    def _opened(self, now: float, deadline_s: float) -> RoundState:
        return open_round(self._number, studios=self._plan.studios, quorum=1, now=now, deadline_s=deadline_s)

    def _decide(self) -> None:
        """Nothing enters the weights."""

    def _write_weights(self) -> None:
        """There are none."""

    def _tell_end(self, record: RoundRecord) -> None:
        state = record.state
        text = f"{len(state.accepted)} of {len(state.turns)} studios shared their gain"
        self._tell(Told("gain.over", text, {"shared": len(state.accepted)}))

    def _tell(self, told: Told) -> None:
        name = told.name.replace("round.", "gain.").replace("studio.", "gain.")
        self._campaign.progress.event(name, f"gain: {told.text}", **told.fields)
