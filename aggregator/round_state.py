"""What a round is, at one moment: frozen values, and how a round begins or is tried again.

``aggregator.round_rules`` says how it changes. Times are seconds since the epoch, UTC.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from aggregator.round_events import StudioNode


class Phase(StrEnum):
    """Where a round stands. Values are stored and never change their meaning."""

    PREPARING = "preparing"
    OPEN = "open"
    CLOSED = "closed"
    DEGRADED = "degraded"
    FAILED = "failed"

    @property
    def is_over(self) -> bool:
        """Whether nothing more can happen in the round."""
        return self in (Phase.CLOSED, Phase.DEGRADED, Phase.FAILED)


class Standing(StrEnum):
    """Where one studio stands in one round. Values are stored and never change their meaning."""

    WAITING = "waiting"  # to be asked when its node is online and the back-off is over
    ASKED = "asked"
    ACCEPTED = "accepted"
    REFUSED = "refused"
    REJECTED = "rejected"
    EXHAUSTED = "exhausted"  # every try was used up
    REVOKED = "revoked"
    UNUSED = "unused"  # a late update that the plan does not use

    @property
    def is_settled(self) -> bool:
        """Whether nothing more is expected of the studio."""
        return self not in (Standing.WAITING, Standing.ASKED)


@dataclass(frozen=True)
class Pending:
    """A message that is out."""

    message_id: str
    node_id: int
    sent_at: float


@dataclass(frozen=True)
class Turn:
    """One studio's part in answering one round's question.

    Attributes:
        reason: why it stands there, for the coordinator's own eyes.
        pending: messages that may still be answered, oldest first.
        asks: messages sent or tried so far.
        ask_at: not to be asked again before this time.
        asked_at: when it was asked first, or None.
        was_online: seen online since the round began.
        size_bytes: of its accepted update.
        seconds: from first asked to accepted.
    """

    standing: Standing = Standing.WAITING
    reason: str = ""
    pending: tuple[Pending, ...] = ()
    asks: int = 0
    ask_at: float = 0.0
    asked_at: float | None = None
    was_online: bool = False
    size_bytes: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class RoundLimits:
    """Bounds on how often a studio is asked in one round.

    Attributes:
        asks_max: messages to one studio.
        back_off_s: wait after the first one; it doubles with each further one.
        back_off_s_max: longest wait, unless the deadline is so far that equal shares of it are longer.
    """

    asks_max: int = 30
    back_off_s: float = 2.0
    back_off_s_max: float = 60.0


@dataclass(frozen=True)
class RoundState:
    """Everything that a round's decisions depend on.

    Attributes:
        turns: one per studio of the plan.
        late: per studio, what is still out of the previous round.
        nodes: the newest roster; not stored.
    """

    server_round: int
    quorum: int
    opened_at: float
    deadline_at: float
    turns: Mapping[str, Turn]
    late: Mapping[str, Turn] = field(default_factory=dict)
    phase: Phase = Phase.PREPARING
    reason: str = ""
    limits: RoundLimits = RoundLimits()
    nodes: tuple[StudioNode, ...] = ()

    @property
    def accepted(self) -> tuple[str, ...]:
        """Studios whose update of this round is in, sorted."""
        return tuple(sorted(s for s, turn in self.turns.items() if turn.standing is Standing.ACCEPTED))

    @property
    def missing(self) -> tuple[str, ...]:
        """Studios of the plan without an accepted update, sorted."""
        return tuple(sorted(set(self.turns) - set(self.accepted)))


def open_round(
    server_round: int,
    *,
    studios: Iterable[str],
    quorum: int,
    now: float,
    deadline_s: float,
    previous: RoundState | None = None,
    limits: RoundLimits = RoundLimits(),
) -> RoundState:
    """Begin a round; what is still out of the closed ``previous`` one becomes ``late``."""
    late: dict[str, Turn] = {}
    if previous is not None:
        late = {s: turn for s, turn in previous.turns.items() if turn.standing is Standing.ASKED}
    return RoundState(
        server_round=server_round,
        quorum=quorum,
        opened_at=now,
        deadline_at=now + deadline_s,
        turns={studio: Turn() for studio in sorted(studios)},
        late=late,
        limits=limits,
    )


def reopen_round(state: RoundState, *, now: float, deadline_s: float) -> RoundState:
    """Try a DEGRADED or FAILED round again with a new deadline; accepted updates and open messages stay."""
    turns = {
        studio: turn
        if turn.standing is Standing.ACCEPTED
        else Turn(Standing.ASKED if turn.pending else Standing.WAITING, pending=turn.pending)
        for studio, turn in state.turns.items()
    }
    return replace(
        state,
        opened_at=now,
        deadline_at=now + deadline_s,
        turns=turns,
        phase=Phase.PREPARING,
        reason="",
        nodes=(),
    )


def summary(state: RoundState) -> str:
    """Say in one line how a round went, with the missing studios and why they are missing."""
    text = f"{len(state.accepted)} of {len(state.turns)} returned"
    if state.accepted:
        text += f", {size_text(max(state.turns[studio].size_bytes for studio in state.accepted))} each"
    missing = [f"{studio} ({_why_missing(state.turns[studio])})" for studio in state.missing]
    return f"{text}; missing: {', '.join(missing)}" if missing else text


def size_text(size_bytes: float) -> str:
    """Write a size for people: ``412 kB``."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.3g} {unit}"
    return f"{size_bytes:.0f} B"


def _why_missing(turn: Turn) -> str:
    if turn.reason:
        return turn.reason
    if turn.standing is Standing.WAITING:
        return "not asked" if turn.was_online else "never online"
    return "no answer" if turn.standing is Standing.ASKED else turn.standing.value
