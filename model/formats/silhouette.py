"""SilhouetteFX shape files (``.fxs``): shapes in, predictions and fresh files out.

Silhouette keys whole paths, linear, held or catmullrom, on frames of its session. No Silhouette was at hand: see
"Not verified" in docs/formats.md.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from model.errors import FormatError
from model.formats import silhouette_text
from model.formats.silhouette_properties import FRAME_MAX
from model.formats.silhouette_shapes import NOTES, ShapeReader
from model.formats.silhouette_space import Space
from model.formats.xml_tree import Element, parse
from model.shapes import PREDICTION_LAYER, Shape, ShapeSet

SIDE_MAX = 1_000_000  # px
PREDICTED_NOTE = NOTES["predicted"]
_CLOSING = re.compile(rb"</Silhouette\s*>\s*(<!--(?:[^-]|-(?!-))*-->\s*)*\Z")
_UNSAFE = re.compile(r"[^\x00-\x7f]")


@dataclass(frozen=True)
class SilhouetteFile:
    """What a shape file holds for us.

    Attributes:
        shapes: all its shapes, from the back to the front.
        warnings: what was left out or not read, each with its line.
    """

    shapes: ShapeSet
    warnings: tuple[str, ...] = ()


def loads(data: bytes) -> SilhouetteFile:
    """Read the shapes of a file.

    Raises:
        FormatError: text that is not XML or not Silhouette's shapes, with its line.
    """
    root = parse(data)
    space = _space(root)
    reader = ShapeReader(space)
    shapes = reader.shapes(root)
    first, last = (_integer(root, name, None) for name in ("workRangeStart", "workRangeEnd"))
    known = first is not None and last is not None and first <= last
    return SilhouetteFile(
        ShapeSet(
            shapes=tuple(shapes),
            width=space.width,
            height=space.height,
            first_frame=first + space.start_frame if known and first is not None else None,
            last_frame=last + space.start_frame if known and last is not None else None,
            pixel_aspect=space.pixel_aspect,
        ),
        tuple(reader.warnings.texts),
    )


def dumps(shapes: ShapeSet) -> bytes:
    """A shape file; shapes with predicted keys lie in a layer of their own, ``fedroto_pred``, outlined in orange.

    Raises:
        ShapeError: a curve too long to be written out.
    """
    keys = [frame for shape in shapes.shapes for frame in shape.key_frames] or [0]
    first = min(keys) if shapes.first_frame is None else shapes.first_frame
    last = max(first, max(keys) if shapes.last_frame is None else shapes.last_frame)
    space = Space(shapes.width, shapes.height, shapes.pixel_aspect, first)
    drawn = [s for s in shapes.shapes if "predicted" not in s.key_sources]
    predicted = [s for s in shapes.shapes if "predicted" in s.key_sources]
    head = (
        f"<!-- Silhouette Shape File -->\n"
        f'<Silhouette width="{space.width}" height="{space.height}" pixelAspect="{space.pixel_aspect:g}" '
        f'workRangeStart="0" workRangeEnd="{last - first}" sessionStartFrame="{first}">\n'
    )
    lines = [*silhouette_text.render(drawn, space)]
    lines += silhouette_text.render(predicted, space, layer=PREDICTION_LAYER)
    return _bytes(head + "".join(lines) + "</Silhouette>\n")


def add_prediction(data: bytes, predictions: Sequence[Shape], *, layer: str = PREDICTION_LAYER) -> bytes:
    """Write predictions into a file, in a layer of their own at its end; no byte of the artist's changes.

    Each shape carries in its note the frames that the artist keyed; all its other keys are predicted.

    Args:
        data: the file as ``loads`` read it.
        predictions: shapes in screen space.
        layer: the new layer's label.

    Raises:
        FormatError: as for ``loads``, or a file that does not end as Silhouette's do.
        ShapeError: a curve too long to be written out.
    """
    space = _space(parse(data))
    closing = _CLOSING.search(data)
    if closing is None:
        raise FormatError(
            "the file does not end with </Silhouette> in plain text; save it from Silhouette as UTF-8"
        )
    lines = "".join(silhouette_text.render(predictions, space, layer=layer))
    return data[: closing.start()] + _bytes(lines) + data[closing.start() :]


def _space(root: Element) -> Space:
    if root.name != "Silhouette":
        raise root.fail(f"the file holds <{root.name:.40}>, not <Silhouette>; export the shapes as .fxs")
    width, height = (_integer(root, name, 0) or 0 for name in ("width", "height"))
    if not (1 <= width <= SIDE_MAX and 1 <= height <= SIDE_MAX):
        raise root.fail(f"a picture of {width}x{height} px cannot be; export the shapes again")
    word = root.attributes.get("pixelAspect", "1")
    try:
        aspect = float(word)
    except ValueError:
        raise root.fail(f"pixelAspect is a number, not {word!r:.40}") from None
    if not (math.isfinite(aspect) and 1e-3 <= aspect <= 1e3):
        raise root.fail(f"a pixel aspect of {word:.40} cannot be; 1 is square")
    return Space(width, height, aspect, _integer(root, "sessionStartFrame", 0) or 0)


def _integer(root: Element, name: str, default: int | None) -> int | None:
    word = root.attributes.get(name)
    if word is None:
        return default
    try:
        value = float(word)
    except ValueError:
        raise root.fail(f"{name} is a whole number, not {word!r:.40}") from None
    if not abs(value) <= FRAME_MAX or value != int(value):
        raise root.fail(f"{name} is a whole number of up to {FRAME_MAX}, not {word!r:.40}")
    return int(value)


def _bytes(written: str) -> bytes:
    """ASCII, so that it can stand in a file of any of the usual encodings."""
    return _UNSAFE.sub(lambda m: f"&#{ord(m[0])};", written).encode("ascii")
