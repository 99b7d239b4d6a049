"""What a studio that shares it tells of a campaign: how much its weights gain here, in one noised number.

Measured on shots that are held back from training. A shot's gain depends on that shot and on weights that are public;
it is bounded, cut to whole steps of a grid and summed with those of all other held-back shots, and the sum gets noise
before anything is done with it (``federation.plan.GainConstants``). How many shots are held back is not told.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from federation.errors import IngestError, LedgerError
from federation.messages import PackedUpdate, PackedWeights
from federation.plan import GainConstants
from model.losses import window_error
from model.network import Fusion
from model.weights import unpack
from model.windows import Window
from studio_node.noise import gaussian
from studio_node.private_training import GRID_BITS, bounded_update
from studio_node.roto_training import OpenShot


def noised_gain(
    gain: GainConstants,
    weights: PackedWeights,
    shots: Sequence[OpenShot],
    *,
    warn: Callable[[str], None] = lambda _: None,
) -> PackedUpdate:
    """Return the noised sum of the gains of all held-back shots.

    Guarantee: a Gaussian mechanism of the plan's ``noise_multiplier`` for one shot added or removed: each adds at most
    ``clip``, in whole steps of a grid on which the noise lies too (``studio_node.noise``). Rounding to the public grid
    and bounding the sum come after the noise.

    Args:
        gain: the plan's constants.
        weights: float32 [2 P]: the campaign's first weights and behind them its last.
        shots: for each held-back shot that was charged a function that opens its windows.
        warn: told, for the studio's own log, of shots that contribute nothing.

    Returns:
        float32 [1], on the grid and within the bound of ``gain.bounds``.
    """
    first, last = (Fusion().eval() for _ in range(2))
    for fusion, packed in zip((first, last), np.split(weights, 2), strict=True):
        unpack(fusion, packed)
    step = 2.0 ** (math.floor(math.log2(gain.clip)) - GRID_BITS)
    most = math.floor(gain.clip / step)
    total = 0
    for open_shot in shots:
        try:
            found = _shot_gain(first, last, open_shot(), gain.windows_per_shot)
        except LedgerError:  # the shot was not charged; that is no matter of its data
            raise
        except Exception as error:  # whether the question is answered must not hang on one shot
            warn(f"a held-back shot contributes nothing: {type(error).__name__}: {error}")
            continue
        total += min(max(math.trunc(found / step), -most), most)
    noised = total * step + gaussian(1, gain.noise_multiplier * gain.clip, step)
    return bounded_update(noised.astype(np.float32), np.zeros(1, np.float32), gain.bounds)


def _shot_gain(first: Fusion, last: Fusion, windows: Sequence[Window], count: int) -> float:
    """Relative fall of the mean error over windows spread evenly over the shot; 0 where there is none to fall."""
    if not len(windows):
        raise IngestError("its pack holds no window")
    drawn = np.linspace(0, len(windows) - 1, min(count, len(windows))).round().astype(int)
    looked_at = [windows[int(index)] for index in drawn]
    errors = [[window_error(fusion, one) for one in looked_at] for fusion in (first, last)]
    before, after = (float(np.mean(of_one)) for of_one in errors)
    found = 1 - after / before if before > 0 else 0.0
    return found if math.isfinite(found) else 0.0
