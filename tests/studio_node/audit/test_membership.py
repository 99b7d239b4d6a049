"""The membership attack: silent on what the claim allows, loud on what it does not, and better than guessing at all."""

import numpy as np
import pytest

from federation.errors import PlanError
from studio_node.audit import membership
from studio_node.audit.auditor import claimed_plan
from studio_node.audit.membership import TrainedOnce, attack_membership, likelihood_ratios, recognition
from studio_node.audit.report import AuditReport
from studio_node.audit.report_parts import report_page

CLAIMED = claimed_plan(None, None)


@pytest.fixture
def simulated(monkeypatch):
    """Replace the training by scores that lie further apart the less noise there is; returns how to set that."""
    rng = np.random.default_rng(2)
    shifts = {}

    def trained_once(constants, shots):
        included = rng.random(len(shots)) < 0.5
        own = np.linspace(-2, 2, len(shots))  # every shot has its own level, which only shadows can know
        shift = shifts["noised" if constants.noise_multiplier else "clean"]
        return TrainedOnce(included, own + rng.standard_normal((2, len(shots))) + shift * included)

    def simulated(*, noised: float, clean: float = 8.0, trainings: int = 96):
        shifts.update(noised=noised, clean=clean)
        return attack_membership(CLAIMED.privacy, CLAIMED.rounds, CLAIMED.delta, trainings)

    monkeypatch.setattr(membership, "trained_once", trained_once)
    monkeypatch.setattr(membership, "made_up_shot", lambda number: [])
    return simulated


def test_it_names_nobody_falsely_and_accuses_only_where_the_claim_is_broken(simulated):
    honest = simulated(noised=0.6)
    clean, noised = honest.recognised[:2], honest.recognised[2:]
    assert all(one.noise_multiplier == 0 and one.shot_right > 0.99 and one.caught > 0.95 for one in clean)
    assert all(0.55 < one.shot_right < 0.75 and one.caught < 0.2 for one in noised)
    assert not honest.fires
    assert simulated(noised=8.0).fires


def test_the_report_says_what_it_found(simulated):
    found = simulated(noised=0.6)
    report = AuditReport(
        1, 0, "autumn", CLAIMED.privacy, CLAIMED.rounds, CLAIMED.epsilon, CLAIMED.delta, {}, None, (),
        membership=found,
    )  # fmt: skip
    assert report.holds
    assert report.payload()["membership"]["bounds"][0]["claim"]["name"] == membership.SCORES[0]
    assert "4. Membership" in report_page(report)


def test_chance_is_half_and_too_few_trainings_are_refused():
    rng = np.random.default_rng(1)
    included, scores = rng.random((200, 16)) < 0.5, rng.standard_normal((200, 16))
    guessing = recognition("nothing", 1.0, likelihood_ratios(included, scores, shadows=100))
    assert guessing.shot_right == pytest.approx(0.5, abs=0.06)
    assert guessing.caught < 0.05
    with pytest.raises(PlanError, match="take 16 or more"):
        attack_membership(CLAIMED.privacy, 1, 1e-5, 4)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_without_noise_real_trainings_give_their_shots_away():
    found = attack_membership(CLAIMED.privacy, CLAIMED.rounds, CLAIMED.delta, 32)
    clean, noised = found.recognised[:2], found.recognised[2:]
    assert max(one.shot_right for one in clean) > 0.9
    assert max(one.shot_right for one in noised) < max(one.shot_right for one in clean)
    assert not found.fires
