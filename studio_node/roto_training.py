"""One round of private training of the roto network: from the plan's weights to the update that may leave."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from federation.messages import PackedUpdate, PackedWeights
from federation.plan import TrainingPlan
from model.losses import window_loss
from model.network import Fusion
from model.weights import pack, unpack
from model.windows import Window
from studio_node.private_training import PrivateTrainer, TrainingSettings, bounded_update

OpenShot = Callable[[], Sequence[Window]]


def train_update(
    plan: TrainingPlan,
    size_tier: str,
    weights: PackedWeights,
    shots: Sequence[OpenShot],
    *,
    warn: Callable[[str], None] = lambda _: None,
) -> PackedUpdate:
    """Train one round privately and return the update within the plan's bounds.

    Args:
        plan: all constants come from it; one of mode "research" is refused by policy before it gets here.
        size_tier: whose ``update_denominator`` divides the noised sums.
        weights: float32 [P], where training starts.
        shots: for each charged shot a function that opens its windows.
        warn: told of shots that contribute nothing.

    Returns:
        [P]: trained weights minus ``weights``, on the plan's grid and within its norm (:func:`bounded_update`).
    """
    fusion = Fusion()
    unpack(fusion, weights)
    settings = TrainingSettings(
        plan.privacy,
        plan.size_tiers[size_tier].update_denominator,
        plan.learning_rate,
        research=plan.not_private,
    )
    PrivateTrainer(fusion, window_loss, settings, warn=warn).train(shots)
    return bounded_update(pack(fusion), weights, plan.update)
