"""Runs one round: carries out what ``aggregator.round_rules`` asks for and reports what happened.

Every reply is validated, then on disk, then counted; nothing that is on disk is ever asked for again. Whatever stops
this process, the next one goes on from the campaign's folder (``aggregator.round_store``).
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from aggregator.courier import Clock, Courier, Pace
from aggregator.enrolment import Enrolment
from aggregator.progress import CampaignProgress
from aggregator.replies import Question, judge, ledger_head
from aggregator.round_check import RoundCheck
from aggregator.round_close import updates_to_use, weights_after
from aggregator.round_events import (
    Action,
    Asked,
    AskFailed,
    AskStudio,
    Broke,
    Event,
    PullReplies,
    ReplyEvent,
    RosterSeen,
    StudioNode,
    StudioRevoked,
    Ticked,
    UpdateAccepted,
)
from aggregator.round_report import Told, round_checked, round_ended, round_opened, studio_answered
from aggregator.round_rules import advance
from aggregator.round_state import Phase, RoundState, Standing, open_round, reopen_round
from aggregator.round_store import RoundRecord, RoundStore
from federation.documents import PrivateKey
from federation.errors import FedrotoError, FlowerError, RoundError
from federation.flower.coordinator import Reply
from federation.flower.run_calls import RunLostError
from federation.keys import public_pem
from federation.messages import PackedWeights, SignedUpdate, TrainRequest
from federation.model_spec import packed_digest
from federation.plan import RoundInstruction, TrainingPlan
from federation.records import request_records

GO_ON = "start the same campaign again; what studios have sent is kept"


@dataclass(frozen=True)
class Campaign:
    """What stays the same in all rounds.

    Attributes:
        plan_document: the signed plan's bytes, as studios get them.
        bundle_digest: of the app bundle; part of every instruction.
        check: judges each round's weights; None leaves that to the release check.
    """

    plan: TrainingPlan
    plan_document: bytes
    plan_key: PrivateKey
    bundle_digest: str
    store: RoundStore
    enrolment: Enrolment
    courier: Courier
    progress: CampaignProgress
    clock: Clock = field(default_factory=Clock)
    pace: Pace = field(default_factory=Pace)
    check: RoundCheck | None = None


def run_round(campaign: Campaign, server_round: int) -> RoundRecord:
    """Run a round to its end, or go on with it wherever an earlier process left it.

    Returns:
        Its record: CLOSED, with the weights after it on disk, or DEGRADED.

    Raises:
        RoundError: the coordinator cannot go on (disk, damaged files); the same call goes on later.
    """
    return LiveRound(campaign, server_round).run()


class LiveRound:
    """A round while it runs; ``aggregator.gain_round`` asks another question in the same way."""

    def __init__(self, campaign: Campaign, server_round: int) -> None:
        """Take up a round where an earlier process left it.

        Raises:
            RoundError: files are missing or damaged.
        """
        self._campaign = campaign
        self._plan, self._store, self._clock = campaign.plan, campaign.store, campaign.clock
        self._number = server_round
        self._base = self._read_base()
        self._record, self._stored = self._resumed_record()
        self._decided: PackedWeights | None = None
        self._roster_at, self._moved_at = float("-inf"), self._clock.now()
        self._trouble = ""

    def run(self) -> RoundRecord:
        """Run it to its end; see :func:`run_round`."""
        try:
            self._begin()
            while not self._state.phase.is_over:
                self._look()
                self._keep()
                if not self._state.phase.is_over:
                    self._clock.sleep(self._pause_s())
            if self._state.phase is Phase.CLOSED:
                self._write_weights()
        except FedrotoError as error:
            raise self._broken(error) from error
        return self._record

    @property
    def _state(self) -> RoundState:
        return self._record.state

    def _pause_s(self) -> float:
        now, pace = self._clock.now(), self._campaign.pace
        return min(pace.pause_s(now - self._moved_at), max(self._state.deadline_at - now, pace.poll_s))

    # Beginning, and going on

    def _begin(self) -> None:
        if self._stored is None or self._stored.attempt != self._record.attempt:
            self._tell(round_opened(self._state, self._record.attempt))
        if not self._state.phase.is_over:
            self._count_stored_updates()
        self._keep()
        self._campaign.progress.round(self._record)  # a kill may have come between the record and the tables

    def _read_base(self) -> PackedWeights:
        base = self._store.read_weights(self._number - 1)
        if base is None or base.size != self._plan.model.parameters:
            raise RoundError(
                f"the weights before round {self._number} are missing in {self._store.folder}",
                hint="rounds run in order; was the folder changed by hand?",
            )
        return base

    def _resumed_record(self) -> tuple[RoundRecord, RoundRecord | None]:
        """Return the record to go on with, and the one on disk."""
        now, deadline_s = self._clock.now(), float(self._plan.deadline_s)
        base_digest = packed_digest(self._base)
        stored = self._store.read_record(self._number)
        if stored is None:
            return RoundRecord(self._number, base_digest, self._opened(now, deadline_s)), None
        if stored.base_digest != base_digest:
            raise RoundError(
                f"round {self._number} was begun on weights {stored.base_digest[:16]}, "
                f"those before it are now {base_digest[:16]}",
                hint="the campaign's folder was changed by hand; start a new campaign",
            )
        if stored.state.phase in (Phase.DEGRADED, Phase.FAILED):
            left_s = stored.state.deadline_at - now
            if stored.state.phase is Phase.FAILED and left_s > 0:
                deadline_s = left_s  # our own trouble does not move the studios' deadline
            state = reopen_round(stored.state, now=now, deadline_s=deadline_s)
            return replace(stored, state=state, attempt=stored.attempt + 1), stored
        return stored, stored

    def _opened(self, now: float, deadline_s: float) -> RoundState:
        before = self._store.read_record(self._number - 1)
        return open_round(
            self._number,
            studios=self._plan.studios,
            quorum=self._plan.quorum,
            now=now,
            deadline_s=deadline_s,
            previous=None if before is None else before.state,
        )

    def _count_stored_updates(self) -> None:
        """Count updates that were on disk before the record said so, and keep their ledger heads."""
        for (studio, answered), size_bytes in self._store.stored_updates(self._number).items():
            update, _ = self._store.read_update(self._number, answered, studio)
            self._campaign.enrolment.record_head(studio, ledger_head(update), update.epsilon_left)
            self._on(UpdateAccepted(studio, answered, size_bytes))

    # One look

    def _look(self) -> None:
        now = self._clock.now()
        if now >= self._roster_at + self._campaign.pace.roster_s:
            self._roster_at = now
            self._tell_revocations()
            self._calling(self._see_roster)
        self._on(Ticked())

    def _tell_revocations(self) -> None:
        admitted = {studio.name for studio in self._campaign.enrolment.studios() if studio.is_admitted}
        for studio, turn in self._state.turns.items():
            if studio not in admitted and turn.standing is not Standing.REVOKED:
                self._on(StudioRevoked(studio))

    def _see_roster(self) -> None:
        keys = {
            studio.name: public_pem(studio.node_key)
            for studio in self._campaign.enrolment.studios()
            if studio.is_admitted and studio.name in self._plan.studios
        }
        nodes = tuple(
            StudioNode(node.studio, node.node_id, node.online, node.last_activated_at)
            for node in self._campaign.courier.nodes()
            if keys.get(node.studio) == node.public_key
        )
        self._on(RosterSeen(nodes))

    def _on(self, event: Event, at: float | None = None) -> None:
        """Take an event into account and do what follows from it."""
        before = self._state
        state, actions = advance(before, event, self._clock.now() if at is None else at)
        self._record = replace(self._record, state=state)
        if isinstance(event, ReplyEvent) and (state.turns, state.late) != (before.turns, before.late):
            self._tell(studio_answered(state, event.studio, event.server_round))
        for action in actions:
            self._calling(partial(self._act, action))

    def _calling(self, call: Callable[[], None]) -> None:
        """Call the courier: while it is away the round goes on by the clock; a lost run is opened again."""
        try:
            call()
        except RunLostError as error:
            self._tell_trouble(f"the Flower run was lost, opening another: {error}")
            with contextlib.suppress(FlowerError):
                self._campaign.courier.open()
        except FlowerError as error:
            self._tell_trouble(str(error))  # tried again at the next look; the deadline bounds it

    def _act(self, action: Action) -> None:
        match action:
            case AskStudio():
                self._ask(action)
            case PullReplies():
                for reply in self._campaign.courier.pull(action.message_ids):
                    self._take(reply)
                    del reply  # or it would take memory while the next one comes in

    def _ask(self, ask: AskStudio) -> None:
        plan, state, now = self._plan, self._state, self._clock.now()
        instruction = RoundInstruction(
            federation=plan.federation,
            campaign=plan.campaign,
            plan_digest=plan.digest,
            server_round=self._number,
            studio=ask.studio,
            base_digest=self._record.base_digest,
            bundle_digest=self._campaign.bundle_digest,
            issued_at=int(now),
            expires_at=math.ceil(state.deadline_at),
            seen_head=self._campaign.enrolment.studio(ask.studio).seen_head,
        )
        signed = instruction.signed(self._campaign.plan_key).to_bytes()
        request = TrainRequest(self._campaign.plan_document, signed, self._base)
        # The instruction ends with the round, so that nobody begins to train after it; the message lives on for as
        # long as a late reply may still be used, because Flower drops a reply whose message has expired.
        ttl_s = max(state.deadline_at - now, 1.0) + plan.staleness_max * plan.deadline_s
        try:
            message_id = self._campaign.courier.push(
                ask.node_id, request_records(request), ttl_s, server_round=self._number
            )
        except FlowerError as error:
            self._on(AskFailed(ask.studio, str(error)))
            raise
        self._on(Asked(ask.studio, message_id, ask.node_id), at=now)
        self._tell(Told("studio.asked", f"asked {ask.studio}", {"studio": ask.studio}))

    def _take(self, reply: Reply) -> None:
        asked = self._question(reply.message_id)
        if asked is None:
            return
        studio = self._campaign.enrolment.studio(asked.studio)
        if not studio.is_admitted:
            self._on(StudioRevoked(asked.studio))
            return
        verdict = judge(
            reply,
            asked,
            studio,
            self._plan,
            staleness=self._number - asked.server_round,
        )
        if isinstance(verdict, SignedUpdate):
            size_bytes = self._store.write_update(self._number, asked.server_round, asked.studio, verdict)
            content = verdict.content
            self._campaign.enrolment.record_head(asked.studio, ledger_head(content), content.epsilon_left)
            verdict = UpdateAccepted(asked.studio, asked.server_round, size_bytes)
        self._on(verdict)

    def _question(self, message_id: str) -> Question | None:
        """Return what a message asked, or None if nobody waits for its reply any more."""
        for server_round, turns in ((self._number - 1, self._state.late), (self._number, self._state.turns)):
            for studio, turn in turns.items():
                if not turn.standing.is_settled and message_id in {one.message_id for one in turn.pending}:
                    return Question(studio, server_round, self._base_digest(server_round))
        return None

    def _base_digest(self, server_round: int) -> str:
        """Return which weights the questions of this round or the one before are about."""
        record = self._record if server_round == self._number else self._store.read_record(server_round)
        if record is None:
            raise RoundError(f"the record of round {server_round} is missing in {self._store.folder}")
        return record.base_digest

    # Keeping, and ending

    def _keep(self) -> None:
        """Bring the record to the disk if it changed; a closed round only together with what was decided."""
        if self._state.phase is Phase.CLOSED and self._record.weights_digest is None:
            self._decide()
        record = replace(self._record, state=replace(self._state, nodes=()))
        if record == self._stored:
            return
        self._moved_at = self._clock.now()
        self._store.write_record(record)
        ended = record.state.phase.is_over and (self._stored is None or not self._stored.state.phase.is_over)
        self._stored = record
        self._campaign.progress.round(record)
        if ended:
            self._tell_end(record)

    def _tell_end(self, record: RoundRecord) -> None:
        self._tell(round_ended(record.state))
        if record.verdict is not None:
            self._tell(round_checked(record.verdict, len(record.used)))

    def _decide(self) -> None:
        """Fix which updates enter the mean and what the weights will be: what follows, or the last good ones."""
        used = updates_to_use(self._store, self._state)
        after = weights_after(self._store, self._plan, self._base, self._number, used)
        verdict = None
        if self._campaign.check is not None:
            start = self._store.read_weights(0)
            verdict = self._campaign.check.judge(self._base if start is None else start, self._base, after)
        kept = self._base if verdict is not None and verdict.rolled_back else after
        self._decided = kept
        self._record = replace(self._record, used=used, weights_digest=packed_digest(kept), verdict=verdict)

    def _write_weights(self) -> None:
        digest, verdict = self._record.weights_digest, self._record.verdict
        if self._store.read_weights(self._number, digest) is not None:
            return
        weights = self._decided
        if weights is None:  # an earlier process decided them
            weights = self._base
            if verdict is None or not verdict.rolled_back:
                weights = weights_after(self._store, self._plan, self._base, self._number, self._record.used)
        if packed_digest(weights) != digest:
            raise RoundError(f"its updates do not give the weights {digest} that were decided")
        self._store.write_weights(self._number, weights)

    def _broken(self, error: FedrotoError) -> RoundError:
        """Say on disk, if that still works, that the coordinator could not go on."""
        state, _ = advance(self._state, Broke(str(error)), self._clock.now())
        if state.phase is Phase.FAILED:
            record = replace(self._record, state=replace(state, nodes=()))
            with contextlib.suppress(FedrotoError):
                self._store.write_record(record)
                self._campaign.progress.round(record)
        hint = error.hint or ""
        if GO_ON not in hint:
            hint = f"{hint}; then {GO_ON}" if hint else GO_ON
        return RoundError(f"round {self._number} cannot go on: {error}", hint=hint)

    def _tell(self, told: Told) -> None:
        text = f"round {self._number}: {told.text}"
        self._campaign.progress.event(told.name, text, round=self._number, **told.fields)

    def _tell_trouble(self, text: str) -> None:
        if text != self._trouble:  # the same trouble at every look is told once
            self._trouble = text
            self._tell(Told("flower.trouble", text))
