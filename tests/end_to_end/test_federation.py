"""A real federation, made with the real commands: what it leaves behind at the studios, the coordinator, the artist."""

import json
import re
from hashlib import sha256

import numpy as np
import pytest
from real_federation import PLAN, SHOWS, STUDIOS

from federation.cli.demo_processes import command
from federation.release_manifest import BYTES_MAX
from model.formats import nuke
from studio_node.egress import decode_reply

pytestmark = pytest.mark.timeout(900)
every_studio = pytest.mark.parametrize("studio", STUDIOS)


@pytest.fixture(scope="module")
def told(real_federation):
    return real_federation.told


def stored_updates(federation, studio):
    """Frames of a studio that the coordinator took, by round."""
    rounds = (federation.coordinator / "campaigns" / "first").glob("round_*")
    frames = {int(folder.name[-4:]): folder / f"update_{studio}.frame" for folder in rounds}
    return {number: path.read_bytes() for number, path in sorted(frames.items()) if path.exists()}


def test_the_packaged_base_passes_the_release_check_and_becomes_release_1(real_federation, told):
    """What the README's first command begins with."""
    outcome = told["release-1"]
    assert [gate["why"] for gate in outcome["check"]["gates"] if not gate["passed"]] == []
    assert outcome["number"] == 1
    published = real_federation.coordinator / "releases" / "0001"
    assert sorted(path.name for path in published.iterdir()) == sorted(BYTES_MAX)


def test_both_rounds_closed_with_both_studios(told):
    assert told["rounds"]["state"] == "complete"
    rounds = told["rounds"]["rounds"]
    assert [(one["server_round"], one["phase"], one["attempt"]) for one in rounds] == [
        (1, "closed", 1),
        (2, "closed", 1),
    ]
    assert all(one["returned"] == list(STUDIOS) and one["missing"] == [] for one in rounds)


@every_studio
def test_ingest_took_every_shot(told, studio):
    report = told[f"ingest-{studio}"]
    assert [shot["state"] for shot in report["shots"]] == ["new", "new"]
    assert report["rejected"] == []


@every_studio
def test_each_round_was_charged_once_to_the_studios_show_and_the_chain_holds(told, studio):
    ledger = told[studio]["ledger"]
    assert [(one["server_round"], one["steps"], one["outcome"]) for one in ledger["charges"]] == [
        (1, PLAN["steps_per_round"], "done"),
        (2, PLAN["steps_per_round"], "done"),
    ]
    assert {show for one in ledger["charges"] for show in one["shows"]} == {SHOWS[studio]}
    (account,) = ledger["accounts"]
    assert (account["show"], account["charges"]) == (SHOWS[studio], 2)
    assert 0 < account["epsilon"] < account["epsilon_lifetime"]
    assert told[studio]["verified"]["intact"]
    assert told[studio]["verified"]["head_hash"] == ledger["head_hash"]


@every_studio
def test_the_campaigns_price_is_the_one_that_the_ledgers_hold(told, studio):
    (account,) = told[studio]["ledger"]["accounts"]
    assert told["rounds"]["epsilon"] == {"xs": pytest.approx(account["epsilon"], rel=1e-6)}


@every_studio
def test_every_charge_was_written_before_its_update_left(real_federation, told, studio):
    events = [
        one for one in real_federation.journal(studio, "runner") if one["event"] in ("charged", "trained")
    ]
    first = [(one["event"], one["text"].split(":")[0]) for one in events[:4]]
    assert first == [(event, f"first round {n}") for n in (1, 2) for event in ("charged", "trained")]
    charges = told[studio]["ledger"]["charges"]
    for charge, line in zip(charges, told[studio]["egress"]["lines"], strict=True):
        assert charge["time"] <= line["time"]
        (named,) = [one["value"] for one in line["fields"] if one["name"] == "ledger_sequence"]
        assert int(named) == charge["sequence"]


@every_studio
def test_what_the_egress_log_says_is_byte_for_byte_what_the_coordinator_has(real_federation, told, studio):
    frames = stored_updates(real_federation, studio)
    lines = told[studio]["egress"]["lines"]
    assert [(one["kind"], one["campaign"], one["server_round"], one["replay"]) for one in lines] == [
        ("update", "first", number, False) for number in (1, 2)
    ]
    assert [one["sha256"] for one in lines] == [sha256(frame).hexdigest() for frame in frames.values()]
    assert [one["size_bytes"] for one in lines] == [len(frame) for frame in frames.values()]
    assert told[studio]["egress"]["size_bytes"] == sum(map(len, frames.values()))
    assert told[studio]["egress"]["torn"] == 0


def test_the_campaigns_bytes_are_those_that_left_the_studios(told):
    left = sum(told[studio]["egress"]["size_bytes"] for studio in STUDIOS)
    assert sum(one["bytes_in"] for one in told["rounds"]["rounds"]) == left


def test_the_second_round_counter_signed_the_heads_of_the_first(real_federation, told):
    """The enrolment book holds each studio's newest head; it is the one of its second charge."""
    for studio in STUDIOS:
        update = decode_reply(stored_updates(real_federation, studio)[2])
        charge = told[studio]["ledger"]["charges"][1]
        assert update.ledger_sequence == charge["sequence"]
        assert decode_reply(stored_updates(real_federation, studio)[1]).ledger_sequence < charge["sequence"]


def test_updates_are_noise_sized_differ_and_moved_the_weights(real_federation, told):
    updates = [
        decode_reply(frame).update
        for studio in STUDIOS
        for frame in stored_updates(real_federation, studio).values()
    ]
    plan = json.loads(
        json.loads((real_federation.coordinator / "campaigns/first/plan.json").read_text())["payload"]
    )
    for update in updates:
        assert 0 < np.linalg.norm(update.astype(np.float64)) <= plan["update"]["norm_max"] * (1 + 1e-6)
        assert np.all(update / plan["update"]["grid"] == np.round(update / plan["update"]["grid"]))
    assert len({update.tobytes() for update in updates}) == len(updates)
    digests = [one["weights_digest"] for one in told["rounds"]["rounds"]]
    assert len({*digests, told["rounds"]["candidate_digest"]}) == 2


def test_the_release_check_was_run_on_every_gate_and_decided(real_federation, told):
    outcome = told["release-2"]
    names = [gate["name"] for gate in outcome["check"]["gates"]]
    assert "not worse than the base" in names
    assert [name for name in names if name.startswith("better than ")]
    assert all(gate["why"] for gate in outcome["check"]["gates"])
    passed = all(gate["passed"] for gate in outcome["check"]["gates"])
    assert outcome["number"] == (2 if passed else None)
    published = {path.name for path in (real_federation.coordinator / "releases").glob("0*")}
    assert published == ({"0001", "0002"} if passed else {"0001"})


def test_the_artist_pulled_the_newest_release_verified_and_predicted_with_it(real_federation, told):
    newest = told["release-2"]["number"] or 1
    assert told["pull"]["number"] == newest
    assert told["predict"]["weights"].startswith(str(real_federation.root / "releases" / f"{newest:04d}"))
    (shot,) = (real_federation.root / "plates" / "artist").glob("shot*")
    original = (shot / "artist.nk").read_bytes()
    written = (real_federation.root / "predicted.nk").read_bytes()
    before = nuke.loads(original, height=96).shapes.shapes
    after = nuke.loads(written, height=96).shapes.shapes
    artists, predicted = after[: len(before)], after[len(before) :]
    assert artists == before
    assert [len(shape.key_frames) for shape in predicted] == [13] * len(predicted)
    for ours, theirs in zip(predicted, before, strict=True):
        for key in theirs.key_frames:
            np.testing.assert_allclose(ours.at(key), theirs.at(key), atol=1e-4)


def test_the_studios_processes_said_whether_they_are_isolated(real_federation):
    for studio in STUDIOS:
        (ready, *_) = real_federation.events(studio, "runner", "ready")
        assert re.search(r"not isolated here: network interface|^ready; isolated", ready["text"])


@pytest.mark.long
def test_one_byte_a_value_quarters_what_leaves_and_the_release_check_bears_it(real_federation, told):
    """Prints what the check says of both campaigns; results: benchmarks/federation_results.md."""
    real_federation.start()
    real_federation.run("bytes", real_federation.campaign("bytes", value_bits=8, **PLAN))
    assert told["bytes"]["state"] == "complete"
    sent = {name: sum(one["bytes_in"] for one in told[name]["rounds"]) for name in ("rounds", "bytes")}
    assert sent["rounds"] / sent["bytes"] > 3.9
    line = command("coordinator release", home=real_federation.coordinator, campaign="bytes")
    real_federation.run("release-bytes", line, statuses=(0, 1))
    gates = {name: told[name]["check"]["gates"] for name in ("release-2", "release-bytes")}
    print(sent, json.dumps(gates, indent=1))
    assert {one["name"]: one["passed"] for one in gates["release-bytes"]}["not worse than the base"]
