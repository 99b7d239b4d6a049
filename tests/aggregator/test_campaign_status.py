"""Where a campaign stands: read beside it, after a kill, and below its quorum."""

import fcntl
import os
import signal
import subprocess
import sys

import pytest
from federation_simulator import FederationSimulator, use_tiny_model

from aggregator.campaign_status import campaign_status, campaigns
from aggregator.progress import CampaignProgress
from aggregator.round_state import Phase, Standing, Turn, open_round
from aggregator.round_store import RoundRecord
from federation import keys
from federation.errors import FedrotoError, RoundError, SignatureError
from federation.plan import TrainingPlan

KILLED = """
import os, signal, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 1")
connection.execute("BEGIN IMMEDIATE")
connection.execute("UPDATE rounds SET phase = 'failed'")
for number in range(1000, 3000):  # more than the cache holds: the file itself is written to before the commit
    connection.execute("INSERT INTO studio_rounds VALUES (?, 'ash', 0, 'asked', ?, 1, 0, 0)", (number, "x" * 200))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def home(tmp_path, plan_fields):
    plan_key = keys.create_plan_key(tmp_path / "keys")
    (tmp_path / "plan_key.pub").write_bytes(keys.public_pem(plan_key.public_key()))
    folder = tmp_path / "campaigns" / "autumn"
    folder.mkdir(parents=True)
    plan = TrainingPlan.from_payload(plan_fields | {"studios": dict.fromkeys(("ash", "birch", "oak"), "s")})
    (folder / "plan.json").write_bytes(plan.signed(plan_key).to_bytes())
    return tmp_path


def write(home, *records, events=()):
    folder = home / "campaigns" / "autumn"
    with CampaignProgress(folder, now=lambda: 1.0, tell=None) as progress:
        for record in records:
            progress.round(record)
        for text in events:
            progress.event("x", text)
    return folder


def record(server_round, phase, turns, *, late=None, reason=""):
    state = open_round(server_round, studios=turns, quorum=2, now=10.0, deadline_s=5)
    fields = vars(state) | {"turns": turns, "late": late or {}, "phase": phase, "reason": reason}
    return RoundRecord(server_round, "a" * 64, type(state)(**fields))


ACCEPTED = Turn(Standing.ACCEPTED, size_bytes=2_300_000, seconds=2.5, asks=1)
OUT = Turn(Standing.ASKED, asks=1)


def test_a_round_is_told_in_one_sentence(home):
    write(home, record(1, Phase.CLOSED, {"ash": ACCEPTED, "birch": ACCEPTED, "oak": OUT}))
    (one,) = campaign_status(home).rounds
    assert one.sentence == "round 1: 2 of 3 returned, one late, 2.3 MB each"
    assert one.late == ("oak",)
    assert {studio.studio: studio.standing for studio in one.studios}["oak"] == "late"


def test_a_late_update_that_was_used_is_told_in_the_next_round(home):
    write(
        home,
        record(1, Phase.CLOSED, {"ash": ACCEPTED, "birch": ACCEPTED, "oak": OUT}),
        record(2, Phase.CLOSED, dict.fromkeys(("ash", "birch", "oak"), ACCEPTED), late={"oak": ACCEPTED}),
    )
    assert campaign_status(home).rounds[1].sentence.endswith("used from the round before: oak")


def test_nobody_is_late_while_a_round_is_open(home):
    write(home, record(1, Phase.OPEN, {"ash": ACCEPTED, "birch": OUT, "oak": OUT}))
    assert campaign_status(home).rounds[0].sentence == "round 1: 1 of 3 returned, 2.3 MB each"


def test_a_round_below_quorum_is_shown_degraded_with_why(home):
    why = "1 of 3 returned; missing: birch (never online), oak (no consent)"
    turns = {"ash": ACCEPTED, "birch": Turn(), "oak": Turn(Standing.REFUSED)}
    write(home, record(1, Phase.DEGRADED, turns, reason=why))
    status = campaign_status(home)
    assert status.state == "degraded"
    assert status.rounds[0].reason == why
    assert "DEGRADED, 1 of 3 returned" in status.rounds[0].sentence
    assert "nothing was averaged" in status.rounds[0].sentence


def test_all_rounds_closed_is_complete_and_fewer_is_stopped(home):
    turns = dict.fromkeys(("ash", "birch", "oak"), ACCEPTED)
    write(home, record(1, Phase.CLOSED, turns))
    assert campaign_status(home).state == "stopped"
    write(home, record(2, Phase.CLOSED, turns), record(3, Phase.CLOSED, turns))
    assert campaign_status(home).state == "complete"


def test_a_process_that_holds_the_campaign_makes_it_running(home):
    folder = write(home, record(1, Phase.OPEN, {"ash": OUT}))
    descriptor = os.open(folder / "campaign.lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    assert campaign_status(home).state == "running"
    os.close(descriptor)
    assert campaign_status(home).state == "stopped"


def test_a_process_killed_while_it_wrote_leaves_the_last_whole_state(home):
    folder = write(home, record(1, Phase.CLOSED, {"ash": ACCEPTED, "birch": ACCEPTED, "oak": OUT}))
    ended = subprocess.run([sys.executable, "-c", KILLED, str(folder / "rounds.sqlite")], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert (folder / "rounds.sqlite-journal").stat().st_size > 0
    before = (folder / "rounds.sqlite").read_bytes()
    status = campaign_status(home)
    assert [one.phase for one in status.rounds] == ["closed"]
    assert len(status.rounds[0].studios) == 3
    assert (folder / "rounds.sqlite").read_bytes() == before  # left for the coordinator to play back


def test_looking_writes_nothing(home):
    folder = write(home, record(1, Phase.OPEN, {"ash": OUT}), events=["round 1 opened"])
    before = {path: path.read_bytes() for path in folder.rglob("*")}
    campaign_status(home)
    assert {path: path.read_bytes() for path in folder.rglob("*")} == before


def test_the_newest_events_are_read_past_a_torn_line(home):
    folder = write(home, record(1, Phase.OPEN, {"ash": OUT}), events=[f"event {n}" for n in range(20)])
    with (folder / "progress.jsonl").open("ab") as file:
        file.write(b'{"at": 1, "te')
    texts = [one.text for one in campaign_status(home).events]
    assert texts == [f"event {n}" for n in range(20)]


def test_a_plan_that_somebody_else_signed_is_not_shown(home):
    other = keys.create_plan_key(home / "other")
    (home / "plan_key.pub").write_bytes(keys.public_pem(other.public_key()))
    with pytest.raises(SignatureError):
        campaign_status(home)


def test_a_damaged_table_is_an_error_that_names_the_file(home):
    folder = write(home, record(1, Phase.OPEN, {"ash": OUT}))
    (folder / "rounds.sqlite").write_bytes(b"no database" * 500)
    with pytest.raises(FedrotoError, match=r"rounds\.sqlite"):
        campaign_status(home)


def test_a_campaign_that_is_not_there_is_named_with_those_that_are(home):
    with pytest.raises(RoundError, match="there are: autumn"):
        campaign_status(home, "spring")
    (home / "campaigns" / "autumn" / "plan.json").unlink()
    with pytest.raises(RoundError, match="no campaign yet"):
        campaign_status(home)


def test_a_campaign_that_was_run_is_seen_as_it_was(tmp_path, monkeypatch, quick_disk):
    use_tiny_model(monkeypatch)
    simulator = FederationSimulator(tmp_path / "home")
    result = simulator.run(rounds=2, quorum=2, deadline_s=60)
    plan_key = keys.load_plan_key(simulator.home / "keys" / "plan_key")
    (simulator.home / "plan_key.pub").write_bytes(keys.public_pem(plan_key.public_key()))
    assert campaigns(simulator.home) == ("spring",)
    status = campaign_status(simulator.home)
    assert (status.state, status.running, status.rounds_planned) == ("complete", False, 2)
    assert [one.returned for one in status.rounds] == [one.returned for one in result.rounds]
    assert [one.bytes_in for one in status.rounds] == [one.bytes_in for one in result.rounds]
    assert any("all 2 rounds closed" in one.text for one in status.events)
