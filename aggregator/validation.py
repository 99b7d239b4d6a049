"""What the coordinator checks in a studio's update before anything else sees it.

Rules (docs/protocol.md), each with its own fault; the first that is broken drops this studio and nobody else:
  1. The records have the exact keys and types (``federation.records``; here: ``RECORDS``).
  2. The studio's node key signed exactly these bytes as the answer to this question: campaign, round, studio, plan and
     base weights (``SIGNATURE``).
  3. The update answers this plan (``PLAN``).
  4. The array is of the plan's type, float32 or int8, and length (``DTYPE``, ``LENGTH``).
  5. Every value is finite and a multiple of the plan's grid (``NOT_FINITE``, ``OFF_GRID``).
  6. Its norm is within the plan's bound (``NORM``).
  7. The studio's ledger is not behind, and not another one than, what the coordinator has counter-signed
     (``LEDGER_BEHIND``, ``LEDGER_FORKED``).

What a studio may *send* is checked by the studio's own egress door; nothing here relies on that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from aggregator.blocks import blocks
from federation.documents import PublicKey
from federation.errors import SignatureError
from federation.messages import SignedUpdate
from federation.plan import LedgerHead, TrainingPlan, UpdateBounds
from federation.update_signature import UpdateSubject, require_signature
from federation.update_steps import steps_beyond, values_of, wire_type


class Fault(StrEnum):
    """Why an update was dropped. Values are stored in round files and never change their meaning."""

    RECORDS = "records"  # keys, types or sizes of the reply's records
    SIGNATURE = "signature"
    PLAN = "plan"
    DTYPE = "dtype"
    LENGTH = "length"
    NOT_FINITE = "not-finite"
    OFF_GRID = "off-grid"
    NORM = "norm"
    LEDGER_BEHIND = "ledger-behind"
    LEDGER_FORKED = "ledger-forked"


@dataclass(frozen=True)
class Rejection:
    """A dropped update: the fault, and one sentence for the coordinator's own eyes."""

    fault: Fault
    text: str


@dataclass(frozen=True)
class Expectation:
    """What an update has to look like.

    Attributes:
        plan_digest: of the plan in force, 64 hexadecimal digits.
        parameters: length P of the packed array.
        bounds: norm and grid of the plan.
        seen_head: newest head of the studio's ledger that the coordinator holds, or None before the first.
    """

    plan_digest: str
    parameters: int
    bounds: UpdateBounds
    seen_head: LedgerHead | None = None

    @classmethod
    def of(cls, plan: TrainingPlan, server_round: int, seen_head: LedgerHead | None) -> Expectation:
        """Take the expectation from a plan, the round that was asked for and a studio's newest ledger head."""
        form = plan.answer_form(server_round)
        return cls(plan.digest, form.parameters, form.bounds, seen_head)


def inspect_signature(
    signed: SignedUpdate, subject: UpdateSubject, public_key: PublicKey
) -> Rejection | None:
    """Check that the studio stands to one update as the answer to one question.

    Args:
        signed: as it came.
        subject: the question.
        public_key: the studio's node key, from the enrolment book.
    """
    try:
        require_signature(signed, subject, public_key)
    except SignatureError as error:
        return Rejection(Fault.SIGNATURE, str(error))
    return None


def inspect_update(
    update: npt.NDArray[Any], plan_digest: str, head: LedgerHead, expected: Expectation
) -> Rejection | None:
    """Check one update.

    Args:
        update: the packed array as it came, of whatever type and shape.
        plan_digest: the plan that it claims to answer.
        head: the newest record of the studio's ledger, as the studio states it.
        expected: what it has to look like.

    Returns:
        The first broken rule, or None if the update may enter the mean.
    """
    if plan_digest != expected.plan_digest:
        return Rejection(
            Fault.PLAN,
            f"it answers plan {plan_digest[:16]}, this campaign's plan is {expected.plan_digest[:16]}",
        )
    return _inspect_array(update, expected) or _inspect_head(head, expected.seen_head)


def norm(update: npt.NDArray[np.float32]) -> float:
    """Euclidean norm of a packed float32 array, in float64 (no float32 value overflows its square there)."""
    total = 0.0
    for part in blocks(update.size):
        wide = update[part].astype(np.float64)
        total += float(wide @ wide)
    return math.sqrt(total)


def norm_allowance(bounds: UpdateBounds, parameters: int) -> float:
    """How far beyond ``norm_max`` an honest update may lie.

    A studio scales to ``norm_max`` and then rounds each of P values to the grid, which moves the norm by at most
    ``sqrt(P) * grid / 2``; a millionth covers the float32 arithmetic before that.
    """
    return bounds.norm_max * 1e-6 + math.sqrt(parameters) * bounds.grid / 2


def _inspect_array(update: npt.NDArray[Any], expected: Expectation) -> Rejection | None:
    bounds = expected.bounds
    if update.dtype != wire_type(bounds):
        return Rejection(
            Fault.DTYPE, f"its values are {update.dtype}, expected {wire_type(bounds)} as planned"
        )
    if update.shape != (expected.parameters,):
        return Rejection(
            Fault.LENGTH, f"its shape is {list(update.shape)}, expected [{expected.parameters}] as planned"
        )
    beyond, update = steps_beyond(update), values_of(update, bounds)
    wrong = sum(int(np.count_nonzero(~np.isfinite(update[part]))) for part in blocks(update.size))
    if wrong:
        return Rejection(Fault.NOT_FINITE, f"{wrong} of its {update.size} values are NaN or infinite")
    wrong = beyond + sum(_off_grid(update[part], bounds.grid) for part in blocks(update.size))
    if wrong:
        return Rejection(
            Fault.OFF_GRID, f"{wrong} of its {update.size} values are no multiple of {bounds.grid}"
        )
    length = norm(update)
    if length > bounds.norm_max + norm_allowance(bounds, update.size):
        return Rejection(Fault.NORM, f"its norm is {length:.6g}, the plan allows {bounds.norm_max:g}")
    return None


def _off_grid(values: npt.NDArray[np.float32], grid: float) -> int:
    multiples = values.astype(np.float64) / grid  # exact: the grid is a power of two
    return int(np.count_nonzero(multiples != np.rint(multiples)))


def _inspect_head(head: LedgerHead, seen: LedgerHead | None) -> Rejection | None:
    if seen is None or (head.sequence, head.hash) == (seen.sequence, seen.hash):
        return None
    if head.sequence < seen.sequence:
        return Rejection(
            Fault.LEDGER_BEHIND,
            f"its ledger holds {head.sequence} records, {seen.sequence} were counter-signed: "
            "a backup was restored or its tail was cut",
        )
    if head.sequence == seen.sequence:
        return Rejection(
            Fault.LEDGER_FORKED,
            f"record {head.sequence} of its ledger is {head.hash[:16]}, "
            f"{seen.hash[:16]} was counter-signed: it is another ledger",
        )
    return None
