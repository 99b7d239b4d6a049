"""A federation in memory: studios and a SuperLink behind the Courier protocol, with a clock that only tests move.

    simulator = FederationSimulator(home, tmp)         # three honest studios: ash, birch, cedar
    simulator.studios["ash"].delay_s = 500             # late
    simulator.studios["birch"].distort = nan_update    # lying
    simulator.studios["cedar"].online = False          # silent
    simulator.at(30, lambda: simulator.restart("ash")) # killed and back at second 30
    result = simulator.run(rounds=2, quorum=2)

The SuperLink is as harsh as Flower's: a message is handed out once, a reply is handed out once, the reply of an
offline node is destroyed by asking for it, and a reply to an expired message is dropped. Studios behave as ours:
they verify the signatures, refuse expired instructions, compare the counter-signed ledger head with their own ledger,
charge before they train, and answer the same question with the same stored update.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import RecordDict

from aggregator.campaign import BaseWeights, CampaignRequest, MeasureFactory, run_campaign
from aggregator.campaign_result import CampaignResult
from aggregator.courier import Clock, Pace
from aggregator.enrolment import Enrolment
from federation.config import FederationConfig
from federation.config_text import federation_toml
from federation.documents import PublicKey
from federation.errors import RefusalCode
from federation.flower.coordinator import ASK_AGAIN, Reply
from federation.flower.roster import Node
from federation.flower.run_calls import RunLostError
from federation.flower.transport import UnreachableError
from federation.keys import create_plan_key, openssh_public, public_pem
from federation.messages import PackedWeights, SignedUpdate, TrainRefusal, TrainReply, TrainUpdate
from federation.model_spec import packed_digest
from federation.plan import LedgerHead, RoundInstruction, TrainingPlan
from federation.records import read_request, reply_records
from federation.update_signature import UpdateSubject, sign_update
from model.network import RotoModel
from model.weights import TensorSpec, save

PARAMETERS = 64
START = 1_800_000_000.0
LATENCY_S = 0.1
NODE_UNAVAILABLE = 5
BUNDLE = b"the bundle of this test"
Question = tuple[str, int, str, str]


@dataclass
class SimulatedStudio:
    """One studio; everything may be changed while a campaign runs."""

    name: str
    plan_key: PublicKey
    clock: Callable[[], float]
    size_tier: str = "s"
    delay_s: float = 1.0
    online: bool = True
    refuses: RefusalCode | None = None
    gain_sum: float | None = None  # what it shares of its gain; None: it does not share it
    distort: Callable[[TrainUpdate], TrainReply | RecordDict] | None = None  # before it signs
    distort_signed: Callable[[SignedUpdate], SignedUpdate | TrainUpdate] | None = None
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP384R1()))
    node_id: int = 0
    activated_at: float = 0.0
    incarnation: int = 0
    ledger: list[str] = field(default_factory=lambda: [_hash("genesis")])
    stored: dict[Question, TrainUpdate] = field(default_factory=dict)
    training: dict[Question, list[str]] = field(default_factory=dict)  # messages that wait for it
    charged: list[Question] = field(default_factory=list)
    finished: list[Question] = field(default_factory=list)
    asked: list[RoundInstruction] = field(default_factory=list)

    def objection(self, plan: TrainingPlan, instruction: RoundInstruction) -> RefusalCode | None:
        """What an honest studio would refuse an instruction with."""
        head = instruction.seen_head
        if instruction.studio != self.name or instruction.plan_digest != plan.digest:
            return RefusalCode.NOT_FOR_THIS_STUDIO
        if instruction.bundle_digest != hashlib.sha256(BUNDLE).hexdigest():
            return RefusalCode.BUNDLE_MISMATCH
        if head is not None and (
            head.sequence > len(self.ledger) or self.ledger[head.sequence - 1] != head.hash
        ):
            return RefusalCode.LEDGER
        if self.clock() >= min(instruction.expires_at, plan.expires_at):
            return RefusalCode.EXPIRED
        if instruction.server_round == plan.gain_round and self.gain_sum is None:
            return RefusalCode.POLICY
        return self.refuses

    def train(self, plan: TrainingPlan, instruction: RoundInstruction) -> TrainUpdate:
        """Charge, then train: a small random update on the grid that depends on the question alone."""
        self.charged.append(instruction.question)
        self.ledger.append(_hash(f"{self.ledger[-1]}{instruction.question}"))
        if instruction.server_round == plan.gain_round:
            return TrainUpdate(np.float32([self.gain_sum]), plan.digest, len(self.ledger), self.ledger[-1])
        seed = _hash(f"{self.name}{instruction.question}")
        raw = np.random.default_rng(int(seed[:16], 16)).standard_normal(plan.model.parameters)
        scaled = raw * (0.5 * plan.update.norm_max / np.linalg.norm(raw))
        steps = np.rint(scaled / plan.update.grid)
        update = (
            steps.astype(np.int8)
            if plan.update.value_bits == 8
            else (steps * plan.update.grid).astype(np.float32)
        )
        return TrainUpdate(update, plan.digest, len(self.ledger), self.ledger[-1])

    def signed(self, update: TrainUpdate, instruction: RoundInstruction) -> SignedUpdate:
        """Sign an update as the answer to an instruction, as the uplink does."""
        return sign_update(update, UpdateSubject.of(instruction), self.key)

    @property
    def head(self) -> LedgerHead:
        return LedgerHead(sequence=len(self.ledger), hash=self.ledger[-1])


@dataclass
class _Message:
    node_id: int
    content: RecordDict
    expires_at: float
    run_id: int
    delivered: bool = False
    reply: RecordDict | None = None


class FederationSimulator:
    """Studios, a SuperLink and a clock; :meth:`run` runs a campaign of the real coordinator on them."""

    def __init__(self, home: Path, studios: Sequence[str] = ("ash", "birch", "cedar")) -> None:
        self.home = home
        self.now = START
        self.online_since = itertools.count()
        self.run_id = 1
        self.run_is_lost = False
        self.away_until = 0.0
        self.finished: list[bool] = []
        self.messages: dict[str, _Message] = {}
        self.pushes: list[tuple[str, int]] = []  # studio, server_round
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()
        home.mkdir(parents=True, exist_ok=True)
        config = FederationConfig(name="test", hosts=("localhost",))
        (home / "federation.toml").write_text(federation_toml(config))
        self.plan_key = create_plan_key(home / "keys")
        self.studios = {
            name: SimulatedStudio(
                name,
                self.plan_key.public_key(),
                lambda: self.now,
                node_id=index + 1,
                activated_at=START - 100,
            )
            for index, name in enumerate(studios)
        }
        with Enrolment(home) as enrolment:
            for studio in self.studios.values():
                public = openssh_public(studio.key.public_key()).decode()
                enrolment.admit(studio.name, studio.size_tier, public, now=int(START))
        self.base = home / "base.safetensors"
        save(self.base, tiny_tensors())

    # What tests call

    def run(
        self,
        campaign: str = "spring",
        told: list[str] | None = None,
        pace: Pace | None = None,
        measure_factory: MeasureFactory | None = None,
        **overrides: int | float | str,
    ) -> CampaignResult:
        """Run a campaign, or go on with it, in research mode."""
        settings = {"noise_multiplier": 0.0} | overrides
        request = CampaignRequest(campaign, BaseWeights(1, self.base), settings, "research")
        return run_campaign(
            self.home,
            request,
            lambda folder, bundle: SimulatedCourier(self),
            progress=(told if told is not None else []).append,
            bundle=BUNDLE,
            clock=Clock(lambda: self.now, self.sleep),
            pace=pace or Pace(poll_s=0.5, roster_s=1.0),
            measure_factory=measure_factory,
        )

    def at(self, seconds: float, action: Callable[[], None]) -> None:
        """Let something happen so many seconds after the start."""
        self._later(START + seconds - self.now, action)

    def switch(self, studio: str, *, online: bool) -> None:
        """Cut a studio's line, or mend it."""
        one = self.studios[studio]
        if online and not one.online:
            one.activated_at = self.now
        one.online = online
        self._deliver()

    def restart(self, studio: str) -> None:
        """Kill a studio's processes and start them: what it was training is gone, its disk is not."""
        one = self.studios[studio]
        one.incarnation += 1
        one.training.clear()
        self.switch(studio, online=False)
        self.switch(studio, online=True)

    def lose_run(self) -> None:
        """Let the run's heartbeat lapse: its messages and replies are gone."""
        self.run_is_lost = True

    def sleep(self, seconds: float) -> None:
        """Let time pass, with everything that happens in it."""
        until = self.now + seconds
        while self._queue and self._queue[0][0] <= until:
            self.now, _, action = heapq.heappop(self._queue)
            action()
        self.now = until

    def asked_rounds(self, studio: str) -> list[int]:
        """The rounds that were pushed to a studio, one entry a message."""
        return [server_round for name, server_round in self.pushes if name == studio]

    # The SuperLink's inside

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (self.now + max(seconds, 0.0), next(self._count), action))

    def studio_of(self, node_id: int) -> SimulatedStudio:
        return next(studio for studio in self.studios.values() if studio.node_id == node_id)

    def accept_message(self, message_id: str, message: _Message) -> None:
        self.messages[message_id] = message
        self._later(LATENCY_S, self._deliver)

    def _deliver(self) -> None:
        """Hand every message out that its node can fetch now; once."""
        for message_id, message in list(self.messages.items()):
            studio = self.studio_of(message.node_id)
            if studio.online and not message.delivered and self.now < message.expires_at:
                message.delivered = True
                self._handle(studio, message_id, message)

    def _handle(self, studio: SimulatedStudio, message_id: str, message: _Message) -> None:
        request = read_request(message.content)
        plan = TrainingPlan.verified(request.plan, studio.plan_key)
        instruction = RoundInstruction.verified(request.instruction, studio.plan_key)
        assert instruction.base_digest == packed_digest(request.weights)
        studio.asked.append(instruction)
        refusal = studio.objection(plan, instruction)
        if refusal is not None:
            self._send(studio, message_id, TrainRefusal(refusal), LATENCY_S)
        elif instruction.question in studio.stored:
            self._send(studio, message_id, studio.stored[instruction.question], LATENCY_S)
        elif instruction.question in studio.training:
            studio.training[instruction.question].append(message_id)
        else:
            studio.training[instruction.question] = [message_id]
            update, alive = studio.train(plan, instruction), studio.incarnation

            def finish() -> None:
                if studio.incarnation == alive:
                    studio.finished.append(instruction.question)
                    studio.stored[instruction.question] = update
                    for waiting in studio.training.pop(instruction.question):
                        self._send(studio, waiting, update, LATENCY_S)

            self._later(studio.delay_s, finish)

    def _send(self, studio: SimulatedStudio, message_id: str, reply: TrainReply, seconds: float) -> None:
        alive = studio.incarnation

        def arrive() -> None:
            if studio.incarnation != alive:
                return
            if not studio.online:  # an uplink keeps trying
                self._send(studio, message_id, reply, 1.0)
                return
            message = self.messages.get(message_id)
            if message is not None and self.now < message.expires_at:
                message.reply = self._records(studio, message, reply)

        self._later(seconds, arrive)

    @staticmethod
    def _records(studio: SimulatedStudio, message: _Message, reply: TrainReply) -> RecordDict:
        if isinstance(reply, TrainRefusal):
            return reply_records(reply)
        said = reply if studio.distort is None else studio.distort(reply)
        if not isinstance(said, TrainUpdate):
            return said if isinstance(said, RecordDict) else reply_records(said)
        asked = RoundInstruction.verified(read_request(message.content).instruction, studio.plan_key)
        signed = studio.signed(said, asked)
        return reply_records(signed if studio.distort_signed is None else studio.distort_signed(signed))


class SimulatedCourier:
    """The coordinator's line to a simulated SuperLink; fulfils ``aggregator.courier.Courier``."""

    def __init__(self, simulator: FederationSimulator) -> None:
        self._simulator = simulator
        self.is_open = False

    def __enter__(self) -> SimulatedCourier:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.is_open = False

    def open(self) -> None:
        simulator = self._simulator
        self._require_reachable()
        if simulator.run_is_lost:
            simulator.run_id += 1
            simulator.run_is_lost = False
            simulator.messages.clear()
        self.is_open = True

    def nodes(self) -> list[Node]:
        self._require_reachable()
        return [
            Node(
                studio.node_id,
                studio.name,
                public_pem(studio.key.public_key()),
                studio.online,
                studio.activated_at,
            )
            for studio in self._simulator.studios.values()
        ]

    def push(self, node_id: int, content: RecordDict, ttl_s: float, *, server_round: int = 0) -> str:
        self._require_run()
        simulator = self._simulator
        message_id = f"{simulator.run_id}.{node_id}.{len(simulator.pushes):064x}"
        simulator.pushes.append((simulator.studio_of(node_id).name, server_round))
        message = _Message(node_id, content, simulator.now + ttl_s, simulator.run_id)
        simulator.accept_message(message_id, message)
        return message_id

    def pull(self, message_ids: Iterable[str]) -> Iterator[Reply]:
        self._require_run()
        simulator = self._simulator
        for message_id in message_ids:
            message = simulator.messages.get(message_id)
            if message is None or (message.reply is None and simulator.now >= message.expires_at):
                simulator.messages.pop(message_id, None)
                yield Reply(message_id, None, ASK_AGAIN)
            elif not simulator.studio_of(message.node_id).online:
                del simulator.messages[message_id]
                yield Reply(message_id, None, NODE_UNAVAILABLE)
            elif message.reply is not None:
                del simulator.messages[message_id]
                yield Reply(message_id, message.reply, None)

    def finish(self, *, completed: bool, details: str = "") -> None:
        self._require_run()
        self._simulator.finished.append(completed)

    def _require_reachable(self) -> None:
        if self._simulator.now < self._simulator.away_until:
            raise UnreachableError("the SuperLink is away")

    def _require_run(self) -> None:
        self._require_reachable()
        if self._simulator.run_is_lost or not self.is_open:
            raise RunLostError("the run is dead")


def tiny_tensors() -> dict[str, PackedWeights]:
    """Base weights of a network with 64 trainable values, so that a campaign takes milliseconds."""
    values = np.linspace(-1, 1, PARAMETERS, dtype=np.float32)
    return {"fusion.w": values.reshape(8, 8), "matcher.frozen": np.ones(3, np.float32)}


def tiny_spec() -> TensorSpec:
    """What ``RotoModel.trainable_spec`` is patched to say."""
    return TensorSpec(("w",), ((8, 8),))


def use_tiny_model(monkeypatch: object) -> None:
    """Let every campaign of a test train the tiny network."""
    monkeypatch.setattr(RotoModel, "trainable_spec", staticmethod(tiny_spec))  # type: ignore[attr-defined]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
