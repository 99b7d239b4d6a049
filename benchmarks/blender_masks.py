"""What Blender itself makes of our script: every point and the opacity on every frame.

    python -m benchmarks.blender_masks FILE    where bpy and numpy are (bpy is no dependency of ours)

The script is run as an artist would run it; points are read back from Blender's mask in plate pixels.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import bpy
import numpy as np

from model.curves import bezier_controls
from model.formats import blender, registry
from model.screen_space import on_screen
from model.shapes import ShapeSet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--width", type=int)
    parser.add_argument("--height", type=int)
    given = parser.parse_args()
    shapes = registry.loads(
        given.file.read_bytes(), given.file, width=given.width, height=given.height
    ).shapes
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "masks.py"
        script.write_bytes(blender.dumps(shapes))
        bpy.utils.execfile(str(script))
    mask = bpy.data.masks["fedroto"]
    frames = _frames(shapes)
    furthest, opacity = 0.0, 0.0
    for frame in frames:
        bpy.context.scene.frame_set(frame)
        for shape, layer in zip(shapes.shapes, mask.layers, strict=True):
            alive = shape.is_alive(frame)
            opacity = max(opacity, abs(layer.alpha - float(shape.opacity.at(frame)) * alive))
            if alive and shape.frames[0] <= frame <= shape.frames[-1]:
                expected = bezier_controls(on_screen(shape).at(frame), shape.kind, shape.closed)
                furthest = max(furthest, float(np.abs(_controls(layer, shapes) - expected).max()))
    print(f"Blender {bpy.app.version_string}: {len(mask.layers)} shapes, frames {frames[0]}-{frames[-1]}")
    print(f"furthest point or handle {furthest:.2g} px, opacity off by at most {opacity:.2g}")


def _frames(shapes: ShapeSet) -> range:
    keys = np.concatenate([shape.frames for shape in shapes.shapes])
    return range(int(np.floor(keys.min())), int(np.ceil(keys.max())) + 1)


def _controls(layer: bpy.types.MaskLayer, shapes: ShapeSet) -> np.ndarray:
    """Controls [N, 3, 2] in plate pixels."""
    side = max(shapes.width, shapes.height)
    places = np.array([[p.handle_left[:], p.co[:], p.handle_right[:]] for p in layer.splines[0].points])
    pixels = (places - 0.5) * (side, -side) + (shapes.width / 2, shapes.height / 2)
    return np.stack([pixels[:, 0] - pixels[:, 1], pixels[:, 1], pixels[:, 2] - pixels[:, 1]], axis=1)


if __name__ == "__main__":
    main()
