"""Whether a candidate becomes a release: decided by fixed rules on the public benchmark's numbers, by a pure function.

Errors are boundary errors, one per clip and method, in percent of the outline's size; lower is better. Gates, all of
which must pass:
    1. *Complete*: at least ``CLIPS_MIN`` clips, at least one baseline, every number finite and not negative; the base
       was measured on the same benchmark and the same clips.
    2. *Not worse than the base* (the newest release; not asked of a first one): the upper end of the 95% interval of
       (candidate - base) is at most ``MARGIN`` of the base's mean error. The same weights pass; weights that may be
       more than one percent worse do not.
    3. *Better than every baseline*: the upper end of the 95% interval of (candidate - baseline) is below zero, for
       each baseline by itself. Since all must hold, testing several needs no correction.
    4. *Studios gain* (where the plan asks them and enough share it): the mean of their noised gains is above zero. Of
       too few studios it is not looked at.

The interval is a paired percentile bootstrap over clips of the mean difference: clips are drawn with replacement,
candidate and rival always on the same clips. With few clips such intervals are a little too narrow, which is why there
is a least number. Thresholds and seed are constants: the same numbers always give the same verdict.

Source: B. Efron, R. Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13 (percentile intervals).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from aggregator.aggregation import GROUP_MIN
from federation.documents import canonical_json
from federation.errors import ReleaseError

CHECK_SCHEMA: Final = "fedroto.release-check/1"
MODEL: Final = "model"
"""The method under which a benchmark run lists the model itself; every other method is a baseline."""
UNIT: Final = "percent of the outline's size (square root of its area)"
CLIPS_MIN: Final = 12
MARGIN: Final = 0.01
CONFIDENCE: Final = 0.95
RESAMPLES: Final = 10_000
SEED: Final = 20_261_102


@dataclass(frozen=True)
class BenchmarkRun:
    """What the public benchmark measured for one set of weights.

    Attributes:
        benchmark: its name, version and size.
        clips: names of the clips.
        errors: for ``MODEL`` and each baseline, boundary error per clip [clips], ``UNIT``.
    """

    benchmark: str
    clips: tuple[str, ...]
    errors: Mapping[str, tuple[float, ...]]

    @property
    def baselines(self) -> tuple[str, ...]:
        """Every method but the model."""
        return tuple(method for method in self.errors if method != MODEL)

    def mean_error(self, method: str) -> float:
        """Mean error of a method over the clips."""
        return float(np.mean(self.errors[method]))


@dataclass(frozen=True)
class Interval:
    """A mean difference (candidate - rival, ``UNIT``; negative is better) and its 95% bootstrap interval."""

    mean: float
    lower: float
    upper: float


@dataclass(frozen=True)
class SharedGain:
    """What the studios that share their gain say of a candidate together (``aggregator.shared_gain``).

    Attributes:
        studios: how many shared theirs.
        mean: relative fall of the error on shots held back there, 0.01 is one percent; None of fewer than ``GROUP_MIN``
            studios.
        standard_error: of the mean, by the noise alone; None likewise.
    """

    studios: int
    mean: float | None = None
    standard_error: float | None = None


@dataclass(frozen=True)
class Gate:
    """One condition of a release and how it came out.

    Attributes:
        name: of the gate.
        passed: whether it holds.
        why: one sentence with the numbers.
        difference: measured, or None where there was nothing to measure.
        upper_max: what ``difference.upper`` must not exceed (baselines: must stay below), or None.
    """

    name: str
    passed: bool
    why: str
    difference: Interval | None = None
    upper_max: float | None = None


@dataclass(frozen=True)
class ReleaseCheck:
    """The verdict on a candidate, with every gate and every number that it rests on.

    Attributes:
        gates: in the order in which they are applied.
        candidate: the candidate's run.
        base: the base's run, or None for a first release.
        gain: what the studios that share their gain say together; None where they were not asked.
    """

    gates: tuple[Gate, ...]
    candidate: BenchmarkRun
    base: BenchmarkRun | None
    gain: SharedGain | None = None

    @property
    def passed(self) -> bool:
        """Whether the candidate may become a release."""
        return all(gate.passed for gate in self.gates)

    def to_json(self) -> bytes:
        """Write ``benchmark.json``.

        Raises:
            ReleaseError: a number is not finite; such a check never passes and is never published.
        """
        runs = [run for run in (self.candidate, self.base) if run is not None]
        if not all(
            math.isfinite(error) for run in runs for errors in run.errors.values() for error in errors
        ):
            raise ReleaseError("the release check holds numbers that are not finite and cannot be published")
        return canonical_json(
            {
                "schema": CHECK_SCHEMA,
                "passed": self.passed,
                "unit": UNIT,
                "rules": {
                    "clips_min": CLIPS_MIN,
                    "margin": MARGIN,
                    "confidence": CONFIDENCE,
                    "resamples": RESAMPLES,
                    "seed": SEED,
                },
                "gates": [_gate_fields(gate) for gate in self.gates],
                "candidate": _run_fields(self.candidate),
                "base": None if self.base is None else _run_fields(self.base),
                **({} if self.gain is None else {"gain": asdict(self.gain)}),
            }
        )


def check_candidate(
    candidate: BenchmarkRun, base: BenchmarkRun | None, gain: SharedGain | None = None
) -> ReleaseCheck:
    """Decide whether a candidate may become a release.

    Args:
        candidate: the benchmark's run of the candidate's weights.
        base: its run of the release that the training started from; None for a first release.
        gain: what studios say of the candidate together; None where they were not asked.
    """
    complete = _complete(candidate, base)
    gates = [complete]
    if complete.passed:
        if base is not None:
            gates.append(_not_worse(candidate, base))
        gates += [_better_than(candidate, baseline) for baseline in candidate.baselines]
    if gain is not None:
        gates.append(_studios_gain(gain))
    return ReleaseCheck(tuple(gates), candidate, base, gain)


def paired_interval(
    candidate: npt.NDArray[np.float64], rival: npt.NDArray[np.float64], *, generator: np.random.Generator
) -> Interval:
    """Return the mean of (candidate - rival) and its percentile bootstrap interval.

    Args:
        candidate: errors per clip [clips], finite.
        rival: errors on the same clips [clips].
        generator: draws the resamples.
    """
    differences = candidate - rival
    draws = generator.integers(0, differences.size, (RESAMPLES, differences.size))
    means = differences[draws].mean(axis=1)
    tail = (1 - CONFIDENCE) / 2
    lower, upper = np.quantile(means, [tail, 1 - tail])
    return Interval(float(differences.mean()), float(lower), float(upper))


def _complete(candidate: BenchmarkRun, base: BenchmarkRun | None) -> Gate:
    fault = _fault(candidate, "the candidate's run")
    if fault is None and base is not None:
        fault = _fault(base, "the base's run")
        if (base.benchmark, base.clips) != (candidate.benchmark, candidate.clips):
            fault = (
                f"base and candidate were not measured alike: {base.benchmark!r} and {candidate.benchmark!r}"
            )
    if fault is not None:
        return Gate("complete", False, fault)
    return Gate(
        "complete",
        True,
        f"{candidate.benchmark}: {len(candidate.clips)} clips and {len(candidate.baselines)} baselines measured, "
        "every number finite",
    )


def _fault(run: BenchmarkRun, what: str) -> str | None:
    if len(run.clips) < CLIPS_MIN or len(set(run.clips)) < len(run.clips):
        return f"{what} has {len(set(run.clips))} different clips; at least {CLIPS_MIN} are needed"
    if MODEL not in run.errors or not run.baselines:
        return f"{what} lists {sorted(run.errors)}; it needs {MODEL!r} and at least one baseline"
    for method, errors in run.errors.items():
        if len(errors) != len(run.clips):
            return f"{what} has {len(errors)} numbers for {method} on {len(run.clips)} clips"
        for clip, error in zip(run.clips, errors, strict=True):
            if not math.isfinite(error) or error < 0:
                return f"{what} has the error {error} for {method} on clip {clip}"
    return None


def _not_worse(candidate: BenchmarkRun, base: BenchmarkRun) -> Gate:
    limit = MARGIN * base.mean_error(MODEL)
    difference = _difference(candidate, base.errors[MODEL])
    passed = difference.upper <= limit
    verdict = "not worse than the base" if passed else "may be worse than the base"
    return Gate(
        "not worse than the base",
        passed,
        _sentence(verdict, difference, f"at most {limit:+.4f}"),
        difference,
        limit,
    )


def _better_than(candidate: BenchmarkRun, baseline: str) -> Gate:
    difference = _difference(candidate, candidate.errors[baseline])
    passed = difference.upper < 0
    verdict = f"better than {baseline}" if passed else f"not shown to be better than {baseline}"
    return Gate(f"better than {baseline}", passed, _sentence(verdict, difference, "below 0"), difference, 0.0)


def _studios_gain(gain: SharedGain) -> Gate:
    name = "studios gain"
    if gain.mean is None or gain.standard_error is None:
        why = f"not enough: {gain.studios} studios shared their gain, {GROUP_MIN} are needed; it is not looked at"
        return Gate(name, True, why)
    passed = gain.mean > 0
    reach = 1.96 * gain.standard_error
    clear = "" if abs(gain.mean) > reach else "; the noise is larger, so this alone proves nothing"
    why = (
        f"{'gain' if passed else 'no gain'}: {gain.studios} studios, mean {gain.mean:+.2%} on shots held back there, "
        f"95% interval by the noise {gain.mean - reach:+.2%} to {gain.mean + reach:+.2%}, mean wanted above 0{clear}"
    )
    return Gate(name, passed, why)


def _difference(candidate: BenchmarkRun, rival: tuple[float, ...]) -> Interval:
    return paired_interval(
        np.array(candidate.errors[MODEL], np.float64),
        np.array(rival, np.float64),
        generator=np.random.default_rng(SEED),
    )


def _sentence(verdict: str, difference: Interval, wanted: str) -> str:
    return (
        f"{verdict}: mean difference {difference.mean:+.4f}, 95% interval {difference.lower:+.4f} to "
        f"{difference.upper:+.4f}, upper end wanted {wanted}"
    )


def _gate_fields(gate: Gate) -> dict[str, Any]:
    difference = gate.difference
    return {
        "name": gate.name,
        "passed": gate.passed,
        "why": gate.why,
        "difference": None
        if difference is None
        else {"mean": difference.mean, "lower": difference.lower, "upper": difference.upper},
        "upper_max": gate.upper_max,
    }


def _run_fields(run: BenchmarkRun) -> dict[str, Any]:
    return {
        "benchmark": run.benchmark,
        "clips": list(run.clips),
        "errors": {method: list(errors) for method, errors in run.errors.items()},
        "mean_error": {method: run.mean_error(method) for method in run.errors},
    }
