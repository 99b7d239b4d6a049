"""The command line run in this process, and two homes for it."""

import json
import re
import sys
from dataclasses import dataclass

import pytest

from federation.cli.main import main

RANDOM_NAME = re.compile(r"-[0-9a-f]{8}\b")


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str


@pytest.fixture
def fedroto(capsys, monkeypatch, tmp_path):
    """Runs a command line in ``tmp_path`` and returns how it ended."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["fedroto", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        return Ended(ended.value.code or 0, told.out, told.err)

    return run


@pytest.fixture
def refused(fedroto):
    """Runs a command line that must end in an error; returns it, the same in both forms."""

    def run(*arguments, status):
        as_json, as_text = fedroto(*arguments, "--json"), fedroto(*arguments)
        assert (as_json.status, as_text.status) == (status, status), as_text.err
        error = json.loads(as_json.out)
        assert set(error) == {"error", "hint", "kind"}
        hint = f"fedroto: hint: {error['hint']}\n" if error["hint"] else ""
        said = f"fedroto: error: {error['error']}\n{hint}"
        assert RANDOM_NAME.sub("", as_text.err).endswith(RANDOM_NAME.sub("", said))
        assert as_text.out == ""
        assert not error["error"].endswith(".")
        assert "\n" not in error["error"] + (error["hint"] or "")
        return error

    return run


@pytest.fixture
def homes(fedroto):
    """A studio's home ``node`` and a coordinator's home ``fed`` in the working folder; the studio has not joined."""
    assert (
        fedroto("coordinator", "init", "--home", "fed", "--name", "north", "--host", "localhost").status == 0
    )
    assert fedroto("studio", "init", "--home", "node", "--name", "alder", "--federation", "north").status == 0
