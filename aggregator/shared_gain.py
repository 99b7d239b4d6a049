"""What the studios that share their gain say of a campaign's weights, together; of no studio by itself.

Each studio's number is differentially private when it arrives (``studio_node.shared_gain``). Their mean and its
standard error follow from these numbers and from the plan's public constants; the error is that of the noise alone, so
it does not tell how much gains differ from shot to shot.
"""

from __future__ import annotations

import math

import numpy as np

from aggregator.aggregation import GROUP_MIN
from aggregator.release_check import SharedGain
from aggregator.round_store import RoundStore
from federation.plan import TrainingPlan


def read_shared_gain(store: RoundStore, plan: TrainingPlan) -> SharedGain | None:
    """Sum up the answers to a campaign's question for gains; None where the plan does not ask.

    Raises:
        RoundError: a file is missing or damaged.
    """
    if plan.gain is None or plan.gain_round is None:
        return None
    record = store.read_record(plan.gain_round)
    studios = () if record is None else record.state.accepted
    if len(studios) < GROUP_MIN:
        return SharedGain(len(studios))
    sums = [float(store.read_update(plan.gain_round, plan.gain_round, one)[0].update[0]) for one in studios]
    error = plan.gain.standard_error / math.sqrt(len(studios))
    return SharedGain(len(studios), float(np.mean(sums)) / plan.gain.shots, error)
