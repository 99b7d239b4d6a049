"""Sharing a gain at the studio's door: off by default, on held-back shots alone, charged first, told once."""

import numpy as np
import pytest
from studio_under_test import StudioUnderTest

from federation import set_up
from federation.config import ShowConsent
from federation.errors import RefusalCode
from federation.messages import TrainRefusal
from federation.plan import TrainingPlan
from federation.privacy import PrivacyEvent, epsilon
from studio_node.egress import EgressDoor, decode_reply, inspect_frame
from studio_node.egress_log import EGRESS_LOG, EgressLog, read_log
from studio_node.egress_preview import preview_egress
from studio_node.held_back import hold_back
from studio_node.ledger_file import LEDGER_FILE, read_ledger
from studio_node.ledger_records import ReserveRecord, decode_record
from studio_node.ledger_report import show_ledger, verify_ledger
from studio_node.packs import PackReader

GAIN = {"clip": 0.125, "noise_multiplier": 8.0, "windows_per_shot": 2, "shots": 8}
HELD = ("kelp_000", "moss_001")


@pytest.fixture
def sharing(tmp_path) -> StudioUnderTest:
    studio = StudioUnderTest.made(tmp_path / "studio", {"kelp": 3, "moss": 2}, share_gain=True)
    hold_back(studio.home, HELD)
    return studio


def plan_of(studio: StudioUnderTest, **changes) -> TrainingPlan:
    return studio.plan(**{"rounds": 1, "gain": GAIN} | changes)


def ask_gain(studio: StudioUnderTest, plan: TrainingPlan | None = None, **changes):
    """Ask what the last round's question is followed by, on two sets of weights."""
    plan = plan or plan_of(studio)
    trained, studio.weights = (
        studio.weights,
        np.concatenate([studio.weights, studio.weights + np.float32(0.01)]),
    )
    try:
        return studio.rounds().answer(studio.request(plan.rounds + 1, plan, **changes))
    finally:
        studio.weights = trained


def code_of(answer) -> RefusalCode | None:
    reply = decode_reply(answer.frame)
    return reply.code if isinstance(reply, TrainRefusal) else None


@pytest.fixture
def opened(monkeypatch) -> list[tuple[str, str]]:
    """What was opened, each with the type of the ledger's newest record at that moment."""
    seen = []
    real = PackReader.open.__func__

    def watched(cls, path, reservation, **rest):
        newest = decode_record(read_ledger(path.parent.parent / LEDGER_FILE)[-1])
        seen.append((path.stem, newest.type))
        return real(cls, path, reservation, **rest)

    monkeypatch.setattr(PackReader, "open", classmethod(watched))
    return seen


def test_a_studio_shares_nothing_unless_its_policy_says_so(studio, opened):
    hold_back(studio.home, HELD)
    assert code_of(ask_gain(studio)) is RefusalCode.POLICY
    assert not show_ledger(studio.home).charges
    assert not opened


def test_the_gain_is_charged_before_held_back_shots_are_opened_and_no_others_are(sharing, opened):
    answer = ask_gain(sharing)
    told = inspect_frame(answer.frame, answer.expected)
    assert told.is_gain
    assert sorted(opened) == [(shot, "reserve") for shot in HELD]
    (record,) = (
        r for r in map(decode_record, read_ledger(sharing.home / LEDGER_FILE)) if isinstance(r, ReserveRecord)
    )
    assert record.charge.event == PrivacyEvent(1.0, 8.0, 1)
    assert [account.show for account in record.accounts] == ["kelp", "moss"]
    account = show_ledger(sharing.home).accounts[0]
    assert account.epsilon == pytest.approx(epsilon([PrivacyEvent(1.0, 8.0, 1)], 1e-5))


def test_training_never_opens_a_shot_that_is_held_back(sharing, opened):
    assert (
        code_of(sharing.rounds().answer(sharing.request(1, plan_of(sharing, privacy_sample_rate=1.0))))
        is None
    )
    assert {shot for shot, _ in opened} == {"kelp_001", "kelp_002", "moss_000"}


def test_asking_again_gets_the_same_bytes_without_another_charge_or_look(sharing, opened):
    plan = plan_of(sharing)
    first = ask_gain(sharing, plan)
    again = ask_gain(sharing, plan)
    assert first.frame == again.frame
    assert again.expected.replay
    assert len(show_ledger(sharing.home).charges) == 1
    assert len(opened) == len(HELD)


def test_it_leaves_by_the_door_alone_and_log_preview_and_ledger_agree_on_it(sharing):
    answer, sent = ask_gain(sharing), []
    door = EgressDoor(EgressLog(sharing.home / EGRESS_LOG))
    door.release(answer.frame, answer.expected, sent.append, instruction=answer.instruction, now=1.0)
    (line,) = read_log(sharing.home).lines
    assert line.kind == "gain"
    assert [field.name for field in line.fields] == ["gain", "plan_digest", "ledger_sequence", "ledger_hash"]
    assert float(line.fields[0].value) == pytest.approx(float(decode_reply(answer.frame).update[0]))
    (stored,) = preview_egress(sharing.home).stored
    assert stored.sha256 == line.sha256
    verified = verify_ledger(sharing.home)
    assert verified.intact
    assert (verified.updates_left, verified.charges_kept) == (1, 0)
    assert sent == [answer.frame]


@pytest.mark.parametrize(
    ("policy", "gain", "said"),
    [
        ({"epsilon_per_gain_max": 0.2}, {}, "sharing the gain costs epsilon 0.4"),
        ({"noise_multiplier_min": 9.0}, {}, "gain's noise_multiplier is 8"),
        ({"windows_per_shot_max": 1}, {}, "windows_per_shot"),
    ],
)
def test_the_studios_bounds_hold_for_the_gain_too(tmp_path, policy, gain, said):
    studio = StudioUnderTest.made(tmp_path / "studio", {"kelp": 2}, share_gain=True, **policy)
    hold_back(studio.home, ["kelp_000"])
    answer = ask_gain(studio, plan_of(studio, privacy_windows_per_shot=1, privacy_noise_multiplier=9.0))
    assert code_of(answer) is RefusalCode.POLICY
    assert said in studio.journal()


def test_without_consent_a_held_back_shot_is_not_opened(sharing, opened):
    set_up.record_consent(sharing.home, "kelp", ShowConsent(training_allowed=False))
    assert code_of(ask_gain(sharing)) is None
    assert [shot for shot, _ in opened] == ["moss_001"]


def test_a_shot_that_was_trained_on_cannot_be_held_back_and_consenting_again_keeps_those_that_are(sharing):
    from federation.errors import IngestError

    sharing.rounds().answer(sharing.request(1, plan_of(sharing)))
    with pytest.raises(IngestError, match="was trained on"):
        hold_back(sharing.home, ["kelp_001"])
    set_up.record_consent(sharing.home, "kelp", ShowConsent(training_allowed=True, allowed_by="contract 18"))
    assert hold_back(sharing.home, ["kelp_000"]) == {"kelp": ("kelp_000",), "moss": ("moss_001",)}


def test_the_question_beyond_the_gain_and_one_set_of_weights_are_refused(sharing):
    plan = plan_of(sharing)
    assert code_of(sharing.rounds().answer(sharing.request(3, plan))) is RefusalCode.POLICY
    assert code_of(sharing.rounds().answer(sharing.request(2, plan))) is RefusalCode.WRONG_BASE
    assert not show_ledger(sharing.home).charges
