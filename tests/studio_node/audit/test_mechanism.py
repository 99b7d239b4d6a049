"""Level 1 stays silent on the real code and names each planted bug."""

from dataclasses import replace

import numpy as np
import planted_bugs
import pytest

from federation.plan import PrivacyConstants
from studio_node.audit import mechanism, outward
from studio_node.audit.mechanism import check_mechanism, draw_noise, noise_findings
from studio_node.audit.outward import check_outward
from studio_node.audit.repeats import STEPS_EACH, Restart, repeat_findings

PLAN = PrivacyConstants(
    sample_rate=0.25, windows_per_shot=4, max_grad_norm=0.5, noise_multiplier=2.0, steps_per_round=5
)
NOTHING = np.zeros((0, mechanism.WEIGHTS))


def fired(privacy: PrivacyConstants = PLAN) -> set[str]:
    """The names of the checks that fire: mechanism and repeats."""
    findings, rows = check_mechanism(privacy)
    findings = [*findings, *repeat_findings(rows, NOTHING)]
    assert all(finding.question.endswith("?") and finding.detail for finding in findings)
    return {finding.name for finding in findings if not finding.holds}


def test_the_real_code_passes():
    assert fired() == set()


def test_the_real_code_passes_at_other_constants():
    other = PLAN.model_copy(update={"max_grad_norm": 3.0, "noise_multiplier": 0.8, "windows_per_shot": 1})
    assert mechanism.largest_reach(other) <= 1 + mechanism.ROUNDING
    assert noise_fired(other) == set()


def noise_fired(privacy: PrivacyConstants = PLAN) -> set[str]:
    """The names of the checks on 80,000 draws that fire: enough for whatever is not a matter of per cents."""
    few = {"trainers": 2, "steps": 10}
    alone = draw_noise(privacy, with_shot=False, **few)
    beside = draw_noise(privacy, with_shot=True, **few)
    findings = noise_findings(alone, beside, 1.0, privacy.noise_multiplier)
    findings += repeat_findings(np.concatenate([alone, beside]), NOTHING)
    return {finding.name for finding in findings if not finding.holds}


def test_a_noise_deficit_of_five_per_cent_is_caught(monkeypatch):
    planted_bugs.noise_scaled(monkeypatch, 0.95)
    assert {"noise, empty batch", "noise, one shot"} <= fired()


def test_the_epsilon_that_a_deficit_costs_is_said(monkeypatch):
    planted_bugs.noise_scaled(monkeypatch, 0.9)
    rows = draw_noise(PLAN.model_copy(update={"noise_multiplier": 1.0}), with_shot=False)
    findings = noise_findings(rows, rows, 1.0, 1.0)
    detail = next(finding.detail for finding in findings if finding.name == "noise, empty batch")
    found = float(detail.partition("at least ")[2].split()[0])
    assert "of the claimed 4.377" in detail
    assert 4.85 < found < 5.0  # 4.95 by the analytic Gaussian mechanism at a shift of 1 / 0.9


def test_noise_halved_is_caught(monkeypatch):
    planted_bugs.noise_scaled(monkeypatch, 0.5)
    assert {"noise, empty batch", "form, empty batch"} <= noise_fired()


def test_noise_missing_is_caught(monkeypatch):
    planted_bugs.noise_scaled(monkeypatch, 0.0)
    assert {"noise, empty batch", "form, empty batch", "every weight", "repeats"} <= noise_fired()


def test_window_level_clipping_is_caught(monkeypatch):
    planted_bugs.window_level_clipping(monkeypatch)
    assert mechanism.largest_reach(PLAN) == pytest.approx(PLAN.windows_per_shot, rel=1e-3)
    assert {"sensitivity", "noise, one shot"} <= fired()


def test_clipping_tensor_by_tensor_is_caught(monkeypatch):
    planted_bugs.tensor_level_clipping(monkeypatch)
    assert mechanism.largest_reach(PLAN) > 1.4


@pytest.mark.parametrize(
    "bug",
    [
        planted_bugs.seed_in_the_trainer,
        planted_bugs.global_generator,
        planted_bugs.one_noise_for_every_tensor,
    ],
)
def test_a_seed_reused_is_caught(monkeypatch, bug):
    bug(monkeypatch)
    assert "repeats" in noise_fired()


def test_a_seed_at_the_start_of_a_process_is_caught():
    rows = draw_noise(PLAN, with_shot=False, trainers=1, steps=4)
    assert all(finding.holds for finding in repeat_findings(rows[:2], rows[2:]))
    assert "repeats" in {f.name for f in repeat_findings(rows, rows[1:3]) if not f.holds}


def test_a_restarted_process_draws_other_noise():
    rows = Restart(PLAN).rows()
    assert rows.shape == (2 * STEPS_EACH, mechanism.WEIGHTS)
    assert rows.std() == pytest.approx(1, abs=0.05)
    assert all(finding.holds for finding in repeat_findings(rows[:STEPS_EACH], rows[STEPS_EACH:]))


def test_noise_that_is_cut_off_is_caught(monkeypatch):
    planted_bugs.bounded_noise(monkeypatch)
    assert "tails" in fired()


def test_a_normaliser_fitted_across_shots_is_caught(monkeypatch):
    planted_bugs.normaliser_across_shots(monkeypatch)
    assert mechanism.moved_others(PLAN) > 10 * mechanism.ROUNDING
    monkeypatch.undo()
    assert mechanism.moved_others(PLAN) < mechanism.ROUNDING / 5


def test_what_leaves_the_real_pipeline_passes():
    assert [(f.name, f.holds) for f in check_outward(PLAN)] == [("fields", True), ("every value", True)]


def test_an_unnoised_metric_in_the_update_is_caught(monkeypatch):
    planted_bugs.metric_in_the_weights(monkeypatch)
    assert [f.name for f in check_outward(PLAN) if not f.holds] == ["every value"]


def test_an_unnoised_metric_beside_the_update_is_caught(monkeypatch):
    real = outward.encode_reply
    count = iter(range(1000))
    monkeypatch.setattr(outward, "encode_reply", lambda reply: real(reply) + bytes(next(count) % 2))
    assert [f.name for f in check_outward(PLAN) if not f.holds] == ["fields"]  # the door holds it back


def test_an_unnoised_metric_in_a_field_is_caught(monkeypatch):
    real = outward.encode_reply

    def counting(reply):
        return real(replace(reply, ledger_sequence=int(1e6 * abs(float(reply.update[0])))))

    monkeypatch.setattr(outward, "encode_reply", counting)
    monkeypatch.setattr(outward, "inspect_frame", lambda frame, expected: None)  # and the door lets it pass
    assert "fields" in [f.name for f in check_outward(PLAN) if not f.holds]


def test_the_limits_add_up_to_less_than_one_false_alarm_in_a_million():
    findings, rows = check_mechanism(PLAN)
    statistical = len(findings) + len(repeat_findings(rows, NOTHING)) + 1
    assert statistical * mechanism.ALARM < 1e-6
