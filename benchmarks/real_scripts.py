"""Real Nuke scripts through everything that we do with them: read, write in place, predict into, convert.

    python -m benchmarks.real_scripts FOLDER [--width 1920] [--height 1080]

Of every ``.nk`` and ``.gizmo`` below FOLDER: putting back what was read changes no byte; shapes with all keys moved are
read back to the bit, and no byte beside their point lists has changed; a prediction is one piece put in between
unchanged bytes; and the shapes written anew in each format are read back, the furthest point on any whole frame told.
Ends with 1 where one of these does not hold.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from model.formats import nuke, registry
from model.formats.nuke_editing import replace_shapes
from model.shape_diff import difference
from model.shapes import Shape, ShapeSet

FRAMES_LATER = 7
DIGITS_MAX_PX = {
    ".nk": 1e-3,
    ".gizmo": 1e-3,
    ".json": 0.0,
    ".fxs": 5e-3,
}  # float32, exact, six decimals of the height


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--width", type=int, default=1920)
    parser.add_argument("--height", type=int, default=1080)
    given = parser.parse_args()
    size = {"width": given.width, "height": given.height}
    paths = sorted(p for p in given.folder.rglob("*") if p.suffix.lower() in registry.NUKE_FAMILY)
    failed = 0
    print("shapes  keys  strokes  left out  in place  predicted  furthest px in .nk .gizmo .json .fxs  file")
    for path in paths:
        try:
            print(_row(path.read_bytes(), size), path.name, flush=True)
        except AssertionError as error:
            failed += 1
            print(f"FAILED {path.name}: {error}", flush=True)
    print(f"{len(paths) - failed} of {len(paths)} scripts hold")
    sys.exit(bool(failed or not paths))


def _row(data: bytes, size: dict[str, int]) -> str:
    script = nuke.loads(data, **size)
    shapes = script.shapes
    written = write_in_place(data, script, size)
    predicted = predict_into(data, script, size)
    furthest = " ".join(f"{convert(shapes, ending):8.1e}" for ending in DIGITS_MAX_PX)
    keys = sum(len(shape.frames) for shape in shapes.shapes)
    read = f"{len(shapes.shapes):6} {keys:5} {len(script.strokes):8} {len(script.warnings):9}"
    return f"{read} {written:9} {predicted:10}  {furthest}"


def write_in_place(data: bytes, script: nuke.NukeScript, size: dict[str, int]) -> int:
    """Rewrite every shape that can be; return how many. The others stay as they are, with a reason."""
    _hold(
        replace_shapes(data, script.shapes.shapes, **size) == data, "putting back what was read changed bytes"
    )
    shapes = [s for s in script.shapes.shapes if s.path in script.splines and s.read_only_reason is None]
    moved = replace_shapes(data, [_later(s) for s in shapes], **size)
    found = nuke.loads(moved, **size)
    _hold(
        _beside_curves(moved, found) == _beside_curves(data, script), "bytes beside the point lists changed"
    )
    for shape in shapes:
        _hold(found.shapes.find(shape.path) == _later(shape), f"{shape.path} came back as something else")
    _hold(found.strokes == script.strokes, "strokes changed")
    back = nuke.loads(replace_shapes(moved, shapes, **size), **size)
    _hold(back.shapes == script.shapes, "moved there and back is not what it was")
    return len(shapes)


def predict_into(data: bytes, script: nuke.NukeScript, size: dict[str, int]) -> int:
    """Write every shape that is not read-only as a prediction, node by node; return how many."""
    count = 0
    for node in script.nodes:
        own = [
            s
            for s in script.shapes.shapes
            if s.path.startswith(f"{node.name}:") and s.read_only_reason is None
        ]
        if not own:
            continue
        out = nuke.add_prediction(data, [replace(s, transforms=()) for s in own], **size)
        _hold(_ends_in_common(data, out) >= len(data), f"a prediction for {node.name} changed other bytes")
        after = nuke.loads(out, **size).shapes.shapes
        _hold(len(after) == len(script.shapes.shapes) + len(own), f"{node.name}: predictions got lost")
        paths = {s.path for s in script.shapes.shapes}
        kept = tuple(s for s in after if s.path in paths)
        _hold(kept == script.shapes.shapes, "a prediction changed the artist's shapes")
        count += len(own)
    return count


def convert(shapes: ShapeSet, ending: str) -> float:
    """Write the shapes anew and read them back; return how far the furthest point or tangent is off, px."""
    path = Path(f"shapes{ending}")
    known = registry.format_of(path, reading=True)
    back = registry.loads(known.dumps(shapes, "Roto1"), path, width=shapes.width, height=shapes.height).shapes
    _hold(
        len(back.shapes) == len(shapes.shapes),
        f"{ending} holds {len(back.shapes)} of {len(shapes.shapes)} shapes",
    )
    furthest = 0.0
    for old, new in zip(shapes.shapes, back.shapes, strict=True):
        for different in difference(_alone(shapes, old), _alone(back, new)):
            furthest = max([furthest, *(max(f.points_max_px, f.tangents_max_px) for f in different.frames)])
    _hold(furthest <= DIGITS_MAX_PX[ending], f"{ending} moves a point by {furthest:.2g} px")
    return furthest


def _later(shape: Shape) -> Shape:
    """The shape with all its keys moved in time: another text for every number, the same curves."""
    feather = shape.feather and replace(shape.feather, frames=shape.feather.frames + FRAMES_LATER)
    return replace(shape, frames=shape.frames + FRAMES_LATER, feather=feather)


def _alone(shapes: ShapeSet, shape: Shape) -> ShapeSet:
    return replace(shapes, shapes=(replace(shape, name="shape", path="shape"),))


def _beside_curves(data: bytes, script: nuke.NukeScript) -> bytes:
    """The script with the point lists of every shape cut out."""
    for start, end in sorted((s.curves for s in script.splines.values()), reverse=True):
        data = data[:start] + data[end:]
    return data


def _ends_in_common(one: bytes, other: bytes) -> int:
    """How many bytes both have in common at their beginning and at their end."""
    least = min(len(one), len(other))
    first, second = (np.frombuffer(data, np.uint8) for data in (one, other))
    sides = ((first[:least], second[:least]), (first[::-1][:least], second[::-1][:least]))
    return sum(int(np.append(np.flatnonzero(a != b), least)[0]) for a, b in sides)


def _hold(promise: bool, otherwise: str) -> None:
    if not promise:
        raise AssertionError(otherwise)


if __name__ == "__main__":
    main()
