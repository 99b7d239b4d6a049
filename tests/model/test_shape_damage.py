"""Damaged shape files: whatever happens to the bytes, a result or a FormatError, and soon.

The short form makes some hundred damaged files of each format, the long one (``-m long``) 34,000 of each; a fuzzer that
follows the code's branches is ``benchmarks/fuzz_formats.py``.
"""

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.fuzz_formats import answer, check, seeds

KINDS = ["nk", "fxs", "json"]
SECONDS_MAX = 5.0  # for a file of some 20 kB, on a busy machine
PIECES = {
    "nk": [
        b"{", b"}", b"{{", b"}}", b'"', b"\\", b"\n", b";", b"#", b"x", b"x ", b"-", b"=", b"{=a 1}", b"{x 9 {0 -}}",
        b"{x 99999999 {0 -}}", b"idem", b"{px ", b"{p ", b"{cc", b"{layer L", b"end_group\n", b"Group {\n}\n",
        b"x7fc00000",
        b"1e999", b"-1", b"0", b"4294967296", b"\x00", b"\xff", b"{}", b"AnimTree:", b"Roto {\n", b"{t 1 1 1 {", b"{a",
        b"S 3 ", b"Node: {", b"NodeType: 3", b'CurveGroup: "" {', b"NumOfPoints: 9",
    ],
    "fxs": [
        b"<", b">", b"/>", b"</", b"&", b"&#0;", b"<!--", b"-->", b"<![CDATA[", b"<?a?>", b'"', b"<Layer>", b"</Layer>",
        b'<Property id="objects">', b"</Property>", b"<Key>", b'<Key frame="9" interp="hold">', b"</Key>", b"<Value>",
        b"<Point>", b"(1,2)", b"(", b")", b",", b"1e308", b"nan", b"-inf", b"1_0", b'frame="1e7"', b'frame="0"',
        b"Xspline",
        b"<!DOCTYPE a>", b"\x00", b"\xff", b"catmullrom", b'hidden="True"', b'closed="False"', b"0", b"-1",
    ],
    "json": [
        b"{", b"}", b"[", b"]", b"[]", b"{}", b'"', b",", b":", b"null", b"true", b"NaN", b"1e999", b"-1", b"0", b"1.5",
        b"[[", b"]]", b"\\u0000", b"\\", b"\x00", b"\xff", b'"frame": 1,', b'"affine"', b"[" * 500, b"9" * 400,
        b"baked",
    ],
}  # fmt: skip


def damaged(data, dice, pieces):
    """One file with a wound or two: bytes changed, cut out, doubled, moved, or pieces of grammar put in."""
    wounded = bytearray(data)
    for _ in range(dice.choice((1, 1, 2))):
        at = dice.randrange(len(wounded))
        length = dice.choice((1, 1, 2, 5, 30, 400))
        kind = dice.randrange(6)
        if kind == 0:
            wounded[at] = dice.randrange(256)
        elif kind == 1:
            del wounded[at : at + length]
        elif kind == 2:
            wounded[at:at] = wounded[at : at + length]
        elif kind == 3:
            wounded[at:at] = dice.choice(pieces) * dice.choice((1, 1, 1, 300))
        elif kind == 4:
            there = dice.randrange(len(wounded))
            wounded[at : at + length], wounded[there : there + length] = (
                wounded[there : there + length],
                wounded[at : at + length],
            )
        else:
            del wounded[at:]
            wounded += b" "
    return bytes(wounded)


def check_damaged(kind, count, seed):
    sound, dice, read = seeds(kind), random.Random(seed), 0
    for _ in range(count):
        spoilt = damaged(dice.choice(sound), dice, PIECES[kind])
        start = time.process_time()
        read += check(spoilt, kind)
        assert time.process_time() - start < SECONDS_MAX
    return read


@pytest.mark.parametrize("kind", KINDS)
def test_sound_files_are_read(kind):
    assert all(check(data, kind) for data in seeds(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_give_a_result_or_a_format_error(kind):
    read = check_damaged(kind, 120, seed=1)
    assert 2 < read < 118  # both answers have been met


@pytest.mark.long
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("seed", range(10, 44))
@pytest.mark.parametrize("kind", KINDS)
def test_thousands_of_damaged_files_give_a_result_or_a_format_error(kind, seed):
    check_damaged(kind, 1000, seed)


cuts = st.tuples(st.floats(0, 1), st.integers(0, 40), st.binary(max_size=12))


@pytest.mark.parametrize("kind", KINDS)
@given(which=st.integers(0, 99), wounds=st.lists(cuts, min_size=1, max_size=3))
@settings(max_examples=25, deadline=None)
def test_whatever_is_cut_out_and_put_in_gives_a_result_or_a_format_error(kind, which, wounds):
    sound = seeds(kind)
    data = sound[which % len(sound)]
    for where, length, put in wounds:
        at = int(where * len(data))
        data = data[:at] + put + data[at + length :]
    check(data, kind)


@pytest.mark.parametrize(
    "data",
    [
        b"Roto {\n" * 40_000,
        b"Roto {\n}\n" * 40_000,
        b"Group {\n name g\n}\n" * 90 + b"Roto {\n name r\n}\n" * 20_000,
        b'name "' * 60_000,
        b"\\" * 300_000,
        b"# " * 150_000,
        b"Roto {\n curves {{{v 1} {f 0} {n {layer Root " + b"{layer a} " * 30_000 + b"}}}}\n name a\n}\n",
        b"Roto {\n curves {{{v 1} {f 0} {n {layer Root " + b"{ghost a} " * 30_000 + b"}}}}\n name a\n}\n",
        b"Roto {\n curves {{{v 1} {f 0} {n {layer Root "
        + b"{curvegroup s 0 bezier {{cc {p {} {} {}}} idem}} " * 3_000
        + b"}}}}\n name a\n}\n",
        b"Roto {\n curves {{{v 1} {f 0} {n {layer Root {curvegroup s 0 bezier {{cc {p "
        + b"".join(b"{} {{{%d 1}} 1} {} " % i for i in range(3_000))
        + b"}} idem}}}}}}\n name a\n}\n",
    ],
    ids=["open", "nodes", "groups", "quotes", "escapes", "comment", "layers", "ghosts", "shapes", "times"],
)
def test_hostile_scripts_take_time_in_step_with_their_size(data):
    start = time.process_time()
    answer(data, "nk")
    assert time.process_time() - start < SECONDS_MAX


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"<a>" * 300_000, "fxs"),
        (b"<Silhouette " + b'a="b" ' * 100_000, "fxs"),
        (b'<Silhouette width="9" height="9">' + b"<Layer/>" * 100_000 + b"</Silhouette>", "fxs"),
        (b'<Silhouette width="9" height="9"><Layer><Properties><Property id="objects">'
         + b'<Object type="Shape" label="a"/>' * 50_000 + b"</Property></Properties></Layer></Silhouette>", "fxs"),
        (b"<Silhouette>" + b"&#97;" * 200_000 + b"</Silhouette>", "fxs"),
        (b"[" * 300_000, "json"),
        (b'{"schema": "fedroto.shapes/1", "convention": "", "shapes": [' + b"{}," * 100_000 + b"{}]}", "json"),
        (b'{"a": ' * 100_000, "json"),
    ],
    ids=["open", "attributes", "layers", "shapes", "characters", "brackets", "objects", "names"],
)  # fmt: skip
def test_other_hostile_files_take_time_in_step_with_their_size(data, kind):
    start = time.process_time()
    answer(data, kind)
    assert time.process_time() - start < SECONDS_MAX
