"""One round at the studio: verify, ask the policy, charge, train or measure, store; or send again what is stored.

Every refusal is one code outward and one sentence in the studio's own journal. A charge is on disk before a pack is
opened, and stays whatever happens after; a finished update is on disk before it leaves, and the same question gets
the same bytes again.
"""

from __future__ import annotations

import datetime
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from federation.config import STUDIO_CONFIG, StudioConfig, load_studio_config
from federation.documents import canonical_json, digest
from federation.errors import (
    DocumentError,
    FedrotoError,
    LedgerError,
    PlanError,
    RefusalCode,
    RefusedError,
    SignatureError,
)
from federation.journal import Journal
from federation.messages import (
    PackedUpdate,
    PackedWeights,
    TrainRefusal,
    TrainRequest,
    TrainUpdate,
    encode_reply,
)
from federation.model_spec import ARCHITECTURE, TRAINABLE_PREFIX, packed_digest
from federation.plan import RoundInstruction, SizeTier, TensorEntry, TrainingPlan
from federation.provisioning import JoinKit
from model.network import RotoModel
from studio_node.catalogue import Catalogue, PackEntry
from studio_node.egress import ExpectedUpdate, decode_reply, inspect_frame
from studio_node.egress_log import read_log
from studio_node.ledger import Ledger, Reservation
from studio_node.ledger_file import LEDGER_FILE
from studio_node.ledger_records import Charge
from studio_node.packs import PackReader
from studio_node.policy import check_policy, consenting_shows
from studio_node.roto_training import OpenShot, train_update
from studio_node.shared_gain import noised_gain
from studio_node.stored_updates import UPDATES_FOLDER, StoredUpdates


@dataclass(frozen=True)
class Answer:
    """What to send: a frame, what it must be to leave, and what it answers.

    Attributes:
        frame: the reply's bytes.
        expected: of an update; None for a refusal.
        instruction: None if it could not be read.
    """

    frame: bytes
    expected: ExpectedUpdate | None
    instruction: RoundInstruction | None = None


class LocalRounds:
    """Answers training requests for one studio's home."""

    def __init__(self, home: Path, kit: JoinKit, journal: Journal) -> None:
        """Prepare.

        Args:
            home: of the studio.
            kit: the studio's join kit: who may ask, and in which size tier this studio is.
            journal: the studio's own; texts in it never leave.
        """
        self._home = home
        self._kit = kit
        self._journal = journal
        self._updates = StoredUpdates(home / UPDATES_FOLDER)
        spec = RotoModel.trainable_spec()
        self._trainable = tuple(
            TensorEntry(name=f"{TRAINABLE_PREFIX}{name}", shape=shape)
            for name, shape in zip(spec.names, spec.shapes, strict=True)
        )

    def answer(self, request: TrainRequest, *, now: int | None = None) -> Answer:
        """Answer a request; never raises for anything that a request or the studio's state can cause."""
        instruction: RoundInstruction | None = None
        try:
            plan, instruction = self._verified(request)
            frame, expected = self._trained(
                plan, instruction, request, int(time.time()) if now is None else now
            )
        except Exception as error:  # the outside learns a code, whatever it was
            return self._refusal(error, instruction)
        return Answer(frame, expected, instruction)

    def refuse(self, code: RefusalCode, why: str) -> Answer:
        """Answer what could not be read as a request."""
        self._journal.write("refused", f"refused ({code.name}): {why}", code=code.name)
        return Answer(encode_reply(TrainRefusal(code)), None)

    def _verified(self, request: TrainRequest) -> tuple[TrainingPlan, RoundInstruction]:
        try:
            plan = TrainingPlan.verified(request.plan, self._kit.plan_key)
            return plan, RoundInstruction.verified(request.instruction, self._kit.plan_key)
        except SignatureError as error:
            raise RefusedError(RefusalCode.BAD_SIGNATURE, str(error), hint=error.hint) from error
        except (DocumentError, PlanError) as error:
            raise RefusedError(RefusalCode.MALFORMED, str(error)) from error

    def _trained(
        self, plan: TrainingPlan, instruction: RoundInstruction, request: TrainRequest, now: int
    ) -> tuple[bytes, ExpectedUpdate]:
        config = load_studio_config(self._home / STUDIO_CONFIG)
        refused = check_policy(plan, instruction, config, size_tier=self._kit.size_tier, now=now)
        if refused is not None:
            raise refused
        asks_gain = instruction.server_round == plan.gain_round
        self._require_weights(plan, instruction, request.weights, sets=2 if asks_gain else 1)
        with Ledger.open(self._home / LEDGER_FILE) as ledger:
            ledger.require_seen(instruction.seen_head)
            updates = read_log(self._home).updates
            ledger.state.require_left(updates[-1].charge if updates else None)
            ledger.state.require_clock(now)
            stored = self._stored(ledger, plan, instruction, config, now)
            if stored is not None:
                return stored
            packs = self._packs(plan, config, now, held_back=asks_gain)
            reservation = ledger.reserve(
                instruction,
                _charge(plan, instruction, plan.tier_of(config.name)),
                {entry.show: config.epsilon_lifetime_of(entry.show) for entry in packs},
                dataset_digest=digest(canonical_json([[e.show, e.shot_id, e.epoch] for e in packs])),
                now=now,
            )
            self._journal.write(
                "charged",
                f"{plan.campaign} round {instruction.server_round}: charged as record {reservation.head.sequence}",
                sequence=reservation.head.sequence,
            )
            charged = [entry for entry in packs if entry.show in reservation.shows]
            with Catalogue.open(
                self._home
            ) as catalogue:  # from here on their ids are fixed, held-back ones too
                catalogue.mark_trained(
                    [e.shot_id for e in charged], datetime.datetime.fromtimestamp(now, datetime.UTC)
                )
            caps = {show: config.epsilon_lifetime_of(show) for show in reservation.shows}
            left = ledger.state.epsilon_left(caps) if config.policy.share_epsilon_left else None
            return self._update(ledger, plan, instruction, request.weights, charged, reservation, now, left)

    def _update(
        self,
        ledger: Ledger,
        plan: TrainingPlan,
        instruction: RoundInstruction,
        weights: PackedWeights,
        packs: Sequence[PackEntry],
        reservation: Reservation,
        now: int,
        left: float | None,
    ) -> tuple[bytes, ExpectedUpdate]:
        shots: list[OpenShot] = [
            partial(
                PackReader.open,
                entry.path,
                reservation,
                show=entry.show,
                frozen_digest=plan.model.frozen_digest,
            )
            for entry in packs
        ]
        if plan.gain is not None and instruction.server_round == plan.gain_round:
            update: PackedUpdate = noised_gain(plan.gain, weights, shots, warn=self._warn)
        else:
            update = train_update(plan, self._kit.size_tier, weights, shots, warn=self._warn)
        head = reservation.head
        frame = encode_reply(TrainUpdate(update, plan.digest, head.sequence, head.hash, left))
        expected = ExpectedUpdate.of(plan, instruction.server_round, head, replay=False, epsilon_left=left)
        inspect_frame(frame, expected)  # what may not leave is not kept either
        self._updates.put(instruction.question, frame)
        ledger.done(head.sequence, digest(frame), now=max(now, int(time.time())))
        done, what = ("measured", "gain") if expected.parameters == 1 else ("trained", "update")
        self._journal.write(done, f"{plan.campaign} round {instruction.server_round}: {what} stored")
        return frame, expected

    def _stored(
        self,
        ledger: Ledger,
        plan: TrainingPlan,
        instruction: RoundInstruction,
        config: StudioConfig,
        now: int,
    ) -> tuple[bytes, ExpectedUpdate] | None:
        """Return the stored answer to this very question, if every show in it still consents."""
        charged = ledger.answer_to(instruction)
        frame = self._updates.get(instruction.question) if charged is not None else None
        if charged is None or frame is None:
            return None
        record = charged.record
        reply = decode_reply(frame)
        if not isinstance(reply, TrainUpdate) or reply.ledger_sequence != record.sequence:
            return None
        if charged.update_digest is not None and charged.update_digest != digest(frame):
            self._warn(f"the stored update of record {record.sequence} is not the one that was trained")
            return None
        if not {account.show for account in record.accounts} <= consenting_shows(config, now=now):
            self._warn(f"a show in the stored update of record {record.sequence} no longer consents")
            return None
        if charged.update_digest is None:  # killed between storing and recording it
            ledger.done(record.sequence, digest(frame), now=now)
        self._journal.write(
            "resent", f"{plan.campaign} round {instruction.server_round}: stored update sent again"
        )
        left = reply.epsilon_left  # as it was told first, whatever the policy says now: the same bytes
        asked = instruction.server_round
        return frame, ExpectedUpdate.of(plan, asked, charged.head, replay=True, epsilon_left=left)

    def _packs(
        self, plan: TrainingPlan, config: StudioConfig, now: int, *, held_back: bool
    ) -> list[PackEntry]:
        day = datetime.datetime.fromtimestamp(now, datetime.UTC)
        with Catalogue.open(self._home) as catalogue:
            consenting = catalogue.trainable_shots(config.shows, day, held_back=held_back)
        packs = [entry for entry in consenting if entry.frozen_digest == plan.model.frozen_digest]
        if len(packs) < len(consenting):
            self._warn(
                f"{len(consenting) - len(packs)} shots were cut with other frozen weights than the plan's and are "
                "left out; ingest them again with the release that the plan starts from"
            )
        if not packs:
            raise RefusedError(
                RefusalCode.NO_CONSENT,
                f"no shot is ready {'to measure a gain on' if held_back else 'for training'}: no show has consent "
                "today, or none is ingested for this release" + (" and held back" if held_back else ""),
                hint="see: fedroto studio catalogue, fedroto studio consent",
            )
        return packs

    def _require_weights(
        self, plan: TrainingPlan, instruction: RoundInstruction, weights: PackedWeights, *, sets: int
    ) -> None:
        code = RefusalCode.WRONG_BASE
        if plan.model.architecture != ARCHITECTURE or plan.model.trainable != self._trainable:
            raise RefusedError(
                code, f"the plan trains {plan.model.architecture}, this installation has {ARCHITECTURE}"
            )
        if weights.size != sets * plan.model.parameters or packed_digest(weights) != instruction.base_digest:
            raise RefusedError(code, "the weights that came are not those that the instruction names")
        if not np.isfinite(weights).all():
            raise RefusedError(code, "the weights that came hold NaN or an infinity")

    def _refusal(self, error: Exception, instruction: RoundInstruction | None) -> Answer:
        code = RefusalCode.INTERNAL
        if isinstance(error, RefusedError):
            code = error.code
        elif isinstance(error, LedgerError):
            code = RefusalCode.LEDGER
        text, trace = f"refused ({code.name}): {error}", None
        if not isinstance(error, FedrotoError):
            trace = "".join(traceback.format_exception(error))
        elif error.hint:
            text = f"{text}; {error.hint}"
        self._journal.write("refused", text, code=code.name, traceback=trace)
        return Answer(encode_reply(TrainRefusal(code)), None, instruction)

    def _warn(self, text: str) -> None:
        self._journal.write("warning", text)


def _charge(plan: TrainingPlan, instruction: RoundInstruction, tier: SizeTier) -> Charge:
    if plan.gain is not None and instruction.server_round == plan.gain_round:
        return Charge.of_gain(plan.gain, tier)
    return Charge.of(plan, tier)
