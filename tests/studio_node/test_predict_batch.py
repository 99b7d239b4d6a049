"""Many shots in a batch: bad ones end none of the others, and a run that was ended is gone on with."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from federation.errors import ConfigError
from model.device import chosen_device
from model.errors import PredictionError
from model.formats import nuke
from studio_node.predict_batch import journal_of, predict_batch, read_jobs


@pytest.fixture
def listed(show, tmp_path):
    """A list of both shots and of one whose plate is not there."""
    path = tmp_path / "jobs.jsonl"
    jobs = [
        {"plate": f"show/{shot.name}/{shot.plate.name}", "shapes": f"show/{shot.name}/artist.nk",
         "output": f"{shot.name}_fedroto.nk"}
        for shot in show
    ]  # fmt: skip
    jobs.insert(
        1, {"plate": "gone.####.exr", "shapes": f"show/{show[0].name}/artist.nk", "output": "gone.nk"}
    )
    path.write_text("\n".join(map(json.dumps, jobs)) + "\n")
    return path


def states(reports):
    return [report.state for report in reports]


def test_one_bad_shot_ends_none_of_the_others_and_what_is_done_is_not_done_again(listed, small_weights, show):
    jobs, journal = read_jobs(listed), journal_of(listed)
    reports = predict_batch(jobs, journal, weights=small_weights)
    assert states(reports) == ["predicted", "failed", "predicted"]
    assert "gone" in reports[1].error
    shape = reports[0].result["shapes"][0]
    assert len(shape["confidence"]) == len(shape["frames"])
    assert nuke.ARTIST_KEYS_KNOB in jobs[0].output.read_text()
    written = jobs[0].output.stat().st_mtime_ns

    again = predict_batch(jobs, journal, weights=small_weights)
    assert states(again) == ["unchanged", "failed", "unchanged"]
    assert again[0].result == reports[0].result
    assert jobs[0].output.stat().st_mtime_ns == written

    # Other settings, a touched plate or a removed output: done again; the other shot is not.
    assert states(predict_batch(jobs, journal, weights=small_weights, every=2))[::2] == ["predicted"] * 2
    predict_batch(jobs, journal, weights=small_weights)
    os.utime(next(show[0].folder.glob("plate.*")))
    jobs[2].output.unlink()
    assert states(predict_batch(jobs, journal, weights=small_weights))[::2] == ["predicted"] * 2
    assert states(predict_batch(jobs, journal, weights=small_weights))[::2] == ["unchanged"] * 2


def test_an_output_that_was_edited_is_not_overwritten_unasked(listed, small_weights):
    jobs, journal = read_jobs(listed)[:1], journal_of(listed)
    predict_batch(jobs, journal, weights=small_weights)
    jobs[0].output.write_text(jobs[0].output.read_text() + "# by hand\n")
    (report,) = predict_batch(jobs, journal, weights=small_weights)
    assert report.state == "failed"
    assert "was changed since" in report.error
    assert states(predict_batch(jobs, journal, weights=small_weights, overwrite=True)) == ["predicted"]


def test_a_run_that_was_killed_goes_on_where_it_was(listed, small_weights, tmp_path):
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "federation.cli", "predict", "--batch", str(listed), "--weights",
               str(small_weights), "--report", str(report), "--json"]  # fmt: skip
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while not (report.exists() or time.monotonic() > end):
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.wait()
    first = json.loads(report.read_text())
    assert first["shots"][0]["state"] == "predicted"
    with journal_of(listed).open("a") as file:
        file.write('{"output": "cut sho')
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    found = json.loads(ended.stdout)
    assert ended.returncode == 1, "one plate is not there"
    assert found["of"] == 3
    assert found["shots"][0]["state"] == "unchanged"
    assert found["shots"][2]["result"]["shapes"][0]["confidence"]
    assert json.loads(report.read_text()) == found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "lists no job"),
        ("shot.exr shot.nk", "neither a JSON array"),
        ('[{"plate": "a", "shapes": "b"}]', "job 0.output: Field required"),
        ('{"plate": "a", "shapes": "b", "output": "c", "colour": 1}', "job 0.colour"),
        (
            '[{"plate": "a", "shapes": "b", "output": "c"}, {"plate": "d", "shapes": "e", "output": "c"}]',
            "two jobs",
        ),
    ],
)
def test_a_list_that_cannot_be_understood_says_why(tmp_path, text, said):
    path = tmp_path / "jobs.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        read_jobs(path)


def test_a_device_that_is_not_here_is_named(tmp_path):
    assert str(chosen_device("cpu")) == "cpu"
    for name in ("cuda:99", "tape", "meta"):
        with pytest.raises(PredictionError, match=name):
            chosen_device(name)
