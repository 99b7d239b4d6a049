"""``fedroto shapes``: what a user sees of each command."""

import json
from pathlib import Path

SCRIPTS = Path(__file__).parents[1] / "model" / "scripts"


def test_a_file_is_listed_converted_compared_and_drawn(fedroto, tmp_path):
    source = str(SCRIPTS / "shapes.fxs")
    listed = fedroto("shapes", "info", source).out
    assert "1920x1080, frames 1001-1100, 2 shapes" in listed
    assert "Man/Arm/back" in listed
    script = str(tmp_path / "shapes.nk")
    converted = fedroto("shapes", "convert", source, script).out
    assert "lost: the matrices of its layers" in converted
    assert fedroto("shapes", "diff", source, script, "--tolerance", "1e9").out.count("keys:") == 2
    assert fedroto("shapes", "diff", script, script).out == "no difference\n"
    mattes = str(tmp_path / "m.####.png")
    size = ("--size", "96x54", "--frames", "1006-1007", "--shape", "front & top")
    assert "2 files written; 1 shapes" in fedroto("shapes", "render", source, mattes, *size).out
    assert sorted(p.name for p in tmp_path.glob("*.png")) == ["m.1006.png", "m.1007.png"]


def test_each_command_answers_in_json(fedroto, tmp_path):
    source = str(SCRIPTS / "nested.gizmo")
    size = ("--width", "1920", "--height", "1080", "--json")
    info = json.loads(fedroto("shapes", "info", source, *size).out)
    assert [s["points"] for s in info["shapes"]] == [3, 2, 4]
    done = json.loads(fedroto("shapes", "convert", source, str(tmp_path / "a.fxs"), *size).out)
    assert done["shapes"] == 3
    assert all(done["losses"].values())
    report = json.loads(
        fedroto(
            "shapes", "render", source, str(tmp_path / "m.#.exr"), "--frames", "1003", "--per-shape", *size
        ).out
    )
    assert report["report"]["written"] == 3
    assert json.loads(fedroto("shapes", "schema", "--json").out)["title"] == "fedroto.shapes/1"


def test_a_script_without_a_size_says_what_to_give(fedroto):
    ended = fedroto("shapes", "info", SCRIPTS / "paint.nk")
    assert ended.status == 1
    assert "give the plate's width and height" in ended.err


def test_wrong_ranges_and_sizes_say_how_they_are_written(fedroto, tmp_path):
    source, mattes = str(SCRIPTS / "shapes.fxs"), str(tmp_path / "m.#.exr")
    for option, said in (("--frames", "1001-1048"), ("--size", "1920x1080")):
        ended = fedroto("shapes", "render", source, mattes, option, "big")
        assert ended.status == 2
        assert said in ended.err


def test_shapes_that_only_their_program_can_compute_are_drawn_and_told(fedroto, tmp_path):
    size = ("--width", "96", "--height", "96", "--frames", "1001")
    told = fedroto("shapes", "render", SCRIPTS / "paint.nk", tmp_path / "m.#.png", *size).out
    assert "drawn: RotoPaint1:Driven from its last numbers only" in told
