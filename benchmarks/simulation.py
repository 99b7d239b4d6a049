"""A federation in one process: the product's own coordinator and studios, with a function call for a network.

Homes are set up, studios join, packs are catalogued, a campaign is planned, signed, run, validated, averaged and
checkpointed by the code of a real federation; only the courier between them is a call. In the private mode each
studio answers through its policy, ledger and egress checks. The research mode has no noise, which studio nodes refuse,
so there the studio's training function is called directly: its weights are NOT PRIVATE and stay in the scratch folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Literal, Self

import numpy as np
from flwr.app import RecordDict

from aggregator.admission import admit
from aggregator.campaign import BaseWeights, CampaignRequest, run_campaign
from aggregator.campaign_result import CampaignResult
from aggregator.courier import Clock, Pace
from aggregator.enrolment import Enrolment
from federation import set_up
from federation.config import FederationConfig, ShowConsent, StudioConfig
from federation.documents import PublicKey
from federation.flower.bundle import build_bundle
from federation.flower.coordinator import Reply
from federation.flower.roster import Node, public_key_pem
from federation.homes import StudioHome
from federation.journal import Journal
from federation.keys import load_node_key
from federation.messages import SignedUpdate, TrainRefusal, TrainReply, TrainRequest, TrainUpdate
from federation.plan import LedgerHead, RoundInstruction, TrainingPlan
from federation.records import read_request, reply_records
from federation.update_signature import UpdateSubject, sign_update
from studio_node.catalogue import Catalogue, PackEntry
from studio_node.egress import decode_reply
from studio_node.ledger import Reservation
from studio_node.local_round import LocalRounds
from studio_node.packs import PackReader
from studio_node.roto_training import OpenShot, train_update

FEDERATION = "benchmark"
SHOW = "footage"
"""Every studio's show has this name: a pack names its show, and one pack serves whichever studio is dealt the shot."""
Mode = Literal["private", "research"]


@dataclass(frozen=True)
class SimulatedStudio:
    """A studio that has joined: its home, and the key it knows the coordinator by."""

    name: str
    home: Path
    size_tier: str
    plan_key: PublicKey

    def answer(self, request: TrainRequest, mode: Mode) -> SignedUpdate | TrainRefusal:
        """Answer a training request, as a studio's two processes do or, in research mode, by training alone."""
        reply = self._reply(request, mode)
        if isinstance(reply, TrainRefusal):
            return reply
        instruction = RoundInstruction.verified(request.instruction, self.plan_key)
        node_key = load_node_key(StudioHome(self.home).node_key).private
        return sign_update(reply, UpdateSubject.of(instruction), node_key)

    def _reply(self, request: TrainRequest, mode: Mode) -> TrainReply:
        if mode == "private":
            journal = Journal(self.home / "logs" / "runner.log", "runner", echo=StringIO())
            rounds = LocalRounds(self.home, set_up.load_kit(self.home), journal)
            return decode_reply(rounds.answer(request).frame)
        plan = TrainingPlan.verified(request.plan, self.plan_key)
        update = train_update(plan, self.size_tier, request.weights, self.shots(plan.model.frozen_digest))
        return TrainUpdate(update, plan.digest, 0, "0" * 64)

    def shots(self, frozen_digest: str) -> list[OpenShot]:
        """The studio's packs without a charge: research mode has no guarantee that a ledger could account for."""
        uncharged = Reservation(LedgerHead(sequence=0, hash="0" * 64), {SHOW})
        with Catalogue.open(self.home) as catalogue:
            packs = catalogue.packs()
        return [
            partial(PackReader.open, entry.path, uncharged, show=SHOW, frozen_digest=frozen_digest)
            for entry in packs
        ]


class DirectCourier:
    """The coordinator's line to studios of the same process; fulfils ``aggregator.courier.Courier``."""

    def __init__(self, studios: Sequence[SimulatedStudio], keys: Mapping[str, bytes], mode: Mode) -> None:
        self._studios = {number: studio for number, studio in enumerate(studios, start=1)}
        self._keys = keys
        self._mode: Mode = mode
        self._replies: dict[str, RecordDict] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._replies.clear()

    def open(self) -> None:
        """Nothing to open."""

    def nodes(self) -> list[Node]:
        """All studios, always online."""
        return [Node(number, s.name, self._keys[s.name], True, 1.0) for number, s in self._studios.items()]

    def push(self, node_id: int, content: RecordDict, ttl_s: float, *, server_round: int = 0) -> str:
        """Let the studio train at once; its reply waits for `pull`."""
        studio, request = self._studios[node_id], read_request(content)
        instruction = RoundInstruction.verified(request.instruction, studio.plan_key)
        message_id = f"{studio.name}-{instruction.server_round}-{len(self._replies)}"
        self._replies[message_id] = reply_records(studio.answer(request, self._mode))
        return message_id

    def pull(self, message_ids: Iterable[str]) -> Iterator[Reply]:
        """Hand out the replies asked for, once."""
        for message_id in list(message_ids):
            if message_id in self._replies:
                yield Reply(message_id, self._replies.pop(message_id), None)

    def finish(self, *, completed: bool, details: str = "") -> None:
        """Nothing to finish."""


class SimulatedFederation:
    """A coordinator and its studios in one folder."""

    def __init__(
        self, root: Path, shots: Mapping[str, Sequence[PackEntry]], *, size_tier: str = "xs"
    ) -> None:
        """Set up all homes and deal the packs.

        Args:
            root: a scratch folder that is not there yet.
            shots: for each studio the packs of its shots, as ingest made them under the show `SHOW`.
            size_tier: of all studios.
        """
        self.home = root / "coordinator"
        now = datetime.now(UTC)
        config = FederationConfig(name=FEDERATION, hosts=("127.0.0.1",))
        set_up.init_coordinator(self.home, config, now=now)
        self.studios = [
            self._joined(root / "studios" / name, name, size_tier, packs, now)
            for name, packs in shots.items()
        ]

    def run(
        self, campaign: str, base: Path, mode: Mode, settings: Mapping[str, int | float] | None = None
    ) -> CampaignResult:
        """Run a campaign at the plan's defaults, except for ``settings``; without noise in research mode."""
        overrides = dict(settings or {})
        if mode == "research":
            overrides.setdefault("noise_multiplier", 0.0)
        with Enrolment(self.home) as book:
            keys = {one.name: public_key_pem(one.public_key.encode()) for one in book.studios()}
        return run_campaign(
            self.home,
            CampaignRequest(campaign, BaseWeights(1, base), overrides, mode),
            lambda folder, bundle: DirectCourier(self.studios, keys, mode),
            bundle=build_bundle(),
            clock=Clock(sleep=lambda seconds: None),
            pace=Pace(poll_s=0.0, roster_s=0.0),
        )

    def _joined(
        self, home: Path, name: str, size_tier: str, packs: Sequence[PackEntry], now: datetime
    ) -> SimulatedStudio:
        config = StudioConfig(
            name=name, federation=FEDERATION, shows={SHOW: ShowConsent(training_allowed=True)}
        )
        made = set_up.init_studio(home, config, size_tier=size_tier, now=now)
        admission = admit(self.home, made.request, None, now=now, confirm=lambda request: True)
        kit = set_up.join(home, admission.kit.read_bytes(), now=now)
        deal(home, packs)
        return SimulatedStudio(name, home, size_tier, kit.plan_key)


def deal(home: Path, packs: Sequence[PackEntry]) -> None:
    """Enter packs that an ingest made into another home.

    A shot's windows follow from the shot, the public frozen weights and the recipe alone, so the packs are those that
    this home's own ingest would have made.
    """
    folder = home / "packs"
    folder.mkdir(mode=0o700, exist_ok=True)
    with Catalogue.open(home) as catalogue:
        for pack in packs:
            path = folder / pack.path.name
            os.link(pack.path, path)
            catalogue.record(replace(pack, path=path), [], now=datetime.now(UTC))


def shift(before: np.ndarray, after: np.ndarray) -> float:
    """Euclidean norm by which packed weights moved."""
    return float(np.linalg.norm(after.astype(np.float64) - before.astype(np.float64)))
