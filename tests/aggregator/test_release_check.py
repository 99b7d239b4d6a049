import dataclasses
import json
import math

import numpy as np
import pytest

from aggregator.release_check import (
    CLIPS_MIN,
    MARGIN,
    BenchmarkRun,
    SharedGain,
    check_candidate,
    paired_interval,
)
from federation.errors import ReleaseError

CLIPS = tuple(f"clip {index}" for index in range(24))
GENERATOR = np.random.default_rng(5)
BASELINE = GENERATOR.uniform(1, 4, len(CLIPS))


def run(model, **baselines):
    """A run with the model's errors and, unless given, one baseline."""
    methods = {"model": model, **(baselines or {"Nuke smooth": BASELINE})}
    return BenchmarkRun(
        "procedural/1", CLIPS, {name: tuple(map(float, errors)) for name, errors in methods.items()}
    )


def verdicts(check):
    return {gate.name: gate.passed for gate in check.gates}


def test_a_first_release_needs_only_to_beat_every_baseline():
    check = check_candidate(run(BASELINE * 0.7), None)
    assert check.passed
    assert verdicts(check) == {"complete": True, "better than Nuke smooth": True}


def test_one_baseline_that_is_not_beaten_is_enough_to_fail():
    check = check_candidate(run(BASELINE * 0.7, easy=BASELINE, hard=BASELINE * 0.71), None)
    assert check.passed
    check = check_candidate(run(BASELINE * 0.7, easy=BASELINE, hard=BASELINE * 0.69), None)
    assert not check.passed
    assert verdicts(check) == {"complete": True, "better than easy": True, "better than hard": False}


def test_a_mean_that_is_better_by_luck_is_not_better():
    # Half of the clips gain 0.5 px, the other half lose 0.46: a better mean that a few other clips would turn round.
    swing = np.where(np.arange(len(CLIPS)) % 2 == 0, -0.5, 0.46)
    check = check_candidate(run(BASELINE + swing), None)
    gate = check.gates[-1]
    assert gate.difference.mean < 0
    assert gate.difference.lower < 0 < gate.difference.upper
    assert not check.passed
    assert "not shown to be better" in gate.why


def test_the_same_weights_are_not_worse_than_themselves():
    check = check_candidate(run(BASELINE * 0.7), run(BASELINE * 0.7))
    assert check.passed
    gate = check.gates[1]
    assert gate.name == "not worse than the base"
    assert (gate.difference.mean, gate.difference.lower, gate.difference.upper) == (0, 0, 0)


@pytest.mark.parametrize(("factor", "passes"), [(0.9, True), (1 + MARGIN / 2, True), (1 + 2 * MARGIN, False)])
def test_not_worse_than_the_base_means_within_the_margin(factor, passes):
    base = BASELINE * 0.7
    check = check_candidate(run(base * factor), run(base))
    assert check.passed is passes
    assert check.gates[1].upper_max == pytest.approx(MARGIN * base.mean())


def test_a_candidate_that_only_might_be_as_good_fails_against_the_base():
    base = BASELINE * 0.5
    wobble = np.where(np.arange(len(CLIPS)) % 2 == 0, 0.2, -0.2)
    check = check_candidate(run(base + wobble), run(base))
    assert check.gates[1].difference.mean == pytest.approx(0, abs=1e-12)
    assert not check.gates[1].passed
    assert "may be worse" in check.gates[1].why


def test_candidate_and_rival_are_compared_clip_by_clip():
    # Clips differ by a factor of four, the gain is a constant 3%: only pairing can see it.
    check = check_candidate(run(BASELINE * 0.97), None)
    assert check.passed
    shuffled = np.random.default_rng(0).permutation(BASELINE * 0.97)
    assert not check_candidate(run(shuffled), None).passed


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, -0.1])
@pytest.mark.parametrize("method", ["model", "Nuke smooth"])
@pytest.mark.parametrize("whose", ["candidate", "base"])
def test_a_number_that_is_no_error_fails_everything(bad, method, whose):
    good = run(BASELINE * 0.7)
    broken = dict(good.errors)
    broken[method] = (*broken[method][:-1], bad)
    damaged = dataclasses.replace(good, errors=broken)
    check = check_candidate(damaged if whose == "candidate" else good, damaged if whose == "base" else good)
    assert verdicts(check) == {"complete": False}
    assert "clip 23" in check.gates[0].why
    assert whose in check.gates[0].why


@pytest.mark.parametrize(
    "damage",
    [
        lambda good: dataclasses.replace(
            good,
            clips=CLIPS[: CLIPS_MIN - 1],
            errors={name: errors[: CLIPS_MIN - 1] for name, errors in good.errors.items()},
        ),
        lambda good: dataclasses.replace(good, clips=("same",) * len(CLIPS)),
        lambda good: dataclasses.replace(good, errors={"model": good.errors["model"]}),
        lambda good: dataclasses.replace(good, errors={"Nuke smooth": good.errors["Nuke smooth"]}),
        lambda good: dataclasses.replace(good, errors={}),
        lambda good: dataclasses.replace(good, errors={**good.errors, "model": good.errors["model"][1:]}),
        lambda good: dataclasses.replace(good, clips=(), errors={"model": (), "Nuke smooth": ()}),
    ],
)
def test_missing_clips_or_methods_fail(damage):
    good = run(BASELINE * 0.7)
    assert not check_candidate(damage(good), None).passed
    assert not check_candidate(damage(good), good).passed
    assert not check_candidate(good, damage(good)).passed


def test_base_and_candidate_must_be_measured_on_the_same_clips():
    good = run(BASELINE * 0.7)
    for other in (
        dataclasses.replace(good, clips=CLIPS[::-1]),
        dataclasses.replace(good, benchmark="procedural/2"),
    ):
        check = check_candidate(good, other)
        assert not check.passed
        assert "not measured alike" in check.gates[0].why


def test_the_same_numbers_always_give_the_same_verdict():
    first, second = (check_candidate(run(BASELINE * 0.98), run(BASELINE)) for _ in range(2))
    assert first == second
    assert first.to_json() == second.to_json()


def test_the_interval_agrees_with_the_normal_approximation_for_many_clips():
    generator = np.random.default_rng(1)
    candidate, rival = generator.normal(2, 0.5, 400), generator.normal(2.1, 0.5, 400)
    interval = paired_interval(candidate, rival, generator=np.random.default_rng(2))
    differences = candidate - rival
    half = 1.96 * differences.std() / math.sqrt(differences.size)
    assert interval.mean == pytest.approx(differences.mean())
    assert interval.lower == pytest.approx(differences.mean() - half, abs=0.1 * half)
    assert interval.upper == pytest.approx(differences.mean() + half, abs=0.1 * half)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    generator = np.random.default_rng(7)
    covered = 0
    for _ in range(200):
        candidate, rival = generator.normal(0, 1, (2, 24))
        interval = paired_interval(candidate, rival, generator=generator)
        covered += interval.lower <= 0 <= interval.upper
    assert 0.87 <= covered / 200 <= 0.99


def test_benchmark_json_holds_every_gate_and_every_number():
    check = check_candidate(run(BASELINE * 0.7), run(BASELINE * 0.8))
    fields = json.loads(check.to_json())
    assert fields["schema"] == "fedroto.release-check/1"
    assert fields["passed"] is True
    assert [gate["name"] for gate in fields["gates"]] == [gate.name for gate in check.gates]
    assert fields["gates"][1]["difference"]["upper"] == check.gates[1].difference.upper
    assert fields["candidate"]["errors"]["model"] == list(check.candidate.errors["model"])
    assert fields["candidate"]["mean_error"]["Nuke smooth"] == pytest.approx(BASELINE.mean())
    assert fields["base"]["clips"] == list(CLIPS)
    assert fields["rules"]["margin"] == MARGIN


def test_a_check_with_numbers_that_are_not_finite_cannot_be_written():
    errors = [math.nan, *BASELINE[1:]]
    with pytest.raises(ReleaseError, match="not finite"):
        check_candidate(run(errors), None).to_json()
    with pytest.raises(ReleaseError, match="not finite"):
        check_candidate(run(BASELINE), run(errors)).to_json()


@pytest.mark.parametrize(
    ("gain", "passed", "said"),
    [
        (SharedGain(3, 0.03, 0.01), True, "gain: 3 studios, mean +3.00%"),
        (SharedGain(3, 0.01, 0.02), True, "proves nothing"),
        (SharedGain(3, -0.001, 0.01), False, "no gain: 3 studios, mean -0.10%"),
        (SharedGain(2), True, "not enough: 2 studios shared their gain, 3 are needed"),
    ],
)
def test_where_studios_share_their_gain_its_mean_has_to_be_above_zero(gain, passed, said):
    check = check_candidate(run(BASELINE * 0.7), None, gain)
    assert check.passed == passed
    assert said in check.gates[-1].why
    assert json.loads(check.to_json())["gain"] == dataclasses.asdict(gain)
