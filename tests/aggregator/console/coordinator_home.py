"""A coordinator's home with a campaign under way and releases, written by the program's own writers."""

from __future__ import annotations

import fcntl
import os
import shutil
from copy import copy
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from aggregator.campaign import LOCK_FILE
from aggregator.enrolment import Enrolment
from aggregator.progress import CampaignProgress
from aggregator.registry import Registry
from aggregator.release_check import BenchmarkRun, check_candidate
from aggregator.release_draft import Draft, Training
from aggregator.round_check import RoundVerdict
from aggregator.round_report import round_ended, round_opened, studio_answered
from aggregator.round_state import Phase, RoundState, Standing, Turn, open_round
from aggregator.round_store import RoundRecord
from federation import keys
from federation.config import FederationConfig
from federation.homes import CoordinatorHome
from federation.keys import load_plan_key
from federation.plan import LedgerHead, TrainingPlan
from federation.release_manifest import privacy_of
from federation.set_up import init_coordinator

STUDIOS = ("alder", "birch", "cedar", "hazel", "rowan")
CLIPS = tuple(f"procedural/1-{number:02d}" for number in range(24))
MEGABYTES = 2_300_000
IN_TIME = Turn(Standing.ACCEPTED, asks=1, size_bytes=MEGABYTES, seconds=14.0)
OUT = Turn(Standing.ASKED, asks=1)
REFUSED_BUSY = Turn(Standing.REFUSED, reason="refused: busy", asks=1)
REFUSED_BUDGET = Turn(Standing.REFUSED, reason="refused: budget", asks=1)


class HomeInProgress:
    """The home ``root``; rounds are added one by one."""

    def __init__(self, root: Path, plan_fields: dict[str, Any], *, now: float) -> None:
        self.now = now
        config = FederationConfig(name="north", hosts=("localhost",))
        init_coordinator(root, config, now=datetime.now(UTC))
        with Enrolment(root) as enrolment:
            for number, studio in enumerate(STUDIOS):
                public = keys.create_node_key(root / "made" / studio).public.decode()
                enrolment.admit(studio, "ms"[number % 2], public, now=int(now))
            enrolment.record_head("birch", LedgerHead(sequence=5, hash="ab" * 32), 5.25)
        tiers = dict(zip(STUDIOS, "msmsm", strict=True))
        sizes = {
            "s": plan_fields["size_tiers"]["s"],
            "m": {**plan_fields["size_tiers"]["s"], "shots_max": 1000},
        }
        changes = {"campaign": "spring", "rounds": 12, "quorum": 3, "studios": tiers, "size_tiers": sizes}
        self.plan = TrainingPlan.from_payload({**plan_fields, **changes, "base_release": 1})
        (root / "campaigns" / "spring").mkdir(parents=True)
        self._open(root)
        plan_key = load_plan_key(self.places.keys / keys.PLAN_KEY)
        (self.folder / "plan.json").write_bytes(self.plan.signed(plan_key).to_bytes())

    def _open(self, root: Path) -> None:
        self.root, self.places, self.folder = root, CoordinatorHome(root), root / "campaigns" / "spring"
        self.registry = Registry(
            self.places.releases, federation="north", release_key_pem=self.places.release_key.read_bytes()
        )

    def copied_to(self, root: Path) -> HomeInProgress:
        """The same home in another folder."""
        shutil.copytree(self.root, root)
        copied = copy(self)
        copied._open(root)
        return copied

    def round(
        self, number: int, phase: Phase, turns: dict[str, Turn], *, late: dict[str, Turn] | None = None
    ) -> None:
        """Tell one round as the round loop does."""
        self.now += 60
        state = open_round(number, studios=STUDIOS, quorum=self.plan.quorum, now=self.now, deadline_s=300)
        with CampaignProgress(self.folder, now=lambda: self.now, tell=None) as progress:
            told = round_opened(state, 1)
            progress.event(told.name, f"round {number}: {told.text}", round=number, **told.fields)
            state = replace(
                state, turns={**dict.fromkeys(STUDIOS, IN_TIME), **turns}, late=late or {}, phase=phase
            )
            for studio, turn in state.turns.items():
                self.now += 3
                if turn.standing is not Standing.ASKED:
                    told = studio_answered(state, studio, number)
                    progress.event(told.name, f"round {number}: {told.text}", round=number, studio=studio)
            if phase.is_over:
                state = replace(state, reason=self._reason(state))
                told = round_ended(state)
                progress.event(told.name, f"round {number}: {told.text}", round=number)
            verdict = None
            if phase is Phase.CLOSED:
                error = 2.12 - 0.03 * number
                verdict = RoundVerdict(
                    2.12, error + 0.03, error, rolled_back=False, reason=f"public benchmark {error}"
                )
            progress.round(RoundRecord(number, "ab" * 32, state, verdict=verdict))

    @staticmethod
    def _reason(state: RoundState) -> str:
        missing = [f"{one} ({state.turns[one].reason or 'no answer'})" for one in state.missing]
        text = f"{len(state.accepted)} of {len(state.turns)} returned, 2.3 MB each"
        return f"{text}; missing: {', '.join(missing)}" if missing else text

    def release(self, error: float, *, trained: bool) -> int:
        """Publish weights with a measured error."""
        clips = np.linspace(0.8, 1.2, len(CLIPS))
        methods = {"model": error, "smooth": 4.4, "lk_closed": 3.1, "dis_closed": 3.5, "planar_closed": 2.9}
        run = BenchmarkRun("procedural/1, 24 clips", CLIPS, {m: tuple(e * clips) for m, e in methods.items()})
        before = self.registry.latest()
        base = None
        if before is not None:
            base = BenchmarkRun(run.benchmark, CLIPS, {**run.errors, "model": tuple((error + 0.1) * clips)})
        weights = self.root / "candidate.safetensors"
        weights.write_bytes(f"weights of error {error}".encode())
        training = None
        if trained:
            plan = TrainingPlan.from_payload({**self.plan.payload(), "campaign": f"winter-{before.number}"})
            training = Training(plan, 12, privacy_of(plan, rounds=12, epsilon=lambda delta: 3.2))
        draft = Draft(weights, check_candidate(run, base), "fusion-1", "ab" * 32, int(self.now), training)
        return self.registry.publish(draft, self.places.release_private_key).number

    def run(self) -> int:
        """Hold the campaign's lock, as its process does; returns the descriptor."""
        descriptor = os.open(self.folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return descriptor


def made_home(root: Path, plan_fields: dict[str, Any], *, now: float) -> HomeInProgress:
    """Six rounds of twelve, one of them degraded, and four releases, one withdrawn."""
    home = HomeInProgress(root, plan_fields, now=now - 600)
    home.release(2.41, trained=False)
    home.release(2.12, trained=True)
    home.release(2.05, trained=True)
    home.registry.roll_back("loses thin shapes on motion blur", home.places.release_private_key)
    home.round(1, Phase.CLOSED, {})
    home.round(2, Phase.CLOSED, {"hazel": OUT})
    home.round(3, Phase.CLOSED, {}, late={"hazel": replace(IN_TIME, seconds=130.0)})
    home.round(4, Phase.DEGRADED, {"birch": OUT, "cedar": REFUSED_BUSY, "hazel": OUT})
    home.round(5, Phase.CLOSED, {"cedar": REFUSED_BUDGET})
    home.round(6, Phase.OPEN, {"rowan": OUT, "hazel": OUT})
    return home
