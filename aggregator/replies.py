"""Judges one reply: what it means for the round, before anything of it is used. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from aggregator.round_events import ReplyEvent, ReplyLost, StudioRefused, UpdateRejected, UpdateUnused
from aggregator.validation import Expectation, Fault, Rejection, inspect_update
from federation.errors import MessageError
from federation.flower.coordinator import Reply
from federation.messages import TrainRefusal, TrainUpdate
from federation.plan import LedgerHead
from federation.records import read_reply

INVALID_BUNDLE = 7
"""Flower's error code for an app bundle that the studio does not take: asking again cannot help."""


@dataclass(frozen=True)
class Question:
    """What a message asked.

    Attributes:
        studio: whom.
        server_round: of which round.
    """

    studio: str
    server_round: int


def judge(
    reply: Reply, asked: Question, expected: Expectation, *, staleness: int, staleness_max: int
) -> TrainUpdate | ReplyEvent:
    """Judge a reply.

    Args:
        reply: as it was pulled; nothing in it is trusted.
        asked: what its message asked.
        expected: what an update has to look like.
        staleness: rounds since the question was asked.
        staleness_max: the plan's.

    Returns:
        The update, if it is to be kept and counted; otherwise what the round has to be told.
    """
    if reply.content is None:
        code = reply.error_code
        final = code == INVALID_BUNDLE
        return ReplyLost(
            asked.studio, asked.server_round, reply.message_id, f"Flower error {code}", final=final
        )
    try:
        answer = read_reply(reply.content)
    except MessageError as error:
        return _rejected(asked, Rejection(Fault.RECORDS, str(error)))
    if isinstance(answer, TrainRefusal):
        return StudioRefused(asked.studio, asked.server_round, reply.message_id, answer.code)
    rejection = inspect_update(answer.update, answer.plan_digest, ledger_head(answer), expected)
    if rejection is not None:
        return _rejected(asked, rejection)
    if staleness > staleness_max:
        reason = f"it came {staleness} round late; the plan uses updates up to {staleness_max} late"
        return UpdateUnused(asked.studio, asked.server_round, reason)
    return answer


def ledger_head(update: TrainUpdate) -> LedgerHead:
    """Return the ledger head that came with an update."""
    return LedgerHead(sequence=update.ledger_sequence, hash=update.ledger_hash)


def _rejected(asked: Question, rejection: Rejection) -> UpdateRejected:
    return UpdateRejected(asked.studio, asked.server_round, f"{rejection.fault}: {rejection.text}")
