"""Our own shape file: JSON that loses nothing. ``loads(dumps(shapes)) == shapes``, to the last bit.

Coordinates are the product's own (``model.shapes``): plate pixels, y down, (0, 0) the top-left corner, pixel centres
at .5; frames are plate numbers. Resolution and first frame are always there, each key says who made it, and a
predicted key may say how sure it is. Reading is strict: an unknown or missing field is an error with its path, so a
file of a later version never loses something silently.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any, TypeVar, cast

import numpy as np

from model.errors import FormatError, ModelError
from model.formats.json_fields import Fields, parsed
from model.keyframes import FloatArray, Keyed
from model.shapes import KeySource, Lifetime, Shape, ShapeKind, ShapeSet
from model.transforms import Affine, AnyTransform, Transform

SCHEMA = "fedroto.shapes/1"
CONVENTION = "plate pixels, x right, y down, (0, 0) top-left corner, pixel centres at .5"
SIZE_MAX = 256 * 1024 * 1024  # characters
T = TypeVar("T")
_AFFINE_PARTS = ("affine",)
_TRANSFORM_PARTS = ("pivot", "translate", "rotate_deg", "scale")


def dumps(shapes: ShapeSet) -> str:
    """The shapes as JSON text."""
    document = {
        "schema": SCHEMA,
        "convention": CONVENTION,
        "width": shapes.width,
        "height": shapes.height,
        "pixel_aspect": shapes.pixel_aspect,
        "first_frame": shapes.first_frame,
        "last_frame": shapes.last_frame,
        "shapes": [_shape_document(s) for s in shapes.shapes],
    }
    return json.dumps(document, allow_nan=False)


def loads(text: str) -> ShapeSet:
    """Read shapes from JSON text.

    Raises:
        FormatError: text that is not JSON, not of this schema, or has a field too many, too few or of another
            type; the message holds the field's path, as ``shapes[2].keys[0].frame``.
    """
    if len(text) > SIZE_MAX:
        raise FormatError(f"the shape file has {len(text)} characters; files of up to {SIZE_MAX} are read")
    top = Fields(parsed(text), "")
    schema = top.text("schema")
    if schema != SCHEMA:
        raise FormatError(
            f"schema is {schema!r:.60}; this version reads {SCHEMA!r}, so update fedroto or export again"
        )
    top.text("convention")
    try:
        shapes = ShapeSet(
            shapes=tuple(_shape(fields) for fields in top.items("shapes")),
            width=top.integer("width"),
            height=top.integer("height"),
            first_frame=top.optional("first_frame", top.integer),
            last_frame=top.optional("last_frame", top.integer),
            pixel_aspect=top.number("pixel_aspect"),
        )
    except FormatError:
        raise
    except ModelError as error:
        raise FormatError(str(error)) from error
    top.nothing_else()
    return shapes


def json_schema() -> dict[str, Any]:
    """The JSON Schema of these files (draft 2020-12). What it cannot say, as lists of one length, ``loads`` checks."""
    text = files("model.formats").joinpath("roto_json.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def _shape_document(shape: Shape) -> dict[str, Any]:
    return {
        "name": shape.name,
        "path": shape.path,
        "kind": shape.kind,
        "closed": shape.closed,
        "read_only_reason": shape.read_only_reason,
        "lifetime": {
            "first": shape.lifetime.first,
            "last": shape.lifetime.last,
            "visibility": None
            if shape.lifetime.visibility is None
            else _curve_document(shape.lifetime.visibility),
        },
        "opacity": _curve_document(shape.opacity),
        "transforms": [
            {name: _curve_document(getattr(t, name)) for name in _parts(t)} for t in shape.transforms
        ],
        "keys": [_key_document(shape, key) for key in range(len(shape.frames))],
        "feather": None if shape.feather is None else _curve_document(shape.feather),
        "attributes": [[name, _curve_document(value)] for name, value in shape.attributes],
    }


def _key_document(shape: Shape, key: int) -> dict[str, Any]:
    document = {
        "frame": float(shape.frames[key]),
        "source": shape.key_sources[key],
        "points": shape.controls[key].tolist(),
        "slopes_in": shape.slopes_in[key].tolist(),
        "slopes_out": shape.slopes_out[key].tolist(),
    }
    if shape.key_confidence is not None:
        document["confidence"] = float(shape.key_confidence[key])
    return document


def _curve_document(curve: Keyed) -> dict[str, Any]:
    return {
        "frames": curve.frames.tolist(),
        "values": curve.values.tolist(),
        "slopes_in": curve.slopes_in.tolist(),
        "slopes_out": curve.slopes_out.tolist(),
    }


def _shape(fields: Fields) -> Shape:
    keys = fields.items("keys")
    confidences = [k.number("confidence") for k in keys if k.has("confidence")]
    if len(confidences) not in (0, len(keys)):
        raise FormatError(
            f"{fields.path}.keys: some keys have a confidence and some have none; give it to all or none"
        )
    life = fields.object("lifetime")
    shape = _built(
        fields.path,
        lambda: Shape(
            name=fields.text("name"),
            path=fields.text("path"),
            kind=cast(ShapeKind, fields.text("kind")),  # Shape checks it
            closed=fields.boolean("closed"),
            read_only_reason=fields.optional("read_only_reason", fields.text),
            lifetime=Lifetime(
                life.optional("first", life.number),
                life.optional("last", life.number),
                life.optional("visibility", lambda name: _curve(life.object(name))),
            ),
            opacity=_curve(fields.object("opacity")),
            transforms=tuple(_transform(t) for t in fields.items("transforms")),
            frames=np.array([k.number("frame") for k in keys]),
            controls=_stacked(keys, "points"),
            slopes_in=_stacked(keys, "slopes_in"),
            slopes_out=_stacked(keys, "slopes_out"),
            key_sources=tuple(cast(KeySource, k.text("source")) for k in keys),  # Shape checks them
            key_confidence=np.array(confidences) if confidences else None,
            feather=fields.optional("feather", lambda name: _curve(fields.object(name))),
            attributes=tuple((pair.text(0), _curve(pair.object(1))) for pair in fields.pairs("attributes")),
        ),
    )
    for part in (fields, life, *keys):
        part.nothing_else()
    return shape


def _stacked(keys: list[Fields], name: str) -> FloatArray:
    blocks = [k.array(name) for k in keys]
    for key, block in zip(keys, blocks, strict=True):
        if block.shape != blocks[0].shape:
            raise FormatError(
                f"{key.path}.{name}: shape {block.shape} differs from the first key's {blocks[0].shape}"
            )
    return np.array(blocks)


def _curve(fields: Fields) -> Keyed:
    names = ("frames", "values", "slopes_in", "slopes_out")
    curve = _built(fields.path, lambda: Keyed(*(fields.array(n) for n in names)))
    fields.nothing_else()
    return curve


def _parts(transform: AnyTransform) -> tuple[str, ...]:
    return _AFFINE_PARTS if isinstance(transform, Affine) else _TRANSFORM_PARTS


def _transform(fields: Fields) -> AnyTransform:
    made, names = (Affine, _AFFINE_PARTS) if fields.has("affine") else (Transform, _TRANSFORM_PARTS)
    parts: Mapping[str, Keyed] = {n: _curve(fields.object(n)) for n in names}
    fields.nothing_else()
    return _built(fields.path, lambda: made(**parts))


def _built(path: str, make: Callable[[], T]) -> T:
    """What ``make`` builds; what it refuses becomes a FormatError with the path."""
    try:
        return make()
    except FormatError:
        raise
    except ModelError as error:
        raise FormatError(f"{path}: {error}") from error
