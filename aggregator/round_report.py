"""What a round tells people: a name for machines, a sentence, and values. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from aggregator.aggregation import GROUP_MIN
from aggregator.round_check import RoundVerdict
from aggregator.round_state import Phase, RoundState, Standing, size_text

Value = str | int | float | list[str]
FOUND_WORSE = "the public benchmark found its weights worse"
NOT_FOUND_WORSE = "the public benchmark did not find its weights worse"


@dataclass(frozen=True)
class Told:
    """One event.

    Attributes:
        name: what kind of thing happened ("round.closed").
        text: one sentence without the round's number.
        fields: its values.
    """

    name: str
    text: str
    fields: Mapping[str, Value] = field(default_factory=dict)


def round_opened(state: RoundState, attempt: int) -> Told:
    """A round begins, or is tried again."""
    again = f", attempt {attempt}" if attempt > 1 else ""
    seconds = state.deadline_at - state.opened_at
    return Told(
        "round.opened",
        f"{len(state.turns)} studios named, quorum {state.quorum}, deadline in {seconds:.0f} s{again}",
        {"attempt": attempt, "deadline_at": state.deadline_at},
    )


def studio_answered(state: RoundState, studio: str, server_round: int) -> Told:
    """A studio's reply changed where it stands."""
    late = server_round != state.server_round
    turn = (state.late if late else state.turns)[studio]
    told = f"{studio} {turn.standing}" + (f", late from round {server_round}" if late else "")
    accepted = turn.standing is Standing.ACCEPTED
    return Told(
        f"{'late' if late else 'studio'}.{turn.standing}",
        f"{told}: {size_text(turn.size_bytes) if accepted else turn.reason.removeprefix(f'{turn.standing}: ')}",
        {
            "studio": studio,
            "bytes": turn.size_bytes,
            "seconds": round(turn.seconds, 3),
            "reason": turn.reason,
        },
    )


def round_ended(state: RoundState) -> Told:
    """A round is over: "2 of 3 returned, 412 kB each; missing: ..."."""
    label = "" if state.phase is Phase.CLOSED else f"{state.phase.upper()}, "
    return Told(
        f"round.{state.phase}",
        f"{label}{state.reason}",
        {"returned": list(state.accepted), "missing": list(state.missing), "bytes": bytes_in(state)},
    )


def round_checked(verdict: RoundVerdict, updates: int) -> Told:
    """What the public benchmark said of a round's weights; without numbers if their mean is over too few updates."""
    name = "round.rolled_back" if verdict.rolled_back else "round.checked"
    label = "ROLLED BACK to the last good weights: " if verdict.rolled_back else ""
    if updates < GROUP_MIN:
        return Told(name, f"{label}{FOUND_WORSE if verdict.rolled_back else NOT_FOUND_WORSE}")
    return Told(
        name,
        f"{label}{verdict.reason}",
        {
            "start": round(verdict.start, 4),
            "before": round(verdict.before, 4),
            "after": round(verdict.after, 4) if math.isfinite(verdict.after) else "infinite",
        },
    )


def bytes_in(state: RoundState) -> int:
    """Bytes of the updates accepted while a round ran, late ones included."""
    return sum(turn.size_bytes for turns in (state.turns, state.late) for turn in turns.values())
