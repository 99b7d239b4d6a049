"""A second training, with a studio that leaves, and a third without it; minutes, so in the long form."""

import json

import pytest

from federation.cli.demo_processes import command

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]


def test_the_next_release_in_one_command_and_another_without_a_studio_that_left(real_federation):
    federation, home = real_federation, real_federation.coordinator
    sets = ["--set", "rounds=1", "--set", "quorum=1", "--set", "deadline_s=60"]

    before = {studio: federation.look(studio) for studio in ("alder", "birch")}
    line = [*command("coordinator retrain", home=home), *sets]
    told = federation.run("retrain", line, statuses=(0, 1))
    assert told["campaign"]["state"] == "complete"
    if (
        told["number"] is not None
    ):  # few shots and much noise may not pass the check, and then nothing is published
        assert told["comparison"]["new"]["number"] == told["number"]
    named = [*command("coordinator retrain", home=home, campaign=told["campaign"]["campaign"]), *sets]
    again = federation.run("retrain-again", named, statuses=(0, 1))
    assert again["campaign"]["rounds"] == told["campaign"]["rounds"], "nothing was trained twice"
    assert again["number"] == told["number"]
    for studio, was in before.items():
        now = federation.look(studio)
        assert len(json.dumps(now["ledger"])) >= len(json.dumps(was["ledger"])), "the ledger goes on"
        assert now["verified"]

    left = federation.run("revoke", command("coordinator revoke", "birch", home=home))
    assert {part["campaign"] for part in left["campaigns"]} >= {"first"}
    line = [*command("coordinator retrain", home=home, campaign="without-birch"), *sets]
    alone = federation.run("alone", [*line, "--without", "birch", "--restart", "first"], statuses=(0, 1))
    assert [one["returned"] for one in alone["campaign"]["rounds"]] == [["alder"]]
