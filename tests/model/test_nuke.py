"""Reading Nuke scripts: coordinates, keys, layers, lifetimes, and what each kind of damage is answered with."""

import struct
from pathlib import Path

import numpy as np
import pytest

from model.errors import FormatError, NoRotoError
from model.formats import nuke, tcl
from model.formats.nuke_curves import CurvesReader

OWN_SCRIPTS = Path(__file__).parent / "scripts"
HEIGHT = 1080

TRIANGLE = """{0 0} {100 200} {10 5} {0 0} {300 200} {0 0} {0 0} {200 500} {0 0}"""


def bits(value: float) -> str:
    return "x" + struct.pack(">f", value).hex()


def shape_text(points=TRIANGLE, plist="p", *, name="Bezier1", flags=512, cc=8192, kind="bezier", feather="idem",
               transform="{t 150 250}", attributes="{a}"):  # fmt: skip
    curve = f"{{cc {{f {cc}}} {{{plist} {points}}}}}"
    return f"{{curvegroup {name} {flags} {kind} {{{curve} {feather}}} {transform} {attributes}}}"


def layer(inside, name="Root", transform="{t 960 540}", attributes="{a}"):
    return f"{{layer {name} {{f 0}} {transform} {attributes} {inside}}}"


def script(inside, *, node="Roto", name="Roto1", root='Root {\n format "1920 1080 0 0 1920 1080 1 HD"\n}\n'):
    curves = f"{{{{{{v x3f99999a}} {{f 0}} {{n {layer(inside)}}}}}}}"
    return f"{root}{node} {{\n inputs 0\n curves {curves}\n name {name}\n xpos 10\n ypos -20\n}}\n".encode()


def only(data, **size):
    shapes = nuke.loads(data, **size).shapes.shapes
    assert len(shapes) == 1
    return shapes[0]


# -- coordinates and keys


def test_y_is_turned_over_the_height_and_tangents_with_it():
    shape = only(script(shape_text()))
    assert shape.points == 3
    assert shape.at(1)[0].tolist() == [[0, 0], [100, HEIGHT - 200], [10, -5]]
    assert (shape.name, shape.kind, shape.closed, shape.path) == ("Bezier1", "bezier", True, "Roto1:Bezier1")


def test_the_plates_height_wins_over_the_root_format():
    assert only(script(shape_text()), height=1556, width=2048).at(1)[0, 1, 1] == 1556 - 200


def test_without_any_height_it_says_so():
    with pytest.raises(FormatError, match="give the plate's width and height"):
        nuke.loads(script(shape_text(), root=""))
    assert only(script(shape_text(), root=""), height=500, width=800).at(0)[0, 1, 1] == 300


def test_shared_key_times_with_slopes_runs_and_constants():
    rising = f"{{{{0 0 1 {bits(2.5)} 1}} {{{bits(30)} -}} {{5 {bits(-1)} 1 0 1}}}}"
    runs = "{{x 2 {7 -}} {9 -}}"
    points = f"{{1 10 {bits(20)}}} {{{{{{4 -}}}} 3}} {{{rising} {runs}}} {{0 0}}"
    shape = only(script(shape_text(points, "px")))
    assert shape.frames.tolist() == [1, 10, 20]
    assert shape.key_frames == (1, 10, 20)
    assert shape.controls[:, 0, 1, 0].tolist() == [0, 30, 5]
    assert shape.slopes_out[:, 0, 1, 0].tolist() == [2.5, 0, 0]
    assert shape.slopes_in[:, 0, 1, 0].tolist() == [0, 0, -1]
    assert shape.controls[:, 0, 1, 1].tolist() == [HEIGHT - 7, HEIGHT - 7, HEIGHT - 9]
    assert shape.controls[:, 0, 0, 0].tolist() == [4, 4, 4]  # one key under three times holds at all of them


def test_keys_read_all_at_once_are_those_read_one_by_one():
    rng = np.random.default_rng(2)
    values = rng.normal(0, 500, (12, 3)).astype(np.float32)
    keys = [f"{{{bits(v)} {bits(s)} 1 {bits(t)} 1}}" for v, s, t in values]
    keys[3:6] = "{-3.25e1 -}", "{x7 -}", "{.5 +2. 1 0 1}"
    times = " ".join(bits(frame) for frame in range(1001, 1013))
    timed = [key.replace("{", f"{{{bits(frame)} ", 1) for frame, key in enumerate(keys, 1001)]
    for plist, listed in ((f"px {{{times}}}", keys), ("p", timed)):
        one_by_one = [*listed[:-1], f"{{x 1 {listed[-1]}}}"]  # a repeat is no plain list of keys
        both = [only(script(shape_text(f"{{{{{' '.join(texts)}}} 0}} " + "{0 0} " * 2, plist)))
                for texts in (listed, one_by_one)]  # fmt: skip
        assert both[0] == both[1]
        assert both[0].controls[3:6, 0, 0, 0].tolist() == [-32.5, struct.unpack(">f", b"\0\0\0\7")[0], 0.5]


def test_slopes_turn_with_y():
    key = "{{0 0 1 4 1} {8 2 1 0 1}}"
    shape = only(script(shape_text(f"{{1 3}} {{0 0}} {{0 {key}}} {{0 0}}", "px")))
    assert shape.slopes_out[0, 0, 1, 1] == -4
    assert shape.at(2)[0, 1, 1] == HEIGHT - (4 + 2 / 8 * (4 - 2))


def test_a_single_shared_time_keys_plain_numbers():
    shape = only(script(shape_text(TRIANGLE, f"px {bits(1043)}")))
    assert shape.frames.tolist() == [1043]
    assert shape.at(1)[1, 1, 0] == 300


def test_keys_with_times_of_their_own_meet_in_their_union():
    shape = only(script(shape_text("{} {{{1 5 0 1 2 1} {11 25 2 1 0 1}} {{6 40 -}}} {}")))
    assert shape.frames.tolist() == [1, 6, 11]
    assert shape.at(6)[0, 1].tolist() == [15, HEIGHT - 40]
    assert shape.at(1)[0, 1].tolist() == [5, HEIGHT - 40]


def test_keys_without_slopes_get_nukes_default_ones():
    shape = only(script(shape_text("{1 11 21} {0 0} {{0 10 40} 0} {0 0}", "px")))
    assert shape.slopes_in[1, 0, 1, 0] == pytest.approx(2)


def test_numbers_left_out_are_zero():
    shape = only(script(shape_text("{} {5} {} {} {5 6} {}")))
    assert shape.at(0)[0, 1].tolist() == [5, HEIGHT]
    assert shape.at(0)[1, 1].tolist() == [5, HEIGHT - 6]


def test_attributes_of_a_point_are_passed_over():
    shape = only(script(shape_text("{} {{a osw 1 osf x409c5a65} 5 6} {}")))
    assert shape.at(0)[0, 1].tolist() == [5, HEIGHT - 6]


# -- shapes and layers


def test_feather_is_read_as_offsets_from_the_centre():
    feather = "{cc {f 8192} {p {0 0} {10 20} {1 1} {} {} {} {} {} {}}}"
    shape = only(script(shape_text(feather=feather)))
    assert shape.feather_at(1)[0].tolist() == [[0, 0], [10, -20], [1, -1]]
    assert only(script(shape_text())).feather is None


def test_an_open_spline_is_open():
    assert not only(script(shape_text(flags=1049088, cc=1056800))).closed


def test_bsplines_are_read_with_or_without_entries_for_tangents():
    with_tangents = only(script(shape_text("{} {1 2} {} {} {3 4} {} {} {5 6} {}", kind="bspline")))
    alone = only(script(shape_text("{1 2} {3 4} {5 6} {7 8}", kind="bspline")))
    assert (with_tangents.kind, with_tangents.points) == ("bspline", 3)
    assert (alone.kind, alone.points) == ("bspline", 4)
    assert alone.at(0)[3, 1].tolist() == [7, HEIGHT - 8]


def test_layers_and_shapes_come_in_drawing_order_with_their_paths():
    inner = layer(shape_text(name="b"), "Body") + shape_text(name="c")
    data = script(shape_text(name="a") + layer(inner, "Man") + shape_text(name="a"))
    paths = [s.path for s in nuke.loads(data).shapes.shapes]
    assert paths == ["Roto1:a", "Roto1:Man/Body/b", "Roto1:Man/c", "Roto1:a#2"]


def test_layer_transforms_reach_the_screen():
    # Nuke: pivot (100, 200), moved by (30, 40), turned 90 degrees counter-clockwise, scaled 2.
    moved = layer(shape_text(), "L", transform=f"{{t 100 200 0 30 40 0 0 0 {bits(90)} 2 2}}")
    controls = only(script(moved)).at(1)
    assert controls[0, 1] == pytest.approx([130, HEIGHT - 240])  # the pivot itself only moves
    assert controls[1, 1] == pytest.approx([130, HEIGHT - (240 + 400)])  # 200 right becomes 400 up
    assert controls[0, 2] == pytest.approx([-10, -20])


def test_transforms_are_animated_on_times_shared_or_their_own():
    own = layer(shape_text(), "L", transform="{t 0 0 0 {{1 0 0 1 5 1} {11 50 5 1 0 1}}}")
    shared = layer(shape_text(), "L", transform="{tx {1 11} 0 0 0 {{0 0 1 5 1} {50 5 1 0 1}}}")
    for text in (own, shared):
        assert only(script(text)).at(6)[0, 1] == pytest.approx([125, HEIGHT - 200])


def test_the_shapes_own_transform_counts_too():
    assert only(script(shape_text(transform="{t 0 0 0 7}"))).at(1)[0, 1, 0] == 107


@pytest.mark.parametrize(
    ("attributes", "alive"),
    [
        ("{a ltn 5 ltm 9 ltt 0}", "1 5 7 9 12"),
        ("{a ltn 5 ltm 9 ltt 1}", "1 5 7 9"),
        ("{a ltn 5 ltm 9 ltt 2}", "5"),
        ("{a ltn 5 ltm 9 ltt 3}", "5 7 9 12"),
        ("{a ltn 5 ltm 9 ltt 4}", "5 7 9"),
        ("{a vis {{4 0 -} {5 1 -} {9 1 -} {10 0 -}}}", "5 7 9"),
        ("{a vis 0}", ""),
    ],
)
def test_lifetime_types_and_visibility(attributes, alive):
    shape = only(script(shape_text(attributes=attributes)))
    assert " ".join(str(f) for f in (1, 5, 7, 9, 12) if shape.is_alive(f)) == alive


def test_a_hidden_layer_hides_its_shapes():
    hidden = layer(
        shape_text(attributes="{a vis {{1 1 -} {9 0 -}}}"), "L", attributes="{a vis {{1 0 -} {5 1 -}}}"
    )
    shape = only(script(hidden))
    assert [f for f in range(1, 12) if shape.is_alive(f)] == [5, 6, 7, 8]


def test_opacity_and_other_attributes_are_kept():
    shape = only(script(shape_text(attributes="{a opc {{1 0 -} {3 1 -}} bm 12 r x3f000000}")))
    assert shape.opacity.at(2) == 0.5
    assert {name: curve.at(1) for name, curve in shape.attributes} == {"bm": 12, "r": 0.5}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (shape_text("{} {{=track.x x42c80000} {=track.y 7}} {}"), "track.x"),
        (shape_text('{} {{"=a\\ +\\ b" {{1 5 -}}} 2} {}'), r"a \+ b"),
        (shape_text("{} {{=frame}  2} {}"), "frame"),
        (shape_text(transform="{t 0 0 0 {=t.x 4}}"), "transform of Bezier1"),
        (layer(shape_text(), "L", transform="{t 0 0 0 {=t.x 4}}"), "transform of L"),
        (layer(shape_text(), "L", attributes="{a ptex00 1}"), "planar track"),
        (shape_text(attributes="{a vis {=on 1}}"), "vis"),
        (shape_text(transform="{t 0 0 0 0 0 0 0 0 0 1 1 1 x3e000000}"), "skews"),
        (shape_text("{1 2} {0 0} {{{0 0 1 1 3} {5 0 1 0 1}} 0} {0 0}", "px"), "stretched"),
    ],
)
def test_what_only_nuke_can_compute_is_read_only_with_the_reason(text, reason):
    shape = only(script(text))
    assert shape.read_only_reason is not None
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(shape.read_only_reason)


def test_expressions_leave_their_cached_numbers():
    shape = only(script(shape_text("{} {{=track.x x42c80000} {=track.y {{1 7 -}}}} {}")))
    assert shape.at(1)[0, 1].tolist() == [100, HEIGHT - 7]


def test_an_expression_on_colour_does_not_bind_the_shape():
    assert only(script(shape_text(attributes="{a opc {=parent.mix x3f000000}}"))).read_only_reason is None


def test_strokes_and_pins_are_no_shapes_and_unknown_parts_are_named():
    stroke = "{cubiccurve Brush1 512 catmullrom {cc {f 2080} {p {1 2 1} {3 4 1}}} {t 0} {a}}"
    found = nuke.loads(script(stroke + "{ghost X}" + shape_text() + shape_text(name="n", kind="nurbs")))
    assert [s.name for s in found.shapes.shapes] == ["Bezier1"]
    assert "ghost" in found.warnings[0]
    assert "nurbs" in found.warnings[1]


# -- scripts


def test_nodes_in_groups_carry_the_groups_names_and_positions():
    inside = script(shape_text(), root="").decode()
    data = f"Group {{\n name G\n}}\n Group {{\n  name H\n }}\n{inside}end_group\nend_group\n".encode()
    found = nuke.loads(data + script(shape_text(), node="SplineWarp3", name="Warp"), height=100, width=100)
    assert [n.name for n in found.nodes] == ["G.H.Roto1", "Warp"]
    assert found.nodes[0].position() == (10, -20)
    assert [s.path for s in found.shapes.shapes] == ["G.H.Roto1:Bezier1", "Warp:Bezier1"]


def test_root_gives_format_range_and_pixel_aspect():
    root = 'Root {\n format "2048 858 0 0 2048 858 2 scope"\n first_frame 1001\n last_frame 1100\n}\n'
    shapes = nuke.loads(script(shape_text(), root=root)).shapes
    assert (shapes.width, shapes.height, shapes.pixel_aspect) == (2048, 858, 2)
    assert (shapes.first_frame, shapes.last_frame) == (1001, 1100)


def test_bytes_that_are_not_utf8_and_foreign_line_ends_do_no_harm():
    data = b"Read {\n file \xbd\xbf/\xff.exr\n}\n" + script(shape_text(name='"\xbd"')).replace(b"\n", b"\r\n")
    assert only(data).points == 3


def test_comments_quotes_and_escaped_braces_do_not_confuse_the_scan():
    before = b'# a comment with { a brace\nText2 {\n message "a \\} \\" \\{"\n label {b \\{ c}\n}\nset N1 [stack 0]\n'
    assert only(before + script(shape_text())).points == 3


def test_a_clone_of_a_node_with_its_definition_is_read():
    data = script(shape_text()).replace(b"\nRoto {", b"\nclone node1|Roto|5 Roto {")
    assert only(data).points == 3


def test_a_script_without_roto_says_so():
    with pytest.raises(NoRotoError, match="no roto node"):
        nuke.loads(b"Blur {\n size 3\n}\n", height=10, width=10)
    with pytest.raises(NoRotoError):
        nuke.loads(b"", height=10, width=10)


def test_a_roto_without_shapes_is_no_error():
    found = nuke.loads(b"Roto {\n name Roto1\n}\nRoto {\n curves {}\n name Roto2\n}\n", height=10, width=10)
    assert found.shapes.shapes == ()
    assert [n.name for n in found.nodes] == ["Roto1", "Roto2"]


def test_the_text_of_nuke_6_is_read():
    found = nuke.loads((OWN_SCRIPTS / "nuke6.nk").read_bytes())
    (shape,) = found.shapes.shapes
    assert (shape.path, shape.points, shape.closed, shape.read_only_reason) == (
        "Roto1:Bezier1",
        3,
        True,
        None,
    )
    assert shape.frames.tolist() == [1, 11, 21]
    assert shape.controls[:, 0, 1, 0].tolist() == [100, 130, 120]
    assert shape.slopes_out[1, 0, 1, 0] == 0  # 130 is an extremum
    assert shape.at(1)[1].tolist() == [[-24, -26], [78, 480 - 132], [24, 26]]
    assert shape.feather_at(1)[0, 1].tolist() == [5, -7]
    assert dict(shape.attributes)["bm"].at(1) == 12
    assert [f for f in (1, 5, 8, 9, 30) if shape.is_alive(f)] == [1, 5, 8]
    assert found.splines == {}  # never written
    assert ["Moved" in w or "Brush1" in w for w in found.warnings] == [True, True]


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        (b"NumOfPoints: 9", b"NumOfPoints: 8", "8 points and has 9"),
        (b"S 3 1 100", b"S 300 1 100", "300 keys"),
        (b"S 3 1 100", b"S -3 1 100", "-3 keys"),
        (b"S 3 1 100", b"S 3 12 100", "not increasing"),
        (b"S 3 1 100", b"T 3 1 100", "series"),
        (b"Dim: 2", b"Dim: 3", "two numbers"),
        (b"Dim: 2", b"", "Dim: is missing"),
        (b'CubicCurve: "" {', b'CubicCurve: "" 5 {', "no braces"),
        (b'NodeName: "Bezier1"', b'NodeName: ""', "name"),
        (b"NumOfAttributes: 3", b"NumOfAttributes: 4", "cut short"),
    ],
)
def test_damage_in_the_text_of_nuke_6_says_what(old, new, what):
    data = (OWN_SCRIPTS / "nuke6.nk").read_bytes()
    with pytest.raises(FormatError, match=what) as caught:
        nuke.loads(data.replace(old, new, 1))
    assert caught.value.line is not None


def test_a_script_of_every_kind_of_element_is_read():
    found = nuke.loads((OWN_SCRIPTS / "nested.gizmo").read_bytes(), width=1920, height=HEIGHT)
    hand, edge, blob = found.shapes.shapes
    assert [s.path for s in found.shapes.shapes] == [
        "Kit.Inner.Roto1:Body/Hand {l}",
        "Kit.Inner.Roto1:Body/Edge",
        "Kit.Inner.Roto1:Body/Blob",
    ]
    assert hand.frames.tolist() == [1001, 1003, 1012]
    assert hand.opacity.at(1001) == 0.5  # the layer's own
    assert [f for f in (1000, 1001, 1011, 1012) if hand.is_alive(f)] == [1001, 1011]
    assert dict(hand.attributes)["nuke.flags"].at(1) == 1536
    assert dict(hand.attributes)["nuke.curve_flags"].at(1) == 8193
    assert dict(hand.attributes)["zzz"].at(1) == 3
    assert (edge.closed, blob.kind, blob.points) == (False, "bspline", 4)
    assert blob.frames.tolist() == [1001, 1021]


def test_strokes_and_pins_are_listed_and_one_that_is_damaged_keeps_nothing_back():
    found = nuke.loads((OWN_SCRIPTS / "paint.nk").read_bytes(), width=1920, height=HEIGHT)
    assert found.strokes == ("RotoPaint1:Brush1", "SplineWarp1:A/Pin1")
    assert [s.name for s in found.shapes.shapes] == ["Driven", "Plain", "Source"]
    assert "Broken" in found.warnings[0]
    assert "expression" in found.shapes.find("Driven").read_only_reason


def test_the_opacity_of_layers_counts():
    fading = layer(shape_text(attributes="{a opc {{1 0 -} {3 1 -}}}"), "L", attributes="{a opc x3f000000}")
    shape = only(script(fading))
    assert [shape.opacity.at(f) for f in (1, 2, 3)] == [0, 0.25, 0.5]


# -- damage


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (shape_text("{0 0} {1 1}"), "2 entries"),
        (shape_text("{0 0} {1 zebra} {0 0}"), "zebra"),
        (shape_text("{0 0} {1 x7f800000} {0 0}"), "finite"),
        (shape_text("{0 0} {1 1e999} {0 0}"), "finite"),
        (shape_text("{0 0} {1 2 3 4} {0 0}"), "4 numbers"),
        (shape_text("{0 0} 5 {0 0}"), "expected in braces"),
        (shape_text("{0 0} {{} 1} {0 0}"), "missing"),
        (shape_text("{2 1} {0 0} {0 0} {0 0}", "px"), "increasing"),
        (shape_text("{1 2} {0 0} {{1 2 3} 0} {0 0}", "px"), "3 keys for 2"),
        (shape_text("{1 2} {0 0} {{{x 9 {0 -}}} 0} {0 0}", "px"), "9 times"),
        (shape_text("{1 2} {0 0} {{{1 2 3}} 0} {0 0}", "px"), "3 numbers"),
        (shape_text("{0 0} {{{5 1} {4 1}} 0} {0 0}"), "not increasing"),
        (shape_text("{0 0} {{{x 1000000 {5 1}}} 0} {0 0}"), "1000000 times"),
        (shape_text("", "px"), "key times"),
        (shape_text(attributes="{a bm}"), "one value is missing"),
        (shape_text(feather="{cc {f 0} {p {} {} {}}}"), "feather"),
        ("{curvegroup Bezier1 512}", "cut short"),
        ("{curvegroup Bezier1 512 bezier {}}", "0 curves"),
        (shape_text(flags="512.5"), "whole number"),
        (shape_text(name="n" * 501), "500"),
    ],
)
def test_malformed_shapes_say_what_and_on_which_line(text, what):
    with pytest.raises(FormatError, match=what) as caught:
        nuke.loads(script("\n\n" + text))
    assert caught.value.line == 8


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"\n\nRoto {\n name a", 3),
        (b"Roto {\n}\n}\n", 3),
        (b'Root {\n name "a\n}\n', 2),
        (script("{layer L").replace(b"}}}", b"}}"), None),
    ],
)
def test_braces_and_quotes_that_do_not_match_are_refused(data, line):
    with pytest.raises(FormatError) as caught:
        nuke.loads(data, height=10, width=10)
    assert line is None or caught.value.line == line


@pytest.mark.parametrize(
    "data",
    [
        b"{" * 100_000,
        b"Roto {\n curves {" + b"{" * 100_000 + b"}" * 100_000 + b"}\n}\n",
        b"Group {\n}\n" * 1000,
        script("{layer L " * 300 + "}" * 300),
    ],
)
def test_deep_nesting_is_refused_and_never_a_recursion_error(data):
    with pytest.raises(FormatError):
        nuke.loads(data, height=10, width=10)


def test_a_few_bytes_cannot_ask_for_all_memory():
    times = " ".join(str(t) for t in range(5000))
    points = " ".join(["{0 {{x 5000 {0 -}}}}"] * 6000)
    with pytest.raises(FormatError, match="numbers; split"):
        nuke.loads(script(shape_text(f"{{{times}}} {points}", "px")))


def test_numbers_as_bits_and_as_decimals():
    reader = CurvesReader(b"")
    texts = {
        b"x44f00000": 1920,
        b"x1": struct.unpack(">f", b"\0\0\0\1")[0],
        b"-3.5e1": -35,
        b"7": 7,
        b".5": 0.5,
    }
    for text, value in texts.items():
        assert reader.number(tcl.Atom(text, 0)) == value
    for text in (b"1_0", b"x123456789", b"nan", b"0x10", b"", b"x"):
        with pytest.raises(FormatError):
            reader.number(tcl.Atom(text, 0))


def test_words_written_in_quotes_read_back():
    for text in ('a "b" {c} [d] $e \\ f', "tab\tline\nreturn\r", "é ü", ""):
        word = next(iter(tcl.commands(b"label " + tcl.quoted(text)))).words[1]
        assert tcl.unescaped((b"label " + tcl.quoted(text))[word.start : word.end]).decode() == text
