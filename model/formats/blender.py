"""Shapes as a script (``.py``) that draws them as one mask in Blender, a layer a shape.

Masks lie in a square as large as the picture's longer side, its middle at (.5, .5), y up; handles are positions. A
layer's shape keys are linear. Blender makes them only in an image editor: the script borrows an area of the window and
gives it back.

Source: Blender's Python API (``bpy.types.Mask``, ``bpy.ops.mask.shape_key_insert``); run in Blender 5.0.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from model.formats.program_shapes import ProgramShape, without_holds
from model.keyframes import FloatArray
from model.shapes import ShapeSet

_BLENDS = {0: "MERGE_ADD", 4: "LIGHTEN", 5: "MUL", 12: "MERGE_SUBTRACT", 13: "DIFFERENCE"}
_SCRIPT = '''"""A mask by fedroto: run this in Blender's text editor, or as blender PLATE.blend --python THIS."""

import bpy

DRAWN = %r


def draw(scene, mask, select_only):
    for one in DRAWN:
        layer = mask.layers.new(name=one["name"])
        layer.blend, layer.invert = one["blend"], one["inverted"]
        spline = layer.splines.new()
        spline.points.add(len(one["path"][0]) - len(spline.points))
        spline.use_cyclic = one["closed"]
        select_only(layer)
        for frame, points in zip(one["frames"], one["path"]):
            scene.frame_set(frame)
            for point, (left, centre, right) in zip(spline.points, points):
                point.handle_left_type = point.handle_right_type = "FREE"
                point.co, point.handle_left, point.handle_right = centre, left, right
            bpy.ops.mask.shape_key_insert()
        for frame, alpha in zip(one["alpha_frames"], one["alpha"]):
            layer.alpha = alpha
            layer.keyframe_insert("alpha", frame=frame)


def main():
    scene, mask = bpy.context.scene, bpy.data.masks.new("fedroto")

    def select_only(chosen):
        for layer in mask.layers:
            for spline in layer.splines:
                for point in spline.points:
                    point.select = layer == chosen

    window = bpy.context.window or bpy.context.window_manager.windows[0]
    area = window.screen.areas[0]
    former_area, former_frame = area.type, scene.frame_current
    try:
        area.type = "IMAGE_EDITOR"
        space = area.spaces.active
        space.mode, space.mask = "MASK", mask
        region = next(region for region in area.regions if region.type == "WINDOW")
        with bpy.context.temp_override(window=window, area=area, region=region, space_data=space):
            draw(scene, mask, select_only)
    finally:
        area.type = former_area
        scene.frame_set(former_frame)


main()
'''


def dumps(shapes: ShapeSet, _name: str = "") -> bytes:
    """The script.

    Raises:
        ShapeError: a curve too long to be written out.
    """
    size = np.array([shapes.width, shapes.height], dtype=np.float64)
    return (_SCRIPT % [_document(ProgramShape.of(shape), size) for shape in shapes.shapes]).encode()


def _document(one: ProgramShape, size: FloatArray) -> dict[str, Any]:
    frames, controls = without_holds(one.path)
    alpha_frames, percent = _where_it_changes(*without_holds(one.opacity))
    return {
        "name": one.name,
        "closed": one.closed,
        "blend": _BLENDS.get(one.mode, "MERGE_ADD"),
        "inverted": one.inverted,
        "frames": [int(frame) for frame in frames],
        "path": np.round(_in_square(controls, size), 9).tolist(),
        "alpha_frames": [int(frame) for frame in alpha_frames],
        "alpha": np.round(percent / 100, 9).tolist(),
    }


def _where_it_changes(frames: FloatArray, values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """A key on every whole frame but those amid equal ones: Blender eases between the keys of a number."""
    every = np.arange(frames[0], frames[-1] + 1)
    sampled = np.interp(every, frames, values)
    changes = np.diff(sampled) != 0
    kept = np.append(changes, True) | np.insert(changes, 0, True)
    return every[kept], sampled[kept]


def _in_square(controls: FloatArray, size: FloatArray) -> FloatArray:
    """Positions [K, N, 3, 2] of handle, centre and handle in Blender's square, from controls in plate pixels."""
    positions = controls + controls[:, :, 1:2] * np.array([1.0, 0.0, 1.0])[:, None]
    return np.asarray(0.5 + (positions - size / 2) * np.array([1.0, -1.0]) / size.max())
