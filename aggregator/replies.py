"""Judges one reply: what it means for the round, before anything of it is used. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from aggregator.enrolment import EnrolledStudio
from aggregator.round_events import ReplyEvent, ReplyLost, StudioRefused, UpdateRejected, UpdateUnused
from aggregator.validation import Expectation, Fault, Rejection, inspect_signature, inspect_update
from federation.errors import MessageError
from federation.flower.coordinator import Reply
from federation.messages import SignedUpdate, TrainRefusal, TrainUpdate
from federation.plan import LedgerHead, TrainingPlan
from federation.records import read_reply
from federation.update_signature import UpdateSubject

INVALID_BUNDLE = 7
"""Flower's error code for an app bundle that the studio does not take: asking again cannot help."""


@dataclass(frozen=True)
class Question:
    """What a message asked.

    Attributes:
        studio: whom.
        server_round: of which round.
        base_digest: on which weights.
    """

    studio: str
    server_round: int
    base_digest: str


def judge(
    reply: Reply,
    asked: Question,
    studio: EnrolledStudio,
    plan: TrainingPlan,
    *,
    staleness: int,
) -> SignedUpdate | ReplyEvent:
    """Judge a reply.

    Args:
        reply: as it was pulled; nothing in it is trusted.
        asked: what its message asked.
        studio: whom it asked, with the key and the ledger head that the coordinator holds.
        plan: the campaign's.
        staleness: rounds since the question was asked.

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
    if isinstance(answer, TrainUpdate):
        return _rejected(asked, Rejection(Fault.SIGNATURE, "its update is not signed"))
    rejection = _fault(answer, asked, studio, plan)
    if rejection is not None:
        return _rejected(asked, rejection)
    if staleness > plan.staleness_max:
        reason = f"it came {staleness} round late; the plan uses updates up to {plan.staleness_max} late"
        return UpdateUnused(asked.studio, asked.server_round, reason)
    return answer


def _fault(
    answer: SignedUpdate, asked: Question, studio: EnrolledStudio, plan: TrainingPlan
) -> Rejection | None:
    subject = UpdateSubject(plan.campaign, asked.server_round, asked.studio, plan.digest, asked.base_digest)
    rejection = inspect_signature(answer, subject, studio.node_key)
    if rejection is not None:
        return rejection
    update = answer.content
    expected = Expectation.of(plan, asked.server_round, studio.seen_head)
    return inspect_update(update.update, update.plan_digest, ledger_head(update), expected)


def ledger_head(update: TrainUpdate) -> LedgerHead:
    """Return the ledger head that came with an update."""
    return LedgerHead(sequence=update.ledger_sequence, hash=update.ledger_hash)


def _rejected(asked: Question, rejection: Rejection) -> UpdateRejected:
    return UpdateRejected(asked.studio, asked.server_round, f"{rejection.fault}: {rejection.text}")
