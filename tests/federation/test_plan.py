import copy

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.documents import sign
from federation.errors import DocumentError, PlanError, SignatureError
from federation.plan import PARAMETERS_MAX, RoundInstruction, TrainingPlan

KEY = ed25519.Ed25519PrivateKey.generate()
GAIN = {"clip": 0.125, "noise_multiplier": 8.0, "windows_per_shot": 16, "shots": 20}
PLAN = {
    "schema": "fedroto.plan/1",
    "federation": "north",
    "campaign": "autumn",
    "mode": "private",
    "created_at": 1_800_000_000,
    "expires_at": 1_800_100_000,
    "base_release": 1,
    "model": {
        "architecture": "fusion-1",
        "trainable": [{"name": "fusion.a", "shape": [2, 3]}, {"name": "fusion.b", "shape": []}],
        "frozen_digest": "ab" * 32,
    },
    "privacy": {
        "unit": "shot",
        "neighboring_relation": "add_or_remove_one",
        "sample_rate": 0.25,
        "windows_per_shot": 8,
        "max_grad_norm": 1.0,
        "noise_multiplier": 2.0,
        "steps_per_round": 5,
    },
    "learning_rate": 0.1,
    "update": {"norm_max": 1.0, "grid": 2.0**-20, "value_bits": 32},
    "rounds": 3,
    "quorum": 2,
    "deadline_s": 60,
    "staleness_max": 1,
    "aggregation": "norm_clipped_mean",
    "size_tiers": {"s": {"shots_max": 200, "weight": 1.0, "update_denominator": 25.0, "delta": 1e-5}},
    "studios": {"alpha": "s", "beta": "s"},
}
INSTRUCTION = {
    "schema": "fedroto.instruction/1",
    "federation": "north",
    "campaign": "autumn",
    "plan_digest": "cd" * 32,
    "server_round": 1,
    "studio": "alpha",
    "base_digest": "ef" * 32,
    "bundle_digest": "01" * 32,
    "issued_at": 1_800_000_000,
    "expires_at": 1_800_000_100,
    "seen_head": {"sequence": 4, "hash": "23" * 32},
}
LEAVE_OUT = object()


def changed(payload, path, value):
    result = copy.deepcopy(payload)
    target = result
    *parents, last = path.split("/")
    for parent in parents:
        target = target[int(parent) if isinstance(target, list) else parent]
    if value is LEAVE_OUT:
        del target[last]
    else:
        target[last] = value
    return result


def test_a_plan_survives_signing_and_keeps_its_id():
    plan = TrainingPlan.from_payload(PLAN)
    read = TrainingPlan.verified(plan.signed(KEY).to_bytes(), KEY.public_key())
    assert read == plan
    assert read.digest == plan.digest
    assert read.payload() == PLAN
    assert plan.model.parameters == 7
    assert plan.tier_of("alpha").shots_max == 200


def test_the_plan_and_its_parts_are_frozen():
    plan = TrainingPlan.from_payload(PLAN)
    for thing, name in ((plan, "rounds"), (plan.privacy, "noise_multiplier"), (plan.update, "norm_max")):
        with pytest.raises(ValueError, match="frozen"):
            setattr(thing, name, 1)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("privacy/noise_multiplier", 0.79, "floor of 0.8"),
        ("privacy/noise_multiplier", float("nan"), "noise_multiplier"),
        ("privacy/sample_rate", 0.0, "sample_rate"),
        ("privacy/sample_rate", 1.01, "sample_rate"),
        ("privacy/sample_rate", "0.25", "sample_rate"),
        ("privacy/max_grad_norm", float("inf"), "max_grad_norm"),
        ("privacy/windows_per_shot", 8.0, "windows_per_shot"),
        ("privacy/windows_per_shot", True, "windows_per_shot"),
        ("privacy/unit", "window", "unit"),
        ("privacy/epsilom", 1, "privacy.epsilom"),
        ("privacy/steps_per_round", LEAVE_OUT, "privacy.steps_per_round"),
        ("update/grid", 0.003, "power of two"),
        ("update/grid", -(2.0**-20), "grid"),
        ("update/norm_max", 0.0, "norm_max"),
        ("size_tiers/s/delta", 1e-4, "delta"),
        ("size_tiers/s/update_denominator", 0.0, "update_denominator"),
        ("studios", {"alpha": "s", "beta": "xl"}, "tiers that the plan does not define: xl"),
        ("studios", {}, "names no studio"),
        ("quorum", 3, "quorum is 3 but the plan names 2"),
        ("expires_at", 1_800_000_000, "not after created_at"),
        ("model/trainable", [], "trainable"),
        ("model/trainable", [{"name": "a", "shape": [0]}], "trainable"),
        ("model/trainable", [{"name": "a", "shape": [PARAMETERS_MAX + 1]}], "at most"),
        ("model/frozen_digest", "AB" * 32, "frozen_digest"),
        ("campaign", "../../etc", "campaign"),
        ("campaign", "", "campaign"),
        ("mode", "public", "mode"),
        ("schema", "fedroto.plan/2", "schema"),
        ("aggregation", "krum", "aggregation"),
        ("staleness_max", 2, "staleness_max"),
        ("gain", {**GAIN, "noise_multiplier": 0.5}, "gain.noise_multiplier"),
        ("gain", {**GAIN, "clip": 2.0}, "gain.clip"),
        ("gain", {**GAIN, "note": 1}, "gain.note"),
        ("note", "hi", "note"),
        ("rounds", LEAVE_OUT, "rounds"),
    ],
)
def test_a_plan_that_is_out_of_range_says_where(path, value, said):
    with pytest.raises(PlanError, match=said):
        TrainingPlan.from_payload(changed(PLAN, path, value))


def test_a_plan_that_asks_for_gains_has_one_question_more_and_another_answer_to_it():
    plain, plan = TrainingPlan.from_payload(PLAN), TrainingPlan.from_payload(changed(PLAN, "gain", GAIN))
    assert plain.gain_round is None
    assert "gain" not in plain.payload(), "a plan that does not ask has the id that it had before"
    assert plan.gain_round == plan.rounds + 1
    assert plan.answer_form(plan.rounds) == plain.answer_form(plan.rounds)
    form = plan.answer_form(plan.rounds + 1)
    assert (form.parameters, form.bounds.norm_max) == (1, pytest.approx(0.125 * (20 + 48)))
    large = changed(PLAN, "model/trainable", [{"name": "a", "shape": [PARAMETERS_MAX]}])
    TrainingPlan.from_payload(large)
    with pytest.raises(PlanError, match=f"two sets of {PARAMETERS_MAX} values"):
        TrainingPlan.from_payload(changed(large, "gain", GAIN))


def test_a_research_plan_may_go_without_noise_and_says_that_it_is_not_private():
    payload = changed(changed(PLAN, "mode", "research"), "privacy/noise_multiplier", 0.0)
    assert TrainingPlan.from_payload(payload).not_private
    assert not TrainingPlan.from_payload(PLAN).not_private


def test_a_studio_that_the_plan_does_not_name_has_no_tier():
    with pytest.raises(PlanError, match="no studio 'gamma'"):
        TrainingPlan.from_payload(PLAN).tier_of("gamma")


@given(
    sample_rate=st.floats(1e-6, 1),
    noise_multiplier=st.floats(0.8, 1e3),
    max_grad_norm=st.floats(1e-6, 1e3),
    rounds=st.integers(1, 100_000),
)
@settings(max_examples=60, deadline=None)
def test_constants_come_back_bit_for_bit(sample_rate, noise_multiplier, max_grad_norm, rounds):
    payload = copy.deepcopy(PLAN)
    payload["rounds"] = rounds
    payload["privacy"] |= {
        "sample_rate": sample_rate,
        "noise_multiplier": noise_multiplier,
        "max_grad_norm": max_grad_norm,
    }
    plan = TrainingPlan.from_payload(payload)
    assert TrainingPlan.verified(plan.signed(KEY).to_bytes(), KEY.public_key()) == plan


@pytest.mark.parametrize(
    ("path", "value"),
    [("privacy/noise_multiplier", 2.5), ("studios", {"alpha": "s"}), ("learning_rate", 0.2), ("rounds", 4)],
)
def test_every_change_changes_the_plans_id(path, value):
    payload = changed(changed(PLAN, "quorum", 1), path, value)
    base = TrainingPlan.from_payload(changed(PLAN, "quorum", 1))
    assert TrainingPlan.from_payload(payload).digest != base.digest


def test_a_plan_by_another_key_or_of_another_kind_is_refused():
    other = ed25519.Ed25519PrivateKey.generate()
    plan = TrainingPlan.from_payload(PLAN)
    with pytest.raises(SignatureError):
        TrainingPlan.verified(plan.signed(other).to_bytes(), KEY.public_key())
    with pytest.raises(SignatureError, match="expected a signed plan"):
        TrainingPlan.verified(sign("instruction", PLAN, KEY).to_bytes(), KEY.public_key())
    with pytest.raises(SignatureError, match="expected a signed instruction"):
        RoundInstruction.verified(plan.signed(KEY).to_bytes(), KEY.public_key())


@pytest.mark.parametrize("head", [None, {"sequence": 0, "hash": "00" * 32}])
def test_an_instruction_survives_signing(head):
    payload = changed(INSTRUCTION, "seen_head", head)
    data = sign("instruction", payload, KEY).to_bytes()
    instruction = RoundInstruction.verified(data, KEY.public_key())
    assert instruction.payload() == payload
    assert RoundInstruction.verified(instruction.signed(KEY).to_bytes(), KEY.public_key()) == instruction


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("server_round", 0),
        ("server_round", 1.0),
        ("base_digest", "ef" * 31),
        ("studio", "Alpha"),
        ("seen_head/sequence", -1),
        ("seen_head/note", 1),
        ("note", 1),
        ("expires_at", LEAVE_OUT),
        ("schema", "fedroto.plan/1"),
    ],
)
def test_a_malformed_instruction_is_a_document_error(path, value):
    data = sign("instruction", changed(INSTRUCTION, path, value), KEY).to_bytes()
    with pytest.raises(DocumentError, match=path.split("/")[-1]):
        RoundInstruction.verified(data, KEY.public_key())


def test_a_question_asked_again_is_the_same_question_and_another_base_is_not():
    first = RoundInstruction.verified(sign("instruction", INSTRUCTION, KEY).to_bytes(), KEY.public_key())

    def question(path, value):
        data = sign("instruction", changed(INSTRUCTION, path, value), KEY).to_bytes()
        return RoundInstruction.verified(data, KEY.public_key()).question

    for path, value in (("issued_at", 1_800_000_050), ("expires_at", 1_900_000_000), ("seen_head", None)):
        assert question(path, value) == first.question
    for path, value in (
        ("base_digest", "aa" * 32),
        ("server_round", 2),
        ("plan_digest", "aa" * 32),
        ("campaign", "w"),
    ):
        assert question(path, value) != first.question
