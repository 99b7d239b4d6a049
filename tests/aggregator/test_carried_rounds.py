"""A studio without a line takes part by files, beside studios that have one, in the real round loop."""

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from federation_simulator import BUNDLE, START, FederationSimulator, SimulatedCourier, use_tiny_model

from aggregator.campaign import BaseWeights, CampaignRequest, run_campaign
from aggregator.carried_rounds import (
    CARRIED_FOLDER,
    CarriedCourier,
    carried_keys,
    export_question,
    import_answer,
)
from aggregator.courier import Clock, Pace
from aggregator.enrolment import Enrolment
from federation import keys
from federation.carried import read_question, sign_answer
from federation.documents import DocumentError, SignatureError
from federation.errors import MessageError, RefusalCode, RoundError
from federation.messages import TrainRefusal, TrainUpdate
from federation.plan import RoundInstruction, TrainingPlan
from federation.update_signature import UpdateSubject


@pytest.fixture
def federation(tmp_path, monkeypatch, quick_disk):
    use_tiny_model(monkeypatch)
    return Carried(tmp_path)


class Carried:
    """Three studios; cedar has no line, and somebody who carries its files."""

    def __init__(self, folder):
        self.folder = folder
        self.simulator = FederationSimulator(folder / "home")
        self.home = self.simulator.home
        self.cedar = self.simulator.studios["cedar"]
        self.cedar.online = False
        plan_key = keys.load_plan_key(self.home / "keys" / "plan_key")
        (self.home / "plan_key.pub").write_bytes(keys.public_pem(plan_key.public_key()))
        self.exported = []

    def run(self, **overrides):
        simulator = self.simulator
        settings = {"noise_multiplier": 0.0, "rounds": 1, "quorum": 3, "deadline_s": 1000} | overrides
        return run_campaign(
            self.home,
            CampaignRequest("spring", BaseWeights(1, simulator.base), settings, "research"),
            lambda folder, bundle: CarriedCourier(
                SimulatedCourier(simulator), folder / CARRIED_FOLDER, carried_keys(self.home, ["cedar"])
            ),
            bundle=BUNDLE,
            clock=Clock(lambda: simulator.now, simulator.sleep),
            pace=Pace(poll_s=0.5, roster_s=1.0),
        )

    def question(self):
        file = self.folder / "out.question"
        self.exported.append(export_question(self.home, "cedar", file))
        return file.read_bytes()

    def answer(self, question, *, key=None, distort=lambda update: update, reply=None):
        """What an honest studio does with a question, unless told otherwise."""
        request = read_question(question)
        plan = TrainingPlan.verified(request.plan, self.cedar.plan_key)
        instruction = RoundInstruction.verified(request.instruction, self.cedar.plan_key)
        assert self.cedar.objection(plan, instruction) is None
        if instruction.question not in self.cedar.stored:
            self.cedar.stored[instruction.question] = self.cedar.train(plan, instruction)
        reply = reply or distort(self.cedar.stored[instruction.question])
        file = self.folder / "back.answer"
        subject = UpdateSubject.of(instruction)
        file.write_bytes(
            sign_answer(reply, question=question, subject=subject, node_key=key or self.cedar.key)
        )
        return file

    def carry(self, **how):
        import_answer(self.home, self.answer(self.question(), **how))


def test_a_carried_studio_counts_like_any_other(federation):
    federation.simulator.at(100, federation.carry)
    result = federation.run()
    assert result.state == "complete"
    assert result.rounds[0].returned == ("ash", "birch", "cedar")
    (question,) = federation.exported
    assert (question.studio, question.server_round, question.campaign) == ("cedar", 1, "spring")


def test_carried_rounds_follow_each_other(federation):
    federation.simulator.at(100, federation.carry)
    federation.simulator.at(300, federation.carry)
    result = federation.run(rounds=2)
    assert [one.returned for one in result.rounds] == [("ash", "birch", "cedar")] * 2
    assert [one.server_round for one in federation.exported] == [1, 2]
    assert len(federation.cedar.charged) == 2


def test_a_file_that_is_not_carried_back_leaves_the_round_to_its_quorum(federation):
    assert federation.run(quorum=2).rounds[0].missing == ("cedar",)


def test_an_answer_is_kept_through_a_restart_of_the_coordinator(federation):
    def carry_and_stop():
        federation.carry()
        raise KeyboardInterrupt

    federation.simulator.at(100, carry_and_stop)
    with pytest.raises(KeyboardInterrupt):
        federation.run()
    assert federation.run().rounds[0].returned == ("ash", "birch", "cedar")
    assert len(federation.cedar.charged) == 1


def test_a_carried_update_passes_the_same_validation(federation):
    def lie(update):
        return TrainUpdate(
            np.full_like(update.update, np.nan),
            update.plan_digest,
            update.ledger_sequence,
            update.ledger_hash,
        )

    federation.simulator.at(100, lambda: federation.carry(distort=lie))
    result = federation.run(quorum=2)
    assert result.rounds[0].missing == ("cedar",)


def test_a_carried_refusal_is_told_as_one(federation):
    refusal = TrainRefusal(RefusalCode.BUDGET)
    federation.simulator.at(100, lambda: federation.carry(reply=refusal))
    assert federation.run(quorum=2).rounds[0].missing == ("cedar",)


@pytest.fixture
def asked(federation):
    """A round in which cedar was asked by file and has not answered."""
    federation.simulator.at(100, lambda: setattr(federation, "kept", federation.question()))
    federation.run(quorum=2)
    federation.simulator.now = START + 100  # the studio answers in time, whatever became of the round
    return federation


def test_an_answer_signed_by_another_key_is_refused(asked):
    thief = ec.generate_private_key(ec.SECP384R1())
    with pytest.raises(SignatureError):
        import_answer(asked.home, asked.answer(asked.kept, key=thief))


def test_a_changed_answer_is_refused_whatever_byte_it_is(asked):
    file = asked.answer(asked.kept)
    good = file.read_bytes()
    newline = good.index(b"\n")
    for place in (40, newline - 30, newline + 1, newline + 60, len(good) - 1):
        file.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        with pytest.raises((DocumentError, MessageError, RoundError)):
            import_answer(asked.home, file)
    for cut in (good[:-1], good + b"x", good[:newline], b""):
        file.write_bytes(cut)
        with pytest.raises((DocumentError, MessageError, RoundError)):
            import_answer(asked.home, file)
    file.write_bytes(good)
    assert import_answer(asked.home, file).studio == "cedar"


def test_an_answer_to_a_question_that_was_never_asked_is_refused(asked):
    file = asked.folder / "other.answer"
    refusal, subject = TrainRefusal(RefusalCode.BUSY), UpdateSubject("spring", 1, "cedar", "a" * 64, "b" * 64)
    file.write_bytes(
        sign_answer(refusal, question=b"another question", subject=subject, node_key=asked.cedar.key)
    )
    with pytest.raises(RoundError, match="never asked"):
        import_answer(asked.home, file)


def test_a_revoked_studios_answer_is_refused(asked):
    file = asked.answer(asked.kept)
    with Enrolment(asked.home) as enrolment:
        enrolment.revoke("cedar", now=1)
    with pytest.raises(RoundError, match="revoked"):
        import_answer(asked.home, file)


def test_nothing_is_exported_for_a_studio_that_has_a_line(asked):
    with pytest.raises(RoundError, match="no question waits for studio ash"):
        export_question(asked.home, "ash", asked.folder / "x")
