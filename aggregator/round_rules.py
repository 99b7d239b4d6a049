"""The rules of a round, pure: ``advance(state, event, now) -> (state, actions)``.

The shell (``aggregator.round_loop``) carries out the actions and reports what happened as events; nothing here reads
a clock, a disk or a network. Rules (docs/protocol.md):

  1. PREPARING: nobody is asked before as many of the plan's studios as the quorum needs have been seen online, so
     that no studio spends privacy on a round that cannot count.
  2. OPEN: every studio of the plan is asked as soon as it is online. A message is handed out once and may be lost
     without a word, so a studio is asked again after an error, after a refusal that may pass, and after its node was
     activated later than the last message was sent. That is free for the studio: the same question gets the same
     stored answer. Tries are bounded and spread over the round.
  3. A final refusal, a rejected update and a revoked key are not asked again in this round.
  4. Replies are pulled only for nodes that are online: Flower deletes the stored reply of an offline one.
  5. CLOSED: every studio is settled, or the deadline has come, with at least the quorum of updates accepted.
  6. DEGRADED: the deadline has come below the quorum, or the quorum is out of reach. Such a round is never averaged.
  7. FAILED: the coordinator itself could not go on (its disk, as a rule).
  8. A reply to the previous round's question, still out when that round closed, is taken while this round runs
     (``late``): used at staleness 1 or dropped, as the plan says, and recorded either way. It never counts towards
     this round's quorum and no round waits for it.

Times are seconds since the epoch, UTC.
"""

from __future__ import annotations

from dataclasses import replace

from aggregator.round_events import (
    Action,
    Asked,
    AskFailed,
    AskStudio,
    Broke,
    Event,
    PullReplies,
    ReplyEvent,
    ReplyLost,
    RosterSeen,
    StudioNode,
    StudioRefused,
    StudioRevoked,
    Ticked,
    UpdateAccepted,
    UpdateRejected,
    UpdateUnused,
)
from aggregator.round_state import Pending, Phase, RoundState, Standing, Turn, summary
from federation.errors import FINAL_REFUSALS


def advance(state: RoundState, event: Event, now: float) -> tuple[RoundState, tuple[Action, ...]]:
    """Take one event into account.

    Args:
        state: before it.
        event: what happened.
        now: seconds since the epoch.

    Returns:
        The state after it, and what is to be done now. Actions come only with ``RosterSeen`` and ``Ticked``; a
        studio to be asked counts as asked from then on.
    """
    if state.phase.is_over:
        return state, ()
    state = _applied(state, event, now)
    state = _settled(state, now, time_is_up=isinstance(event, Ticked) and now >= state.deadline_at)
    if state.phase.is_over or not isinstance(event, RosterSeen | Ticked):
        return state, ()
    state, asks = _with_asks(state, now)
    return state, (*_pulls(state), *asks)


def _applied(state: RoundState, event: Event, now: float) -> RoundState:
    match event:
        case RosterSeen():
            online = {node.studio for node in event.nodes if node.online}
            turns = {s: replace(t, was_online=t.was_online or s in online) for s, t in state.turns.items()}
            return replace(state, nodes=event.nodes, turns=turns)
        case Asked() | AskFailed():
            turn = state.turns[event.studio]
            return (
                state
                if turn.standing.is_settled
                else _with_turn(state, event.studio, _tried(turn, event, now))
            )
        case StudioRevoked():
            revoked = Turn(Standing.REVOKED, reason="its key was revoked")
            late = {s: revoked if s == event.studio else turn for s, turn in state.late.items()}
            return _with_turn(replace(state, late=late), event.studio, revoked)
        case Broke():
            return replace(state, phase=Phase.FAILED, reason=event.reason)
        case Ticked():
            return state
        case _:
            return _with_reply(state, event, now)


def _tried(turn: Turn, event: Asked | AskFailed, now: float) -> Turn:
    if isinstance(event, AskFailed):
        standing = Standing.ASKED if turn.pending else Standing.WAITING
        return replace(turn, standing=standing, reason=event.reason)
    pending = (*turn.pending, Pending(event.message_id, event.node_id, now))
    asked_at = now if turn.asked_at is None else turn.asked_at
    return replace(turn, pending=pending, asked_at=asked_at, reason="")


def _with_reply(state: RoundState, event: ReplyEvent, now: float) -> RoundState:
    turns = state.turns if event.server_round == state.server_round else state.late
    turn = turns.get(event.studio)
    if turn is None or turn.standing.is_settled:
        return state  # a second answer to a question that is settled
    changed = _answered(turn, event, now, state)
    if turns is state.turns:
        return _with_turn(state, event.studio, changed)
    if changed.standing is Standing.WAITING:  # nobody is asked again for a round that is over
        changed = replace(changed, standing=Standing.EXHAUSTED)
    return replace(state, late={**state.late, event.studio: changed})


def _answered(turn: Turn, event: ReplyEvent, now: float, state: RoundState) -> Turn:
    match event:
        case UpdateAccepted():
            seconds = 0.0 if turn.asked_at is None else now - turn.asked_at
            return replace(
                turn,
                standing=Standing.ACCEPTED,
                pending=(),
                reason="",
                size_bytes=event.size_bytes,
                seconds=seconds,
            )
        case UpdateRejected():
            return replace(turn, standing=Standing.REJECTED, pending=(), reason=event.reason)
        case UpdateUnused():
            return replace(turn, standing=Standing.UNUSED, pending=(), reason=event.reason)
        case StudioRefused():
            reason = f"refused: {event.code.name.lower().replace('_', ' ')}"
            final, refused = event.code in FINAL_REFUSALS, Standing.REFUSED
        case ReplyLost():
            reason, final, refused = event.reason, event.final, Standing.REJECTED
    if final:
        return replace(turn, standing=refused, pending=(), reason=reason)
    pending = tuple(one for one in turn.pending if one.message_id != event.message_id)
    standing = Standing.ASKED if pending else Standing.WAITING
    ask_at = max(turn.ask_at, now + _back_off(turn.asks, state))
    return replace(turn, standing=standing, pending=pending, reason=reason, ask_at=ask_at)


def _settled(state: RoundState, now: float, *, time_is_up: bool) -> RoundState:
    """Mark studios that ran out of tries, then open or close the round."""
    if state.phase.is_over:
        return state
    turns = {
        s: replace(
            t, standing=Standing.EXHAUSTED, reason=f"{t.asks} tries used up; last: {t.reason or 'lost'}"
        )
        if t.standing is Standing.WAITING and t.asks >= state.limits.asks_max
        else t
        for s, t in state.turns.items()
    }
    state = replace(state, turns=turns)
    accepted = len(state.accepted)
    open_turns = [turn for turn in turns.values() if not turn.standing.is_settled]
    if accepted + len(open_turns) < state.quorum:
        reason = f"the quorum of {state.quorum} is out of reach: {summary(state)}"
        return replace(state, phase=Phase.DEGRADED, reason=reason)
    if not open_turns or (time_is_up and accepted >= state.quorum):
        return replace(state, phase=Phase.CLOSED, reason=summary(state))
    if time_is_up:
        reason = f"below the quorum of {state.quorum} at the deadline: {summary(state)}"
        return replace(state, phase=Phase.DEGRADED, reason=reason)
    within_reach = sum(turn.was_online or bool(turn.pending) for turn in open_turns)
    if state.phase is Phase.PREPARING and accepted + within_reach >= state.quorum:
        return replace(state, phase=Phase.OPEN)
    return state


def _with_asks(state: RoundState, now: float) -> tuple[RoundState, list[AskStudio]]:
    asks: list[AskStudio] = []
    if state.phase is not Phase.OPEN or now >= state.deadline_at:
        return state, asks
    for studio, turn in state.turns.items():
        node = _node_to_ask(state, studio)
        if (
            node is None
            or turn.standing.is_settled
            or turn.asks >= state.limits.asks_max
            or now < turn.ask_at
        ):
            continue
        if turn.pending and not _was_lost(turn, node):
            continue
        asks.append(AskStudio(studio, node.node_id))
        tried = replace(turn, standing=Standing.ASKED, asks=turn.asks + 1)
        state = _with_turn(state, studio, replace(tried, ask_at=now + _back_off(tried.asks, state)))
    return state, asks


def _node_to_ask(state: RoundState, studio: str) -> StudioNode | None:
    """Return the studio's node that is online, the newest if it has several (a rotated key)."""
    online = [node for node in state.nodes if node.studio == studio and node.online]
    return max(online, key=lambda node: node.activated_at, default=None)


def _was_lost(turn: Turn, node: StudioNode) -> bool:
    """Whether the last message may have been handed to a process that is gone."""
    last = turn.pending[-1]
    return node.node_id != last.node_id or node.activated_at > last.sent_at


def _back_off(asks: int, state: RoundState) -> float:
    limits = state.limits
    share = (state.deadline_at - state.opened_at) / limits.asks_max
    doubled = limits.back_off_s * 2.0 ** min(max(asks, 1) - 1, 30)
    return min(doubled, max(limits.back_off_s_max, share))


def _pulls(state: RoundState) -> tuple[PullReplies, ...]:
    online = {node.node_id for node in state.nodes if node.online}
    ids = tuple(
        one.message_id
        for turns in (state.late, state.turns)  # older questions first: a studio's ledger only grows
        for turn in turns.values()
        if not turn.standing.is_settled
        for one in turn.pending
        if one.node_id in online
    )
    return (PullReplies(ids),) if ids else ()


def _with_turn(state: RoundState, studio: str, turn: Turn) -> RoundState:
    return replace(state, turns={**state.turns, studio: turn})
