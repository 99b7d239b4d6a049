import datetime
import json
import time

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from studio_under_test import StudioUnderTest

from federation import set_up
from federation.config import ShowConsent
from federation.documents import digest
from federation.errors import RefusalCode
from federation.messages import TrainRefusal, TrainRequest, TrainUpdate
from federation.plan import LedgerHead, byte_grid
from studio_node import local_round
from studio_node.catalogue import Catalogue
from studio_node.egress import EgressDoor, decode_reply, inspect_frame
from studio_node.egress_log import EGRESS_LOG, EgressLog
from studio_node.ledger import Ledger
from studio_node.ledger_adoption import adopt_head
from studio_node.ledger_file import LEDGER_FILE, read_ledger
from studio_node.ledger_records import decode_record
from studio_node.ledger_report import show_ledger, verify_ledger
from studio_node.packs import PackReader
from studio_node.stored_updates import UPDATES_FOLDER, StoredUpdates


def code_of(answer) -> RefusalCode | None:
    reply = decode_reply(answer.frame)
    return reply.code if isinstance(reply, TrainRefusal) else None


def charges(studio) -> int:
    return len(show_ledger(studio.home).charges)


@pytest.fixture
def untrained(monkeypatch):
    """Replace the training itself by a count of calls: for tests of what happens around it."""
    calls = []

    def train(plan, size_tier, weights, shots, *, warn):
        calls.append(len(shots))
        for open_shot in shots:
            open_shot()
        return np.full(weights.size, plan.update.grid, np.float32)

    monkeypatch.setattr(local_round, "train_update", train)
    return calls


def test_a_round_gives_an_update_that_may_leave_and_names_its_charge(studio):
    plan = studio.plan()
    answer = studio.rounds().answer(studio.request(plan=plan))
    update = inspect_frame(answer.frame, answer.expected)
    assert isinstance(update, TrainUpdate)
    reserve = read_ledger(studio.home / LEDGER_FILE)[0]
    assert update.ledger_sequence == decode_record(reserve).sequence == 1
    assert update.plan_digest == plan.digest
    assert np.count_nonzero(update.update) > 0.9 * update.update.size


def test_the_charge_is_on_disk_before_a_pack_is_opened(studio, monkeypatch):
    seen = []
    opened = PackReader.open.__func__

    def watched(cls, path, reservation, **rest):
        records = [decode_record(data) for data in read_ledger(studio.home / LEDGER_FILE)]
        seen.append((records[-1].type, records[-1].sequence, reservation.head.sequence))
        return opened(cls, path, reservation, **rest)

    monkeypatch.setattr(PackReader, "open", classmethod(watched))
    answer = studio.rounds().answer(studio.request(plan=studio.plan(privacy_sample_rate=1.0)))
    assert code_of(answer) is None
    assert seen == [("reserve", 1, 1)] * 5


def test_the_ids_of_shots_are_fixed_on_disk_before_a_pack_is_opened(studio, monkeypatch):
    seen = []
    opened = PackReader.open.__func__

    def watched(cls, path, reservation, **rest):
        with Catalogue.open(studio.home) as catalogue:
            seen.append(len(catalogue.read("SELECT shot FROM trained")))
        return opened(cls, path, reservation, **rest)

    monkeypatch.setattr(PackReader, "open", classmethod(watched))
    studio.rounds().answer(studio.request(plan=studio.plan(privacy_sample_rate=1.0)))
    assert seen == [5] * 5


def test_the_same_question_gets_the_same_bytes_without_training_or_charge(studio, untrained):
    rounds = studio.rounds()
    plan = studio.plan()
    first = rounds.answer(studio.request(plan=plan))
    again = rounds.answer(studio.request(plan=plan))  # signed anew, at another time
    after_restart = studio.rounds().answer(studio.request(plan=plan))
    assert first.frame == again.frame == after_restart.frame
    assert again.expected.replay
    assert untrained == [5]
    assert charges(studio) == 1


def test_an_update_of_one_byte_a_value_is_rounded_at_random_once_and_sent_again_as_it_was(studio):
    parameters = studio.weights.size
    plan = studio.plan(update={"norm_max": 1.0, "grid": byte_grid(1.0, parameters), "value_bits": 8})
    first = studio.rounds().answer(studio.request(plan=plan))
    update = decode_reply(first.frame).update
    assert (update.dtype, update.size) == (np.int8, parameters)
    assert 0 < np.abs(update).max() <= 127
    assert studio.rounds().answer(studio.request(plan=plan)).frame == first.frame


def test_what_is_left_of_the_budget_leaves_only_where_the_policy_shares_it(tmp_path, studio, untrained):
    assert decode_reply(studio.rounds().answer(studio.request()).frame).epsilon_left is None
    sharing = StudioUnderTest.made(tmp_path / "sharing", {"kelp": 1, "moss": 1}, share_epsilon_left=True)
    set_up.record_consent(sharing.home, "moss", ShowConsent(training_allowed=True, epsilon_lifetime=3.0))
    plan = sharing.plan()
    answer = sharing.rounds().answer(sharing.request(plan=plan))
    told = inspect_frame(answer.frame, answer.expected).epsilon_left
    account = next(one for one in show_ledger(sharing.home).accounts if one.show == "moss")
    by_ledger = min(3.0 - account.epsilon, 3.0 * (1 - account.lifetime_used))
    assert by_ledger - 0.01 <= told <= by_ledger, "of the show with the smaller cap"
    assert sharing.rounds().answer(sharing.request(plan=plan)).frame == answer.frame


def test_another_question_is_trained_and_charged_anew(studio, untrained):
    rounds = studio.rounds()
    plan = studio.plan()
    frames = {rounds.answer(studio.request(1, plan)).frame}
    frames.add(rounds.answer(studio.request(2, plan)).frame)
    frames.add(rounds.answer(studio.request(1, studio.plan(learning_rate=0.2))).frame)
    studio.weights = studio.weights + np.float32(0.5)
    frames.add(rounds.answer(studio.request(1, plan)).frame)
    assert len(frames) == 4
    assert charges(studio) == 4


def test_every_included_show_is_charged_and_no_other(studio, untrained):
    studio.consent("moss", False)
    studio.rounds().answer(studio.request(1))
    assert untrained == [3]
    assert [account.show for account in show_ledger(studio.home).accounts] == ["kelp"]
    studio.consent("moss", True)
    studio.rounds().answer(studio.request(2))
    assert untrained == [3, 5]
    charged = {account.show: account.charges for account in show_ledger(studio.home).accounts}
    assert charged == {"kelp": 2, "moss": 1}


def test_a_show_that_withdrew_consent_is_not_sent_again(studio, untrained):
    rounds = studio.rounds()
    plan = studio.plan()
    first = rounds.answer(studio.request(plan=plan))
    studio.consent("moss", False)
    second = rounds.answer(studio.request(plan=plan))
    assert second.frame != first.frame
    assert untrained == [5, 3]
    assert charges(studio) == 2
    assert rounds.answer(studio.request(plan=plan)).frame == second.frame


def test_without_any_consent_nothing_is_charged(studio, untrained):
    studio.consent("moss", False)
    studio.consent("kelp", False)
    assert code_of(studio.rounds().answer(studio.request())) is RefusalCode.NO_CONSENT
    assert charges(studio) == 0


def test_a_deleted_pack_withdraws_its_shot(studio, untrained):
    next(iter((studio.home / "packs").glob("kelp*"))).unlink()
    studio.rounds().answer(studio.request())
    assert untrained == [4]


def test_shots_cut_for_another_release_are_left_out(studio, untrained):
    from studio_under_test import window

    studio.add_shot("kelp", "kelp_old", [window(1)], frozen_digest="0" * 64)
    assert code_of(studio.rounds().answer(studio.request())) is None
    assert untrained == [5]
    assert "ingest them again" in studio.journal()


def test_a_damaged_pack_takes_its_shot_out_and_no_other(studio):
    broken = next(iter((studio.home / "packs").glob("kelp*")))
    broken.write_bytes(b"not a pack")
    answer = studio.rounds().answer(studio.request(plan=studio.plan(privacy_sample_rate=1.0)))
    assert code_of(answer) is None
    assert "contributes nothing" in studio.journal()


def test_each_unacceptable_request_gets_its_code_and_costs_nothing(studio, untrained):
    rounds = studio.rounds()
    good = studio.request()
    now = int(time.time())
    foreign = ed25519.Ed25519PrivateKey.generate()
    plan, other = studio.plan(), studio.plan(learning_rate=0.3)
    weights = studio.weights + np.float32(1)
    cases = {
        "foreign plan": (
            TrainRequest(plan.signed(foreign).to_bytes(), good.instruction, good.weights),
            RefusalCode.BAD_SIGNATURE,
        ),
        "foreign instruction": (
            TrainRequest(good.plan, studio.instruction(plan).signed(foreign).to_bytes(), good.weights),
            RefusalCode.BAD_SIGNATURE,
        ),
        "changed plan": (
            TrainRequest(good.plan.replace(b"autumn", b"winter"), good.instruction, good.weights),
            RefusalCode.BAD_SIGNATURE,
        ),
        "a plan as instruction": (
            TrainRequest(good.plan, good.plan, good.weights),
            RefusalCode.BAD_SIGNATURE,
        ),
        "no JSON": (TrainRequest(b"\xff\x00", good.instruction, good.weights), RefusalCode.MALFORMED),
        "other plan": (
            TrainRequest(other.signed(studio.plan_key).to_bytes(), good.instruction, good.weights),
            RefusalCode.MALFORMED,
        ),
        "other weights": (TrainRequest(good.plan, good.instruction, weights), RefusalCode.WRONG_BASE),
        "short weights": (
            TrainRequest(good.plan, good.instruction, studio.weights[:-1]),
            RefusalCode.WRONG_BASE,
        ),
        "other studio": (studio.request(studio="beta"), RefusalCode.NOT_FOR_THIS_STUDIO),
        "expired": (studio.request(expires_at=now - 1), RefusalCode.EXPIRED),
        "research": (
            studio.request(plan=studio.plan(mode="research", privacy_noise_multiplier=0.0)),
            RefusalCode.RESEARCH_MODE,
        ),
        "other network": (
            studio.request(plan=studio.plan(model=plan.model.model_dump() | {"architecture": "fusion-2"})),
            RefusalCode.WRONG_BASE,
        ),
        "too costly": (
            studio.request(plan=studio.plan(privacy_noise_multiplier=0.8, privacy_steps_per_round=900)),
            RefusalCode.POLICY,
        ),
        "an unknown head": (studio.request(seen=LedgerHead(sequence=5, hash="5" * 64)), RefusalCode.LEDGER),
    }
    for name, (request, expected) in cases.items():
        assert code_of(rounds.answer(request)) is expected, name
    assert untrained == []
    assert charges(studio) == 0
    assert code_of(rounds.answer(good)) is None


def test_weights_with_nan_are_refused(studio, untrained):
    studio.weights = studio.weights.copy()
    studio.weights[7] = np.nan
    assert code_of(studio.rounds().answer(studio.request())) is RefusalCode.WRONG_BASE


def test_a_spent_budget_refuses_and_says_so_at_home_only(tmp_path, untrained):
    from studio_under_test import StudioUnderTest

    studio = StudioUnderTest.made(tmp_path / "studio", {"kelp": 1}, epsilon_lifetime=1.0)
    rounds = studio.rounds()
    plan = studio.plan()
    codes = [code_of(rounds.answer(studio.request(n, plan))) for n in range(1, 12)]
    assert codes[0] is None
    assert codes[-1] is RefusalCode.BUDGET
    first_refusal = codes.index(RefusalCode.BUDGET)
    assert set(codes[first_refusal:]) == {RefusalCode.BUDGET}
    assert charges(studio) == first_refusal == len(untrained)
    assert show_ledger(studio.home).accounts[0].epsilon <= 1.0
    assert "kelp" in studio.journal()
    # what was trained before is still answered from the store
    assert code_of(rounds.answer(studio.request(1, plan))) is None


def test_a_shows_own_cap_takes_that_show_out_and_no_other(studio, untrained):
    plan = studio.plan()
    consent = ShowConsent(training_allowed=True, epsilon_lifetime=1.0)
    set_up.record_consent(studio.home, "moss", consent)
    studio.consent("moss", True)  # a consent that names no cap leaves the cap
    rounds = studio.rounds()
    for server_round in range(1, 8):
        assert code_of(rounds.answer(studio.request(server_round, plan))) is None
    kelp, moss = show_ledger(studio.home).accounts
    assert (kelp.epsilon_lifetime, moss.epsilon_lifetime) == (8.0, 1.0)
    assert moss.epsilon <= 1.0 < kelp.epsilon
    assert untrained[0] == 5
    assert untrained[-1] == 3


def test_a_clock_that_jumped_back_is_refused_and_revives_no_consent(studio, untrained):
    now = int(time.time())
    yesterday = datetime.datetime.fromtimestamp(now - 24 * 3600, datetime.UTC).date()
    rounds = studio.rounds()
    plan = studio.plan(created_at=now - 10 * 24 * 3600)
    assert code_of(rounds.answer(studio.request(1, plan))) is None
    for show in ("kelp", "moss"):
        ended = ShowConsent(training_allowed=True, allowed_until=yesterday)
        set_up.record_consent(studio.home, show, ended)
    assert code_of(rounds.answer(studio.request(2, plan))) is RefusalCode.NO_CONSENT
    back = now - 3 * 24 * 3600
    for server_round in (1, 2):  # neither the stored update nor a new one
        asked = studio.request(server_round, plan, issued_at=back)
        assert code_of(rounds.answer(asked, now=back)) is RefusalCode.LEDGER
    assert "clock" in studio.journal()
    assert charges(studio) == len(untrained) == 1


def test_a_restored_ledger_is_refused_until_the_operator_acts(studio, untrained):
    rounds = studio.rounds()
    plan = studio.plan()
    rounds.answer(studio.request(1, plan))
    backup = (studio.home / LEDGER_FILE).read_bytes()
    reply = decode_reply(rounds.answer(studio.request(2, plan)).frame)
    seen = LedgerHead(sequence=reply.ledger_sequence, hash=reply.ledger_hash)
    assert code_of(rounds.answer(studio.request(3, plan, seen=seen))) is None
    (studio.home / LEDGER_FILE).write_bytes(backup)
    assert code_of(rounds.answer(studio.request(4, plan, seen=seen))) is RefusalCode.LEDGER
    assert f"adopt the coordinator's head {seen.sequence}:{seen.hash}" in studio.journal()
    adoption = adopt_head(studio.home, seen, now=int(time.time()))
    assert adoption.exhausted == ("kelp", "moss")
    # the ledger goes on, but what the lost records may have spent counts as spent
    assert code_of(rounds.answer(studio.request(5, plan, seen=seen))) is RefusalCode.BUDGET
    assert verify_ledger(studio.home).intact


def let_out(studio, answer) -> None:
    door = EgressDoor(EgressLog(studio.home / EGRESS_LOG))
    door.release(answer.frame, answer.expected, lambda frame: None, instruction=answer.instruction, now=0.0)


def test_a_restored_ledger_is_caught_by_what_left_even_where_the_coordinator_says_nothing(studio, untrained):
    rounds = studio.rounds()
    plan = studio.plan()
    let_out(studio, rounds.answer(studio.request(1, plan)))
    backup = (studio.home / LEDGER_FILE).read_bytes()
    second = rounds.answer(studio.request(2, plan))
    let_out(studio, second)
    let_out(studio, rounds.answer(studio.request(2, plan)))  # a replay is no second charge
    verified = verify_ledger(studio.home)
    assert (verified.intact, verified.updates_left, verified.charges_kept) == (True, 3, 0)
    (studio.home / LEDGER_FILE).write_bytes(backup)
    answer = rounds.answer(studio.request(3, plan))
    assert code_of(answer) is RefusalCode.LEDGER
    let_out(studio, answer)  # a refusal leaves too, and names no charge
    verified = verify_ledger(studio.home)
    assert not verified.intact
    assert "an update has left under record 3" in verified.problem
    reply = decode_reply(second.frame)
    adopt_head(
        studio.home, LedgerHead(sequence=reply.ledger_sequence, hash=reply.ledger_hash), now=int(time.time())
    )
    assert verify_ledger(studio.home).intact
    assert code_of(rounds.answer(studio.request(3, plan))) is RefusalCode.BUDGET


def test_a_charge_that_bought_another_update_than_the_one_that_left_is_found(studio, untrained):
    let_out(studio, studio.rounds().answer(studio.request()))
    log = studio.home / EGRESS_LOG
    line = json.loads(log.read_text())
    log.write_text(json.dumps(line | {"sha256": "0" * 64}) + "\n")
    verified = verify_ledger(studio.home)
    assert (verified.intact, verified.charges_kept) == (False, 1)
    assert "another update has left under record 1" in verified.problem


def test_a_crash_in_training_stays_inside_and_stays_charged(studio, monkeypatch):
    def crash(*_, **__):
        raise RuntimeError("out of memory while reading /plates/secret/kelp_001")

    monkeypatch.setattr(local_round, "train_update", crash)
    answer = studio.rounds().answer(studio.request())
    assert code_of(answer) is RefusalCode.INTERNAL
    assert len(answer.frame) < 20
    assert charges(studio) == 1
    assert "Traceback" in studio.journal()
    assert "/plates/secret" in studio.journal()


def test_a_round_that_keeps_crashing_stops_eating_the_budget(studio, monkeypatch):
    def crash(*_, **__):
        raise RuntimeError("no memory")

    monkeypatch.setattr(local_round, "train_update", crash)
    rounds = studio.rounds()
    plan = studio.plan()
    codes = [code_of(rounds.answer(studio.request(1, plan))) for _ in range(6)]
    assert codes == [RefusalCode.INTERNAL] * 3 + [RefusalCode.LEDGER] * 3
    assert charges(studio) == 3


def test_an_update_that_may_not_leave_is_not_stored(studio, monkeypatch):
    monkeypatch.setattr(
        local_round, "train_update", lambda plan, tier, weights, shots, warn: np.full_like(weights, np.nan)
    )
    assert code_of(studio.rounds().answer(studio.request())) is RefusalCode.INTERNAL
    assert list(StoredUpdates(studio.home / UPDATES_FOLDER).frames()) == []
    assert "diverged" in studio.journal()
    assert charges(studio) == 1


def test_a_stored_update_that_was_changed_is_not_sent(studio, untrained):
    rounds = studio.rounds()
    plan = studio.plan()
    first = rounds.answer(studio.request(1, plan))
    ((path, _),) = StoredUpdates(studio.home / UPDATES_FOLDER).frames()
    reply = decode_reply(first.frame)
    changed = TrainUpdate(reply.update * 2, reply.plan_digest, reply.ledger_sequence, reply.ledger_hash)
    path.write_bytes(local_round.encode_reply(changed))
    second = rounds.answer(studio.request(1, plan))
    assert decode_reply(second.frame).ledger_sequence != reply.ledger_sequence
    assert charges(studio) == 2


def test_a_broken_settings_file_stays_inside(studio, untrained):
    (studio.home / "studio.toml").write_text("name = 1")
    assert code_of(studio.rounds().answer(studio.request())) is RefusalCode.INTERNAL
    assert "studio.toml" in studio.journal()


def test_a_ledger_that_somebody_else_writes_is_refused(studio, untrained):
    with Ledger.open(studio.home / LEDGER_FILE):
        assert code_of(studio.rounds().answer(studio.request())) is RefusalCode.LEDGER
    assert code_of(studio.rounds().answer(studio.request())) is None


def test_the_ledger_names_the_constants_and_the_data_of_the_charge(studio, untrained):
    tiers = {"s": {"shots_max": 200, "weight": 1.0, "update_denominator": 25.0, "delta": 1e-6}}
    plan = studio.plan(privacy_steps_per_round=3, size_tiers=tiers)
    studio.rounds().answer(studio.request(plan=plan))
    reserve, done = [json.loads(data) for data in read_ledger(studio.home / LEDGER_FILE)]
    for name in ("sample_rate", "noise_multiplier", "max_grad_norm", "windows_per_shot"):
        assert reserve["charge"][name] == getattr(plan.privacy, name)
    assert reserve["charge"]["steps"] == 3
    assert reserve["charge"]["delta"] == 1e-6
    assert reserve["charge"]["update_denominator"] == 25.0
    assert reserve["accountant"].startswith("opacus.prv/")
    ((_, frame),) = StoredUpdates(studio.home / UPDATES_FOLDER).frames()
    assert done["update_digest"] == digest(frame)
