"""The coordinator's tutorial names commands that exist, with options that they have, and pictures that are there."""

import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from federation.cli.main import app

DOCS = Path(__file__).parent.parent.parent / "docs"
TEXT = (DOCS / "tutorial-coordinator.md").read_text()
BLOCKS = re.findall(r"^```\w*\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
COMMANDS = [line for block in BLOCKS for line in block.splitlines() if line.startswith("fedroto")]


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_of_the_coordinators_tutorial_is_understood(line, tmp_path, monkeypatch):
    (tmp_path / "fed").mkdir()
    (tmp_path / "fed" / "federation.toml").touch()
    monkeypatch.chdir(tmp_path)
    _, *words = shlex.split(line)
    command, name = get_command(app), "fedroto"
    while hasattr(command, "commands"):
        name = words.pop(0)
        command = command.commands[name]
    command.make_context(name, words)


def test_its_pictures_are_there():
    pictures = re.findall(r"!\[[^]]+\]\((images/[^)]+)\)", TEXT)
    assert len(pictures) == 2
    assert all((DOCS / picture).is_file() for picture in pictures)


def test_it_goes_through_every_step_of_a_release():
    named = {line.split()[2] for line in COMMANDS if line.startswith("fedroto coordinator ")}
    steps = {
        "release",
        "releases",
        "compare",
        "promote",
        "rollback",
        "retrain",
        "revoke",
        "console",
        "status",
    }
    assert steps <= named
