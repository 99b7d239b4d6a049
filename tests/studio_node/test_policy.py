import datetime

import pytest

from federation.config import StudioConfig
from federation.errors import RefusalCode
from federation.plan import RoundInstruction, TrainingPlan
from studio_node.policy import CLOCK_SLACK_S, check_policy, consenting_shows

NOW = 1_800_000_000
DAY = int(datetime.datetime(2027, 3, 10, 12, tzinfo=datetime.UTC).timestamp())


def _plan(**changes) -> TrainingPlan:
    privacy = {
        "sample_rate": 0.25,
        "windows_per_shot": 8,
        "max_grad_norm": 1.0,
        "noise_multiplier": 2.0,
        "steps_per_round": 5,
    }
    fields = {
        "schema": "fedroto.plan/1",
        "federation": "north",
        "campaign": "autumn",
        "mode": "private",
        "created_at": NOW - 100,
        "expires_at": NOW + 10_000,
        "base_release": 1,
        "model": {
            "architecture": "fusion-1",
            "trainable": [{"name": "fusion.a", "shape": [4]}],
            "frozen_digest": "a" * 64,
        },
        "privacy": privacy
        | {k.removeprefix("privacy_"): v for k, v in changes.items() if k.startswith("privacy_")},
        "learning_rate": 0.1,
        "update": {"norm_max": 1.0, "grid": 2.0**-20},
        "rounds": 5,
        "quorum": 1,
        "deadline_s": 60,
        "size_tiers": {
            "s": {"shots_max": 200, "weight": 1.0, "update_denominator": 25.0, "delta": 1e-5},
            "m": {"shots_max": 2000, "weight": 9.0, "update_denominator": 250.0, "delta": 1e-5},
        },
        "studios": {"alpha": "s"},
    }
    return TrainingPlan.from_payload(
        fields | {k: v for k, v in changes.items() if not k.startswith("privacy_")}
    )


def _instruction(plan: TrainingPlan, **changes) -> RoundInstruction:
    fields = {
        "federation": "north",
        "campaign": plan.campaign,
        "plan_digest": plan.digest,
        "server_round": 1,
        "studio": "alpha",
        "base_digest": "b" * 64,
        "bundle_digest": "c" * 64,
        "issued_at": NOW,
        "expires_at": NOW + 60,
    }
    return RoundInstruction.model_validate(fields | changes)


def _config(**policy) -> StudioConfig:
    return StudioConfig.from_fields({"name": "alpha", "federation": "north", "policy": policy})


def _code(
    plan: TrainingPlan, config: StudioConfig | None = None, *, tier: str = "s", now: int = NOW, **changes
):
    refused = check_policy(plan, _instruction(plan, **changes), config or _config(), size_tier=tier, now=now)
    return None if refused is None else refused.code


def test_a_plan_within_bounds_is_followed():
    assert _code(_plan()) is None


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"studio": "beta"}, RefusalCode.NOT_FOR_THIS_STUDIO),
        ({"federation": "south"}, RefusalCode.NOT_FOR_THIS_STUDIO),
        ({"plan_digest": "0" * 64}, RefusalCode.MALFORMED),
        ({"campaign": "winter"}, RefusalCode.MALFORMED),
        ({"server_round": 6}, RefusalCode.POLICY),
        ({"expires_at": NOW}, RefusalCode.EXPIRED),
        ({"issued_at": NOW + CLOCK_SLACK_S + 1, "expires_at": NOW + 2000}, RefusalCode.EXPIRED),
    ],
)
def test_instructions_for_others_or_another_time_are_refused(changes, code):
    assert _code(_plan(), **changes) is code


@pytest.mark.parametrize(
    ("plan", "code"),
    [
        ({"federation": "south"}, RefusalCode.NOT_FOR_THIS_STUDIO),
        ({"studios": {"beta": "s"}}, RefusalCode.NOT_FOR_THIS_STUDIO),
        ({"studios": {"alpha": "m"}}, RefusalCode.NOT_FOR_THIS_STUDIO),
        ({"expires_at": NOW}, RefusalCode.EXPIRED),
        ({"mode": "research", "privacy_noise_multiplier": 0.0}, RefusalCode.RESEARCH_MODE),
        ({"mode": "research"}, RefusalCode.RESEARCH_MODE),
    ],
)
def test_plans_of_another_kind_are_refused(plan, code):
    assert _code(_plan(**plan)) is code


@pytest.mark.parametrize(
    ("plan", "policy", "named"),
    [
        ({"rounds": 6}, {"rounds_max": 5}, "rounds"),
        ({"privacy_steps_per_round": 6}, {"steps_per_round_max": 5}, "steps_per_round"),
        ({"privacy_windows_per_shot": 9}, {"windows_per_shot_max": 8}, "windows_per_shot"),
        ({"privacy_max_grad_norm": 1.5}, {"max_grad_norm_max": 1.0}, "max_grad_norm"),
        ({"privacy_noise_multiplier": 1.5}, {"noise_multiplier_min": 1.6}, "noise_multiplier"),
        ({"base_release": 3}, {"base_releases_allowed": [1, 2]}, "release 3"),
        ({}, {"epsilon_per_round_max": 0.5}, "epsilon"),
    ],
)
def test_each_bound_of_the_studio_holds_and_says_its_values(plan, policy, named):
    made = _plan(**plan)
    refused = check_policy(made, _instruction(made), _config(**policy), size_tier="s", now=NOW)
    assert refused is not None
    assert refused.code is RefusalCode.POLICY
    assert named in str(refused)
    assert "studio.toml" in str(refused)


def test_the_bounds_are_inclusive():
    plan = _plan(rounds=5)
    policy = {
        "rounds_max": 5,
        "steps_per_round_max": 5,
        "windows_per_shot_max": 8,
        "max_grad_norm_max": 1.0,
        "noise_multiplier_min": 2.0,
        "base_releases_allowed": [1],
    }
    assert _code(plan, _config(**policy)) is None


def test_a_clock_within_the_slack_is_accepted_and_beyond_it_is_not():
    plan = _plan(created_at=NOW + CLOCK_SLACK_S)
    assert _code(plan, issued_at=NOW + CLOCK_SLACK_S, expires_at=NOW + 2000) is None
    assert _code(plan, now=NOW - 1, issued_at=NOW, expires_at=NOW + 2000) is RefusalCode.EXPIRED


def test_a_shows_own_cap_can_only_narrow_the_studios():
    shows = {"strict": {"epsilon_lifetime": 2.0}, "lax": {"epsilon_lifetime": 50.0}, "plain": {}}
    fields = {"name": "alpha", "federation": "north", "policy": {"epsilon_lifetime": 6.0}, "shows": shows}
    config = StudioConfig.from_fields(fields)
    assert [config.epsilon_lifetime_of(show) for show in (*shows, "unknown")] == [2.0, 6.0, 6.0, 6.0]


def test_a_show_trains_only_while_its_consent_holds():
    config = StudioConfig.from_fields(
        {
            "name": "alpha",
            "federation": "north",
            "shows": {
                "always": {"training_allowed": True},
                "never": {"training_allowed": False},
                "silent": {},
                "today": {"training_allowed": True, "allowed_until": datetime.date(2027, 3, 10)},
                "over": {"training_allowed": True, "allowed_until": datetime.date(2027, 3, 9)},
            },
        }
    )
    assert consenting_shows(config, now=DAY) == {"always", "today"}
    assert consenting_shows(config, now=DAY + 24 * 3600) == {"always"}
