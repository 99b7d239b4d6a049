"""Our own shape file: lossless, and strict about every field."""

import contextlib
import json

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.errors import FormatError
from model.formats import roto_json
from model.keyframes import Keyed
from model.shapes import Lifetime, Shape, ShapeSet
from model.transforms import Affine, Transform

numbers = st.floats(-1e6, 1e6, allow_subnormal=True)
names = st.text(min_size=1, max_size=8).filter(lambda t: t.isprintable())


@st.composite
def curves(draw, trailing=(), low=-1e6, high=1e6):
    frames = sorted(draw(st.sets(st.floats(-1e5, 1e5), min_size=1, max_size=3)))
    size = len(frames) * int(np.prod(trailing, dtype=int))

    def block(lowest, highest):
        values = st.lists(st.floats(lowest, highest), min_size=size, max_size=size)
        return np.array(draw(values)).reshape(len(frames), *trailing)

    return Keyed(frames, block(low, high), block(-1e3, 1e3), block(-1e3, 1e3))


@st.composite
def shapes(draw):
    points = draw(st.integers(1, 3))
    block = draw(curves((points, 3, 2)))
    keys = len(block.frames)
    first, last = sorted(draw(st.tuples(numbers, numbers)))
    born, dies = draw(st.sampled_from([None, first])), draw(st.sampled_from([None, last]))
    sources = draw(st.lists(st.sampled_from(["artist", "predicted", "baked"]), min_size=keys, max_size=keys))
    confidence = draw(st.none() | st.lists(st.floats(0, 1), min_size=keys, max_size=keys))
    parts = st.tuples(curves((2,)), curves((2,)), curves(), curves((2,)))
    return Shape(
        name=draw(names),
        frames=block.frames,
        controls=block.values,
        slopes_in=block.slopes_in,
        slopes_out=block.slopes_out,
        kind=draw(st.sampled_from(["bezier", "bspline", "polygon"])),
        closed=draw(st.booleans()),
        feather=draw(st.none() | curves((points, 3, 2))),
        transforms=tuple(
            draw(st.lists(parts.map(lambda p: Transform(*p)) | curves((2, 3)).map(Affine), max_size=2))
        ),
        lifetime=Lifetime(born, dies, draw(st.none() | curves())),
        opacity=draw(curves(low=0, high=1)),
        key_sources=tuple(sources),
        key_confidence=None if confidence is None else np.array(confidence),
        attributes=tuple((draw(names), draw(curves())) for _ in range(draw(st.integers(0, 2)))),
        read_only_reason=draw(st.none() | names),
        path=draw(names),
    )


@st.composite
def shape_sets(draw):
    drawn = draw(st.lists(shapes(), max_size=2, unique_by=lambda s: s.path))
    first, last = sorted(draw(st.tuples(st.integers(-100, 9999), st.integers(-100, 9999))))
    return ShapeSet(
        tuple(drawn),
        draw(st.integers(1, 20_000)),
        draw(st.integers(1, 20_000)),
        draw(st.sampled_from([None, first])),
        draw(st.sampled_from([None, last])),
        draw(st.floats(0.1, 4)),
    )


def simple():
    shape = Shape.from_keys("hand", [1001, 1010], np.arange(36.0).reshape(2, 3, 3, 2))
    return ShapeSet((shape,), 1920, 1080, 1001, 1100)


def edited(change):
    document = json.loads(roto_json.dumps(simple()))
    change(document)
    return json.dumps(document)


@given(shape_sets())
@settings(max_examples=60, deadline=None)
def test_what_is_written_reads_back_to_the_last_bit(before):
    assert roto_json.loads(roto_json.dumps(before)) == before


def test_the_file_says_what_it_is_and_always_carries_resolution_and_first_frame():
    document = json.loads(roto_json.dumps(simple()))
    assert document["schema"] == "fedroto.shapes/1"
    assert "top-left" in document["convention"]
    assert (document["width"], document["height"], document["first_frame"]) == (1920, 1080, 1001)
    assert [key["source"] for key in document["shapes"][0]["keys"]] == ["artist", "artist"]
    assert "first_frame" in json.loads(roto_json.dumps(ShapeSet((), 10, 10)))


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (lambda d: d.update(schema="fedroto.shapes/2"), "fedroto.shapes/2.*update"),
        (lambda d: d.pop("width"), "^width: missing"),
        (lambda d: d.pop("first_frame"), "^first_frame: missing"),
        (lambda d: d.update(colour=1), "^colour: unknown field"),
        (lambda d: d.update(width="wide"), "^width: a whole number is expected, not text"),
        (lambda d: d.update(width=True), "^width: a whole number is expected, not true or false"),
        (lambda d: d.update(width=0), "0x1080"),
        (lambda d: d.update(shapes={}), "^shapes: a list of objects"),
        (lambda d: d["shapes"][0].update(tint=1), r"^shapes\[0\]\.tint: unknown field"),
        (lambda d: d["shapes"][0].update(kind="nurbs"), r"^shapes\[0\]: .*nurbs"),
        (lambda d: d["shapes"][0].update(closed=1), r"^shapes\[0\]\.closed: true or false"),
        (lambda d: d["shapes"][0].update(keys=[]), r"^shapes\[0\]: "),
        (lambda d: d["shapes"][0]["lifetime"].update(x=1), r"^shapes\[0\]\.lifetime\.x: unknown"),
        (lambda d: d["shapes"][0]["keys"][1].update(frame=1001), r"^shapes\[0\]: .*increasing"),
        (
            lambda d: d["shapes"][0]["keys"][1].update(frame=None),
            r"keys\[1\]\.frame: a number is expected, not null",
        ),
        (lambda d: d["shapes"][0]["keys"][1].update(confidence=0.5), "some keys have a confidence"),
        (lambda d: d["shapes"][0]["keys"][1].update(source="robot"), r"^shapes\[0\]: .*sources"),
        (lambda d: d["shapes"][0]["keys"][1].update(easing=1), r"^shapes\[0\]\.keys\[1\]\.easing: unknown"),
        (
            lambda d: d["shapes"][0]["keys"][1]["points"].pop(),
            r"keys\[1\]\.points: shape \(2, 3, 2\) differs",
        ),
        (lambda d: d["shapes"][0]["keys"][1]["points"][0].pop(), r"keys\[1\]\.points: lists of equal length"),
        (lambda d: d["shapes"][0]["keys"][1]["points"][0][0].__setitem__(0, "x"), r"points: numbers only"),
        (lambda d: d["shapes"][0]["opacity"].update(hold=1), r"^shapes\[0\]\.opacity\.hold: unknown"),
        (lambda d: d["shapes"][0].update(attributes=[["a"]]), r"attributes: a list of pairs"),
        (lambda d: d["shapes"].append(d["shapes"][0]), "path 'hand'"),
    ],
)
def test_every_wrong_field_is_named_with_its_path(change, where):
    with pytest.raises(FormatError, match=where):
        roto_json.loads(edited(change))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "3",
        "null",
        "{",
        "[" * 100_000,
        '{"schema": NaN}',
        '{"width": 1, "width": 2}',
        "1" * 5000,
        "\x00",
    ],
    ids=["empty", "list", "number", "null", "cut", "deep", "nan", "twice", "digits", "zero"],
)
def test_text_that_is_no_shape_file_is_refused(text):
    with pytest.raises(FormatError):
        roto_json.loads(text)


def test_numbers_beyond_range_are_refused():
    text = roto_json.dumps(simple())
    for spoilt in (
        text.replace("1010.0", "1e999"),
        text.replace("35.0", "1e999"),
        text.replace("35.0", "NaN"),
    ):
        assert spoilt != text
        with pytest.raises(FormatError):
            roto_json.loads(spoilt)


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_a_file_cut_or_changed_anywhere_gives_a_result_or_a_format_error(data):
    text = roto_json.dumps(simple())
    at = data.draw(st.integers(0, len(text) - 1))
    piece = data.draw(st.sampled_from(["", "{", "]", '"', "9", "-", ",", "null", "1e400", "\\ud800"]))
    width = data.draw(st.sampled_from([0, 1, 7, 10_000]))
    spoilt = text[:at] + piece + text[at + width :]
    with contextlib.suppress(FormatError):
        roto_json.loads(spoilt)


SCHEMA = jsonschema.Draft202012Validator(roto_json.json_schema())


@given(shape_sets())
@settings(max_examples=20, deadline=None)
def test_the_schema_takes_whatever_we_write(drawn):
    SCHEMA.validate(json.loads(roto_json.dumps(drawn)))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: d.pop("width"),
        lambda d: d.update(width=0),
        lambda d: d.update(extra=1),
        lambda d: d.update(schema="fedroto.shapes/2"),
        lambda d: d["shapes"][0].pop("lifetime"),
        lambda d: d["shapes"][0].update(kind="nurbs"),
        lambda d: d["shapes"][0].update(keys=[]),
        lambda d: d["shapes"][0]["keys"][0].update(source="nobody"),
        lambda d: d["shapes"][0]["keys"][0].update(confidence=2),
        lambda d: d["shapes"][0]["keys"][0]["points"][0].pop(),
        lambda d: d["shapes"][0]["keys"][0]["points"][0][1].append(3),
        lambda d: d["shapes"][0].update(transforms=[{"pivot": d["shapes"][0]["opacity"]}]),
        lambda d: d["shapes"][0].update(attributes=[["bm"]]),
        lambda d: d["shapes"][0]["opacity"].update(values=["1"]),
    ],
)
def test_the_schema_refuses_what_we_refuse(spoil):
    document = json.loads(roto_json.dumps(simple()))
    SCHEMA.validate(document)
    spoil(document)
    assert not SCHEMA.is_valid(document)
    with pytest.raises(FormatError):
        roto_json.loads(json.dumps(document))
