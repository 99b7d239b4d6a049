"""Shapes written back into their script: the curves are what was asked for, and no byte beside them moves."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model.errors import ShapeError
from model.formats import nuke
from model.formats.nuke_editing import replace_shapes
from model.keyframes import Keyed
from model.transforms import Transform

OWN_SCRIPTS = sorted(p for p in (Path(__file__).parent / "scripts").iterdir() if p.suffix != ".fxs")
SIZE = {"width": 1920, "height": 1080}


def later(shape, frames):
    """The shape with all its keys moved in time: another text for every number, the same curves."""
    feather = shape.feather and replace(shape.feather, frames=shape.feather.frames + frames)
    return replace(shape, frames=shape.frames + frames, feather=feather)


def writable(script):
    shapes = script.shapes.shapes
    return [s for s in shapes if s.path in script.splines and s.read_only_reason is None]


def outside_curves(data, script):
    """The script with the point lists of every shape cut out."""
    spans = sorted((s.curves for s in script.splines.values()), reverse=True)
    for start, end in spans:
        data = data[:start] + data[end:]
    return data


def check_read_write_read(data):
    script = nuke.loads(data, **SIZE)
    shapes = writable(script)
    moved = replace_shapes(data, [later(s, 7) for s in shapes], **SIZE)
    found = nuke.loads(moved, **SIZE)
    assert outside_curves(moved, found) == outside_curves(data, script)
    for shape in shapes:
        assert found.shapes.find(shape.path) == later(shape, 7)
    assert found.strokes == script.strokes
    back = replace_shapes(moved, shapes, **SIZE)
    assert nuke.loads(back, **SIZE).shapes == script.shapes


@pytest.mark.parametrize("path", OWN_SCRIPTS, ids=lambda p: p.name)
def test_read_write_read_keeps_every_curve_and_every_other_byte(path):
    data = path.read_bytes()
    check_read_write_read(data)
    assert replace_shapes(data, nuke.loads(data, **SIZE).shapes.shapes, **SIZE) == data


def script_of(name):
    return next(p for p in OWN_SCRIPTS if p.name == name).read_bytes()


def test_flags_and_the_points_own_attributes_stay():
    data = script_of("nested.gizmo")
    edge = nuke.loads(data, **SIZE).shapes.find("Edge")
    out = replace_shapes(data, [later(edge, 3)], **SIZE)
    assert out.count(b"{a osw x41200000 osf x409c5a65}") == 1
    assert b"{f 1056800}" in out
    assert b"curvegroup Edge 1049088 bezier" in out


def test_feather_can_be_added_and_taken_away():
    data = script_of("nested.gizmo")
    hand, edge, _ = nuke.loads(data, **SIZE).shapes.shapes
    grown = Keyed.constant(np.full((2, 3, 2), 3.0), 1001)
    out = replace_shapes(data, [replace(hand, feather=None), replace(edge, feather=grown)], **SIZE)
    after = nuke.loads(out, **SIZE).shapes
    assert after.find("Hand {l}").feather is None
    assert after.find("Edge").feather == grown


def test_bsplines_stored_without_tangents_stay_so():
    data = script_of("nested.gizmo")
    blob = nuke.loads(data, **SIZE).shapes.find("Blob")
    out = replace_shapes(
        data, [replace(blob, controls=blob.controls + np.array([[0, 0], [8, 0], [0, 0]]))], **SIZE
    )
    assert nuke.loads(out, **SIZE).shapes.find("Blob").points == 4
    assert nuke.loads(out, **SIZE).shapes.find("Blob").controls[0, 1, 1, 0] == 408


@pytest.mark.parametrize(
    ("name", "change", "what"),
    [
        ("Hand {l}", {"opacity": Keyed.constant(0.25)}, "differs in opacity"),
        ("Hand {l}", {"closed": False}, "differs in closed"),
        ("Hand {l}", {"path": "Roto9:Hand"}, "no shape 'Roto9:Hand'"),
        (
            "Hand {l}",
            {
                "transforms": (
                    Transform(*(Keyed.constant(v) for v in ((0.0, 0.0), (1.0, 0.0), 0.0, (1.0, 1.0)))),
                )
            },
            "transforms",
        ),
    ],
)
def test_what_cannot_be_written_in_place_is_refused(name, change, what):
    data = script_of("nested.gizmo")
    shape = nuke.loads(data, **SIZE).shapes.find(name)
    with pytest.raises(ShapeError, match=what):
        replace_shapes(data, [replace(shape, **change)], **SIZE)


def test_driven_shapes_old_texts_and_other_point_counts_are_refused():
    paint, old = script_of("paint.nk"), script_of("nuke6.nk")
    driven = nuke.loads(paint, **SIZE).shapes.find("Driven")
    with pytest.raises(ShapeError, match="expression"):
        replace_shapes(paint, [later(driven, 1)], **SIZE)
    with pytest.raises(ShapeError, match="Nuke 6"):
        replace_shapes(old, [later(nuke.loads(old).shapes.shapes[0], 1)])
    plain = nuke.loads(paint, **SIZE).shapes.find("Plain")
    fewer = {n: getattr(plain, n)[:, :2] for n in ("controls", "slopes_in", "slopes_out")}
    with pytest.raises(ShapeError, match="3 points in the script and 2 here"):
        replace_shapes(paint, [replace(plain, **fewer)], **SIZE)
