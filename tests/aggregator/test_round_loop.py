"""The real coordinator on a simulated federation: late, lying, silent, restarting, offline and revoked studios."""

import dataclasses
import re

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from federation_simulator import START, FederationSimulator, use_tiny_model
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from aggregator.courier import Pace
from aggregator.enrolment import Enrolment
from aggregator.round_state import Standing
from aggregator.round_store import RoundStore
from federation.errors import RefusalCode
from federation.messages import SignedUpdate
from federation.plan import TrainingPlan
from federation.records import reply_records
from federation.update_signature import UpdateSubject, require_signature, sign_update


@pytest.fixture
def simulator(tmp_path, monkeypatch, quick_disk):
    use_tiny_model(monkeypatch)
    simulator = FederationSimulator(tmp_path)
    yield simulator
    for studio in simulator.studios.values():
        again = len(studio.finished) - len(set(studio.finished))
        assert not again, f"{studio.name} trained again what it had finished"


def store_of(simulator, campaign="spring"):
    return RoundStore(simulator.home / "campaigns" / campaign)


def weights(simulator, server_round):
    return store_of(simulator).read_weights(server_round)


def update_of(simulator, studio, server_round):
    """What an honest studio of that name answers, computed without the loop."""
    asked = next(i for i in simulator.studios[studio].asked if i.server_round == server_round)
    return simulator.studios[studio].stored[asked.question].update


def test_three_honest_studios_give_the_weighted_mean(simulator):
    result = simulator.run(rounds=2, quorum=2, deadline_s=60)
    assert result.state == "complete"
    assert [outcome.returned for outcome in result.rounds] == [("ash", "birch", "cedar")] * 2
    for server_round in (1, 2):
        mean = np.mean(
            [update_of(simulator, s, server_round).astype(np.float64) for s in simulator.studios], axis=0
        )
        expected = (weights(simulator, server_round - 1).astype(np.float64) + mean).astype(np.float32)
        np.testing.assert_allclose(weights(simulator, server_round), expected, rtol=1e-6)
    assert simulator.finished == [True]
    assert simulator.now < START + 10, "nobody waits for a deadline when all have answered"


def test_values_of_one_byte_take_a_quarter_of_the_upload_and_their_steps_enter_the_mean(simulator):
    sent = {}
    for campaign, settings in (("wide", {}), ("narrow", {"value_bits": 8})):
        sent[campaign] = simulator.run(campaign, rounds=1, quorum=2, **settings).rounds[0].bytes_in
    before, after = (store_of(simulator, "narrow").read_weights(number) for number in (0, 1))
    assert sent["wide"] - sent["narrow"] == len(simulator.studios) * 3 * before.size
    plan = TrainingPlan.verified(store_of(simulator, "narrow").read_plan(), simulator.plan_key.public_key())
    steps = [studio.stored[studio.asked[-1].question].update for studio in simulator.studios.values()]
    np.testing.assert_allclose(after - before, np.mean(steps, axis=0) * plan.update.grid, atol=1e-6)


def test_every_studio_is_asked_once_with_its_own_instruction(simulator):
    simulator.run(rounds=2, quorum=2, deadline_s=60)
    for name, studio in simulator.studios.items():
        assert simulator.asked_rounds(name) == [1, 2]
        assert [i.studio for i in studio.asked] == [name, name]
        assert studio.asked[0].expires_at == START + 60
        assert studio.asked[0].base_digest != studio.asked[1].base_digest


def test_the_head_of_one_round_is_counter_signed_in_the_next(simulator):
    simulator.run(rounds=3, quorum=2, deadline_s=60)
    for studio in simulator.studios.values():
        heads = [instruction.seen_head for instruction in studio.asked]
        assert heads[0] is None
        assert [head.sequence for head in heads[1:]] == [2, 3]
        assert heads[2].hash == studio.ledger[2]


def with_update(change):
    return lambda update: dataclasses.replace(update, update=change(update.update.copy()))


def nan_update(update):
    update[3] = np.nan
    return update


def off_grid(update):
    update[0] = np.float32(0.1)
    return update


def restored_backup(update):
    return dataclasses.replace(update, ledger_sequence=1, ledger_hash="0" * 64)


def forked_ledger(update):
    return dataclasses.replace(update, ledger_sequence=2, ledger_hash="0" * 64)


def with_extra_key(update):
    records = reply_records(update)
    records["loss"] = ConfigRecord({"value": 0.5})
    return records


def with_float64(update):
    records = reply_records(update)
    records["0"] = ArrayRecord({"piece": Array(update.update.astype(np.float64))})
    return records


def without_arrays(_):
    return RecordDict({})


LIES = {
    "NaN": (with_update(nan_update), "not-finite: 1 of its 64 values"),
    "infinite": (with_update(lambda u: u * np.float32(np.inf)), "not-finite"),
    "wrong length": (with_update(lambda u: u[:-1]), r"length: its shape is \[63\], expected \[64\]"),
    "one value": (with_update(lambda u: u[:1]), r"length: its shape is \[1\]"),
    "off grid": (with_update(off_grid), "off-grid: 1 of its 64 values"),
    "huge": (with_update(lambda u: u * np.float32(2.0**20)), "norm: its norm is"),
    "another plan": (lambda u: dataclasses.replace(u, plan_digest="0" * 64), "plan: it answers plan 0000"),
    "rolled back": (restored_backup, "ledger-behind: its ledger holds 1 records, 2 were counter-signed"),
    "forked": (forked_ledger, "ledger-forked: record 2"),
    "extra key": (with_extra_key, "records: "),
    "float64": (with_float64, "records: "),
    "nothing": (without_arrays, "records: "),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_liar_is_dropped_with_its_own_reason_and_nobody_else_is(simulator, lie):
    distort, reason = LIES[lie]
    simulator.run(rounds=1, quorum=2, deadline_s=60, campaign="before")  # so that a head is counter-signed
    simulator.studios["birch"].distort = distort
    told = []
    result = simulator.run(rounds=2, quorum=2, deadline_s=60, told=told)
    assert result.state == "complete"
    assert [outcome.returned for outcome in result.rounds] == [("ash", "cedar")] * 2
    record = store_of(simulator).read_record(1)
    assert record.state.turns["birch"].standing is Standing.REJECTED
    assert re.search(reason, record.state.turns["birch"].reason)
    assert [used.studio for used in record.used] == ["ash", "cedar"]
    assert simulator.asked_rounds("birch") == [1, 1, 2], "a liar is asked once a round"
    assert any("birch rejected" in line for line in told)
    honest = [used_update(simulator, s) for s in ("ash", "cedar")]
    expected = weights(simulator, 0).astype(np.float64) + np.mean(honest, axis=0)
    np.testing.assert_array_equal(weights(simulator, 1), expected.astype(np.float32))


def signed_with(key):
    """Another key's signature over what would be right."""
    return lambda signed: sign_update(
        signed.content, UpdateSubject("spring", 1, "birch", signed.content.plan_digest, "0" * 64), key
    )


FORGERIES = {
    "unsigned": lambda signed: signed.content,
    "changed after signing": lambda signed: dataclasses.replace(
        signed, content=dataclasses.replace(signed.content, update=-signed.content.update)
    ),
    "another ledger head after signing": lambda signed: dataclasses.replace(
        signed, content=dataclasses.replace(signed.content, ledger_sequence=99)
    ),
    "a damaged signature": lambda signed: dataclasses.replace(signed, signature=signed.signature[::-1]),
    "zeros": lambda signed: dataclasses.replace(signed, signature=bytes(96)),
    "a stranger's key": signed_with(ec.generate_private_key(ec.SECP384R1())),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_an_update_without_its_studios_signature_is_dropped_before_any_rule_sees_it(simulator, forgery):
    simulator.studios["birch"].distort_signed = FORGERIES[forgery]
    result = simulator.run(rounds=1, quorum=2, deadline_s=60)
    assert [outcome.returned for outcome in result.rounds] == [("ash", "cedar")]
    turn = store_of(simulator).read_record(1).state.turns["birch"]
    assert turn.standing is Standing.REJECTED
    assert turn.reason.startswith("signature: ")
    with Enrolment(simulator.home) as enrolment:
        assert enrolment.studio("birch").seen_head is None


def test_an_update_signed_for_one_round_or_studio_serves_no_other(simulator):
    kept = []

    def remember(signed):
        kept.append(signed)
        return signed

    simulator.studios["ash"].distort_signed = remember
    simulator.studios["birch"].distort_signed = lambda signed: kept[0]  # ash's, word for word
    simulator.studios["birch"].delay_s = 5
    simulator.at(20, lambda: setattr(simulator.studios["ash"], "distort_signed", lambda signed: kept[0]))
    simulator.studios["cedar"].delay_s = 30
    result = simulator.run(rounds=2, quorum=1, deadline_s=60)
    assert [outcome.returned for outcome in result.rounds] == [("ash", "cedar"), ("cedar",)]


def test_what_the_coordinator_keeps_proves_who_sent_it(simulator):
    simulator.run(rounds=1, quorum=2, deadline_s=60)
    store, ash = store_of(simulator), simulator.studios["ash"]
    update, _ = store.read_update(1, 1, "ash")
    signature = (store.folder / "round_0001" / "update_ash.signature").read_bytes()
    subject = UpdateSubject("spring", 1, "ash", update.plan_digest, store.read_record(1).base_digest)
    require_signature(SignedUpdate(update, signature), subject, ash.key.public_key())


def test_the_plans_rule_aggregates(simulator):
    simulator.run(rounds=1, quorum=3, deadline_s=60, aggregation="median")
    honest = [used_update(simulator, studio) for studio in simulator.studios]
    expected = weights(simulator, 0).astype(np.float64) + np.median(honest, axis=0)
    np.testing.assert_allclose(weights(simulator, 1), expected.astype(np.float32), atol=1e-7)


def used_update(simulator, studio):
    return store_of(simulator).read_update(1, 1, studio)[0].update.astype(np.float64)


def test_a_late_reply_counts_in_the_next_round_at_a_discount(simulator):
    simulator.studios["cedar"].delay_s = 70
    told = []
    result = simulator.run(rounds=2, quorum=2, deadline_s=60, told=told)
    first, second = result.rounds
    assert (first.returned, first.missing) == (("ash", "birch"), ("cedar",))
    assert second.late == ("cedar",)
    used = store_of(simulator).read_record(2).used
    assert [(one.studio, one.server_round) for one in used] == [("ash", 2), ("birch", 2), ("cedar", 1)]
    late, weight = update_of(simulator, "cedar", 1), 1 / np.sqrt(2)
    fresh = [update_of(simulator, s, 2).astype(np.float64) for s in ("ash", "birch")]
    mean = (sum(fresh) + weight * late.astype(np.float64)) / (2 + weight)
    np.testing.assert_allclose(weights(simulator, 2) - weights(simulator, 1), mean, atol=1e-6)
    assert any("cedar accepted, late from round 1" in line for line in told)


def test_a_late_reply_is_dropped_but_recorded_where_the_plan_says_so(simulator):
    simulator.studios["cedar"].delay_s = 1.5
    simulator.at(1.8, lambda: simulator.switch("cedar", online=False))  # its reply waits at the SuperLink
    simulator.at(60.2, lambda: simulator.switch("cedar", online=True))
    told = []
    result = simulator.run(rounds=2, quorum=2, deadline_s=60, staleness_max=0, told=told)
    assert result.rounds[1].late == ()
    record = store_of(simulator).read_record(2)
    assert record.state.late["cedar"].standing is Standing.UNUSED
    assert "it came 1 round late; the plan uses updates up to 0 late" in record.state.late["cedar"].reason
    assert [one.studio for one in record.used if one.server_round == 1] == []
    assert any("cedar unused, late from round 1" in line for line in told)


def test_a_late_instruction_costs_a_studio_nothing(simulator):
    simulator.studios["cedar"].online = False
    simulator.at(65, lambda: simulator.switch("cedar", online=True))
    result = simulator.run(rounds=1, quorum=2, deadline_s=60)
    assert result.rounds[0].missing == ("cedar",)
    simulator.sleep(100)
    assert simulator.studios["cedar"].charged == []


def test_a_silent_studio_holds_a_round_up_only_until_its_deadline(simulator):
    simulator.studios["cedar"].delay_s = 1e9
    result = simulator.run(rounds=1, quorum=2, deadline_s=60)
    assert result.state == "complete"
    assert START + 60 <= simulator.now < START + 62
    assert "missing: cedar (no answer)" in result.rounds[0].reason


def test_an_offline_studio_that_comes_back_in_time_takes_part(simulator):
    simulator.switch("cedar", online=False)
    simulator.at(30, lambda: simulator.switch("cedar", online=True))
    result = simulator.run(rounds=1, quorum=2, deadline_s=60)
    assert result.rounds[0].returned == ("ash", "birch", "cedar")
    assert START + 30 < simulator.now < START + 40


def test_a_studio_that_comes_rounds_later_and_one_that_leaves_for_good_just_work(simulator):
    simulator.studios["cedar"].online = False
    simulator.at(130, lambda: simulator.switch("cedar", online=True))  # in the third round
    simulator.at(131, lambda: simulator.switch("birch", online=False))
    result = simulator.run(rounds=5, quorum=2, deadline_s=60)
    assert result.state == "complete"
    assert [one.returned for one in result.rounds] == [
        ("ash", "birch"),
        ("ash", "birch"),
        ("ash", "birch", "cedar"),
        ("ash", "cedar"),
        ("ash", "cedar"),
    ]


def test_a_studio_that_is_killed_while_it_trains_is_asked_again(simulator):
    simulator.studios["ash"].delay_s = 20
    simulator.at(10, lambda: simulator.restart("ash"))
    result = simulator.run(rounds=1, quorum=3, deadline_s=60)
    assert result.state == "complete"
    assert simulator.asked_rounds("ash") == [1, 1]
    assert START + 30 < simulator.now < START + 36


def test_a_studio_that_is_killed_after_it_trained_sends_what_it_stored(simulator):
    simulator.at(1.15, lambda: simulator.restart("ash"))  # trained, and killed while sending
    result = simulator.run(rounds=1, quorum=3, deadline_s=60)
    assert result.state == "complete"
    assert len(simulator.studios["ash"].charged) == 1
    assert simulator.now < START + 10


def test_an_offline_spell_does_not_lose_a_reply(simulator):
    simulator.at(0.5, lambda: simulator.switch("ash", online=False))
    simulator.at(20, lambda: simulator.switch("ash", online=True))
    result = simulator.run(rounds=1, quorum=3, deadline_s=60)
    assert result.state == "complete"
    assert simulator.now < START + 26


@pytest.mark.parametrize("code", [RefusalCode.BUDGET, RefusalCode.POLICY, RefusalCode.LEDGER])
def test_a_final_refusal_is_not_asked_again_in_its_round(simulator, code):
    simulator.studios["ash"].refuses = code
    result = simulator.run(rounds=2, quorum=2, deadline_s=60)
    assert [outcome.missing for outcome in result.rounds] == [("ash",)] * 2
    assert simulator.asked_rounds("ash") == [1, 2]
    assert simulator.now < START + 10, "a refused round does not wait for its deadline"


def test_a_busy_studio_is_asked_again_until_it_is_ready(simulator):
    ash = simulator.studios["ash"]
    ash.refuses = RefusalCode.BUSY
    simulator.at(15, lambda: setattr(ash, "refuses", None))
    result = simulator.run(rounds=1, quorum=3, deadline_s=60)
    assert result.state == "complete"
    assert 3 <= len(simulator.asked_rounds("ash")) <= 6


def test_below_the_quorum_is_degraded_and_nothing_is_averaged(simulator):
    for name in ("birch", "cedar"):
        simulator.studios[name].delay_s = 1e9
    told = []
    result = simulator.run(rounds=3, quorum=2, deadline_s=60, told=told)
    assert (result.state, result.exit_code) == ("degraded", 5)
    assert result.candidate is None
    assert [outcome.phase for outcome in result.rounds] == ["degraded"]
    assert "birch (no answer), cedar (no answer)" in result.reason
    assert weights(simulator, 1) is None
    assert any("DEGRADED, below the quorum of 2" in line for line in told)
    assert simulator.finished == []


def test_a_degraded_round_is_tried_again_without_asking_anew_for_what_came(simulator):
    slow = [simulator.studios[name] for name in ("birch", "cedar")]
    for studio in slow:
        studio.online = False
    assert simulator.run(rounds=2, quorum=2, deadline_s=60).state == "degraded"
    assert simulator.asked_rounds("ash") == [], "nobody is asked for a round that cannot reach its quorum"
    simulator.switch("birch", online=True)
    simulator.studios["birch"].delay_s = 1e9
    assert simulator.run(rounds=2, quorum=2, deadline_s=60).state == "degraded"
    assert simulator.asked_rounds("ash") == [1]
    simulator.restart("birch")
    simulator.studios["birch"].delay_s = 1
    simulator.switch("cedar", online=True)
    result = simulator.run(rounds=2, quorum=2, deadline_s=60)
    assert result.state == "complete"
    assert result.rounds[0].attempt == 3
    assert simulator.asked_rounds("ash") == [1, 2]


def test_the_round_ends_when_the_quorum_is_out_of_reach(simulator):
    for name in ("birch", "cedar"):
        simulator.studios[name].refuses = RefusalCode.BUDGET
    result = simulator.run(rounds=1, quorum=2, deadline_s=3600)
    assert result.state == "degraded"
    assert "out of reach" in result.reason
    assert simulator.now < START + 10


def test_a_revoked_studio_is_not_asked_and_its_reply_does_not_count(simulator):
    simulator.studios["cedar"].delay_s = 30

    def revoke():
        with Enrolment(simulator.home) as enrolment:
            enrolment.revoke("cedar", now=int(simulator.now))

    simulator.at(5, revoke)
    result = simulator.run(rounds=2, quorum=2, deadline_s=60)
    assert result.state == "complete"
    assert simulator.now < START + 15, "nobody waits for a revoked studio"
    assert "cedar (its key was revoked)" in result.rounds[0].reason
    assert simulator.asked_rounds("cedar") == [1]


def test_a_reply_that_comes_right_after_the_revocation_does_not_count(simulator):
    simulator.studios["cedar"].delay_s = 6

    def revoke():
        with Enrolment(simulator.home) as enrolment:
            enrolment.revoke("cedar", now=int(simulator.now))

    simulator.at(5, revoke)
    result = simulator.run(rounds=1, quorum=2, deadline_s=60, pace=Pace(poll_s=0.5, roster_s=50))
    assert result.rounds[0].returned == ("ash", "birch")
    assert simulator.now < START + 10


def test_a_node_with_another_key_under_a_studios_name_is_not_asked(simulator):
    from cryptography.hazmat.primitives.asymmetric import ec

    simulator.studios["cedar"].key = ec.generate_private_key(ec.SECP384R1())
    result = simulator.run(rounds=1, quorum=2, deadline_s=10)
    assert result.rounds[0].missing == ("cedar",)
    assert simulator.asked_rounds("cedar") == []


def test_a_superlink_that_is_away_for_a_while_costs_time_and_nothing_else(simulator):
    simulator.at(0.6, lambda: setattr(simulator, "away_until", START + 20))
    told = []
    result = simulator.run(rounds=1, quorum=3, deadline_s=60, told=told)
    assert result.state == "complete"
    assert START + 20 <= simulator.now < START + 23
    assert sum("the SuperLink is away" in line for line in told) == 1, "the same trouble is told once"


def test_a_superlink_that_never_comes_back_ends_in_a_degraded_round(simulator):
    simulator.at(0.6, lambda: setattr(simulator, "away_until", START + 1e9))
    result = simulator.run(rounds=1, quorum=2, deadline_s=60)
    assert result.state == "degraded"
    assert simulator.now < START + 62


def test_a_lost_run_is_replaced_and_nobody_trains_again(simulator):
    simulator.studios["cedar"].delay_s = 20
    simulator.at(5, simulator.lose_run)
    result = simulator.run(rounds=1, quorum=3, deadline_s=60)
    assert result.state == "complete"
    assert simulator.run_id == 2
    assert simulator.asked_rounds("ash") == [1], "its update was accepted before"
    assert simulator.asked_rounds("cedar") == [1, 1]
    assert all(isinstance(s.stored, dict) and len(s.stored) == 1 for s in simulator.studios.values())
