"""The public benchmark after a round: what is clearly worse is given up, and the next round stands on the last good."""

import math

import numpy as np
import pytest
from federation_simulator import FederationSimulator, use_tiny_model

from aggregator.campaign_status import campaign_status
from aggregator.round_check import MARGIN, RoundCheck, verdict
from aggregator.round_store import RoundStore
from federation.keys import public_pem

CLIPS = 24
GOOD = tuple(np.linspace(1.0, 3.0, CLIPS))


def times(factor, errors=GOOD, spread=0.0):
    rng = np.random.default_rng(0)
    return tuple(factor * np.array(errors) * (1 + spread * rng.standard_normal(CLIPS)))


class TestVerdict:
    @pytest.mark.parametrize("factor", [0.5, 1.0, 1 + 0.9 * MARGIN])
    def test_what_is_better_or_a_little_worse_is_kept(self, factor):
        found = verdict(GOOD, GOOD, times(factor))
        assert not found.rolled_back
        assert found.after == pytest.approx(factor * found.start)

    @pytest.mark.parametrize("factor", [1.2, 2.0, 100.0])
    def test_what_is_clearly_worse_is_rolled_back_with_its_numbers(self, factor):
        found = verdict(GOOD, GOOD, times(factor))
        assert found.rolled_back
        assert f"{factor * 2:.3f}" in found.reason

    def test_what_may_be_chance_is_kept(self):
        assert not verdict(GOOD, GOOD, times(1.08, spread=0.4)).rolled_back

    def test_a_step_back_from_what_was_won_is_rolled_back(self):
        found = verdict(GOOD, times(0.7), GOOD)
        assert found.rolled_back
        assert "the weights before the round" in found.reason

    def test_many_small_steps_end_at_the_start_of_the_campaign(self):
        before, rolled_back = GOOD, []
        for _ in range(10):
            after = times(1.03, before)
            found = verdict(GOOD, before, after)
            rolled_back.append(found.rolled_back)
            before = before if found.rolled_back else after
        assert rolled_back[0] is False
        assert all(rolled_back[4:])
        assert np.mean(before) < 1.12 * np.mean(GOOD)

    @pytest.mark.parametrize("bad", [math.nan, math.inf])
    def test_what_cannot_be_measured_is_rolled_back(self, bad):
        assert verdict(GOOD, GOOD, (*GOOD[:-1], bad)).rolled_back

    def test_weights_are_measured_once(self):
        measured = []

        def measure(weights):
            measured.append(weights.tobytes())
            return GOOD

        check = RoundCheck(measure)
        one, two, three = (np.full(4, value, np.float32) for value in (1, 2, 3))
        check.judge(one, one, two)
        check.judge(one, two, three)
        assert len(measured) == 3


@pytest.fixture
def simulator(tmp_path, monkeypatch, quick_disk):
    use_tiny_model(monkeypatch)
    return FederationSimulator(tmp_path)


def by_distance(simulator, allowed):
    """A benchmark on which weights are as bad as they are far from the start, once they are farther than allowed."""

    def factory(plan, tensors):
        start = RoundStore(simulator.home / "campaigns" / "spring").read_weights(0)
        return lambda weights: times(1 + max(0.0, float(np.linalg.norm(weights - start)) - allowed))

    return factory


class TestRounds:
    def test_a_round_that_is_worse_leaves_the_last_good_weights_and_says_so(self, simulator):
        told = []
        result = simulator.run(
            rounds=3, quorum=2, deadline_s=60, told=told, measure_factory=by_distance(simulator, 0.0)
        )
        assert result.state == "complete"
        assert [one.rolled_back for one in result.rounds] == [True] * 3
        store = RoundStore(simulator.home / "campaigns" / "spring")
        for number in (1, 2, 3):
            np.testing.assert_array_equal(store.read_weights(number), store.read_weights(0))
        assert any("ROLLED BACK" in line for line in told)

    def test_good_rounds_go_on_and_the_bad_one_is_repeated_from_the_last_good(self, simulator):
        start = None
        distances = []

        def factory(plan, tensors):
            store = RoundStore(simulator.home / "campaigns" / "spring")

            def measure(weights):
                nonlocal start
                start = store.read_weights(0) if start is None else start
                distances.append(float(np.linalg.norm(weights - start)))
                return times(10.0 if len(distances) == 3 else 1.0)  # the start, round 1, and then round 2

            return measure

        result = simulator.run(rounds=3, quorum=2, deadline_s=60, measure_factory=factory)
        assert [one.rolled_back for one in result.rounds] == [False, True, False]
        bases = [studio.asked[2].base_digest for studio in simulator.studios.values()]
        assert set(bases) == {result.rounds[0].weights_digest}
        assert result.rounds[1].weights_digest == result.rounds[0].weights_digest
        (simulator.home / "plan_key.pub").write_bytes(public_pem(simulator.plan_key.public_key()))
        shown = campaign_status(simulator.home, "spring")
        assert [one.rolled_back for one in shown.rounds] == [False, True, False]
        assert shown.rounds[1].shown_error == pytest.approx(20.0)
        assert "ROLLED BACK: worse than" in shown.rounds[1].sentence

    def test_of_two_updates_no_number_is_told(self, simulator):
        simulator.studios["cedar"].online = False
        told = []
        settings = {"rounds": 1, "quorum": 2, "deadline_s": 60, "told": told}
        simulator.run(**settings, measure_factory=by_distance(simulator, 0.0))
        (simulator.home / "plan_key.pub").write_bytes(public_pem(simulator.plan_key.public_key()))
        (shown,) = campaign_status(simulator.home, "spring").rounds
        assert shown.rolled_back
        assert shown.shown_error is None
        judged = [text for text in (*told, shown.sentence) if "benchmark" in text]
        assert len(judged) == 2
        assert not any(char.isdigit() for text in judged for char in text.partition("ROLLED BACK")[2])

    def test_the_same_campaign_gone_on_with_decides_the_same(self, simulator):
        settings = {"rounds": 2, "quorum": 2, "deadline_s": 60}
        first = simulator.run(**settings, measure_factory=by_distance(simulator, 0.0))
        assert simulator.run(**settings) == first

    def test_without_a_benchmark_nothing_is_judged(self, simulator):
        result = simulator.run(rounds=1, quorum=2, deadline_s=60)
        assert (result.rounds[0].rolled_back, result.rounds[0].public_error) == (False, None)
