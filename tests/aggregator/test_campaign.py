"""A whole campaign: its files, its result, and that no kill and no full disk changes a bit of it."""

import json
import sqlite3

import numpy as np
import pytest
from disk_faults import WAYS, DiskFaults, Killed
from federation_simulator import START, FederationSimulator, use_tiny_model

from aggregator.campaign import BaseWeights, CampaignRequest
from aggregator.enrolment import Enrolment
from aggregator.round_store import RoundStore
from federation.documents import SignatureError
from federation.errors import FedrotoError, PlanError, RoundError
from federation.plan import TrainingPlan
from federation.privacy import epsilon, event_of
from model.weights import load

SETTINGS = {"rounds": 2, "quorum": 2, "deadline_s": 60}


@pytest.fixture(autouse=True)
def tiny_model(monkeypatch, quick_disk):
    use_tiny_model(monkeypatch)


@pytest.fixture
def simulator(tmp_path):
    return FederationSimulator(tmp_path / "home")


def folder_of(simulator, campaign="spring"):
    return simulator.home / "campaigns" / campaign


def events(simulator):
    lines = (folder_of(simulator) / "progress.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_a_campaign_leaves_the_files_that_it_promises(simulator):
    result = simulator.run(**SETTINGS)
    folder = folder_of(simulator)
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    updates = {
        f"round_000{n}/update_{s}.{what}"
        for n in (1, 2)
        for s in simulator.studios
        for what in ("frame", "signature")
    }
    rounds = {f"round_000{n}/{name}" for n in (1, 2) for name in ("round.json", "weights.safetensors")}
    others = {"base.safetensors", "campaign.lock", "plan.json", "progress.jsonl", "rounds.sqlite"}
    assert names == updates | rounds | others | {"candidate.safetensors", "round_0000/weights.safetensors"}
    assert result.candidate == folder / "candidate.safetensors"


def test_the_candidate_has_the_trained_tensors_and_the_frozen_ones_as_they_were(simulator):
    result = simulator.run(**SETTINGS)
    base, candidate = load(simulator.base), load(result.candidate)
    last = RoundStore(folder_of(simulator)).read_weights(2)
    np.testing.assert_array_equal(candidate.tensors["fusion.w"].ravel(), last)
    np.testing.assert_array_equal(candidate.tensors["matcher.frozen"], base.tensors["matcher.frozen"])
    assert not np.array_equal(candidate.tensors["fusion.w"], base.tensors["fusion.w"])
    assert candidate.metadata["privacy"] == "NOT PRIVATE"
    assert candidate.metadata["plan_digest"] == result.plan_digest


def test_the_plan_on_disk_is_signed_and_is_the_one_that_studios_got(simulator):
    result = simulator.run(**SETTINGS)
    document = (folder_of(simulator) / "plan.json").read_bytes()
    plan = TrainingPlan.verified(document, simulator.plan_key.public_key())
    assert plan.digest == result.plan_digest
    assert {i.plan_digest for s in simulator.studios.values() for i in s.asked} == {plan.digest}


def test_the_result_says_who_and_how_many_bytes_and_what_it_costs(simulator):
    result = simulator.run(**SETTINGS)
    assert (result.state, result.exit_code, result.rounds_planned) == ("complete", 0, 2)
    sizes = [path.stat().st_size for path in folder_of(simulator).rglob("*.frame")]
    assert result.bytes_in == sum(sizes)
    assert len(sizes) == 6
    assert result.not_private
    assert result.epsilon == {"s": float("inf")}


def test_epsilon_is_that_of_all_rounds_at_the_tiers_delta(simulator):
    result = simulator.run(rounds=3, quorum=2, deadline_s=60, noise_multiplier=40.0, sample_rate=1.0)
    document = (folder_of(simulator) / "plan.json").read_bytes()
    plan = TrainingPlan.verified(document, simulator.plan_key.public_key())
    assert result.epsilon == {"s": epsilon([event_of(plan, rounds=3)], plan.size_tiers["s"].delta)}
    assert epsilon([event_of(plan)], 1e-5) < result.epsilon["s"] < 3 * epsilon([event_of(plan)], 1e-5)


def test_progress_says_how_each_round_went(simulator):
    simulator.studios["cedar"].online = False
    told = []
    simulator.run(rounds=1, quorum=2, deadline_s=60, told=told)
    assert "round 1: 2 of 3 returned, 418 B each; missing: cedar (never online)" in told
    assert [line["text"] for line in events(simulator)] == told
    closed = next(line for line in events(simulator) if line["event"] == "round.closed")
    assert (closed["returned"], closed["missing"], closed["bytes"]) == (["ash", "birch"], ["cedar"], 836)


def test_the_consoles_tables_follow(simulator):
    simulator.run(**SETTINGS)
    connection = sqlite3.connect(folder_of(simulator) / "rounds.sqlite")
    assert connection.execute("SELECT server_round, phase, returned, bytes_in FROM rounds").fetchall() == [
        (1, "closed", 3, 1254),
        (2, "closed", 3, 1254),
    ]
    assert connection.execute(
        "SELECT count(*) FROM studio_rounds WHERE standing = 'accepted'"
    ).fetchone() == (6,)
    connection.close()


def test_running_a_finished_campaign_again_asks_nobody_and_says_the_same(simulator):
    first = simulator.run(**SETTINGS)
    candidate = first.candidate.read_bytes()
    pushes = len(simulator.pushes)
    assert simulator.run(**SETTINGS) == first
    assert first.candidate.read_bytes() == candidate
    assert len(simulator.pushes) == pushes


def test_weights_that_got_lost_after_the_decision_are_made_again_from_the_same_updates(simulator):
    result = simulator.run(**SETTINGS)
    weights = folder_of(simulator) / "round_0002" / "weights.safetensors"
    before = weights.read_bytes()
    weights.unlink()
    assert simulator.run(**SETTINGS) == result
    assert weights.read_bytes() == before


def test_an_update_that_was_exchanged_after_the_decision_is_noticed(simulator):
    simulator.run(**SETTINGS)
    folder = folder_of(simulator) / "round_0002"
    (folder / "weights.safetensors").unlink()
    (folder / "update_ash.frame").write_bytes((folder / "update_birch.frame").read_bytes())
    with pytest.raises(RoundError, match="stored update of ash for round 2 was changed"):
        simulator.run(**SETTINGS)


def test_weights_of_an_earlier_round_that_were_exchanged_are_noticed(simulator):
    simulator.run(**SETTINGS)
    folder = folder_of(simulator)
    (folder / "round_0001" / "weights.safetensors").write_bytes(
        (folder / "round_0002" / "weights.safetensors").read_bytes()
    )
    with pytest.raises(RoundError, match="damaged"):
        simulator.run(**SETTINGS)


def test_going_on_needs_neither_the_base_file_nor_the_settings(simulator):
    for studio in simulator.studios.values():
        studio.online = False
    assert simulator.run(**SETTINGS).state == "degraded"
    simulator.base.unlink()
    for name in simulator.studios:
        simulator.switch(name, online=True)
    assert simulator.run().state == "complete"


def test_going_on_with_other_settings_is_refused(simulator):
    simulator.run(**SETTINGS)
    with pytest.raises(PlanError, match="started with rounds 2, not 3"):
        simulator.run(rounds=3)


def test_a_plan_signed_by_another_key_is_not_gone_on_with(simulator):
    simulator.run(**SETTINGS)
    (simulator.home / "keys" / "plan_key").unlink()
    from federation.keys import create_plan_key

    create_plan_key(simulator.home / "keys")
    with pytest.raises(SignatureError):
        simulator.run(**SETTINGS)


def test_an_expired_plan_asks_nobody(simulator):
    for studio in simulator.studios.values():
        studio.online = False
    simulator.run(**SETTINGS)
    simulator.sleep(30 * 24 * 3600)
    for name in simulator.studios:
        simulator.switch(name, online=True)
    with pytest.raises(RoundError, match="expired"):
        simulator.run(**SETTINGS)
    assert simulator.pushes == []


def test_two_processes_cannot_run_one_campaign(simulator):
    refused = []

    def second():
        with pytest.raises(RoundError, match="another process"):
            simulator.run(**SETTINGS)
        refused.append(True)

    simulator.at(0.2, second)
    assert simulator.run(**SETTINGS).state == "complete"
    assert refused == [True]


def test_a_superlink_that_is_not_up_yet_is_waited_for(simulator):
    simulator.away_until = START + 30
    told = []
    assert simulator.run(told=told, **SETTINGS).state == "complete"
    assert any("waiting for the SuperLink" in line for line in told)


def test_a_superlink_that_stays_away_is_an_error_and_not_a_hang(simulator):
    simulator.away_until = START + 1e9
    with pytest.raises(FedrotoError, match="away"):
        simulator.run(**SETTINGS)
    assert simulator.now < START + 150


@pytest.mark.parametrize("name", ["", "../x", "a/b", "Spring", "-x", "x" * 64])
def test_a_campaign_needs_a_name_that_is_safe_in_a_path(tmp_path, name):
    with pytest.raises(PlanError, match="not a name"):
        CampaignRequest(name, BaseWeights(1, tmp_path))


def test_a_studio_admitted_later_is_not_in_the_running_campaign(simulator, tmp_path):
    simulator.run(**SETTINGS)
    with Enrolment(simulator.home) as enrolment:
        from cryptography.hazmat.primitives.asymmetric import ec

        from federation.keys import openssh_public

        public = openssh_public(ec.generate_private_key(ec.SECP384R1()).public_key()).decode()
        enrolment.admit("oak", "s", public, now=1)
    assert simulator.run(**SETTINGS).state == "complete"
    assert simulator.run("summer", **SETTINGS).rounds[0].missing == ("oak",)


# Kills and full disks. cedar answers late in round 1, so that there is a late update too.


def disturbed(home):
    simulator = FederationSimulator(home)
    simulator.studios["cedar"].delay_s = 65
    return simulator


SLOW = {"rounds": 2, "quorum": 2, "deadline_s": 60}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What a campaign without any trouble gives, and its writes."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        use_tiny_model(monkeypatch)
        simulator = disturbed(tmp_path_factory.mktemp("undisturbed"))
        faults = DiskFaults(monkeypatch)
        result = simulator.run(**SLOW)
        assert result.rounds[1].late == ("cedar",)
        return result, faults.log


def run_through(simulator, faults, write, way):
    """Run to the end with the ``write``-th write failing; returns the result and what was pushed after the fault."""
    faults.arm(write, way)
    try:
        return simulator.run(**SLOW), None
    except Killed:
        assert way in ("before", "torn", "after")
    except RoundError:
        assert way in ("full", "once")
    held = accepted_updates(simulator)
    pushes = len(simulator.pushes)
    faults.disarm()
    return simulator.run(**SLOW), (held, simulator.pushes[pushes:])


def accepted_updates(simulator):
    """Studio and round of each accepted update that is on disk."""
    held = set()
    for path in folder_of(simulator).glob("round_*/*.frame"):
        during = int(path.parent.name[-4:])
        kind, studio = path.stem.split("_", 1)
        held.add((studio, during if kind == "update" else during - 1))
    return held


def check_write(tmp_path, monkeypatch, undisturbed, write, way):
    expected, log = undisturbed
    simulator = disturbed(tmp_path / f"{write}-{way}")
    faults = DiskFaults(monkeypatch)
    result, after = run_through(simulator, faults, write, way)
    assert result.state == "complete"
    if result.rounds[1].late:
        digests = [outcome.weights_digest for outcome in result.rounds]
        assert digests == [outcome.weights_digest for outcome in expected.rounds], "not the same bits"
    else:  # the one thing that a kill can lose: a late reply that Flower handed out and that is not on disk yet
        assert log[write - 1] in ("late_cedar.signature", "late_cedar.frame")
        assert RoundStore(folder_of(simulator)).read_record(2).state.late["cedar"].reason == "Flower error 3"
    if after is not None:
        held, pushed = after
        assert not held & set(pushed), "a studio was asked for an update that had been accepted"
    for studio in simulator.studios.values():
        assert len(studio.finished) == len(set(studio.finished)), "a studio trained again"
    with Enrolment(simulator.home) as enrolment:
        for name in ("ash", "birch"):
            assert enrolment.studio(name).seen_head == simulator.studios[name].head, "a head was forgotten"
    leftovers = [p for p in folder_of(simulator).rglob("*") if p.name.startswith(".fedroto-tmp-")]
    assert leftovers == []
    assert all(line["text"] for line in events(simulator))


STRIDE = 4


@pytest.mark.parametrize("part", range(STRIDE))
def test_no_kill_and_no_full_disk_at_any_write_changes_a_bit(tmp_path, monkeypatch, undisturbed, part):
    """Every write fails once; the way it fails goes round, so that a fifth of all cases is run here."""
    _, log = undisturbed
    assert len(log) > 40
    for write in range(part + 1, len(log) + 1, STRIDE):
        with monkeypatch.context() as local:
            check_write(tmp_path, local, undisturbed, write, WAYS[write % len(WAYS)])


@pytest.mark.long
@pytest.mark.parametrize("way", WAYS)
def test_every_write_fails_in_every_way(tmp_path, monkeypatch, undisturbed, way):
    _, log = undisturbed
    for write in range(1, len(log) + 1):
        with monkeypatch.context() as local:
            check_write(tmp_path, local, undisturbed, write, way)


def test_a_full_disk_is_one_clear_error_and_says_that_nothing_is_lost(simulator, monkeypatch):
    faults = DiskFaults(monkeypatch)
    faults.arm(15, "full")
    with pytest.raises(RoundError, match=r"round 1 cannot go on: .*(No space left|disk is full)") as caught:
        simulator.run(**SETTINGS)
    assert caught.value.exit_code == 5
    assert "what studios have sent is kept" in caught.value.hint
    faults.disarm()
    assert simulator.run(**SETTINGS).state == "complete"


def test_a_disk_that_fails_once_leaves_a_failed_round_that_is_tried_again(simulator, monkeypatch):
    faults = DiskFaults(monkeypatch)
    simulator.run("trial", **SETTINGS)
    faults.arm(faults.log.index("update_birch.frame") + 1, "once")
    with pytest.raises(RoundError):
        simulator.run(**SETTINGS)
    record = RoundStore(folder_of(simulator)).read_record(1)
    assert record.state.phase == "failed"
    assert "No space left" in record.state.reason
    faults.disarm()
    result = simulator.run(**SETTINGS)
    assert result.state == "complete"
    assert result.rounds[0].attempt == 2
    assert RoundStore(folder_of(simulator)).read_record(1).state.deadline_at == record.state.deadline_at
