"""The statistics of the audit: what a number of observations says about a claim, with what chance of being wrong.

Pure functions of counts and sums. The bounds of the self-test hold for every sample size (none is an approximation
for large samples), so that the chance of a false alarm is a promise and not a hope.
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

_NORMAL = NormalDist()
_BISECTIONS = 60


def spread_floor(count: int, alarm: float) -> float:
    """Return how small the mean square of ``count`` independent standard normal values can honestly be.

    Guarantee: below this value with probability at most ``alarm``. Source: Chernoff's bound of the chi-square
    distribution, P(mean <= x) <= (x exp(1 - x))^(count / 2) for x < 1.
    """
    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        tail = count / 2 * (math.log(middle) + 1 - middle)
        low, high = (middle, high) if tail < math.log(alarm) else (low, middle)
    return low


def distance_ceiling(count: int, alarm: float) -> float:
    """Return how far an empirical distribution of ``count`` values can honestly lie from the true one (KS distance).

    Guarantee: further with probability at most ``alarm``. Source: Massart, "The tight constant in the
    Dvoretzky-Kiefer-Wolfowitz inequality" (1990).
    """
    return math.sqrt(math.log(2 / alarm) / (2 * count))


def cosine_ceiling(count: int, alarm: float) -> float:
    """Return how large the cosine between two independent normal vectors of ``count`` values can honestly be.

    Guarantee: larger in size with probability at most ``alarm``. Source: measure of a spherical cap,
    P(cosine >= t) <= exp(-count t^2 / 2) (Ball, "An elementary introduction to modern convex geometry", 1997).
    """
    return math.sqrt(2 * math.log(2 / alarm) / count)


def normal_distance(values: NDArray[np.float64]) -> float:
    """Return the largest distance between the distribution of values and the standard normal one."""
    ordered = np.sort(values)
    expected = np.array([_NORMAL.cdf(float(value)) for value in ordered])
    steps = np.arange(len(ordered) + 1) / len(ordered)
    return float(max((steps[1:] - expected).max(), (expected - steps[:-1]).max()))


def at_most(successes: int, trials: int, probability: float) -> float:
    """Return the chance of at most ``successes`` among ``trials``."""
    if successes < 0:
        return 0.0
    if successes >= trials or probability <= 0:
        return 1.0
    if probability >= 1:
        return 0.0
    drawn = np.arange(successes + 1)
    terms = _log_choices(trials)[: successes + 1]
    terms = terms + drawn * math.log(probability) + (trials - drawn) * math.log1p(-probability)
    largest = float(terms.max())
    return min(1.0, math.exp(largest) * float(np.exp(terms - largest).sum()))


def rate_ceiling(successes: int, trials: int, alarm: float) -> float:
    """Return the largest rate at which so few successes still have a chance of ``alarm``.

    Source: Clopper and Pearson, "The use of confidence or fiducial limits" (1934), one side.
    """
    if successes >= trials:
        return 1.0
    low, high = successes / trials, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if at_most(successes, trials, middle) > alarm else (low, middle)
    return high


def gaussian_epsilon(shift: float, delta: float) -> float:
    """Return epsilon of a Gaussian mechanism whose shift is ``shift`` standard deviations.

    Source: Balle and Wang, "Improving the Gaussian mechanism" (2018), theorem 5.
    """
    if shift <= 0 or gaussian_delta(shift, 0.0) <= delta:
        return 0.0
    low, high = 0.0, shift**2 / 2 + shift * math.sqrt(2 * math.log(2 / delta)) + 1
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if gaussian_delta(shift, middle) > delta else (low, middle)
    return low


def gaussian_delta(shift: float, epsilon: float) -> float:
    """Return delta of the same mechanism at an epsilon."""
    above = math.erfc((epsilon / shift - shift / 2) / math.sqrt(2)) / 2
    below = math.erfc((epsilon / shift + shift / 2) / math.sqrt(2)) / 2
    return above - math.exp(epsilon) * below if below > 0 else above


def gaussian_shift(epsilon: float, delta: float) -> float:
    """Return the shift of the Gaussian mechanism that is exactly (epsilon, delta)-DP."""
    low, high = 0.0, 1.0
    while gaussian_delta(high, epsilon) < delta:
        high *= 2
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if gaussian_delta(middle, epsilon) < delta else (low, middle)
    return low


def one_run_epsilon(
    canaries: int, guesses: int, correct: int, *, delta: float, significance: float, at_least: float = 0.0
) -> float:
    """Return the largest epsilon that one run of guesses contradicts; ``at_least`` where it contradicts none above.

    Every canary was in or out by a fair coin; of ``guesses`` of them the attacker said which, the rest it left. The
    hypothesis that is contradicted is the whole trade-off curve of the Gaussian mechanism at (epsilon, delta).

    Guarantee: above the true epsilon of such a mechanism with probability at most ``significance``. No independence
    between canaries is assumed.

    Source: Mahloujifar, Melis, Chaudhuri, "Auditing f-differential privacy in one run" (2025), algorithm 3.
    """
    if not 0 < guesses <= canaries or not _contradicted(
        canaries, guesses, correct, at_least, delta, significance
    ):
        return at_least
    low, high = at_least, max(1.0, 2 * at_least)
    while high < 64 and _contradicted(canaries, guesses, correct, high, delta, significance):
        low, high = high, 2 * high
    while high - low > 1e-3:
        middle = (low + high) / 2
        if _contradicted(canaries, guesses, correct, middle, delta, significance):
            low = middle
        else:
            high = middle
    return low


def _contradicted(
    canaries: int, guesses: int, correct: int, epsilon: float, delta: float, significance: float
) -> bool:
    """Whether so many correct guesses are too many for the Gaussian mechanism at (epsilon, delta)."""
    shift = gaussian_shift(epsilon, delta)
    right = significance * correct / canaries
    wrong = significance * (guesses - correct) / canaries
    for left in range(correct - 1, -1, -1):
        grown = max(wrong, _NORMAL.cdf(_NORMAL.inv_cdf(right) - shift)) if 0 < right < 1 else wrong
        if grown == wrong:
            break  # nothing changes from here on
        right = min(1.0, right + left / (guesses - left) * (grown - wrong))
        wrong = grown
    return right + wrong > guesses / canaries


def independent_epsilon(
    hits: int, included: int, misfires: int, excluded: int, *, delta: float, significance: float
) -> float:
    """Return a lower bound on epsilon from the rates at which an attack says "in" of included and excluded canaries.

    Guarantee: above the true epsilon with probability at most ``significance``, if canaries act independently (they
    lie in different coordinates). Source: Nasr et al., "Adversary instantiation" (2021), with Clopper and Pearson's
    limits on both rates; epsilon >= log((hit rate - delta) / misfire rate), and the same of the reverse attack.
    """
    missed = rate_ceiling(included - hits, included, significance / 2)
    misfired = rate_ceiling(misfires, excluded, significance / 2)
    found = math.log((1 - missed - delta) / misfired) if 1 - missed > delta else 0.0
    reverse = math.log((1 - misfired - delta) / missed) if 1 - misfired > delta else 0.0
    return max(0.0, found, reverse)


def independent_gaussian_epsilon(
    hits: int, included: int, misfires: int, excluded: int, *, delta: float, significance: float
) -> float:
    """Return the same from the same rates, read through the trade-off curve of a Gaussian mechanism: much closer.

    Guarantee: as :func:`independent_epsilon`, for mechanisms whose curve is that of some Gaussian mechanism or above.
    Source: Nasr et al., "Tight auditing of differentially private machine learning" (2023), section 4.
    """
    missed = rate_ceiling(included - hits, included, significance / 2)
    misfired = rate_ceiling(misfires, excluded, significance / 2)
    if missed >= 1 or misfired >= 1:
        return 0.0
    return gaussian_epsilon(-_NORMAL.inv_cdf(misfired) - _NORMAL.inv_cdf(missed), delta)


@lru_cache(maxsize=8)
def _log_choices(trials: int) -> NDArray[np.float64]:
    """Logarithms of the binomial coefficients of ``trials``, from 0 to ``trials``."""
    drawn = np.arange(1, trials + 1, dtype=np.float64)
    return np.concatenate([[0.0], np.cumsum(np.log((trials - drawn + 1) / drawn))])
