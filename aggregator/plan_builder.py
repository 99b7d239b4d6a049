"""Makes a campaign's training plan from the coordinator's settings, the admitted studios and the base weights."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal

from aggregator.enrolment import EnrolledStudio
from aggregator.learning_rate import LEAST, learning_rate_for
from federation.config import FederationConfig, PlanDefaults, default_size_tiers
from federation.errors import PlanError
from federation.plan import (
    PLAN_SCHEMA,
    GainConstants,
    ModelSpec,
    PrivacyConstants,
    SizeTier,
    TrainingPlan,
    UpdateBounds,
    byte_grid,
)

GRACE_S = 24 * 3600
"""A plan outlives twice its rounds' deadlines by this, so that a campaign that was interrupted can go on."""
Setting = int | float | str
SETTINGS = (*PlanDefaults.model_fields, "staleness_max")
GAIN_PREFIX = "gain_"
PLAN_SETTINGS = ("rounds", "quorum", "deadline_s", "staleness_max", "aggregation")


def build_plan(
    config: FederationConfig,
    enrolled: Collection[EnrolledStudio],
    model: ModelSpec,
    *,
    campaign: str,
    base_release: int,
    now: int,
    overrides: Mapping[str, Setting] | None = None,
    mode: Literal["private", "research"] = "private",
) -> TrainingPlan:
    """Build a plan for all admitted studios.

    Args:
        config: its ``[plan]`` fills what ``overrides`` leaves open; its size tiers are taken as they are, except
            that tiers left at their defaults follow an overridden ``sample_rate``.
        enrolled: the enrolment book; revoked studios are left out.
        model: what is trained (``federation.model_spec.base_model_spec``).
        campaign: a name that was not used before.
        base_release: number of the release whose weights the training starts from.
        now: seconds since the epoch.
        overrides: settings of ``[plan]`` by name, and ``staleness_max``.
        mode: "research" marks a simulation; studio nodes refuse it.

    Raises:
        PlanError: an override is unknown or out of range, nobody is admitted, a studio's tier is not in the settings,
            the quorum is above the number of studios, or the parts contradict each other.
    """
    overrides = overrides or {}
    unknown = sorted(set(overrides) - set(SETTINGS))
    if unknown:
        raise PlanError(f"no setting of a plan is called {unknown[0]!r}; there are {', '.join(SETTINGS)}")
    settings: dict[str, Any] = {**config.plan.model_dump(), "staleness_max": 1, **overrides}
    studios = {studio.name: studio.size_tier for studio in enrolled if studio.is_admitted}
    if not studios:
        raise PlanError("no studio is admitted", hint="admit one with: fedroto coordinator admit")
    quorum = settings["quorum"]
    if isinstance(quorum, int) and quorum > len(studios):
        raise PlanError(
            f"quorum is {quorum} but the plan names {len(studios)} studios: {', '.join(sorted(studios))}",
            hint=f"admit more, or say --set quorum={len(studios)}; of a mean over two each studio can subtract its own",
        )
    if settings["value_bits"] == 8 and "grid" not in overrides:
        settings["grid"] = max(settings["grid"], byte_grid(float(settings["norm_max"]), model.parameters))
    tiers = _tiers(config, float(settings["sample_rate"]))
    for studio, tier in studios.items():
        if tier not in tiers:
            raise PlanError(f"studio {studio} is of size tier {tier!r}; federation.toml has {sorted(tiers)}")
    plan = {
        "schema": PLAN_SCHEMA,
        "federation": config.name,
        "campaign": campaign,
        "mode": mode,
        "created_at": now,
        "expires_at": now + GRACE_S + int(2 * settings["rounds"] * settings["deadline_s"]),
        "base_release": base_release,
        "model": model,
        "privacy": {name: settings[name] for name in settings if name in PrivacyConstants.model_fields},
        "learning_rate": settings["learning_rate"],
        "update": {name: settings[name] for name in settings if name in UpdateBounds.model_fields},
        **{name: settings[name] for name in PLAN_SETTINGS},
        "gain": _gain(settings),
        "size_tiers": tiers,
        "studios": studios,
    }
    if settings["learning_rate"]:
        return TrainingPlan.from_payload(plan)
    draft = TrainingPlan.from_payload(plan | {"learning_rate": LEAST})
    named = [tiers[tier] for tier in studios.values()]
    rate = learning_rate_for(draft.privacy, draft.update.norm_max, model.parameters, named)
    return TrainingPlan.from_payload(plan | {"learning_rate": rate})


def require_same_settings(plan: TrainingPlan, overrides: Mapping[str, Setting] | None) -> None:
    """Refuse to go on with a campaign under other settings than those that its studios were told.

    Raises:
        PlanError: an override differs from the signed plan; says both values.
    """
    held = plan.payload()
    gain = {f"{GAIN_PREFIX}{name}": value for name, value in held.get("gain", {}).items()}
    flat = {f"{GAIN_PREFIX}noise_multiplier": 0.0, **held, **held["privacy"], **held["update"], **gain}
    for name, value in (overrides or {}).items():
        if flat.get(name) != value:
            raise PlanError(
                f"campaign {plan.campaign} was started with {name} {flat.get(name)!r}, not {value!r}",
                hint="go on without that setting, or start a campaign under another name",
            )


def _gain(settings: Mapping[str, Any]) -> dict[str, Any] | None:
    gain = {name: settings[f"{GAIN_PREFIX}{name}"] for name in GainConstants.model_fields}
    return gain if gain["noise_multiplier"] > 0 else None


def _tiers(config: FederationConfig, sample_rate: float) -> dict[str, SizeTier]:
    if config.size_tiers == default_size_tiers(config.plan.sample_rate):
        return default_size_tiers(sample_rate)
    return config.size_tiers
