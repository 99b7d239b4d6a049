"""Shapes as polyline masks for Fusion (``.setting``), to be pasted into a composition.

Positions are parts of the width and of the height from the picture's centre, y up; handles are relative to their point;
each key is a whole polyline, linear to the next. The masks feed one another, so the last one is all of them.

Source: a block that Fusion wrote (docs/formats.md); Fusion itself was not at hand.
"""

from __future__ import annotations

import re

import numpy as np

from model.formats.nuke_text import unique_names
from model.formats.program_shapes import ProgramShape, without_holds
from model.keyframes import FloatArray
from model.shapes import ShapeSet

_MODES = {0: "Merge", 4: "Maximum", 5: "Multiply", 12: "Subtract", 13: "Difference"}
_LINEAR = "Flags = { Linear = true, LockedY = true }"


def dumps(shapes: ShapeSet, _name: str = "") -> bytes:
    """The tools, one mask and its splines a shape.

    Raises:
        ShapeError: a curve too long to be written out.
    """
    drawn = [ProgramShape.of(shape) for shape in shapes.shapes]
    names = unique_names(_identifier(one.name) for one in drawn)
    tools, before = [], ""
    for number, (one, name) in enumerate(zip(drawn, names, strict=True)):
        tools += [_mask(one, name, before, number, shapes), _path(one, name, shapes), _level(one, name)]
        before = name
    return ("{\n\tTools = ordered() {\n" + "".join(tools) + "\t}\n}\n").encode()


def _mask(one: ProgramShape, name: str, before: str, number: int, shapes: ShapeSet) -> str:
    inputs = [
        'OutputSize = Input { Value = FuID { "Custom" }, },',
        f"MaskWidth = Input {{ Value = {shapes.width}, }},",
        f"MaskHeight = Input {{ Value = {shapes.height}, }},",
        f"PixelAspect = Input {{ Value = {{ {shapes.pixel_aspect:g}, 1 }}, }},",
        'ClippingMode = Input { Value = FuID { "None" }, },',
        f'PaintMode = Input {{ Value = FuID {{ "{_MODES.get(one.mode, "Merge")}" }}, }},',
        f"Invert = Input {{ Value = {int(one.inverted)}, }},",
        f'Level = Input {{ SourceOp = "{name}Level", Source = "Value", }},',
        f'Polyline = Input {{ SourceOp = "{name}Polyline", Source = "Value", }},',
    ]
    inputs += [f'EffectMask = Input {{ SourceOp = "{before}", Source = "Mask", }},'] if before else []
    listed = "".join(f"\t\t\t\t{line}\n" for line in inputs)
    place = f"ViewInfo = OperatorInfo {{ Pos = {{ {110 * number}, 0 }} }},"
    return f"\t\t{name} = PolylineMask {{\n\t\t\tInputs = {{\n{listed}\t\t\t}},\n\t\t\t{place}\n\t\t}},\n"


def _path(one: ProgramShape, name: str, shapes: ShapeSet) -> str:
    frames, values = without_holds(one.path)
    keys = [
        f"[{frame:g}] = {{ {number}, {_LINEAR}, Value = Polyline {{ Closed = {str(one.closed).lower()}, Points = {{\n"
        f"{_points(controls, shapes)}\t\t\t\t}} }} }},"
        for number, (frame, controls) in enumerate(zip(frames, values, strict=True))
    ]
    return _spline(f"{name}Polyline", keys)


def _points(controls: FloatArray, shapes: ShapeSet) -> str:
    size = np.array([shapes.width, -shapes.height])  # y up
    into, centre, out = (
        (controls / size)[:, 0],
        controls[:, 1] / size - np.array([0.5, -0.5]),
        (controls / size)[:, 2],
    )
    lines = []
    for point, left, right in zip(centre, into, out, strict=True):
        numbers = zip(("X", "Y", "LX", "LY", "RX", "RY"), (*point, *left, *right), strict=True)
        lines.append(
            "\t\t\t\t\t{ " + ", ".join(f"{key} = {_number(value)}" for key, value in numbers) + " },\n"
        )
    return "".join(lines)


def _level(one: ProgramShape, name: str) -> str:
    frames, values = without_holds(one.opacity)
    keys = [
        f"[{f:g}] = {{ {_number(v / 100)}, Flags = {{ Linear = true }} }},"
        for f, v in zip(frames, values, strict=True)
    ]
    return _spline(f"{name}Level", keys)


def _spline(name: str, keys: list[str]) -> str:
    listed = "".join(f"\t\t\t\t{key}\n" for key in keys)
    return f"\t\t{name} = BezierSpline {{\n\t\t\tKeyFrames = {{\n{listed}\t\t\t}}\n\t\t}},\n"


def _identifier(name: str) -> str:
    cleaned = re.sub(r"[^A-Za-z0-9_]", "_", name)
    return cleaned if cleaned[:1].isalpha() else f"Shape{cleaned}"


def _number(value: float) -> str:
    return f"{value:.9f}".rstrip("0").rstrip(".") if round(value, 9) else "0"
