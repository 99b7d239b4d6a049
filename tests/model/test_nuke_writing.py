"""Writing Nuke scripts: what is written reads back, and the artist's bytes stay as they are."""

from dataclasses import replace

import numpy as np
import pytest

from model.curves import polygon_controls
from model.errors import FormatError, ShapeError
from model.formats import nuke
from model.keyframes import Keyed
from model.shapes import Lifetime, Shape, ShapeSet
from model.transforms import Transform

WIDTH, HEIGHT = 2048, 1152
FLOAT32_STEP = 2.0**-23

ARTIST = b"""#! nuke
version 12.1 v1
Root {
 inputs 0
 name /\xbd\xff/shot.nk
 format "2048 1152 0 0 2048 1152 1 plate"
}
Read {
 inputs 0
 name Read1
}
Group {
 name Limbs
}
 Input {
  inputs 0
  name Input1
 }
 Roto {
  curves {{{v x3f99999a}
  {f 0}
  {n
   {layer Root
    {f 0}
    {t 1024 576}
    {a}
    {curvegroup Arm 512 bezier
     {{cc {f 8192} {px {1001 1011}
      {0 0} {{{100 0 1 5 1} {160 5 1 0 1}} 300} {0 0}
      {0 0} {400 {{300 0 1 1 1} {320 3 1 0 1}}} {0 0}
      {0 0} {250 700} {0 0}}} idem}
     {t 250 400}
     {a}}}}}}
  name Roto1
  xpos 40
  ypos -7
 }
 Output {
  name Output1
 }
end_group
Roto {
 inputs 0
 curves {{{v x3f99999a} {f 0} {n {layer Root {f 0} {t 1024 576} {a}
  {curvegroup Head 512 bezier {{cc {f 8192} {px {1001 1021}
   {0 0} {{{1 -} {2 -}} 1} {0 0} {0 0} {5 1} {0 0} {0 0} {3 8} {0 0}}} idem} {t 3 3} {a}}}}}}
 name Roto1
}
Merge2 {
 inputs 2
 name Merge1
}"""


def random_shapes(seed, keys=5, points=6):
    rng = np.random.default_rng(seed)
    frames = 1001 + np.cumsum(rng.integers(1, 9, keys))

    def block(scale, offset=0.0):
        return rng.normal(0, scale, (keys, points, 3, 2)) + offset

    centre = np.array([[0, 0], [900, 500], [0, 0.0]])
    slopes = [np.where(rng.random((keys, points, 3, 2)) < 0.3, 0, block(7)) for _ in range(2)]
    shape = Shape(
        name="a", frames=frames, controls=block(300, centre), slopes_in=slopes[0], slopes_out=slopes[1]
    )
    still = Shape.from_keys("still", frames, np.repeat(block(100, centre)[:1], keys, axis=0))
    feather = Keyed(frames, block(20), block(2), block(2))
    lifetime = Lifetime(1003, 1020, Keyed.smooth([1000, 1005, 1010], [1.0, 0.0, 1.0]))
    turned = Transform(
        Keyed.constant((100.0, 700.0)),
        Keyed.smooth([1001, 1011], [[0.0, 5.0], [40.0, -9.0]]),
        Keyed.smooth([1001, 1006, 1011], [0.0, 30.0, -45.0]),
        Keyed.constant((1.5, 0.5)),
    )
    return ShapeSet(
        (
            shape,
            still,
            replace(shape, name="f", path="f", feather=feather, closed=False, lifetime=lifetime),
            replace(
                shape, name="t [1] {x}", path="t", transforms=(turned, turned), opacity=Keyed.constant(0.25)
            ),
            replace(Shape.from_keys("b", frames[:1], block(99)[:1]), kind="bspline"),
        ),
        WIDTH,
        HEIGHT,
        1001,
        1060,
        2.0,
    )


def close(one, other, tolerance=2 * FLOAT32_STEP):
    """Equal to float32 rounding of numbers as large as the plate, twice: y is turned on the way in and out."""
    return np.allclose(one, other, rtol=tolerance, atol=tolerance * WIDTH)


@pytest.mark.parametrize("seed", range(3))
def test_shapes_survive_writing_and_reading(seed):
    before = random_shapes(seed)
    after = nuke.loads(nuke.dumps(before)).shapes
    assert replace(after, shapes=()) == replace(before, shapes=())
    for old, new in zip(before.shapes, after.shapes, strict=True):
        assert (new.name, new.closed, new.points, new.kind) == (old.name, old.closed, old.points, old.kind)
        assert np.array_equal(new.frames, old.frames)
        assert close(new.slopes_in, old.slopes_in)
        assert close(new.slopes_out, old.slopes_out)
        for frame in np.linspace(995, 1060, 27):
            assert close(new.at(frame), old.at(frame), 8 * FLOAT32_STEP)
            assert new.is_alive(round(frame)) == old.is_alive(round(frame))
            assert new.opacity.at(frame) == old.opacity.at(frame)
            if old.feather is not None:
                assert close(new.feather_at(frame), old.feather_at(frame), 8 * FLOAT32_STEP)


def test_read_write_read_changes_nothing_more():
    once = nuke.loads(nuke.dumps(random_shapes(4))).shapes
    twice = nuke.loads(nuke.dumps(once)).shapes
    for old, new in zip(once.shapes, twice.shapes, strict=True):
        assert np.array_equal(new.controls, old.controls)
        assert np.array_equal(new.slopes_in, old.slopes_in)
        assert np.array_equal(new.slopes_out, old.slopes_out)
        assert new.lifetime == old.lifetime


def test_a_polygon_comes_back_as_a_bezier_with_the_same_outline():
    vertices = np.array([[1, 2], [50, 3], [20, 40.0]])
    polygon = Shape.from_keys("p", [1001], polygon_controls(vertices)[None], kind="polygon")
    after = nuke.loads(nuke.dumps(ShapeSet((polygon,), 100, 80))).shapes.shapes[0]
    assert after.kind == "bezier"
    assert np.array_equal(after.at(1001)[:, 1], vertices)
    assert not after.controls[:, :, ::2].any()


def test_shapes_of_one_name_get_names_of_their_own():
    shape = random_shapes(0).shapes[1]
    twins = (shape, replace(shape, path="other"), replace(shape, path="third"))
    after = nuke.loads(nuke.dumps(ShapeSet(twins, WIDTH, HEIGHT))).shapes
    assert [s.name for s in after.shapes] == ["still", "still_2", "still_3"]


def test_very_long_names_are_cut_so_that_they_can_be_read_again():
    shape = random_shapes(0).shapes[1]
    twins = (replace(shape, name="é" * 600), replace(shape, name="é" * 600, path="other"))
    after = nuke.loads(nuke.dumps(ShapeSet(twins, WIDTH, HEIGHT))).shapes
    assert [s.name for s in after.shapes] == ["é" * 225, "é" * 225 + "_2"]


def test_without_a_root_it_can_be_pasted():
    text = nuke.dumps(random_shapes(0), "Hands", with_root=False)
    assert b"Root {" not in text
    assert text.startswith(b"set cut_paste_input [stack 0]\nversion")
    assert nuke.loads(text, height=HEIGHT, width=WIDTH).nodes[0].name == "Hands"


def test_every_brace_of_a_written_script_is_closed_also_for_a_plain_counter():
    text = nuke.dumps(random_shapes(1))
    plain = text.replace(b"\\{", b"").replace(b"\\}", b"")
    assert plain.count(b"{") == plain.count(b"}")


def test_numbers_beyond_float32_are_refused():
    far = Shape.from_keys("far", [1], np.full((1, 3, 3, 2), 1e39))
    with pytest.raises(ShapeError, match="float32"):
        nuke.dumps(ShapeSet((far,), 100, 100))


def test_keys_that_float32_cannot_tell_apart_are_refused():
    close_keys = Shape.from_keys("close", [1001, 1001.00001], np.zeros((2, 3, 3, 2)))
    with pytest.raises(ShapeError, match="too close"):
        nuke.dumps(ShapeSet((close_keys,), 100, 100))


# -- predictions


def predicted(shape, first=1001, last=1011, step=1):
    """A prediction on every frame: the artist's curve with a wobble that is nought at his keys."""
    frames = np.union1d(np.arange(first, last + 1, step), shape.key_frames)
    artist = set(shape.key_frames)
    offset = np.array([0.0 if f in artist else 3.7 + 0.1 * f for f in frames])
    controls = np.stack([shape.at(f) for f in frames]) + offset[:, None, None, None]
    drawn = Shape.from_keys(shape.name, frames, controls)
    sources = tuple("artist" if f in artist else "predicted" for f in frames)
    return replace(drawn, path=shape.path, key_sources=sources, lifetime=shape.lifetime)


def with_predictions(**how):
    shapes = nuke.loads(ARTIST).shapes.shapes
    arm, head = predicted(shapes[0]), predicted(shapes[1], last=1021)
    return arm, head, nuke.add_prediction(ARTIST, [arm, head], **how)


def without_new_nodes(data):
    """The script with every node that carries our knob cut out, line by line."""
    lines, kept, block = data.split(b"\n"), [], []
    for line in lines:
        if line.lstrip() == b"Roto {":
            block = [line]
        elif block:
            block.append(line)
            indent = len(block[0]) - len(block[0].lstrip())
            if line == b" " * indent + b"}":
                kept += [] if any(nuke.ARTIST_KEYS_KNOB.encode() in b for b in block) else block
                block = []
        else:
            kept.append(line)
    return b"\n".join(kept)


def test_everything_outside_the_new_nodes_stays_byte_for_byte():
    *_, out = with_predictions()
    assert out != ARTIST
    # The script ended in the middle of a line: the new node begins on a line of its own, and ends one.
    assert without_new_nodes(out) == ARTIST + b"\n"
    end_in_line = nuke.add_prediction(ARTIST + b"\n", [predicted(nuke.loads(ARTIST).shapes.shapes[0])])
    assert without_new_nodes(end_in_line) == ARTIST + b"\n"


def test_each_prediction_stands_at_the_end_of_its_own_group():
    *_, out = with_predictions()
    nodes = {n.name: n for n in nuke.loads(out).nodes}
    assert list(nodes) == ["Limbs.Roto1", "Limbs.Roto1_fedroto", "Roto1", "Roto1_fedroto"]
    lines = out.split(b"\n")
    assert lines[lines.index(b"end_group") - 1] == b" }"
    assert nodes["Limbs.Roto1_fedroto"].position() == (150, -7)
    assert out.rindex(b"Roto1_fedroto") > out.rindex(
        b"Merge1"
    )  # behind every node that takes its input from the stack


def test_predictions_read_back_exactly_and_marked():
    arm, head, out = with_predictions()
    found = nuke.loads(out).shapes
    for old, path in (
        (arm, "Limbs.Roto1_fedroto:fedroto_pred/Arm"),
        (head, "Roto1_fedroto:fedroto_pred/Head"),
    ):
        new = found.find(path)
        assert close(new.controls, old.controls, FLOAT32_STEP)
        assert new.key_sources == old.key_sources
        assert "predicted" in new.key_sources
    assert set(found.find("Roto1:Head").key_sources) == {"artist"}


def test_the_artists_own_keys_are_exact_to_the_bit_in_the_prediction():
    *_, out = with_predictions()
    found = nuke.loads(out).shapes
    original, new = found.find("Limbs.Roto1:Arm"), found.find("Limbs.Roto1_fedroto:fedroto_pred/Arm")
    for frame in original.key_frames:
        assert np.array_equal(new.at(frame), original.at(frame))


def test_predictions_lie_in_the_layers_of_their_paths():
    _, head, _ = with_predictions()
    sorted_in = [
        replace(head, name=name, path=f"Roto1:{path}{name}")
        for path, name in (("body/", "chest"), ("body/arm/", "hand"), ("", "hat"), ("body/", "hip"))
    ]
    found = nuke.loads(nuke.add_prediction(ARTIST, sorted_in)).shapes
    written = [one for one in found.shapes if "_fedroto" in one.path]
    under = "Roto1_fedroto:fedroto_pred/"
    assert [one.path.removeprefix(under).rpartition("/")[2] for one in written] == [
        "chest",
        "hand",
        "hat",
        "hip",
    ]
    assert written[1].path == f"{under}body/arm/hand"
    assert written[2].path == f"{under}hat"
    for one in written:
        assert "predicted" in one.key_sources
        assert close(np.stack([one.at(f) for f in head.frames]), head.controls, FLOAT32_STEP)


def test_a_second_prediction_gets_a_name_of_its_own():
    arm, _, out = with_predictions()
    again = nuke.add_prediction(out, [arm])
    assert "Limbs.Roto1_fedroto2" in [n.name for n in nuke.loads(again).nodes]


def test_the_new_node_says_what_it_is():
    *_, out = with_predictions(note='next key: 1006 "soon"', layer="mine")
    node = next(n for n in nuke.loads(out).nodes if n.name == "Roto1_fedroto")
    assert node.knobs["label"] == 'fedroto: predicted keys\nnext key: 1006 "soon"'
    assert node.knobs[nuke.ARTIST_KEYS_KNOB] == '{"Head": [1001, 1021]}'
    assert "tile_color" in node.knobs
    assert nuke.loads(out).shapes.find("Roto1_fedroto:mine/Head")


def test_a_fresh_script_marks_predicted_keys_too():
    arm, *_ = with_predictions()
    written = nuke.dumps(ShapeSet((replace(arm, path="Arm"),), WIDTH, HEIGHT), "Roto1_fedroto")
    found = nuke.loads(written)
    assert found.shapes.shapes[0].key_sources == arm.key_sources
    assert found.nodes[0].knobs[nuke.ARTIST_KEYS_KNOB] == '{"Arm": [1001, 1011]}'


def test_a_script_without_a_format_takes_the_plates_height():
    data = ARTIST.replace(b' format "2048 1152 0 0 2048 1152 1 plate"\n', b"")
    shape = nuke.loads(data, height=500, width=900).shapes.find("Roto1:Head")
    out = nuke.add_prediction(data, [predicted(shape)], height=500)
    new = nuke.loads(out, height=500, width=900).shapes.find("Roto1_fedroto:fedroto_pred/Head")
    assert np.array_equal(new.at(1001), shape.at(1001))
    with pytest.raises(FormatError, match="height"):
        nuke.add_prediction(data, [predicted(shape)])


def test_a_prediction_for_a_node_that_is_not_there_lists_what_is():
    shape = predicted(nuke.loads(ARTIST).shapes.shapes[0])
    with pytest.raises(ShapeError, match=r"no roto node 'Roto9'.*Limbs.Roto1, Roto1"):
        nuke.add_prediction(ARTIST, [replace(shape, path="Roto9:Arm")])
    moved = Transform(*(Keyed.constant(v) for v in ((0.0, 0.0), (1.0, 0.0), 0.0, (1.0, 1.0))))
    with pytest.raises(ShapeError, match="screen space"):
        nuke.add_prediction(ARTIST, [replace(shape, transforms=(moved,))])


@pytest.mark.parametrize("listed", ["not json", "[1]", '{"Head": "x"}', '{"Head": null}', "{" * 5000])
def test_a_spoilt_list_of_artist_keys_marks_nothing(listed):
    *_, out = with_predictions()
    spoilt = out.replace(b'"\\{\\"Head\\": \\[1001, 1021\\]\\}"', nuke.quoted(listed))
    assert spoilt != out
    assert set(nuke.loads(spoilt).shapes.find("Roto1_fedroto:fedroto_pred/Head").key_sources) == {"artist"}
