import math

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from aggregator.enrolment import EnrolledStudio, StudioState
from aggregator.plan_builder import build_plan, require_same_settings
from federation.config import FederationConfig, PlanDefaults
from federation.errors import PlanError
from federation.keys import openssh_public
from federation.plan import ModelSpec, SizeTier, TensorEntry

KEY = openssh_public(ec.generate_private_key(ec.SECP384R1()).public_key()).decode()
MODEL = ModelSpec(
    architecture="fusion-1", trainable=(TensorEntry(name="fusion.w", shape=(3, 2)),), frozen_digest="ab" * 32
)
LARGE = MODEL.model_copy(update={"trainable": (TensorEntry(name="fusion.w", shape=(100_000,)),)})
CONFIG = FederationConfig(
    name="fed", hosts=("localhost",), plan=PlanDefaults(quorum=2, rounds=4, deadline_s=60)
)


def enrolled(name, tier="s", state=StudioState.ADMITTED):
    return EnrolledStudio(name, tier, KEY, state, 0, None)


BOOK = (enrolled("ash"), enrolled("birch", "m"), enrolled("cedar", state=StudioState.REVOKED))


def plan_of(config=CONFIG, book=BOOK, mode="private", model=MODEL, **overrides):
    return build_plan(
        config, book, model, campaign="spring", base_release=1, now=1000, overrides=overrides, mode=mode
    )


def test_the_plan_names_the_admitted_studios_and_takes_the_settings():
    plan = plan_of()
    assert plan.studios == {"ash": "s", "birch": "m"}
    assert (plan.rounds, plan.quorum, plan.deadline_s, plan.staleness_max) == (4, 2, 60, 1)
    assert plan.privacy.noise_multiplier == CONFIG.plan.noise_multiplier
    assert plan.update.norm_max == CONFIG.plan.norm_max
    assert plan.model == MODEL
    assert plan.mode == "private"


def test_the_plan_outlives_its_rounds():
    plan = plan_of()
    assert plan.created_at == 1000
    assert plan.expires_at >= 1000 + 4 * 60 * 2


def test_overrides_win_and_are_checked():
    plan = plan_of(rounds=9, noise_multiplier=3.5, grid=2.0**-12, staleness_max=0)
    assert (plan.rounds, plan.privacy.noise_multiplier, plan.update.grid) == (9, 3.5, 2.0**-12)
    assert plan.staleness_max == 0
    with pytest.raises(PlanError, match="'epochs'"):
        plan_of(epochs=3)
    with pytest.raises(PlanError, match="sample_rate"):
        plan_of(sample_rate=1.5)
    with pytest.raises(PlanError, match="grid"):
        plan_of(grid=0.003)


def test_values_of_one_byte_get_a_grid_that_reaches_eight_times_as_far_as_their_mean_size():
    plan = plan_of(value_bits=8)
    reach = 127 * plan.update.grid / (plan.update.norm_max / math.sqrt(plan.model.parameters))
    assert 8 <= reach < 16
    assert plan_of().update.value_bits == 32
    with pytest.raises(PlanError, match="too fine"):
        plan_of(value_bits=8, grid=2.0**-20)


def test_the_learning_rate_follows_the_noise_of_the_studios_unless_it_is_set():
    def rate_of(tiers: str, **overrides) -> float:
        book = [enrolled(f"studio{number}", tier) for number, tier in enumerate(tiers)]
        return plan_of(book=book, model=LARGE, quorum=1, **overrides).learning_rate

    assert rate_of("sss") == 0.1
    assert rate_of("mmm") == rate_of("sm") == 0.6  # the large studio's weight makes the mean its own
    assert 0.1 < rate_of("ssssssm") < 0.6
    assert rate_of("mmm", noise_multiplier=5.0) == pytest.approx(0.42, abs=0.01)  # noise of norm 3 in each
    assert rate_of("mmm", learning_rate=0.07) == 0.07


def test_noise_below_the_floor_is_only_for_research():
    with pytest.raises(PlanError, match="below the floor"):
        plan_of(noise_multiplier=0.0)
    assert plan_of(noise_multiplier=0.0, mode="research").not_private


def test_default_size_tiers_follow_the_sample_rate_and_own_ones_stay():
    assert plan_of(sample_rate=0.5).size_tiers["s"].update_denominator == 50.0
    own = {"s": SizeTier(shots_max=9, weight=1.0, update_denominator=7.0, delta=1e-5)}
    config = CONFIG.model_copy(update={"size_tiers": own})
    assert plan_of(config, (enrolled("ash"),), sample_rate=0.5, quorum=1).size_tiers == own


def test_nobody_admitted_or_an_unknown_tier_says_so():
    with pytest.raises(PlanError, match="no studio is admitted"):
        plan_of(book=(BOOK[2],))
    with pytest.raises(PlanError, match="studio oak is of size tier 'huge'"):
        plan_of(book=(*BOOK, enrolled("oak", "huge")))


def test_a_quorum_that_nobody_can_reach_is_refused():
    with pytest.raises(PlanError, match="quorum is 3 but the plan names 2 studios") as refused:
        plan_of(quorum=3)
    assert "--set quorum=2" in refused.value.hint


def test_a_rule_of_aggregation_is_a_setting_and_needs_its_quorum():
    book = tuple(enrolled(name) for name in ("ash", "birch", "cedar"))
    assert plan_of(book=book, aggregation="median", quorum=3).aggregation == "median"
    with pytest.raises(PlanError, match="median needs updates of 3 studios, quorum is 2"):
        plan_of(book=book, aggregation="median")
    with pytest.raises(PlanError, match="aggregation"):
        plan_of(book=book, aggregation="krum")


def test_going_on_with_other_settings_is_refused_with_both_values():
    plan = plan_of()
    require_same_settings(plan, {"rounds": 4, "norm_max": CONFIG.plan.norm_max, "sample_rate": 0.25})
    require_same_settings(plan, None)
    with pytest.raises(PlanError, match="started with rounds 4, not 5"):
        require_same_settings(plan, {"rounds": 5})
