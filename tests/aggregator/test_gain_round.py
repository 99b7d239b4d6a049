"""What a coordinator gets of studios' gains: asked after the last round, validated like an update, told as a mean."""

import dataclasses

import numpy as np
import pytest
from federation_simulator import START, FederationSimulator, SimulatedStudio, use_tiny_model

from aggregator.campaign_status import campaign_status
from aggregator.release_check import SharedGain
from aggregator.round_store import RoundStore
from aggregator.shared_gain import read_shared_gain
from federation import keys
from federation.plan import TrainingPlan

ASKED = {"gain_noise_multiplier": 8.0, "gain_shots": 10, "gain_clip": 0.125}


@pytest.fixture
def federation(tmp_path, monkeypatch) -> FederationSimulator:
    use_tiny_model(monkeypatch)
    simulator = FederationSimulator(tmp_path / "home")
    public = keys.public_pem(simulator.plan_key.public_key())
    (simulator.home / "plan_key.pub").write_bytes(public)
    return simulator


def share(federation: FederationSimulator, **sums: float) -> None:
    for name, gain_sum in sums.items():
        federation.studios[name].gain_sum = gain_sum


def shared(federation: FederationSimulator) -> SharedGain | None:
    store = RoundStore(federation.home / "campaigns" / "spring")
    return read_shared_gain(store, TrainingPlan.verified(store.read_plan(), federation.plan_key.public_key()))


def test_gains_are_asked_for_after_the_last_round_and_only_their_mean_is_told(federation):
    share(federation, ash=0.5, birch=0.25, cedar=-0.0625)
    told: list[str] = []
    result = federation.run(rounds=2, told=told, **ASKED)
    assert result.state == "complete"
    assert [one.server_round for one in result.rounds] == [1, 2]
    assert federation.asked_rounds("ash") == [1, 2, 3]
    gain = shared(federation)
    assert gain.studios == 3
    assert gain.mean == pytest.approx((0.5 + 0.25 - 0.0625) / 3 / 10)
    assert gain.standard_error == pytest.approx(0.125 * 8 / 10 / np.sqrt(3))
    assert "gain: 3 of 3 studios shared their gain" in told
    status = campaign_status(federation.home)
    assert status.state == "complete"
    assert len(status.rounds) == 2
    assert status.gain.gain_sentence == "3 of 3 studios shared their gain"


def test_a_campaign_that_does_not_ask_gets_no_gain_and_a_studio_that_does_not_share_costs_nothing(federation):
    federation.run(rounds=1)
    assert shared(federation) is None
    assert federation.asked_rounds("ash") == [1]
    share(federation, ash=0.5, birch=0.5)
    federation.run("summer", rounds=1, **ASKED)
    cedar = federation.studios["cedar"]
    assert [question[1] for question in cedar.charged] == [1, 1]
    assert campaign_status(federation.home, "summer").gain.gain_sentence == "2 of 3 studios shared their gain"


def test_of_two_studios_no_mean_is_told_and_the_release_check_does_not_look_at_it(federation):
    share(federation, ash=0.5, birch=0.5)
    federation.run(rounds=1, **ASKED)
    assert shared(federation) == SharedGain(2)
    assert federation.run(rounds=1, **ASKED).state == "complete", (
        "nobody is asked again for a gain that is over"
    )
    assert federation.asked_rounds("cedar") == [1, 2]


@pytest.mark.parametrize(
    ("distorted", "said"),
    [([np.nan], "not-finite"), ([1e6], "norm"), ([0.1], "off-grid"), ([0.5, 0.5], "length")],
)
def test_a_gain_that_breaks_a_rule_is_dropped_and_the_others_count(federation, distorted, said):
    share(federation, ash=0.5, birch=0.25, cedar=0.25)

    def lie(update):
        changed = np.array(distorted, np.float32)
        return dataclasses.replace(update, update=changed) if update.is_gain else update

    federation.studios["ash"].distort = lie
    federation.run(rounds=1, **ASKED)
    gain = campaign_status(federation.home).gain
    assert gain.returned == ("birch", "cedar")
    assert said in next(one.reason for one in gain.studios if one.studio == "ash")


def test_a_killed_coordinator_goes_on_asking_and_no_studio_measures_twice(federation, monkeypatch):
    share(federation, ash=0.5, birch=0.25, cedar=0.25)
    federation.studios["cedar"].delay_s = 20
    train = SimulatedStudio.train

    class KilledError(BaseException):
        """The coordinator's process dies."""

    def dying(studio, plan, instruction):
        if instruction.server_round == plan.gain_round and studio.name == "cedar":
            federation.at(federation.now - START + 5, die)
        return train(studio, plan, instruction)

    def die():
        raise KilledError

    monkeypatch.setattr(SimulatedStudio, "train", dying)
    with pytest.raises(KilledError):
        federation.run(rounds=1, deadline_s=60, **ASKED)
    assert campaign_status(federation.home).state == "stopped"
    assert federation.run(rounds=1, deadline_s=60, **ASKED).state == "complete"
    assert shared(federation).studios == 3
    assert all([question[1] for question in one.charged] == [1, 2] for one in federation.studios.values())
