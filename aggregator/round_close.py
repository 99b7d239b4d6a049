"""Ends a round: which stored updates enter the mean, and the weights that follow from exactly those."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from aggregator.aggregation import Contribution, apply_mean, stale_weight
from aggregator.robust_rules import aggregate
from aggregator.round_state import RoundState, Standing
from aggregator.round_store import RoundStore, UsedUpdate
from federation.errors import RoundError
from federation.messages import PackedWeights
from federation.plan import TrainingPlan
from federation.update_steps import values_of


def updates_to_use(store: RoundStore, state: RoundState) -> tuple[UsedUpdate, ...]:
    """List the updates of a closed round, fresh and late ones, by studio and round, with their files' digests.

    Raises:
        RoundError: a stored update is missing or damaged.
    """
    number = state.server_round
    answered = [(studio, number) for studio in state.accepted]
    answered += [(s, number - 1) for s, turn in state.late.items() if turn.standing is Standing.ACCEPTED]
    return tuple(
        UsedUpdate(studio, server_round, store.read_update(number, server_round, studio)[1])
        for studio, server_round in sorted(answered)
    )


def weights_after(
    store: RoundStore, plan: TrainingPlan, base: PackedWeights, during: int, used: Sequence[UsedUpdate]
) -> PackedWeights:
    """Compute the packed weights after a round; the same ``used`` give the same bits.

    Args:
        store: holds the updates.
        plan: its size tiers give the weights in the mean.
        base: float32 [P], the weights before the round.
        during: the round.
        used: the updates that enter the mean.

    Raises:
        RoundError: an update was changed, or the mean would make a weight infinite.
    """
    contributions = [
        Contribution(
            one.studio,
            one.server_round,
            stale_weight(plan.tier_of(one.studio).weight, during - one.server_round),
            partial(_load, store, plan, during, one),
        )
        for one in used
    ]
    mean = aggregate(
        plan.aggregation,
        contributions,
        parameters=plan.model.parameters,
        norm_max=plan.update.norm_max,
    )
    return apply_mean(base, mean)


def _load(store: RoundStore, plan: TrainingPlan, during: int, one: UsedUpdate) -> PackedWeights:
    update, found = store.read_update(during, one.server_round, one.studio)
    if found != one.digest:
        raise RoundError(f"the stored update of {one.studio} for round {one.server_round} was changed")
    return values_of(update.update, plan.update)
