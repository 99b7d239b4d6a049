"""A campaign's folder on the coordinator's disk: what a killed coordinator goes on from.

    campaigns/<campaign>/
      base.safetensors              all weights that the campaign starts from
      plan.json                     the signed plan; written last, it says that the campaign has begun
      round_0000/weights.safetensors     the packed weights that round 1 stands on
      round_0002/
        round.json                  where the round stands, its absolute deadline, the messages that are out
        update_<studio>.frame       an accepted update, written as soon as it is validated
        update_<studio>.signature   the studio's signature over it (``federation.update_signature``): evidence, kept
                                    beside it; written first, because the frame says that the update is in
        late_<studio>.frame         an accepted reply to round 1's question that came during round 2
        weights.safetensors         the packed weights after the round
      rounds.sqlite, progress.jsonl      for people and the console (``aggregator.progress``); nothing is read from them
      candidate.safetensors         all weights after the last round

Order of writes, which makes a kill at any point harmless: an update is on disk before its studio counts as settled;
``round.json`` with the phase CLOSED, the exact updates used and the digest of the resulting weights is on disk before
the weights are; so a round that was decided is finished with the same updates and the same bits whenever it is
resumed. Every file appears whole or not at all.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

from pydantic import TypeAdapter, ValidationError

from aggregator.packed_file import load_packed, save_packed
from aggregator.round_check import RoundVerdict
from aggregator.round_state import RoundState
from federation.documents import DOCUMENT_BYTES_MAX, PrivateKey, digest
from federation.durable import (
    make_private_dir,
    open_bounded,
    read_bounded,
    remove_leftovers,
    write_atomic,
)
from federation.errors import FedrotoError, MessageError, RoundError
from federation.messages import (
    PACKED_BYTES_MAX,
    PackedWeights,
    SignedUpdate,
    TrainUpdate,
    read_reply,
    reply_parts,
)
from federation.model_spec import Tensors, packed_digest
from federation.plan import TrainingPlan

RECORD_SCHEMA: Final = "fedroto.round/1"
PLAN_FILE, BASE_FILE, CANDIDATE_FILE = "plan.json", "base.safetensors", "candidate.safetensors"
_WEIGHTS_FILE, _RECORD_FILE = "weights.safetensors", "round.json"
_FILE_BYTES_MAX = PACKED_BYTES_MAX + 64 * 1024
_UPDATE_NAME = re.compile(r"(update|late)_(?P<studio>[a-z0-9][a-z0-9._-]{0,62})\.frame")


@dataclass(frozen=True)
class UsedUpdate:
    """An update that entered a round's mean.

    Attributes:
        server_round: the round whose question it answers.
        digest: SHA-256 of its stored frame.
    """

    studio: str
    server_round: int
    digest: str


@dataclass(frozen=True)
class RoundRecord:
    """What ``round.json`` holds.

    Attributes:
        base_digest: of the packed weights that the round's updates are differences to.
        attempt: 1, and one more each time that a degraded or failed round was tried again.
        state: where the round stands; without the roster, which is never stored.
        used: once CLOSED, the updates in the mean, by studio and round.
        weights_digest: once CLOSED, of the packed weights after the round; those before it if it was rolled back.
        verdict: once CLOSED, what the public benchmark said, where it is asked.
    """

    server_round: int
    base_digest: str
    state: RoundState
    attempt: int = 1
    used: tuple[UsedUpdate, ...] = ()
    weights_digest: str | None = None
    verdict: RoundVerdict | None = None
    schema: str = field(default=RECORD_SCHEMA)


_RECORD: Final = TypeAdapter(RoundRecord)


class RoundStore:
    """Reads and writes one campaign's folder; every failure is a :class:`RoundError` that names the file."""

    def __init__(self, folder: Path) -> None:
        """Take a campaign's folder, made if need be, and clear what a killed process left half-written.

        Raises:
            RoundError: the disk refused.
        """
        self.folder = folder
        with disk_guard():
            make_private_dir(folder)
            for place in (folder, *folder.glob("round_*")):
                remove_leftovers(place)

    def read_plan(self) -> bytes | None:
        """Return the signed plan's bytes, or None before there is one."""
        return _read_if_there(self.folder / PLAN_FILE, DOCUMENT_BYTES_MAX)

    def write_plan(self, plan: TrainingPlan, plan_key: PrivateKey) -> bytes:
        """Sign the plan, keep it, and return the signed bytes."""
        data = plan.signed(plan_key).to_bytes()
        with disk_guard():
            write_atomic(self.folder / PLAN_FILE, data)
        return data

    def write_base(self, data: bytes) -> None:
        """Keep the weights file that the campaign starts from, so that it needs nothing else to go on."""
        with disk_guard():
            write_atomic(self.folder / BASE_FILE, data, mode=0o600)

    def read_base(self) -> Tensors:
        """Return all tensors of the weights that the campaign started from."""
        from model.weights import load  # imports torch, which a reader of rounds does not need

        return load(self.folder / BASE_FILE).tensors

    def write_candidate(self, tensors: Tensors, metadata: Mapping[str, str]) -> Path:
        """Keep all weights after the last round and return their file."""
        from model.weights import save

        path = self.folder / CANDIDATE_FILE
        with disk_guard():
            save(path, tensors, metadata)
        return path

    def read_record(self, server_round: int) -> RoundRecord | None:
        """Return a round's record, or None before it began.

        Raises:
            RoundError: the file is damaged.
        """
        path = self._round(server_round) / _RECORD_FILE
        data = _read_if_there(path, DOCUMENT_BYTES_MAX)
        if data is None:
            return None
        try:
            record = _RECORD.validate_json(data)
        except ValidationError as error:
            raise _damaged(path, str(error.errors(include_url=False)[0]["msg"])) from error
        if record.schema != RECORD_SCHEMA or record.server_round != server_round:
            raise _damaged(path, f"it is {record.schema} of round {record.server_round}")
        return record

    def write_record(self, record: RoundRecord) -> None:
        """Keep where a round stands."""
        stored = replace(record, state=replace(record.state, nodes=()))
        folder = self._round(record.server_round)
        with disk_guard():
            make_private_dir(folder)
            write_atomic(folder / _RECORD_FILE, _RECORD.dump_json(stored), mode=0o600)

    def write_update(self, during: int, server_round: int, studio: str, signed: SignedUpdate) -> int:
        """Keep an accepted update with its signature, and return the update's size in bytes.

        Args:
            during: the round that is running.
            server_round: the round whose question the update answers; ``during`` or the one before.
            studio: who sent it.
            signed: validated.
        """
        parts, path = reply_parts(signed.content), self._update(during, server_round, studio)
        with disk_guard():
            write_atomic(path.with_suffix(".signature"), signed.signature, mode=0o600)
            write_atomic(path, parts, mode=0o600)
        return sum(map(len, parts))

    def read_update(self, during: int, server_round: int, studio: str) -> tuple[TrainUpdate, str]:
        """Return an accepted update and the SHA-256 of its file.

        Raises:
            RoundError: it is missing or damaged.
        """
        path = self._update(during, server_round, studio)
        with disk_guard(), open_bounded(path, _FILE_BYTES_MAX) as file:
            try:
                reply = read_reply(partial(_read_exactly, file))
            except MessageError as error:
                raise _damaged(path, str(error)) from error
            if not isinstance(reply, TrainUpdate) or file.read(1):
                raise _damaged(path, "it holds no update, or more than one")
        return reply, digest(*reply_parts(reply))

    def stored_updates(self, during: int) -> Mapping[tuple[str, int], int]:
        """Return the size in bytes of each update on disk, by studio and the round that it answers."""
        sizes: dict[tuple[str, int], int] = {}
        with disk_guard():
            for path in sorted(self._round(during).glob("*.frame")):
                match = _UPDATE_NAME.fullmatch(path.name)
                if match is not None:
                    answered = during if path.name.startswith("update_") else during - 1
                    sizes[match["studio"], answered] = path.stat().st_size
        return sizes

    def write_weights(self, server_round: int, packed: PackedWeights) -> None:
        """Keep the packed weights after a round; 0 is what round 1 stands on."""
        note = {"digest": packed_digest(packed), "server_round": server_round}
        folder = self._round(server_round)
        with disk_guard():
            make_private_dir(folder)
            save_packed(folder / _WEIGHTS_FILE, packed, note)

    def read_weights(self, server_round: int, expected_digest: str | None = None) -> PackedWeights | None:
        """Return the packed weights after a round, float32 [P], or None before they are there.

        Raises:
            RoundError: the file is damaged or holds other weights than ``expected_digest``.
        """
        path = self._round(server_round) / _WEIGHTS_FILE
        if not path.exists():
            return None
        try:
            with disk_guard():
                packed, note = load_packed(path)
        except ValueError as error:
            raise _damaged(path, str(error)) from error
        found, stated = packed_digest(packed), str(note.get("digest"))
        if found != stated or (expected_digest is not None and found != expected_digest):
            raise _damaged(path, f"its weights are {found[:16]}, not {(expected_digest or stated)[:16]}")
        return packed

    def _round(self, server_round: int) -> Path:
        return self.folder / f"round_{server_round:04d}"

    def _update(self, during: int, server_round: int, studio: str) -> Path:
        kind = "update" if server_round == during else "late"
        return self._round(during) / f"{kind}_{studio}.frame"


@contextlib.contextmanager
def disk_guard() -> Iterator[None]:
    """Turn what a disk can do into the error of a round that cannot go on.

    Raises:
        RoundError: instead of any other ``FedrotoError`` or ``OSError``.
    """
    try:
        yield
    except RoundError:
        raise
    except (FedrotoError, OSError) as error:
        hint = "mend the disk and start the same campaign again; what studios have sent is kept"
        raise RoundError(str(error), hint=hint) from error


def _read_if_there(path: Path, bytes_max: int) -> bytes | None:
    with disk_guard():
        return read_bounded(path, bytes_max) if path.exists() else None


def _damaged(path: Path, why: str) -> RoundError:
    return RoundError(
        f"{path} is damaged: {why}",
        hint=f"restore it, or remove the folder {path.parent} and all later rounds to run from there again",
    )


def _read_exactly(file: BinaryIO, count: int) -> bytes:
    part = file.read(count)
    if len(part) < count:
        raise MessageError(f"it ends {count - len(part)} bytes too early")
    return part
