"""``fedroto studio ingest|catalogue|withdraw`` as a TD runs them, in one process to be quick."""

import json
import shutil

import pytest
from typer.testing import CliRunner

from federation.cli.main import app
from studio_node import ingest as ingest_module


@pytest.fixture
def fedroto(tmp_path, small_weights, monkeypatch):
    """Run a command in the studio ``node`` and return what it printed, parsed where it is JSON."""
    monkeypatch.setattr(ingest_module, "base_path", lambda: small_weights)
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()

    def run(command: str, *, code: int = 0):
        words = command.split()
        if words[0] == "ingest":
            words += ["--show", "kelp", "--windows", "2", "--workers", "1"]
        result = runner.invoke(app, ["studio", *words, "--home", "node"])
        assert result.exit_code == code, f"{result.output}\n{result.exception}"
        return json.loads(result.stdout) if "--json" in words else result.stdout

    runner.invoke(
        app,
        ["studio", "init", "--home", "node", "--name", "north", "--federation", "roto"],
        catch_exceptions=False,
    )
    return run


def test_an_archive_goes_in_is_looked_at_and_goes_out_again(fedroto, show, tmp_path):
    assert "would be ingested: 2 new" in fedroto("ingest show --dry-run")
    assert fedroto("catalogue ls --json") == {"shows": []}
    text = fedroto("ingest show")
    assert (
        "ingested: 2 new, 0 updated, 0 unchanged; 0 rejected; 18 keyframes of 2 shapes in 4 windows" in text
    )
    assert "no consent for training" in text
    fedroto("consent kelp --by contract")
    (kelp,) = fedroto("catalogue ls --json")["shows"]
    assert (kelp["name"], kelp["shots"], kelp["windows"]) == ("kelp", 2, 4)
    assert "yes, by contract" in fedroto("catalogue ls")
    assert fedroto("catalogue stats --json")["keyframes"] == 18
    assert [shot["shot_id"] for shot in fedroto("catalogue find *2 --json")["shots"]] == ["sh002"]
    assert "never trained on" in fedroto("catalogue show sh001")
    assert "0 packs" not in fedroto("withdraw kelp --by ann")
    assert "no " in fedroto("catalogue ls")
    assert fedroto("catalogue find --json")["shots"] == []
    assert list((tmp_path / "node" / "packs").iterdir()) == []


def test_a_redelivery_is_decided_on_the_command_line(fedroto, show, tmp_path):
    for name in ("sh001_v2", "sh001_v3"):
        shutil.copytree(show[0].folder, tmp_path / "show" / name)
    assert "sh001_v2 looks like sh001" in fedroto("ingest show")
    assert len(fedroto("catalogue duplicates --json")["duplicates"]) == 3
    assert "sh001_v2 is sh001 from now on" in fedroto("catalogue merge sh001 sh001_v2 --by ann")
    assert "are two shots" in fedroto("catalogue distinct sh001 sh001_v3 --by ann")
    assert fedroto("catalogue duplicates").strip() == "none"


def test_an_ingest_of_nothing_that_can_be_used_ends_with_a_failure(fedroto, tmp_path):
    (tmp_path / "empty" / "sh010").mkdir(parents=True)
    (tmp_path / "empty" / "sh010" / "shapes.nk").write_text("Roto {")
    assert "there are shapes (shapes.nk) but no plate files" in fedroto("ingest empty", code=1)
