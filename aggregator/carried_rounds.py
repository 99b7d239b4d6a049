"""Rounds for studios without any line: questions out as files, signed answers in, in the same round loop as all others.

    campaigns/<campaign>/carried/
      round_0007_alder_<digest>.question    what ``fedroto round export`` hands out
      <digest>.answer                       an answer that ``fedroto round import`` has verified

The round loop sees a carried studio as one that is always online and slow. Its answer passes the same validation as any
other; beside that it is signed by the studio's node key, since no line has authenticated it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from flwr.app import RecordDict

from aggregator.campaign import CAMPAIGNS_FOLDER
from aggregator.courier import Courier
from aggregator.enrolment import Enrolment
from federation.carried import (
    ANSWER_BYTES_MAX,
    QUESTION_BYTES_MAX,
    claimed_question,
    read_question,
    verified_answer,
)
from federation.documents import digest
from federation.durable import make_private_dir, read_bounded, write_atomic
from federation.errors import RoundError
from federation.flower.coordinator import Reply
from federation.flower.roster import Node
from federation.homes import CoordinatorHome
from federation.keys import KEY_FILE_BYTES_MAX, public_pem, read_public_pem
from federation.messages import TrainRefusal, encode_request
from federation.plan import RoundInstruction
from federation.records import read_request, reply_records

CARRIED_FOLDER = "carried"
_PREFIX = "carried-"


class CarriedCourier:
    """A courier that carries some studios' questions as files and hands the rest to another courier."""

    def __init__(self, courier: Courier, folder: Path, keys: Mapping[str, bytes]) -> None:
        """Prepare.

        Args:
            courier: for all other studios.
            folder: where questions and answers lie; made if need be.
            keys: public key, PEM, of each carried studio.
        """
        self._courier, self._folder = courier, folder
        self._studios = {
            -1 - index: name for index, name in enumerate(sorted(keys))
        }  # Flower's ids are positive
        self._keys = keys
        make_private_dir(folder)

    def __enter__(self) -> Self:
        """Open the other courier."""
        self._courier.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the other courier; files stay."""
        self._courier.__exit__(kind, error, trace)

    def open(self) -> None:
        """Open the other courier's run again."""
        self._courier.open()

    def nodes(self) -> Sequence[Node]:
        """Return the other courier's nodes, and one that is always there for each carried studio."""
        lined = [node for node in self._courier.nodes() if node.studio not in self._keys]
        carried = [
            Node(node_id, name, self._keys[name], True, 0.0) for node_id, name in self._studios.items()
        ]
        return [*lined, *carried]

    def push(self, node_id: int, content: RecordDict, ttl_s: float, *, server_round: int = 0) -> str:
        """Write a question's file, or hand the question on."""
        studio = self._studios.get(node_id)
        if studio is None:
            return self._courier.push(node_id, content, ttl_s, server_round=server_round)
        question = encode_request(read_request(content))
        name = digest(question)
        write_atomic(
            self._folder / f"round_{server_round:04d}_{studio}_{name}.question", question, mode=0o600
        )
        return f"{_PREFIX}{studio}_{name}"

    def pull(self, message_ids: Iterable[str]) -> Iterator[Reply]:
        """Yield answers that were imported, as often as they are asked for, and the other courier's replies."""
        ids = list(message_ids)
        lined = [one for one in ids if not one.startswith(_PREFIX)]
        if lined:
            yield from self._courier.pull(lined)
        for message_id in ids:
            if not message_id.startswith(_PREFIX):
                continue
            studio, _, name = message_id.removeprefix(_PREFIX).rpartition("_")
            answer = self._folder / f"{name}.answer"
            if answer.exists():
                data, key = read_bounded(answer, ANSWER_BYTES_MAX), read_public_pem(self._keys[studio])
                reply = verified_answer(data, key, question_digest=name)
                yield Reply(message_id, reply_records(reply), None)

    def finish(self, *, completed: bool, details: str = "") -> None:
        """End the other courier's run."""
        self._courier.finish(completed=completed, details=details)


@dataclass(frozen=True)
class CarriedQuestion:
    """A question that waits to be carried to a studio."""

    campaign: str
    server_round: int
    studio: str
    file: Path
    expires_at: int


@dataclass(frozen=True)
class CarriedAnswer:
    """An answer that was carried back and verified; the running campaign takes it within a second."""

    campaign: str
    server_round: int
    studio: str
    is_refusal: bool


def carried_keys(home: Path, studios: Iterable[str]) -> dict[str, bytes]:
    """Return the public keys, PEM, of admitted studios.

    Raises:
        IdentityError: no such studio.
        RoundError: one is revoked.
    """
    with Enrolment(home) as enrolment:
        found = [enrolment.studio(name) for name in studios]
    for studio in found:
        if not studio.is_admitted:
            raise RoundError(f"studio {studio.name} is revoked; nothing is carried to it")
    return {one.name: public_pem(one.node_key) for one in found}


def export_question(
    home: Path, studio: str, destination: Path | None = None, *, campaign: str | None = None
) -> CarriedQuestion:
    """Copy the newest question for a carried studio to where it can be taken away.

    Args:
        home: the coordinator's.
        studio: its name.
        destination: the file to write; None puts ``<campaign>-<round>-<studio>.question`` into the working folder.
        campaign: its name; None takes the newest question of any.

    Raises:
        RoundError: nothing is asked of this studio.
        FedrotoError: the disk refused.
    """
    folders = f"{campaign or '*'}/{CARRIED_FOLDER}"
    found = list((home / CAMPAIGNS_FOLDER).glob(f"{folders}/round_*_{studio}_*.question"))
    if not found:
        raise RoundError(
            f"no question waits for studio {studio}",
            hint=f"is the campaign running, with --carried {studio}?",
        )
    newest = max(found, key=lambda path: path.stat().st_mtime_ns)
    data = read_bounded(newest, QUESTION_BYTES_MAX)
    asked = _instruction(home, data)
    file = destination or Path(f"{asked.campaign}-{asked.server_round:04d}-{studio}.question")
    write_atomic(file, data, mode=0o600)
    return CarriedQuestion(asked.campaign, asked.server_round, asked.studio, file, asked.expires_at)


def import_answer(home: Path, answer_file: Path) -> CarriedAnswer:
    """Take in an answer after checking that the studio's node key signed it for a question that was asked.

    Raises:
        SignatureError: not signed by the studio's key, or changed after signing.
        DocumentError: malformed, or the answer to a question that was never asked here.
        MessageError: it holds no reply.
        RoundError: the studio is revoked.
    """
    data = read_bounded(answer_file, ANSWER_BYTES_MAX)
    claimed = claimed_question(data)
    asked = [
        path
        for path in (home / CAMPAIGNS_FOLDER).glob(f"*/{CARRIED_FOLDER}/round_*.question")
        if path.stem.endswith(f"_{claimed}")
    ]
    if len(claimed) != 64 or not asked:
        raise RoundError(f"{answer_file} answers a question that was never asked here ({claimed[:16]!r})")
    question = read_bounded(asked[0], QUESTION_BYTES_MAX)
    instruction = _instruction(home, question)
    key = read_public_pem(carried_keys(home, [instruction.studio])[instruction.studio])
    reply = verified_answer(data, key, question_digest=digest(question))
    write_atomic(asked[0].with_name(f"{digest(question)}.answer"), data, mode=0o600)
    return CarriedAnswer(
        instruction.campaign, instruction.server_round, instruction.studio, isinstance(reply, TrainRefusal)
    )


def _instruction(home: Path, question: bytes) -> RoundInstruction:
    plan_key = read_public_pem(read_bounded(CoordinatorHome(home).plan_key, KEY_FILE_BYTES_MAX))
    return RoundInstruction.verified(read_question(question).instruction, plan_key)
