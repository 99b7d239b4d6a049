"""The settings files as a person first meets them: every setting with its default and what it does."""

from __future__ import annotations

import json
from collections.abc import Mapping

from federation.config import FederationConfig, StudioConfig
from federation.plan import SizeTier


def studio_toml(config: StudioConfig) -> str:
    """Write a studio's settings as commented TOML that reads back equal."""
    policy = config.policy
    lines = [
        "# Settings of this studio's node. It holds no secret. Unknown keys are errors.",
        "",
        f"name = {_text(config.name)}",
        f"federation = {_text(config.federation)}",
        "",
        "# What any coordinator's plan may ask of this studio. A plan outside is refused, nothing is trained.",
        "[policy]",
        "# Privacy loss (epsilon) of one shot over everything that is ever trained on it. Used up means refused.",
        f"epsilon_lifetime = {policy.epsilon_lifetime!r}",
        "# The most that one round may cost by itself.",
        f"epsilon_per_round_max = {policy.epsilon_per_round_max!r}",
        "# Least noise, in units of the clipping bound. 0.8 is the floor.",
        f"noise_multiplier_min = {policy.noise_multiplier_min!r}",
        f"steps_per_round_max = {policy.steps_per_round_max}",
        f"rounds_max = {policy.rounds_max}",
        f"windows_per_shot_max = {policy.windows_per_shot_max}",
        f"max_grad_norm_max = {policy.max_grad_norm_max!r}",
        "# Releases that a plan may start from; empty means any.",
        f"base_releases_allowed = {list(policy.base_releases_allowed)}",
        "# Replies leave so many seconds after the question, or a multiple of it, so that their moment tells little.",
        "# Well below the plan's deadline, and longer than a round takes here; 0: when they are ready.",
        f"reply_every_s = {policy.reply_every_s}",
        "# With each update: how much epsilon the ledger leaves a shot, by the show that has least.",
        f"share_epsilon_left = {_truth(policy.share_epsilon_left)}",
        "# After a campaign one number: how much its weights gain on shots that are held back here, noised, charged.",
        f"share_gain = {_truth(policy.share_gain)}",
        f"epsilon_per_gain_max = {policy.epsilon_per_gain_max!r}",
        "",
        "# Consent, show by show. A show without an entry here is never trained on.",
        "# [shows.EXAMPLE]",
        "# training_allowed = true",
        "# allowed_until = 2027-12-31      # the last day; leave out for no end",
        '# allowed_by = "producer, contract or ticket"',
        "# epsilon_lifetime = 3.0           # a cap of its own, below the studio's; leave out for the studio's",
        '# held_back = ["SHOT"]             # never trained on: what a release is worth is measured on them',
    ]
    for name, consent in config.shows.items():
        lines += ["", f"[shows.{_text(name)}]", f"training_allowed = {_truth(consent.training_allowed)}"]
        if consent.allowed_until is not None:
            lines.append(f"allowed_until = {consent.allowed_until.isoformat()}")
        lines.append(f"allowed_by = {_text(consent.allowed_by)}")
        if consent.epsilon_lifetime is not None:
            lines.append(f"epsilon_lifetime = {consent.epsilon_lifetime!r}")
        if consent.held_back:
            lines.append(f"held_back = [{', '.join(map(_text, consent.held_back))}]")
    return "\n".join(lines) + "\n"


def federation_toml(config: FederationConfig) -> str:
    """Write a coordinator's settings as commented TOML that reads back equal."""
    plan = config.plan
    lines = [
        "# Settings of this federation's coordinator. It holds no secret. Unknown keys are errors.",
        "",
        f"name = {_text(config.name)}",
        "# Names or addresses that studios dial; the first one goes into their join kits. In the certificate.",
        f"hosts = [{', '.join(map(_text, config.hosts))}]",
        "# Open to studios: the fleet proxy and the release service. Loopback only: Flower's SuperLink.",
        f"fleet_port = {config.fleet_port}",
        f"service_port = {config.service_port}",
        f"superlink_port = {config.superlink_port}",
        "",
        "# What a new training plan is filled with. Studios obey the signed plan, not this file.",
        "[plan]",
        f"rounds = {plan.rounds}",
        "# Fewer updates than this and a round is DEGRADED, never averaged.",
        f"quorum = {plan.quorum}",
        f"deadline_s = {plan.deadline_s}",
        "# Noised steps that a studio takes per round; every one is charged.",
        f"steps_per_round = {plan.steps_per_round}",
        "# Probability with which a shot takes part in a step.",
        f"sample_rate = {plan.sample_rate!r}",
        f"windows_per_shot = {plan.windows_per_shot}",
        "# A shot's gradient is scaled down to this norm.",
        f"max_grad_norm = {plan.max_grad_norm!r}",
        "# Noise on the sum of gradients, in units of max_grad_norm.",
        f"noise_multiplier = {plan.noise_multiplier!r}",
        "# 0: 0.1 to 0.6, by the noise of the studios that a plan names; 0.6 where most are in tier m or above.",
        f"learning_rate = {plan.learning_rate!r}",
        "# An update beyond this norm is scaled down; its values are multiples of grid, a power of two.",
        f"norm_max = {plan.norm_max!r}",
        f"grid = {plan.grid!r}",
        "# 8: values cross the wire as one byte each, rounded at random on a coarser grid; a quarter of the upload.",
        f"value_bits = {plan.value_bits}",
        "# norm_clipped_mean, median, trimmed_mean, geometric_median or centred_clipping; see docs/attacks.md.",
        f"aggregation = {_text(plan.aggregation)}",
        "# After the last round studios that share it are asked how much they gain on shots that they hold back: a sum",
        "# of relative gains, each within gain_clip, with noise of gain_noise_multiplier * gain_clip, divided by",
        "# gain_shots. 0 asks nobody; 8 costs a held-back shot epsilon 0.43.",
        f"gain_noise_multiplier = {plan.gain_noise_multiplier!r}",
        f"gain_clip = {plan.gain_clip!r}",
        f"gain_windows_per_shot = {plan.gain_windows_per_shot}",
        f"gain_shots = {plan.gain_shots}",
        "",
        "# Public buckets of shot counts. A studio agrees on one at enrolment; its true count is never asked.",
        "# weight: in the mean. update_denominator: what the noised sum of gradients is divided by.",
    ]
    return "\n".join(lines) + "\n" + _size_tiers(config.size_tiers)


def _size_tiers(tiers: Mapping[str, SizeTier]) -> str:
    return "".join(
        f"\n[size_tiers.{_text(name)}]\nshots_max = {tier.shots_max}\nweight = {tier.weight!r}\n"
        f"update_denominator = {tier.update_denominator!r}\ndelta = {tier.delta!r}\n"
        for name, tier in tiers.items()
    )


def _truth(value: bool) -> str:
    return str(value).lower()


def _text(value: str) -> str:
    """Write a TOML basic string; JSON's escapes are a subset of TOML's, but for the delete character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
