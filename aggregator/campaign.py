"""Runs a whole campaign: the signed plan, its rounds in order, the question for gains, and the candidate at the end.

Starting a campaign that is there already goes on with it, whatever stopped it: finished rounds are left alone, a
round that was decided is finished with the same updates, an open one keeps its deadline, and a degraded or failed one
is tried again with a new deadline. A round below its quorum stops the campaign; nothing is averaged.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from aggregator.campaign_result import CampaignResult, RoundOutcome, epsilon_by_tier
from aggregator.courier import Clock, Courier, Pace
from aggregator.enrolment import Enrolment
from aggregator.gain_round import is_gain_open, run_gain_round
from aggregator.plan_builder import Setting, build_plan, require_same_settings
from aggregator.progress import CampaignProgress
from aggregator.round_check import Measure, RoundCheck
from aggregator.round_loop import Campaign, run_round
from aggregator.round_state import Phase, RoundState, Standing
from aggregator.round_store import RoundStore, disk_guard
from federation.config import load_federation_config
from federation.documents import PrivateKey
from federation.durable import make_private_dir, read_bounded
from federation.errors import FlowerError, PlanError, RoundError
from federation.flower.bundle import build_bundle, bundle_digest
from federation.flower.transport import UnreachableError
from federation.homes import CoordinatorHome
from federation.keys import PLAN_KEY, load_plan_key
from federation.memory import return_large_blocks
from federation.model_spec import Tensors, base_model_spec, pack_trainable, packed_digest, with_trained
from federation.plan import Name, TrainingPlan
from model.weights_note import require_public_file

CAMPAIGNS_FOLDER, LOCK_FILE = "campaigns", "campaign.lock"
COURIER_WAIT_S = 120.0
"""How long a SuperLink that is not up yet is waited for."""
CourierFactory = Callable[[Path, bytes], Courier]
MeasureFactory = Callable[[TrainingPlan, Callable[[], Tensors]], Measure]


@dataclass(frozen=True)
class BaseWeights:
    """What a campaign starts from.

    Attributes:
        release: its number in the registry.
        path: its weights file, all tensors.
    """

    release: int
    path: Path


@dataclass(frozen=True)
class CampaignRequest:
    """What a campaign is to be; on going on with one, its signed plan counts.

    Attributes:
        name: a new name begins a campaign, one that is there already is gone on with.
        base: what it starts from; only read when it begins.
        overrides: settings of the plan by name; on going on they have to be those of the signed plan.
        mode: "research" trains without noise; simulations only, studio nodes refuse it.
    """

    name: str
    base: BaseWeights
    overrides: Mapping[str, Setting] | None = None
    mode: Literal["private", "research"] = "private"

    def __post_init__(self) -> None:
        try:
            TypeAdapter(Name).validate_python(self.name)
        except ValidationError as error:
            raise PlanError(
                f"{self.name!r} is not a name: lower-case letters, digits, dots, dashes and underscores, up to 63"
            ) from error


def run_campaign(
    home: Path,
    request: CampaignRequest,
    courier_factory: CourierFactory,
    *,
    progress: Callable[[str], None] | None = None,
    bundle: bytes | None = None,
    clock: Clock | None = None,
    pace: Pace | None = None,
    measure_factory: MeasureFactory | None = None,
) -> CampaignResult:
    """Run a campaign to its end, or go on with it.

    Args:
        home: the coordinator's.
        request: what it is to be.
        courier_factory: makes the courier from the campaign's folder and the app bundle.
        progress: told one sentence at a time.
        bundle: the app bundle, or None to build it from the installation.
        clock: time; the machine's by default.
        pace: how often to look.
        measure_factory: makes what measures weights after each round (``aggregator.round_check``) from the plan and a
            reader of the weights that the campaign started from; None leaves rounds unchecked.

    Returns:
        The result; ``state`` says whether every round closed.

    Raises:
        RoundError: the disk refused, files are damaged, the plan expired, or another process runs the campaign.
        PlanError: the plan contradicts itself or the settings are not those that it was started with.
        FlowerError: the SuperLink is not there or refuses.
        FedrotoError: settings, keys or the enrolment book are missing.
        ModelError: the base weights are not weights of this version.
    """
    return_large_blocks()
    clock, pace = clock or Clock(), pace or Pace()
    bundle = build_bundle() if bundle is None else bundle
    plan_key = load_plan_key(CoordinatorHome(home).keys / PLAN_KEY)
    folder = home / CAMPAIGNS_FOLDER / request.name
    with contextlib.ExitStack() as stack:
        stack.enter_context(_locked(folder))
        store = RoundStore(folder)
        enrolment = stack.enter_context(Enrolment(home))
        plan, document = _signed_plan(home, request, store, enrolment, plan_key, now=int(clock.now()))
        told = stack.enter_context(CampaignProgress(folder, now=clock.now, tell=progress))
        left = [number for number in range(1, plan.rounds + 1) if not _is_finished(store, number)]
        if left or is_gain_open(store, plan):
            _require_unexpired(plan, clock)
            check = None if measure_factory is None else RoundCheck(measure_factory(plan, store.read_base))
            make = lambda: courier_factory(folder, bundle)  # noqa: E731
            courier = stack.enter_context(_opened(make, clock, told))
            campaign = Campaign(
                plan,
                document,
                plan_key,
                bundle_digest(bundle),
                store,
                enrolment,
                courier,
                told,
                clock,
                pace,
                check,
            )
            if _run_rounds(campaign, left):
                left = []
                run_gain_round(campaign)
                with contextlib.suppress(FlowerError):  # the SuperLink ends a run that nobody tends by itself
                    courier.finish(completed=True)
        return _result(plan, store, told, complete=not left)


def _signed_plan(
    home: Path,
    request: CampaignRequest,
    store: RoundStore,
    enrolment: Enrolment,
    plan_key: PrivateKey,
    *,
    now: int,
) -> tuple[TrainingPlan, bytes]:
    """Return the campaign's plan and its signed bytes, made and kept now if the campaign begins."""
    document = store.read_plan()
    if document is not None:
        plan = TrainingPlan.verified(document, plan_key.public_key())
        require_same_settings(plan, request.overrides)
        return plan, document
    from model.weights import FILE_BYTES_MAX, loads  # imports torch, which the command line does not need

    require_public_file(request.base.path)
    data = read_bounded(request.base.path, FILE_BYTES_MAX)
    tensors = loads(data, source=str(request.base.path)).tensors
    plan = build_plan(
        load_federation_config(CoordinatorHome(home).config),
        enrolment.studios(),
        base_model_spec(tensors),
        campaign=request.name,
        base_release=request.base.release,
        now=now,
        overrides=request.overrides,
        mode=request.mode,
    )
    store.write_base(data)
    store.write_weights(0, pack_trainable(tensors, plan.model))
    return plan, store.write_plan(plan, plan_key)


def _is_finished(store: RoundStore, server_round: int) -> bool:
    record = store.read_record(server_round)
    if record is None or record.state.phase is not Phase.CLOSED:
        return False
    return store.read_weights(server_round, record.weights_digest) is not None


def _run_rounds(campaign: Campaign, rounds: Iterable[int]) -> bool:
    """Run rounds in order up to the first that does not close; returns whether all did."""
    for server_round in rounds:
        _require_unexpired(campaign.plan, campaign.clock)
        if run_round(campaign, server_round).state.phase is not Phase.CLOSED:
            return False
    return True


def _result(
    plan: TrainingPlan, store: RoundStore, told: CampaignProgress, *, complete: bool
) -> CampaignResult:
    records = [r for n in range(1, plan.rounds + 1) if (r := store.read_record(n)) is not None]
    candidate = candidate_digest = None
    if complete:
        candidate_digest = records[-1].weights_digest
        candidate = _write_candidate(plan, store, candidate_digest)
        reason = _complete_text(records[-1].state)
        told.event("campaign.complete", f"campaign {plan.campaign}: {reason}", candidate=str(candidate))
    else:
        last = records[-1]
        reason = f"stopped at round {last.server_round} of {plan.rounds}: {last.state.reason}"
        text = f"campaign {plan.campaign}: {reason}; run it again to go on from there"
        told.event("campaign.degraded", text)
    return CampaignResult(
        federation=plan.federation,
        campaign=plan.campaign,
        state="complete" if complete else "degraded",
        reason=reason,
        folder=store.folder,
        plan_digest=plan.digest,
        not_private=plan.not_private,
        rounds_planned=plan.rounds,
        rounds=tuple(map(RoundOutcome.of, records)),
        epsilon=epsilon_by_tier(plan, records),
        candidate=candidate,
        candidate_digest=candidate_digest,
    )


def _complete_text(last: RoundState) -> str:
    """Say that all rounds closed, and which updates of the last one nobody waited for."""
    text = f"all {last.server_round} rounds closed"
    late = sorted(studio for studio, turn in last.turns.items() if turn.standing is Standing.ASKED)
    return f"{text}; no round is left to use a late update of {', '.join(late)}" if late else text


def _write_candidate(plan: TrainingPlan, store: RoundStore, expected_digest: str | None) -> Path:
    packed = store.read_weights(plan.rounds, expected_digest)
    if packed is None:
        raise RoundError(f"the weights after round {plan.rounds} are missing in {store.folder}")
    note = {
        "federation": plan.federation,
        "campaign": plan.campaign,
        "plan_digest": plan.digest,
        "base_release": str(plan.base_release),
        "rounds": str(plan.rounds),
        "packed_digest": packed_digest(packed),
        "privacy": "NOT PRIVATE" if plan.not_private else "shot-level differential privacy, see the plan",
    }
    return store.write_candidate(with_trained(store.read_base(), plan.model, packed), note)


def _require_unexpired(plan: TrainingPlan, clock: Clock) -> None:
    if clock.now() >= plan.expires_at:
        raise RoundError(
            f"the plan of campaign {plan.campaign} has expired; studios would refuse it",
            hint="start a new campaign from the newest release",
        )


@contextlib.contextmanager
def _opened(make: Callable[[], Courier], clock: Clock, told: CampaignProgress) -> Iterator[Courier]:
    """Open a courier; a SuperLink that is not up yet is waited for."""
    until = clock.now() + COURIER_WAIT_S
    with contextlib.ExitStack() as stack:
        while True:
            try:
                courier = stack.enter_context(make())
                break
            except UnreachableError as error:
                if clock.now() >= until:
                    raise
                told.event("flower.trouble", f"waiting for the SuperLink: {error}")
                clock.sleep(1.0)
        yield courier


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the campaign's lock: one process runs it at a time."""
    with disk_guard():
        make_private_dir(folder)
        descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RoundError(f"another process is running the campaign in {folder}") from error
        yield
    finally:
        os.close(descriptor)
