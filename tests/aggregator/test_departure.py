"""A studio leaves: what was made with it, and training once more without it."""

from dataclasses import replace

import numpy as np
import pytest
from federation_simulator import START, FederationSimulator, use_tiny_model

from aggregator.campaign_run import open_registry
from aggregator.departure import campaign_part, releases_with, revoke_studio
from aggregator.enrolment import Enrolment
from aggregator.release_check import BenchmarkRun, check_candidate
from aggregator.release_draft import Draft, Training
from aggregator.restart import prepare_restart, read_restart
from aggregator.round_store import RoundStore
from federation import keys
from federation.errors import IdentityError, PlanError, RoundError
from federation.homes import CoordinatorHome
from federation.plan import TrainingPlan
from federation.release_manifest import privacy_of
from model.weights import load

SETTINGS = {"rounds": 3, "quorum": 2, "deadline_s": 60}
CLIPS = tuple(f"clip {number}" for number in range(12))


@pytest.fixture(autouse=True)
def tiny_model(monkeypatch, quick_disk):
    use_tiny_model(monkeypatch)


@pytest.fixture
def simulator(tmp_path):
    """Cedar is away in the first round of ``spring`` and takes part in the two others."""
    simulator = FederationSimulator(tmp_path / "home")
    place = CoordinatorHome(simulator.home)
    keys.create_release_key(place.keys)
    public = keys.load_release_key(place.release_private_key).public_key()
    place.release_key.write_bytes(keys.public_pem(public))
    plan_key = keys.load_plan_key(place.keys / keys.PLAN_KEY)
    place.plan_key.write_bytes(keys.public_pem(plan_key.public_key()))
    publish(simulator, simulator.base)
    simulator.switch("cedar", online=False)
    simulator.at(61, lambda: simulator.switch("cedar", online=True))
    simulator.run(**SETTINGS)
    return simulator


def publish(simulator, weights, campaign=None, base_release=1):
    """Publish weights, as if trained by a private plan like the campaign's."""
    run = BenchmarkRun("procedural/1", CLIPS, {"model": (1.0,) * 12, "smooth": (2.0,) * 12})
    draft = Draft(weights, check_candidate(run, None), "fusion-1", "ab" * 32, 1_800_000_000)
    if campaign is not None:
        folder = simulator.home / "campaigns" / campaign
        plan_key = keys.load_plan_key(CoordinatorHome(simulator.home).keys / keys.PLAN_KEY).public_key()
        document = (folder / "plan.json").read_bytes()
        payload = TrainingPlan.verified(document, plan_key).payload()
        payload |= {"mode": "private", "base_release": base_release}
        payload["privacy"] |= {"noise_multiplier": 2.0}
        plan = TrainingPlan.from_payload(payload)
        privacy = privacy_of(plan, rounds=3, epsilon=lambda delta: 2.0)
        model = plan.model
        draft = replace(
            draft,
            architecture=model.architecture,
            frozen_digest=model.frozen_digest,
            training=Training(plan, 3, privacy),
        )
    registry = open_registry(simulator.home)
    return registry.publish(draft, CoordinatorHome(simulator.home).release_private_key).number


def test_what_was_made_with_a_studio_is_listed_when_it_leaves(simulator):
    candidate = simulator.home / "campaigns" / "spring" / "candidate.safetensors"
    made = publish(simulator, candidate, "spring")
    registry = open_registry(simulator.home)
    restored = registry.roll_back("bad", CoordinatorHome(simulator.home).release_private_key, to=1).number
    left = revoke_studio(simulator.home, "cedar", now=int(START))
    (part,) = left.campaigns
    assert (part.campaign, part.base_release, part.rounds, part.last_without) == ("spring", 1, (2, 3), 1)
    assert (left.releases, left.current) == ((made,), False)
    assert restored not in left.releases, "it has the base's weights again"
    assert not left.studio.is_admitted
    assert revoke_studio(simulator.home, "cedar", now=int(START) + 9) == left


def test_a_descendant_was_made_with_it_too(simulator):
    candidate = simulator.home / "campaigns" / "spring" / "candidate.safetensors"
    first = publish(simulator, candidate, "spring")
    revoke_studio(simulator.home, "cedar", now=int(START))
    simulator.run("summer", **SETTINGS)
    assert campaign_part(simulator.home, "summer", "cedar") is None
    second = publish(simulator, candidate, "summer", base_release=first)
    assert releases_with(simulator.home, "cedar") == (first, second)


def test_an_unknown_studio_cannot_leave(simulator):
    with pytest.raises(IdentityError, match="no studio is called 'oak'"):
        revoke_studio(simulator.home, "oak", now=1)


class TestTrainingWithoutIt:
    def prepare(self, simulator, without="cedar", **settings):
        return prepare_restart(simulator.home, "again", old="spring", without=without, settings=settings)

    def test_begins_at_the_last_weights_that_hold_nothing_of_it(self, simulator):
        revoke_studio(simulator.home, "cedar", now=int(START))
        base, settings = self.prepare(simulator, rounds=2)
        store = RoundStore(simulator.home / "campaigns" / "spring")
        tensors = load(base.path).tensors
        np.testing.assert_array_equal(tensors["fusion.w"].ravel(), store.read_weights(1))
        assert base.release == 1
        assert settings["rounds"] == 2
        assert settings["noise_multiplier"] == 0.0
        restart = read_restart(simulator.home / "campaigns" / "again")
        assert (restart.campaign, restart.rounds, restart.without) == ("spring", 1, "cedar")

    def test_begins_at_the_release_where_it_took_part_from_the_first_round(self, simulator):
        revoke_studio(simulator.home, "ash", now=int(START))
        base, _ = self.prepare(simulator, without="ash")
        assert base.path == simulator.home / "releases" / "0001" / "weights.safetensors"
        assert read_restart(simulator.home / "campaigns" / "again") is None

    def test_is_refused_while_it_is_admitted_or_with_other_noise_or_without_a_part_in_it(self, simulator):
        with pytest.raises(PlanError, match="cedar is still admitted"):
            self.prepare(simulator)
        revoke_studio(simulator.home, "cedar", now=int(START))
        with pytest.raises(PlanError, match=r"noise_multiplier is 0\.0, not 1\.5"):
            self.prepare(simulator, noise_multiplier=1.5)
        with pytest.raises(RoundError, match="no round of campaign spring"):
            self.prepare(simulator, without="oak")

    def test_is_refused_from_a_release_that_was_itself_made_with_it(self, simulator):
        candidate = simulator.home / "campaigns" / "spring" / "candidate.safetensors"
        made = publish(simulator, candidate, "spring")
        plan = simulator.home / "campaigns" / "spring" / "plan.json"
        key = keys.load_plan_key(CoordinatorHome(simulator.home).keys / keys.PLAN_KEY)
        payload = TrainingPlan.verified(plan.read_bytes(), key.public_key()).payload()
        revoke_studio(simulator.home, "cedar", now=int(START))
        plan.write_bytes(TrainingPlan.from_payload(payload | {"base_release": made}).signed(key).to_bytes())
        with pytest.raises(RoundError, match=f"started from release {made}, which was itself made"):
            self.prepare(simulator)

    def test_a_damaged_note_is_never_passed_over(self, simulator):
        revoke_studio(simulator.home, "cedar", now=int(START))
        self.prepare(simulator)
        folder = simulator.home / "campaigns" / "again"
        (folder / "restart.json").write_text("{}")
        with pytest.raises(RoundError, match="cannot be counted"):
            read_restart(folder)


def test_the_book_still_holds_what_it_has_seen_of_its_ledger(simulator):
    with Enrolment(simulator.home) as enrolment:
        before = enrolment.studio("cedar").seen_head
    assert before is not None
    assert revoke_studio(simulator.home, "cedar", now=int(START)).studio.seen_head == before
