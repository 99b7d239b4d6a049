"""The egress door: the one code path that hands bytes to the socket towards the network.

Rules (docs/privacy.md):
  1. What may leave is a noised update, a noised gain (one value) or a refusal's code, as one frame of
     :mod:`federation.messages`, and no byte beside it.
  2. An update or gain answers the plan in force, has its exact size, is finite, on its grid and within its norm, and
     names the charge that it was made under; epsilon left goes with it only where the studio's policy shares it.
  3. What leaves is logged before it leaves: time, campaign, round, size, SHA-256 and every field.
  4. What breaks a rule does not leave; that is this studio's own fault and its own log says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from federation.documents import digest
from federation.errors import EgressError, MessageError
from federation.messages import TrainRefusal, TrainReply, TrainUpdate, encode_reply, read_reply
from federation.plan import STEPS_MAX, LedgerHead, RoundInstruction, TrainingPlan, UpdateBounds
from federation.update_steps import steps_beyond, values_of, wire_type
from studio_node.egress_log import EgressField, EgressLine, EgressLog, Kind


@dataclass(frozen=True)
class ExpectedUpdate:
    """The only update, or gain, that may leave now.

    Attributes:
        plan_digest: of the plan in force.
        parameters: length P of the packed array.
        bounds: norm and grid of the plan.
        head: the ledger's head with this update's charge in it.
        replay: whether the update was stored earlier and is sent again.
        epsilon_left: that goes with it where the studio shares it, else None.
    """

    plan_digest: str
    parameters: int
    bounds: UpdateBounds
    head: LedgerHead
    replay: bool = False
    epsilon_left: float | None = None

    @classmethod
    def of(
        cls,
        plan: TrainingPlan,
        server_round: int,
        head: LedgerHead,
        *,
        replay: bool,
        epsilon_left: float | None = None,
    ) -> ExpectedUpdate:
        """Take the expectation from a verified plan, the round and the charge's ledger head."""
        form = plan.answer_form(server_round)
        return cls(plan.digest, form.parameters, form.bounds, head, replay, epsilon_left)


class EgressDoor:
    """Inspects, logs, then sends."""

    def __init__(self, log: EgressLog) -> None:
        self._log = log

    def release(
        self,
        frame: bytes,
        expected: ExpectedUpdate | None,
        send: Callable[[bytes], None],
        *,
        instruction: RoundInstruction | None = None,
        now: float,
    ) -> None:
        """Let one frame out.

        Args:
            frame: the reply's bytes.
            expected: what an update must be; None: only a refusal may leave.
            send: hands bytes to the socket.
            instruction: what the frame answers, for the log; None if it could not be read.
            now: seconds since the epoch.

        Raises:
            EgressError: the frame breaks a rule or cannot be logged; nothing was sent.
        """
        reply = inspect_frame(frame, expected)
        self._log.append(
            EgressLine(
                time=now,
                kind=kind_of(reply),
                campaign=None if instruction is None else instruction.campaign,
                server_round=None if instruction is None else instruction.server_round,
                replay=expected is not None and expected.replay,
                size_bytes=len(frame),
                sha256=digest(frame),
                fields=fields_of(reply),
            )
        )
        send(frame)


def inspect_frame(frame: bytes, expected: ExpectedUpdate | None) -> TrainReply:
    """Check a frame against what may leave.

    Raises:
        EgressError: says which rule the frame breaks.
    """
    reply = decode_reply(frame)
    if isinstance(reply, TrainUpdate):
        if expected is None:
            raise EgressError("an update stood at the egress door where only a refusal may leave")
        _check_update(reply, expected)
    return reply


def decode_reply(frame: bytes) -> TrainReply:
    """Read a frame that must hold one reply in its one form and no byte beside it.

    Raises:
        EgressError: it does not.
    """
    position = 0

    def read_exactly(count: int) -> bytes:
        nonlocal position
        part = frame[position : position + count]
        if len(part) != count:
            raise EgressError(f"the frame ends after {len(frame)} bytes, in the middle of a part")
        position += count
        return part

    try:
        reply = read_reply(read_exactly)
    except MessageError as error:
        raise EgressError(f"the frame breaks the message schema: {error}") from error
    if encode_reply(reply) != frame:
        raise EgressError(f"the frame of {len(frame)} bytes holds bytes beside its {position} bytes of reply")
    return reply


def kind_of(reply: TrainReply) -> Kind:
    """Name what a reply is."""
    if isinstance(reply, TrainRefusal):
        return "refusal"
    return "gain" if reply.is_gain else "update"


def fields_of(reply: TrainReply) -> tuple[EgressField, ...]:
    """List what a reply is made of, field by field; an array is shown by its hash and range."""
    if isinstance(reply, TrainRefusal):
        return (EgressField("code", "refusal code", 1, reply.code.name),)
    update = reply.update
    wide = update.astype(np.float64)
    unit = " steps of the plan's grid" if update.dtype == np.int8 else ""
    shown = (
        f"sha256 {digest(update.tobytes())}, norm {np.linalg.norm(wide):.6g}, "
        f"{wide.min():.6g} to {wide.max():.6g}{unit}"
    )
    return (
        EgressField(
            kind_of(reply),
            f"{update.dtype} [{update.size}]",
            update.nbytes,
            f"{wide[0]:.9g}" if reply.is_gain else shown,
        ),
        EgressField("plan_digest", "sha256", 64, reply.plan_digest),
        EgressField("ledger_sequence", "u64", 8, str(reply.ledger_sequence)),
        EgressField("ledger_hash", "sha256", 64, reply.ledger_hash),
        *(
            []
            if reply.epsilon_left is None
            else [EgressField("epsilon_left", "f64", 8, str(reply.epsilon_left))]
        ),
    )


def _check_update(reply: TrainUpdate, expected: ExpectedUpdate) -> None:
    if reply.plan_digest != expected.plan_digest:
        raise EgressError(
            f"the update answers plan {reply.plan_digest[:16]}, not the plan in force {expected.plan_digest[:16]}"
        )
    if (reply.ledger_sequence, reply.ledger_hash) != (expected.head.sequence, expected.head.hash):
        raise EgressError(
            f"the update names ledger record {reply.ledger_sequence}, its charge is record {expected.head.sequence}"
        )
    if reply.epsilon_left != expected.epsilon_left:
        raise EgressError(
            f"the update says epsilon left {reply.epsilon_left}, this studio shares {expected.epsilon_left}"
        )
    update = reply.update
    if update.size != expected.parameters:
        raise EgressError(f"the update has {update.size} values, the plan trains {expected.parameters}")
    if not np.isfinite(update).all():
        raise EgressError("the update holds NaN or an infinity: training diverged; lower the learning rate")
    if update.dtype != wire_type(expected.bounds):
        raise EgressError(
            f"the update's values are {update.dtype}, the plan says {wire_type(expected.bounds)}"
        )
    if beyond := steps_beyond(update):
        raise EgressError(f"{beyond} values of the update lie beyond {STEPS_MAX} steps of the grid")
    wide = values_of(update, expected.bounds).astype(np.float64)
    multiples = wide / expected.bounds.grid  # exact: the grid is a power of two
    off = int(np.count_nonzero(multiples != np.rint(multiples)))
    if off:
        raise EgressError(f"{off} values of the update are off the grid of {expected.bounds.grid}")
    norm = float(np.linalg.norm(wide))
    if norm > expected.bounds.norm_max:
        raise EgressError(f"the update's norm is {norm:.9g}, the plan allows {expected.bounds.norm_max:g}")
