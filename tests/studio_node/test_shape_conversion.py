"""Shape files turned into one another, and corrected shapes put back into the script they came from."""

from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pytest

from federation.errors import ConfigError
from model.errors import FormatError, ShapeError
from model.formats import nuke, roto_json
from model.shape_diff import difference
from studio_node.shape_conversion import convert, put_back
from studio_node.shape_files import read_shape_file

SCRIPTS = Path(__file__).parents[1] / "model" / "scripts"
SIZE = {"width": 1920, "height": 1080}


def whole_frames_equal(one, other):
    found = difference(one, other, tolerance_px=2e-3)
    return not any(d.frames for d in found) and not any("only in" in f for d in found for f in d.facts)


PAIRS = [("nested.gizmo", *pair) for pair in permutations([".nk", ".gizmo", ".fxs", ".json"], 2)]
PAIRS += [("shapes.fxs", ".nk", ".json"), ("shapes.fxs", ".json", ".fxs"), ("nuke6.nk", ".fxs", ".gizmo")]


@pytest.mark.parametrize(("name", "first", "second"), PAIRS)
def test_every_format_turns_into_every_other(tmp_path, name, first, second):
    source = SCRIPTS / name
    one, two = tmp_path / f"one{first}", tmp_path / f"two{second}"
    convert(source, one, **SIZE)
    convert(one, two, **SIZE)
    before = read_shape_file(source, **SIZE).shapes
    after = read_shape_file(two, **SIZE).shapes
    assert len(after.shapes) == len(before.shapes)
    for old, new in zip(before.shapes, after.shapes, strict=True):
        new = replace(new, path=old.path)
        assert whole_frames_equal(replace(before, shapes=(old,)), replace(after, shapes=(new,)))


def test_what_is_lost_and_what_is_not_read_are_told(tmp_path):
    done = convert(SCRIPTS / "paint.nk", tmp_path / "a.fxs", **SIZE)
    assert (done.shapes, len(done.warnings)) == (3, 1)
    (driven,) = [paths for lost, paths in done.losses.items() if "what drives it" in lost]
    assert driven == ("RotoPaint1:Driven",)
    assert not convert(SCRIPTS / "paint.nk", tmp_path / "a.json", **SIZE).losses
    done = convert(SCRIPTS / "nested.gizmo", tmp_path / "b.fxs", **SIZE)
    assert "the feather" in " ".join(done.losses)
    assert all(paths for paths in done.losses.values())
    assert convert(SCRIPTS / "nested.gizmo", tmp_path / "b.json", **SIZE).losses == {}


def test_single_shapes_are_chosen_by_name(tmp_path):
    convert(SCRIPTS / "nested.gizmo", tmp_path / "a.json", shapes=("Edge",), **SIZE)
    assert [s.name for s in read_shape_file(tmp_path / "a.json").shapes.shapes] == ["Edge"]


def test_outputs_are_never_inputs_and_are_replaced_only_on_request(tmp_path):
    source = tmp_path / "a.json"
    convert(SCRIPTS / "nested.gizmo", source, **SIZE)
    with pytest.raises(ConfigError, match="never written to"):
        convert(source, source, overwrite=True)
    with pytest.raises(ConfigError, match="already"):
        convert(SCRIPTS / "shapes.fxs", source)
    convert(SCRIPTS / "shapes.fxs", source, overwrite=True)
    with pytest.raises(ConfigError, match="does not exist"):
        convert(source, tmp_path / "nowhere" / "b.nk")
    with pytest.raises(FormatError, match="endings"):
        convert(source, tmp_path / "b.docx")
    with pytest.raises(FormatError, match="endings"):
        convert(tmp_path / "b.docx", source)


def test_corrected_shapes_go_back_into_a_copy_of_their_script(tmp_path):
    script, corrected = SCRIPTS / "nested.gizmo", tmp_path / "corrected.json"
    convert(script, corrected, shapes=("Blob",), **SIZE)
    shapes = roto_json.loads(corrected.read_text())
    blob = shapes.find("Blob")
    moved = replace(blob, controls=blob.controls + 0.5)
    corrected.write_text(roto_json.dumps(replace(shapes, shapes=(moved,))))
    done = put_back(corrected, script, tmp_path / "new.gizmo")
    assert done.shapes == 1
    after = nuke.loads((tmp_path / "new.gizmo").read_bytes(), **SIZE).shapes
    assert after.find("Blob").controls[0, 0, 1].tolist() == (blob.controls[0, 0, 1] + 0.5).tolist()
    assert after.find("Edge") == nuke.loads(script.read_bytes(), **SIZE).shapes.find("Edge")
    with pytest.raises(ConfigError, match="input"):
        put_back(corrected, tmp_path / "new.gizmo", tmp_path / "new.gizmo", overwrite=True)
    with pytest.raises(ConfigError, match="no Nuke script"):
        put_back(corrected, script, tmp_path / "new.fxs")
    with pytest.raises(ShapeError, match="no shape"):
        put_back(corrected, SCRIPTS / "paint.nk", tmp_path / "other.nk")
