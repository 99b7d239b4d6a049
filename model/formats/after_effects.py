"""Shapes as a script (``.jsx``) that draws them as masks on the selected layer of After Effects.

Masks lie in the layer's pixels, y down, tangents relative to their vertex; keys are linear or held. The data stand in
the script as one object; the rest of it is the same for all files.

Source: Adobe's scripting names (``ADBE Mask Shape``...); After Effects itself was not at hand (docs/formats.md).
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from model.formats.key_tracks import Track
from model.formats.program_shapes import ProgramShape
from model.shapes import ShapeSet

_MODES = {0: "ADD", 4: "LIGHTEN", 5: "INTERSECT", 12: "SUBTRACT", 13: "DIFFERENCE"}
_SCRIPT = """// Masks by fedroto: select one layer of the plate in a composition, then run this script.
(function () {
    var drawn = %s;
    var comp = app.project.activeItem;
    if (!(comp instanceof CompItem) || comp.selectedLayers.length !== 1) {
        alert("fedroto: open the composition and select the one layer that the masks belong on.");
        return;
    }
    var layer = comp.selectedLayers[0];
    var sx = layer.width / drawn.width, sy = layer.height / drawn.height;
    function times(frames) {
        var found = [];
        for (var i = 0; i < frames.length; i++) {
            found.push(layer.startTime + (frames[i] - drawn.first_frame) * comp.frameDuration);
        }
        return found;
    }
    function scaled(points) {
        var found = [];
        for (var i = 0; i < points.length; i++) { found.push([points[i][0] * sx, points[i][1] * sy]); }
        return found;
    }
    function keyed(property, frames, values, held) {
        property.setValuesAtTimes(times(frames), values);
        for (var i = 0; i < frames.length; i++) {
            var kind = held[i] ? KeyframeInterpolationType.HOLD : KeyframeInterpolationType.LINEAR;
            property.setInterpolationTypeAtKey(i + 1, KeyframeInterpolationType.LINEAR, kind);
        }
    }
    app.beginUndoGroup("fedroto masks");
    for (var s = 0; s < drawn.shapes.length; s++) {
        var one = drawn.shapes[s];
        var mask = layer.property("ADBE Mask Parade").addProperty("ADBE Mask Atom");
        mask.name = one.name;
        mask.maskMode = MaskMode[one.mode];
        mask.inverted = one.inverted;
        var values = [];
        for (var k = 0; k < one.path.length; k++) {
            var shape = new Shape();
            shape.closed = one.closed;
            shape.vertices = scaled(one.path[k].vertices);
            shape.inTangents = scaled(one.path[k].in_tangents);
            shape.outTangents = scaled(one.path[k].out_tangents);
            values.push(shape);
        }
        keyed(mask.property("ADBE Mask Shape"), one.frames, values, one.held);
        keyed(mask.property("ADBE Mask Opacity"), one.opacity_frames, one.opacity, one.opacity_held);
    }
    app.endUndoGroup();
})();
"""


def dumps(shapes: ShapeSet, _name: str = "") -> bytes:
    """The script.

    Raises:
        ShapeError: a curve too long to be written out.
    """
    drawn = [ProgramShape.of(shape) for shape in shapes.shapes]
    first = shapes.first_frame
    if first is None:
        first = min((int(one.path.frames[0]) for one in drawn), default=0)
    data = {
        "width": shapes.width,
        "height": shapes.height,
        "first_frame": first,
        "shapes": [_document(one) for one in drawn],
    }
    return (_SCRIPT % json.dumps(data)).encode()


def _document(one: ProgramShape) -> dict[str, Any]:
    return {
        "name": one.name,
        "closed": one.closed,
        "mode": _MODES.get(one.mode, "ADD"),
        "inverted": one.inverted,
        "frames": one.path.frames.tolist(),
        "held": _held(one.path),
        "path": [
            dict(
                zip(("in_tangents", "vertices", "out_tangents"), np.moveaxis(key, 1, 0).tolist(), strict=True)
            )
            for key in np.round(one.path.values, 6)
        ],
        "opacity_frames": one.opacity.frames.tolist(),
        "opacity": np.round(one.opacity.values, 6).tolist(),
        "opacity_held": _held(one.opacity),
    }


def _held(track: Track) -> list[bool]:
    return [how == "hold" for how in track.interpolations]
