"""What a release saves a studio, measured on its own held-back shots."""

import json
import stat

import pytest

from federation.cli.main import main
from federation.errors import ConfigError, IngestError
from model.methods import CLASSICAL
from model.procedural_settings import ShotSettings
from studio_node.gain import BEST_CLASSICAL, GainReport, ShapeKeys, Tolerance, _methods, measure_gain
from studio_node.gain_page import gain_page
from studio_node.predict_shot import load_model
from studio_node.shot_folders import find_shots
from studio_node.written_shots import make_procedural_shots

KEYS = {"smooth": 9, "track": 6, "planar": 5, "flow": 7, "base": 5, "release": 4, BEST_CLASSICAL: 5}


def report(*per_shape):
    shapes = tuple(
        ShapeKeys("sh010", f"Roto1:{number}", 40, 8, {**KEYS, **changes})
        for number, changes in enumerate(per_shape)
    )
    return GainReport(Tolerance(), 2.0, shapes, _methods(shapes, 2.0), ())


def test_saved_keys_are_counted_against_interpolation_and_become_hours():
    gains = {one.method: one for one in report({}, {"release": 3}).methods}
    assert (gains["release"].keys, gains["release"].saved) == (7, 11)
    assert gains["release"].hours == pytest.approx(11 * 2 / 60)
    assert (gains["smooth"].saved, gains["smooth"].hours) == (0, 0)
    assert gains["release"].saved_per_shape.mean == pytest.approx(5.5)
    assert report({}).methods[0].saved_per_shape is None


def test_the_page_says_so_when_there_is_no_gain():
    page = gain_page("northlight", report({}, {}), release=3, rate=60)
    assert "The federation&#x27;s release needs 8 keys where interpolation needs 18" in page
    assert "2 fewer than the best classical method" in page
    assert "PRIVATE" in page
    none = gain_page("northlight", report({"release": 6}, {"release": 7}), release=3, rate=None)
    assert "no gain against it here" in none
    assert "<script" not in page + none


@pytest.mark.parametrize("bad", [(0, 0), (-1, 2)])
def test_a_tolerance_that_nothing_passes_is_refused(bad):
    with pytest.raises(ConfigError, match="lets no frame pass"):
        Tolerance(*bad)


@pytest.fixture(scope="module")
def held_back(tmp_path_factory):
    """A shot as a studio keeps it aside."""
    folder = tmp_path_factory.mktemp("held")
    make_procedural_shots(folder, settings=ShotSettings(width=160, height=120, frames=9), count=1, seed=5)
    return folder


def measured(folder, trained_on=frozenset(), **options):
    settings = {"tolerance": Tolerance(), "minutes_per_key": 1.0, "progress": lambda line: None} | options
    return measure_gain(
        find_shots([folder])[0], {"base": load_model(None)[0]}, trained_on=trained_on, **settings
    )


def test_a_shot_that_was_given_to_training_proves_nothing(held_back):
    with pytest.raises(IngestError, match="given to training, so it is not held back"):
        measured(held_back, frozenset({"shot001"}))
    with pytest.raises(ConfigError, match="minutes"):
        measured(held_back, minutes_per_key=0)


def test_keys_are_those_of_the_public_rule(held_back):
    found = measured(held_back)
    assert {one.method for one in found.methods} == {*CLASSICAL, BEST_CLASSICAL, "base"}
    for one in found.shapes:
        assert all(2 <= keys <= one.frames for keys in one.keys.values())
        assert one.keys[BEST_CLASSICAL] == min(one.keys[name] for name in CLASSICAL)


def test_the_command_writes_a_page_that_only_this_user_can_read(held_back, tmp_path, monkeypatch, capsys):
    def run(*line):
        monkeypatch.setattr("sys.argv", ["fedroto", *map(str, line), "--json"])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 0
        return json.loads(capsys.readouterr().out)

    home = tmp_path / "node"
    run("studio", "init", "--home", home, "--name", "northlight", "--federation", "roto")
    told = run("studio", "gain", held_back, "--home", home, "--rate", "60")
    page = home / "reports" / "gain.html"
    assert told["page"] == str(page)
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    assert "worth, at 60 an hour" in page.read_text()
