"""Damaged Nuke scripts: whatever happens to the bytes, a result or a FormatError, and soon.

The short form makes 300 damaged scripts, the long one (``-m long``) ten thousand.
"""

import random
import time

import numpy as np
import pytest

from model.errors import FormatError
from model.formats import nuke, roto_json
from model.keyframes import Keyed
from model.shapes import Shape, ShapeSet

SECONDS_MAX = 5.0  # for a script of some 20 kB, on a busy machine
PIECES = [
    b"{", b"}", b"{{", b"}}", b'"', b"\\", b"\n", b";", b"#", b"x", b"x ", b"-", b"=", b"{=a 1}", b"{x 9 {0 -}}",
    b"{x 99999999 {0 -}}", b"idem", b"{px ", b"{p ", b"{cc", b"{layer L", b"end_group\n", b"Group {\n}\n", b"x7fc00000",
    b"1e999", b"-1", b"0", b"4294967296", b"\x00", b"\xff", b"{}", b"AnimTree:", b"Roto {\n", b"{t 1 1 1 {", b"{a",
]  # fmt: skip


def valid_script():
    rng = np.random.default_rng(0)
    frames = np.array([1001, 1005, 1012])
    controls = rng.normal(0, 300, (3, 4, 3, 2))
    plain = Shape.from_keys("Bezier1", frames, controls)
    feather = Keyed.smooth(frames, rng.normal(0, 20, (3, 4, 3, 2)))
    rich = Shape(
        name="Bezier 2",
        frames=frames,
        controls=controls,
        slopes_in=controls,
        slopes_out=-controls,
        feather=feather,
        closed=False,
        opacity=Keyed.smooth([1, 5], [0.0, 1.0]),
    )
    group = (
        b"Group {\n name G\n}\n" + nuke.dumps(ShapeSet((plain,), 100, 100), with_root=False) + b"end_group\n"
    )
    return nuke.dumps(ShapeSet((plain, rich), 1920, 1080, 1001, 1012)) + group


def damaged(data, dice):
    """One script with a wound or two: bytes changed, cut out, doubled, moved, or pieces of grammar put in."""
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
            wounded[at:at] = dice.choice(PIECES) * dice.choice((1, 1, 1, 300))
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


def answer(data):
    """What was read, or the error that says why not; any other exception is a failure."""
    try:
        return nuke.loads(data, height=1080, width=1920)
    except FormatError as error:
        return error


def check_damaged(count, seed):
    data, dice = valid_script(), random.Random(seed)
    read = 0
    for _ in range(count):
        spoilt = damaged(data, dice)
        start = time.process_time()
        found = answer(spoilt)
        if isinstance(found, FormatError):
            assert found.line is None or 1 <= found.line <= spoilt.count(b"\n") + 1
        else:
            read += 1
            assert roto_json.loads(roto_json.dumps(found.shapes)) == found.shapes  # what was read is sound
        assert time.process_time() - start < SECONDS_MAX
    return read


def test_damaged_scripts_give_a_result_or_a_format_error():
    read = check_damaged(300, seed=1)
    assert 20 < read < 280  # both answers have been met


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(10, 20))
def test_thousands_of_damaged_scripts_give_a_result_or_a_format_error(seed):
    check_damaged(1000, seed)


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
    answer(data)
    assert time.process_time() - start < SECONDS_MAX
