"""The learning rate of a new plan, by the noise that the updates of its studios will carry."""

from __future__ import annotations

import math
from collections.abc import Collection

from federation.plan import PrivacyConstants, SizeTier

LEAST, MOST = 0.1, 0.6
"""Below the one a campaign teaches next to nothing; above the other the network's word on its own error suffers, noise
or none (benchmarks/privacy_results.md)."""


def learning_rate_for(
    privacy: PrivacyConstants, norm_max: float, parameters: int, tiers: Collection[SizeTier]
) -> float:
    """The rate at which noise alone makes the studios' updates as long as they may be, on their weighted average.

    At a larger one updates would be scaled down again, what they teach with them.

    Args:
        privacy: of the plan.
        norm_max: the longest that an update may be.
        parameters: how many weights are trained.
        tiers: of the studios that the plan names, one each.

    Returns:
        Between `LEAST` and `MOST`, to two digits.
    """
    summed = (
        privacy.noise_multiplier * privacy.max_grad_norm * math.sqrt(privacy.steps_per_round * parameters)
    )
    weighted = sum(tier.weight * summed / tier.update_denominator for tier in tiers)
    fitting = norm_max * sum(tier.weight for tier in tiers) / weighted if weighted else MOST
    return float(f"{min(max(fitting, LEAST), MOST):.2g}")
