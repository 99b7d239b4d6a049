"""What a studio's own policy says to a plan and an instruction: pure, before anything is charged or opened.

A coordinator signs plans; this decides whether a studio follows one. It can only narrow what the plan's own form
allows (:mod:`federation.plan`), and nothing that a coordinator sends can loosen it.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator

from federation.config import StudioConfig, StudioPolicy
from federation.errors import RefusalCode, RefusedError
from federation.plan import GainConstants, RoundInstruction, SizeTier, TrainingPlan
from federation.privacy import PrivacyEvent, epsilon, event_of, gain_event_of

CLOCK_SLACK_S = 300
"""By how much a coordinator's clock may be ahead; Flower's node authentication allows the same."""


def check_policy(
    plan: TrainingPlan, instruction: RoundInstruction, config: StudioConfig, *, size_tier: str, now: int
) -> RefusedError | None:
    """Decide whether a studio may train on an instruction.

    Both documents' signatures hold already. Consent and budget are asked separately (:func:`consenting_shows`,
    ``studio_node.ledger``).

    Args:
        plan: the coordinator's plan.
        instruction: one round of it, for one studio.
        config: the studio's own settings.
        size_tier: that the studio was admitted in (from its join kit).
        now: seconds since the epoch.

    Returns:
        Why not, the first reason found; None if it may.
    """
    for code, problem in _objections(plan, instruction, config, size_tier, now):
        return RefusedError(code, problem)
    return None


def consenting_shows(config: StudioConfig, *, now: int) -> frozenset[str]:
    """Return the shows whose consent to training holds today (UTC). A show that is not listed has none."""
    day = datetime.datetime.fromtimestamp(now, datetime.UTC).date()
    return frozenset(name for name, consent in config.shows.items() if consent.holds_on(day))


def _objections(
    plan: TrainingPlan, instruction: RoundInstruction, config: StudioConfig, size_tier: str, now: int
) -> Iterator[tuple[RefusalCode, str]]:
    yield from _address_objections(plan, instruction, config, size_tier)
    yield from _time_objections(plan, instruction, now)
    if plan.mode != "private":
        yield (
            RefusalCode.RESEARCH_MODE,
            f"plan {plan.campaign} trains without noise; that is for simulations only",
        )
    yield from _policy_objections(plan, instruction, config.policy)


def _address_objections(
    plan: TrainingPlan, instruction: RoundInstruction, config: StudioConfig, size_tier: str
) -> Iterator[tuple[RefusalCode, str]]:
    code = RefusalCode.NOT_FOR_THIS_STUDIO
    if instruction.studio != config.name:
        yield code, f"the instruction is for studio {instruction.studio!r}, this is {config.name!r}"
    for document, federation in (("plan", plan.federation), ("instruction", instruction.federation)):
        if federation != config.federation:
            yield (
                code,
                f"the {document} is of federation {federation!r}, this studio joined {config.federation!r}",
            )
    if instruction.campaign != plan.campaign or instruction.plan_digest != plan.digest:
        yield (
            RefusalCode.MALFORMED,
            f"the instruction is for plan {instruction.plan_digest[:16]} of {instruction.campaign}, "
            f"but came with plan {plan.digest[:16]} of {plan.campaign}",
        )
    if config.name not in plan.studios:
        yield (
            code,
            f"plan {plan.campaign} does not name this studio; it names {', '.join(sorted(plan.studios))}",
        )
    elif plan.studios[config.name] != size_tier:
        yield (
            code,
            f"plan {plan.campaign} has this studio in size tier {plan.studios[config.name]!r}; "
            f"it was admitted in {size_tier!r}",
        )


def _time_objections(
    plan: TrainingPlan, instruction: RoundInstruction, now: int
) -> Iterator[tuple[RefusalCode, str]]:
    code = RefusalCode.EXPIRED
    for document, expires_at in (("instruction", instruction.expires_at), ("plan", plan.expires_at)):
        if now >= expires_at:
            yield (
                code,
                f"the {document} expired {now - expires_at} s ago; by this machine's clock it is {now}",
            )
    for document, made_at in (("instruction", instruction.issued_at), ("plan", plan.created_at)):
        if made_at > now + CLOCK_SLACK_S:
            yield (
                code,
                f"the {document} was issued {made_at - now} s in the future; set this machine's clock, "
                "or ask the coordinator about theirs",
            )


def _policy_objections(
    plan: TrainingPlan, instruction: RoundInstruction, policy: StudioPolicy
) -> Iterator[tuple[RefusalCode, str]]:
    code = RefusalCode.POLICY
    tier = plan.tier_of(instruction.studio)
    constants = plan.privacy
    if plan.gain is not None and instruction.server_round == plan.gain_round:
        yield from _gain_objections(plan.gain, tier, policy)
    elif instruction.server_round > plan.rounds:
        yield code, f"round {instruction.server_round} of a plan of {plan.rounds} rounds"
    yield from _limit_objections(
        "the plan",
        ("rounds", plan.rounds, policy.rounds_max),
        ("steps_per_round", constants.steps_per_round, policy.steps_per_round_max),
        ("windows_per_shot", constants.windows_per_shot, policy.windows_per_shot_max),
        ("max_grad_norm", constants.max_grad_norm, policy.max_grad_norm_max),
    )
    yield from _noise_objections("the plan", constants.noise_multiplier, policy)
    if policy.base_releases_allowed and plan.base_release not in policy.base_releases_allowed:
        yield (
            code,
            f"the plan starts from release {plan.base_release}, this studio's policy allows "
            f"{', '.join(map(str, policy.base_releases_allowed))} (studio.toml)",
        )
    # Last: it is the only check that computes for a while.
    yield from _cost_objections("one round of the plan", event_of(plan), tier, policy.epsilon_per_round_max)


def _gain_objections(
    gain: GainConstants, tier: SizeTier, policy: StudioPolicy
) -> Iterator[tuple[RefusalCode, str]]:
    if not policy.share_gain:
        yield (
            RefusalCode.POLICY,
            "the plan asks for this studio's gain, which it does not share (studio.toml: share_gain)",
        )
    yield from _noise_objections("the gain", gain.noise_multiplier, policy)
    yield from _limit_objections(
        "the gain", ("windows_per_shot", gain.windows_per_shot, policy.windows_per_shot_max)
    )
    yield from _cost_objections("sharing the gain", gain_event_of(gain), tier, policy.epsilon_per_gain_max)


def _limit_objections(what: str, *limits: tuple[str, float, float]) -> Iterator[tuple[RefusalCode, str]]:
    for name, asked, allowed in limits:
        if asked > allowed:
            yield (
                RefusalCode.POLICY,
                f"{what} asks for {name} {asked:g}, this studio's policy allows {allowed:g} (studio.toml)",
            )


def _noise_objections(
    what: str, noise_multiplier: float, policy: StudioPolicy
) -> Iterator[tuple[RefusalCode, str]]:
    if noise_multiplier < policy.noise_multiplier_min:
        yield (
            RefusalCode.POLICY,
            f"{what}'s noise_multiplier is {noise_multiplier:g}, this studio's policy asks for at least "
            f"{policy.noise_multiplier_min:g} (studio.toml)",
        )


def _cost_objections(
    what: str, event: PrivacyEvent, tier: SizeTier, allowed: float
) -> Iterator[tuple[RefusalCode, str]]:
    cost = epsilon([event], tier.delta)
    if cost > allowed:
        yield (
            RefusalCode.POLICY,
            f"{what} costs epsilon {cost:.3f} (delta {tier.delta:g}), this studio's policy allows {allowed:g} "
            "(studio.toml)",
        )
