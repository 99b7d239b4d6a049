"""Answers a round that was carried here as a file: the same runner, policy, ledger and egress door as over a line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from federation.carried import QUESTION_BYTES_MAX, read_question, sign_answer
from federation.durable import read_bounded, write_atomic
from federation.errors import IdentityError, RefusalCode, RefusedError
from federation.flower.bundle import build_bundle, bundle_digest
from federation.homes import StudioHome
from federation.keys import load_node_key
from federation.messages import TrainRefusal, TrainReply, TrainRequest
from federation.plan import RoundInstruction
from federation.set_up import load_kit
from federation.update_signature import UpdateSubject
from studio_node.runner_client import ask_runner

TRAINING_TIMEOUT_S = 24 * 3600.0
UNANSWERED = frozenset({RefusalCode.BUSY, RefusalCode.INTERNAL})


@dataclass(frozen=True)
class CarriedReply:
    """An answer that waits to be carried back.

    Attributes:
        size_bytes: of the file.
        refusal: why there is no update in it, or None.
    """

    campaign: str
    server_round: int
    answer: Path
    size_bytes: int
    refusal: RefusalCode | None


def answer_question(
    home: Path,
    question_file: Path,
    answer_file: Path | None = None,
    *,
    ask: Callable[[TrainRequest], TrainReply] | None = None,
) -> CarriedReply:
    """Let the studio's runner answer a carried question; the same question gives the same update again.

    Args:
        home: the studio's; its runner must be up.
        question_file: what ``fedroto round export`` wrote.
        answer_file: where the answer goes; None puts ``<question>.answer`` beside it.
        ask: asks the runner; its socket by default.

    Raises:
        SignatureError: the instruction is not signed by this studio's coordinator.
        IdentityError: it is for another studio, or for another installation than this one.
        MessageError: the file is no question.
        RefusedError: the runner is not up or failed; nothing was written, ask again.
    """
    data = read_bounded(question_file, QUESTION_BYTES_MAX)
    request = read_question(data)
    kit = load_kit(home)
    instruction = RoundInstruction.verified(request.instruction, kit.plan_key)
    if instruction.studio != kit.studio:
        raise IdentityError(f"the question is for studio {instruction.studio}, this one is {kit.studio}")
    ours = bundle_digest(build_bundle())
    if instruction.bundle_digest != ours:  # over a line, the uplink compares this
        raise IdentityError(
            f"the coordinator's installation is {instruction.bundle_digest[:12]}, this one is {ours[:12]}",
            hint="install the same release of fedroto on both sides",
        )
    socket = home / "run" / "runner.sock"
    reply = (ask or (lambda asked: ask_runner(socket, asked, timeout_s=TRAINING_TIMEOUT_S)))(request)
    refusal = reply.code if isinstance(reply, TrainRefusal) else None
    if refusal in UNANSWERED:
        raise RefusedError(
            RefusalCode(refusal),
            "the runner is not up, or something broke in it; there is no answer yet",
            hint=f"start it with fedroto studio runner --home {home}, see its runner.jsonl, and ask again",
        )
    node_key = load_node_key(StudioHome(home).node_key).private
    answer = sign_answer(reply, question=data, subject=UpdateSubject.of(instruction), node_key=node_key)
    destination = answer_file or question_file.with_suffix(".answer")
    write_atomic(destination, answer, mode=0o600)
    return CarriedReply(instruction.campaign, instruction.server_round, destination, len(answer), refusal)
