import json
import sqlite3

import pytest

from aggregator.progress import PROGRESS_FILE, ROUNDS_FILE, CampaignProgress
from aggregator.round_state import Standing, Turn, open_round
from aggregator.round_store import RoundRecord
from federation.errors import RoundError


def lines(folder):
    return [json.loads(line) for line in (folder / PROGRESS_FILE).read_text().splitlines()]


def test_events_are_json_lines_and_are_told(tmp_path):
    told = []
    with CampaignProgress(tmp_path, now=lambda: 12.3456, tell=told.append) as progress:
        progress.event("round.closed", "round 2: 2 of 3 returned", round=2, returned=["ash", "birch"])
    assert told == ["round 2: 2 of 3 returned"]
    assert lines(tmp_path) == [
        {
            "at": 12.346,
            "event": "round.closed",
            "round": 2,
            "returned": ["ash", "birch"],
            "text": "round 2: 2 of 3 returned",
        }
    ]


@pytest.mark.parametrize("torn", [b'{"at": 1, "ev', b"x" * 9000])
def test_a_torn_last_line_is_dropped_and_the_rest_stays(tmp_path, torn):
    with CampaignProgress(tmp_path, now=lambda: 1.0, tell=None) as progress:
        progress.event("a", "first")
    with (tmp_path / PROGRESS_FILE).open("ab") as file:
        file.write(torn)
    with CampaignProgress(tmp_path, now=lambda: 2.0, tell=None) as progress:
        progress.event("b", "second")
    assert [line["text"] for line in lines(tmp_path)] == ["first", "second"]


def test_a_file_with_nothing_but_a_torn_line_is_emptied(tmp_path):
    (tmp_path / PROGRESS_FILE).write_bytes(b"torn")
    with CampaignProgress(tmp_path, now=lambda: 1.0, tell=None):
        assert (tmp_path / PROGRESS_FILE).read_bytes() == b""


def test_the_tables_follow_the_record_and_hold_no_quality(tmp_path):
    state = open_round(3, studios=("ash", "birch"), quorum=1, now=10.0, deadline_s=5)
    turns = {"ash": Turn(Standing.ACCEPTED, size_bytes=412, seconds=2.5, asks=1), "birch": Turn()}
    state = type(state)(
        **{**vars(state), "turns": turns, "late": {"birch": Turn(Standing.UNUSED, reason="late")}}
    )
    with CampaignProgress(tmp_path, now=lambda: 1.0, tell=None) as progress:
        progress.round(RoundRecord(3, "a" * 64, state))
        progress.round(RoundRecord(3, "a" * 64, state))
    connection = sqlite3.connect(tmp_path / ROUNDS_FILE)
    assert connection.execute(
        "SELECT server_round, phase, returned, named, bytes_in FROM rounds"
    ).fetchall() == [(3, "preparing", 1, 2, 412)]
    rows = connection.execute(
        "SELECT studio, staleness, standing, bytes, seconds FROM studio_rounds"
    ).fetchall()
    assert sorted(rows) == [
        ("ash", 0, "accepted", 412, 2.5),
        ("birch", 0, "waiting", 0, 0.0),
        ("birch", 1, "unused", 0, 0.0),
    ]
    columns = {
        row[1]
        for table in ("rounds", "studio_rounds")
        for row in connection.execute(f"PRAGMA table_info({table})")
    }
    assert not {"loss", "norm", "quality", "gain"} & columns
    connection.close()


def test_a_disk_that_refuses_is_a_round_error(tmp_path):
    with CampaignProgress(tmp_path, now=lambda: 1.0, tell=None) as progress:
        (tmp_path / PROGRESS_FILE).mkdir()
        with pytest.raises(RoundError):
            progress.event("a", "first")
