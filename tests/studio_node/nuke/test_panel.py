"""The Nuke panel against a strict stand-in of Nuke's API, with the real fedroto process and real files."""

import ast
import importlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import studio_node.nuke
from model.formats import nuke as nuke_format

from .nuke_double import Nuke, Task

FOLDER = Path(studio_node.nuke.__path__[0])
SCRIPTS = sorted(FOLDER.glob("*.py"))
FEDROTO = Path(sys.executable).with_name("fedroto")
WEIGHTS = "own weights (empty: as shipped)"


@pytest.fixture(scope="module")
def shot(made_once):
    return made_once[1]


@pytest.fixture
def nuke(shot, small_weights, monkeypatch):
    """Nuke with the artist's script open and its Roto node selected."""
    double = Nuke(shot.artist_file, shot.plate, {WEIGHTS: str(small_weights)})
    monkeypatch.setitem(sys.modules, "nuke", double)
    monkeypatch.setattr(Task, "cancel_at", None)
    double.all[1].setSelected(True)
    return double


@pytest.fixture
def panel(nuke, monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setenv("FEDROTO_COMMAND", str(FEDROTO))
    monkeypatch.setenv("PYTHONHOME", "/nuke/has/its/own")
    for name in ("fedroto_panel", "fedroto_process"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    module = importlib.import_module("fedroto_panel")
    yield module
    module._process.close()


def finished(nuke, thread):
    thread.join(120)
    assert not thread.is_alive()
    nuke.run_main_thread()


def test_predicted_keys_come_into_a_node_of_their_own_and_one_undo_takes_it_away(nuke, panel, shot):
    artists = nuke.all[1]
    before = artists["curves"].value()
    finished(nuke, panel.predict_selected())
    assert len(nuke.all) == 3, nuke.messages
    new = nuke.all[2]
    assert new.fullName() == f"{artists.fullName()}_fedroto"
    assert (new.xpos(), new.ypos()) == (artists.xpos() + 110, artists.ypos())
    assert artists["curves"].value() == before
    drawn = nuke_format.loads(new.text().encode(), height=56, width=72).shapes.shapes[0]
    own = nuke_format.loads(shot.artist_file.read_bytes(), height=56, width=72).shapes.shapes[0]
    artist = {int(f) for f, whose in zip(drawn.frames, drawn.key_sources, strict=True) if whose == "artist"}
    assert artist == set(shot.artist_keys)
    assert set(drawn.key_frames) == set(range(min(artist), max(artist) + 1))
    for frame in artist:
        np.testing.assert_allclose(drawn.at(frame), own.at(frame), atol=2e-4)
    assert "least sure" in nuke.messages[-1]
    assert nuke.tasks[-1].percents[-1] == 100

    # The process stayed: a second prediction asks the same one. One undo takes one prediction away.
    process = panel._process._process.pid
    finished(nuke, panel.predict_selected())
    assert panel._process._process.pid == process
    assert nuke.all[3].fullName() == f"{artists.fullName()}_fedroto1"
    nuke.undo()
    nuke.undo()
    assert nuke.all[1:] == [artists]
    artists.setSelected(False)
    new.setSelected(True)
    new._inputs[0] = nuke.all[0]
    nuke.all.append(new)
    finished(nuke, panel.predict_selected())
    assert "is a prediction itself" in nuke.messages.pop()


def test_cancel_ends_the_process_and_writes_nothing(nuke, panel, monkeypatch):
    monkeypatch.setattr(Task, "cancel_at", 1)
    finished(nuke, panel.predict_selected())
    assert len(nuke.all) == 2
    assert nuke.messages == []
    assert panel._process._process is None
    monkeypatch.setattr(Task, "cancel_at", None)
    finished(nuke, panel.predict_selected())
    assert len(nuke.all) == 3


def test_what_cannot_be_predicted_is_said_in_words(nuke, panel, tmp_path):
    nuke.all[0]["file"].setValue(str(tmp_path / "gone.%04d.exr"))
    finished(nuke, panel.predict_selected())
    assert "gone" in nuke.messages.pop()
    nuke.all[0]["frame"].setValue("frame+10")
    assert panel.predict_selected() is None
    assert "shifts its frames" in nuke.messages.pop()
    nuke.all[1].setSelected(False)
    assert panel.predict_selected() is None
    assert "select one Roto node; 0 are selected" in nuke.messages.pop()
    assert len(nuke.all) == 2


def test_the_artist_may_change_their_mind_or_type_nonsense(nuke, panel):
    nuke._answers = None
    assert panel.predict_selected() is None
    nuke._answers = {"a key on every n-th frame": "often"}
    assert panel.predict_selected() is None
    assert nuke.messages == ["'often' is no number of frames; give 1 or more"]


def test_a_failure_while_writing_leaves_the_script_as_it_was(nuke, panel):
    broken = {"nodes": [{"curves": "no curves"}], "shapes": [], "rejected": []}
    with pytest.raises(ValueError, match="curves knob"):
        panel.write_nodes(nuke.all[1].fullName(), broken)
    assert len(nuke.all) == 2
    assert nuke._undo is None


def test_a_process_that_dies_is_told_of_with_its_last_words(nuke, panel, tmp_path, monkeypatch):
    command = tmp_path / "fedroto"
    command.write_text("#!/bin/sh\necho no room left >&2\nexit 1\n")
    command.chmod(0o755)
    monkeypatch.setenv("FEDROTO_COMMAND", str(command))
    finished(nuke, panel.predict_selected())
    assert nuke.messages == ["fedroto ended: no room left"]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_the_files_are_of_pythons_37_grammar_and_import_the_standard_library_only(path):
    tree = ast.parse(path.read_text(), feature_version=(3, 7))
    imported = {
        (node.module or "") if isinstance(node, ast.ImportFrom) else name.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in node.names
    }
    allowed = sys.stdlib_module_names | {"nuke", "fedroto_panel", "fedroto_process"}
    assert {name.partition(".")[0] for name in imported} <= allowed


def test_an_old_interpreter_talks_to_the_bridge(shot, small_weights, tmp_path):
    old = shutil.which("python3.7")
    if old is None or subprocess.run([old, "-c", ""], check=False, capture_output=True).returncode:
        pytest.skip("no python3.7 on this machine")
    ask = """
import json, sys
sys.path.insert(0, sys.argv[1])
from fedroto_process import FedrotoProcess
process = FedrotoProcess(sys.argv[2])
with open(sys.argv[4]) as file:
    request = {"plate": sys.argv[3], "script": file.read(), "weights": sys.argv[5]}
result = process.predict(request, lambda text, percent: None, lambda: False)
process.close()
print(json.dumps([node["name"] for node in result["nodes"]]))
"""
    command = [old, "-c", ask, FOLDER, FEDROTO, shot.plate, shot.artist_file, small_weights]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0].endswith("_fedroto")
