"""What is only written: After Effects scripts and Fusion masks hold the outlines that we see."""

import ast
import json
import re
from dataclasses import replace

import numpy as np
import pytest

from model.curves import bezier_controls, outline, polygon_controls
from model.formats import after_effects, blender, fusion, program_shapes
from model.formats.key_tracks import Track
from model.keyframes import Keyed
from model.shapes import Lifetime, Shape, ShapeSet
from model.transforms import Transform

WIDTH, HEIGHT = 2000, 1000


def shape(**changes):
    rng = np.random.default_rng(1)
    drawn = Shape.from_keys("Arm 1", [1001, 1004, 1012], rng.normal(0, 100, (3, 4, 3, 2)) + 500)
    return replace(drawn, **changes)


def spinning():
    return Transform(
        Keyed.constant((900.0, 400.0)),
        Keyed.constant((0.0, 0.0)),
        Keyed.smooth([1001, 1010], [0.0, 90.0]),
        Keyed.constant((1.0, 1.0)),
    )


def held():
    values = np.repeat(polygon_controls([[0, 0], [10, 0], [10, 10.0]])[None], 2, axis=0)
    values[1] += 5
    curve = Track(np.array([1001.0, 1010]), values, ("hold", "linear")).keyed()
    return Shape(
        name="held",
        frames=curve.frames,
        controls=curve.values,
        slopes_in=curve.slopes_in,
        slopes_out=curve.slopes_out,
    )


SHAPES = [
    shape(),
    shape(kind="bspline", lifetime=Lifetime(1003, 1008)),
    shape(kind="bspline", closed=False),
    shape(kind="polygon", opacity=Keyed.smooth([1001, 1009], [0.2, 1.0])),
    shape(transforms=(spinning(),)),
    held(),
]


def seen(one, frame):
    return outline(one.at(frame), one.kind, one.closed, 8 if one.kind != "polygon" else 1)


def between(frames, values, frame, holds=()):
    """Linear between keys, held where a key is."""
    frames = np.asarray(frames)
    i = int(np.clip(np.searchsorted(frames, frame, side="right") - 1, 0, len(frames) - 1))
    if i + 1 == len(frames) or frame <= frames[0] or (len(holds) and holds[i]):
        return values[i]
    u = (frame - frames[i]) / (frames[i + 1] - frames[i])
    return (1 - u) * values[i] + u * values[i + 1]


def from_after_effects(data):
    drawn = json.loads(re.search(r"var drawn = (\{.*\});\n", data.decode())[1])
    assert (drawn["width"], drawn["height"], drawn["first_frame"]) == (WIDTH, HEIGHT, 1001)
    for one in drawn["shapes"]:
        keys = [
            np.stack([k[n] for n in ("in_tangents", "vertices", "out_tangents")], axis=1) for k in one["path"]
        ]
        path = (one["frames"], keys, one["held"])
        yield path, (one["opacity_frames"], one["opacity"], one["opacity_held"]), one


def from_fusion(data):
    text = data.decode()
    assert text.count("{") == text.count("}")
    for name in re.findall(r"(\w+) = PolylineMask", text):
        spline = re.search(rf"\t{name}Polyline = BezierSpline .*?\n\t\t\}}", text, re.DOTALL)[0]
        frames, keys = [], []
        for frame, points in re.findall(
            r"\[(-?\d+)\] = .*?Points = \{\n(.*?)\n\t\t\t\t\}", spline, re.DOTALL
        ):
            numbers = re.findall(
                r"X = (\S+), Y = (\S+), LX = (\S+), LY = (\S+), RX = (\S+), RY = (\S+) ", points
            )
            x, y, lx, ly, rx, ry = np.array(numbers, dtype=float).T
            frames.append(int(frame))
            key = np.stack([[lx, -ly], [x + 0.5, 0.5 - y], [rx, -ry]]).transpose(2, 0, 1)
            keys.append(key * [WIDTH, HEIGHT])
        level = re.search(rf"\t{name}Level = BezierSpline .*?\n\t\t\}}", text, re.DOTALL)[0]
        opacity = np.array(re.findall(r"\[(-?\d+)\] = \{ (\S+),", level), dtype=float).T
        yield (frames, keys), (opacity[0], 100 * opacity[1]), text


def from_blender(data):
    drawn = next(node.value for node in ast.parse(data).body if isinstance(node, ast.Assign))
    for one in ast.literal_eval(drawn):
        left, centre, right = np.moveaxis((np.array(one["path"]) - 0.5) * (WIDTH, -WIDTH), 2, 0)
        keys = np.stack([left - centre, centre + np.array([WIDTH / 2, HEIGHT / 2]), right - centre], axis=2)
        yield (one["frames"], keys), (one["alpha_frames"], 100 * np.array(one["alpha"])), one


@pytest.mark.parametrize(
    ("write", "read"),
    [(after_effects, from_after_effects), (fusion, from_fusion), (blender, from_blender)],
)
def test_outlines_and_opacity_are_ours_on_every_whole_frame(write, read):
    data = write.dumps(
        ShapeSet(tuple(replace(s, path=str(i)) for i, s in enumerate(SHAPES)), WIDTH, HEIGHT, 1001)
    )
    found = list(read(data))
    assert len(found) == len(SHAPES)
    for one, (path, opacity, _) in zip(SHAPES, found, strict=True):
        for frame in range(1001, 1014):
            drawn = outline(between(path[0], path[1], frame, *path[2:]), "bezier", one.closed, 8)
            expected = seen(one, frame)
            steps = 8 if one.kind == "polygon" else 1
            assert drawn[::steps][: len(expected)] == pytest.approx(expected, abs=1e-3)
            alive = 100 * float(one.opacity.at(frame)) if one.is_alive(frame) else 0.0
            assert between(*opacity[:2], frame, *opacity[2:]) == pytest.approx(alive, abs=0.02)


@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize("points", [1, 2, 5])
def test_a_bspline_and_its_bezier_have_one_outline(points, closed):
    controls = np.random.default_rng(points).normal(0, 50, (2, points, 3, 2))
    bezier = bezier_controls(controls, "bspline", closed)
    assert outline(bezier, "bezier", closed, 7) == pytest.approx(outline(controls, "bspline", closed, 7))


def test_modes_and_names_are_said_in_each_programs_words():
    one = shape(name='7 "a"\n{b}', attributes=(("bm", Keyed.constant(12.0)), ("inv", Keyed.constant(1.0))))
    shapes = ShapeSet((one, shape(path="other")), WIDTH, HEIGHT, 1001)
    first, second = (found[2] for found in from_after_effects(after_effects.dumps(shapes)))
    assert (first["name"], first["mode"], first["inverted"]) == (one.name, "SUBTRACT", True)
    assert (second["mode"], second["inverted"]) == ("ADD", False)
    first, second = (found[2] for found in from_blender(blender.dumps(shapes)))
    assert (first["name"], first["blend"], first["inverted"]) == (one.name, "MERGE_SUBTRACT", True)
    text = fusion.dumps(shapes).decode()
    assert "Shape7__a___b_ = PolylineMask" in text
    assert 'FuID { "Subtract" }' in text
    assert 'EffectMask = Input { SourceOp = "Shape7__a___b_", Source = "Mask", }' in text


def test_what_these_programs_cannot_be_told_is_listed():
    soft = Keyed.constant(np.full((4, 3, 2), 4.0), 1001)
    drawn = shape(
        kind="bspline", feather=soft, transforms=(spinning(),), key_sources=("artist", "predicted", "artist")
    )
    lost = " ".join(program_shapes.losses(drawn))
    for word in ("feather", "B-spline", "layers", "predicted"):
        assert word in lost
    assert program_shapes.losses(shape()) == []
