import ast
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.errors import EgressError, RefusalCode
from federation.messages import TrainRefusal, TrainUpdate, encode_reply
from federation.plan import LedgerHead, RoundInstruction, UpdateBounds
from studio_node.egress import EgressDoor, ExpectedUpdate, decode_reply, fields_of, inspect_frame
from studio_node.egress_log import EGRESS_LOG, EgressLog, read_log
from studio_node.egress_preview import preview_egress
from studio_node.stored_updates import UPDATES_FOLDER, StoredUpdates

GRID = 2.0**-10
HEAD = LedgerHead(sequence=4, hash="e" * 64)
EXPECTED = ExpectedUpdate("a" * 64, 8, UpdateBounds(norm_max=1.0, grid=GRID), HEAD)
INSTRUCTION = RoundInstruction.model_validate(
    {
        "federation": "north",
        "campaign": "autumn",
        "plan_digest": "a" * 64,
        "server_round": 3,
        "studio": "alpha",
        "base_digest": "b" * 64,
        "bundle_digest": "c" * 64,
        "issued_at": 0,
        "expires_at": 1,
    }
)
GOOD = np.arange(-4, 4, dtype=np.float32) * np.float32(GRID)


def frame(update: np.ndarray = GOOD, **changes) -> bytes:
    fields = {"plan_digest": "a" * 64, "ledger_sequence": 4, "ledger_hash": "e" * 64}
    return encode_reply(TrainUpdate(np.asarray(update, np.float32), **fields | changes))


BYTES = replace(EXPECTED, bounds=UpdateBounds(norm_max=1.0, grid=GRID, value_bits=8))


def steps(*values: int) -> bytes:
    return encode_reply(TrainUpdate(np.array(values, np.int8), "a" * 64, 4, "e" * 64))


def test_an_update_of_one_byte_a_value_leaves_where_the_plan_says_so_and_is_logged_as_such():
    data = steps(127, -127, 0, 1, 2, 3, 4, 5)
    reply = inspect_frame(data, BYTES)
    assert fields_of(reply)[0].type == "int8 [8]"
    assert "-127 to 127 steps" in fields_of(reply)[0].value
    assert len(frame()) - len(data) == 3 * 8
    for refused, expected, named in (
        (data, EXPECTED, "int8, the plan says float32"),
        (frame(), BYTES, "float32, the plan says int8"),
        (steps(-128, 0, 0, 0, 0, 0, 0, 0), BYTES, "beyond 127 steps"),
        (steps(1), BYTES, "1 values"),
    ):
        with pytest.raises(EgressError, match=named):
            inspect_frame(refused, expected)


REFUSAL = encode_reply(TrainRefusal(RefusalCode.BUDGET))


def _spoiled(index: int, value: float) -> np.ndarray:
    spoiled = GOOD.copy()
    spoiled[index] = value
    return spoiled


def test_an_update_within_every_rule_may_leave():
    assert isinstance(inspect_frame(frame(), EXPECTED), TrainUpdate)
    assert inspect_frame(REFUSAL, None) == TrainRefusal(RefusalCode.BUDGET)
    assert inspect_frame(REFUSAL, EXPECTED) == TrainRefusal(RefusalCode.BUDGET)


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (frame(_spoiled(2, np.nan)), "NaN"),
        (frame(_spoiled(2, np.inf)), "NaN or an infinity"),
        (frame(_spoiled(2, GRID / 2)), "off the grid"),
        (frame(_spoiled(2, 1e-30)), "off the grid"),
        (frame(GOOD[:7]), "7 values"),
        (frame(np.append(GOOD, GOOD)), "16 values"),
        (frame(_spoiled(2, 1.0)), "norm"),
        (frame(plan_digest="0" * 64), "plan in force"),
        (frame(ledger_sequence=5), "ledger record 5"),
        (frame(ledger_hash="0" * 64), "ledger record"),
        (frame(epsilon_left=4.5), "epsilon left 4.5, this studio shares None"),
    ],
)
def test_an_update_that_breaks_a_rule_does_not_leave(data, named):
    with pytest.raises(EgressError, match=named):
        inspect_frame(data, EXPECTED)


def test_an_update_does_not_leave_where_only_a_refusal_may():
    with pytest.raises(EgressError, match="only a refusal"):
        inspect_frame(frame(), None)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"FRTO",
        frame()[:-1],
        frame() + b"x",
        REFUSAL + REFUSAL,
        b"show kelp shot sh010",
        REFUSAL[:-1] + b"\xff",
    ],
)
def test_bytes_that_are_no_reply_do_not_leave(data):
    with pytest.raises(EgressError):
        decode_reply(data)


def test_a_refusal_with_a_text_beside_its_code_does_not_leave():
    # a hand-made frame of the refusal kind whose part is longer than the one byte of a code
    text = b"kelp_sh010 is damaged"
    data = b"FRTO" + bytes([3, 1]) + len(text).to_bytes(4, "little") + text
    with pytest.raises(EgressError):
        decode_reply(data)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_no_changed_frame_leaves_as_anything_but_a_reply_in_its_one_form(data):
    original = bytearray(frame() if data.draw(st.booleans()) else REFUSAL)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(original) - 1))
        match data.draw(st.sampled_from(["flip", "cut", "insert"])):
            case "flip":
                original[place] ^= data.draw(st.integers(1, 255))
            case "cut":
                del original[place]
            case "insert":
                original.insert(place, data.draw(st.integers(0, 255)))
        if not original:
            break
    changed = bytes(original)
    try:
        reply = inspect_frame(changed, EXPECTED)
    except EgressError:
        return
    assert encode_reply(reply) == changed
    if isinstance(reply, TrainUpdate):  # then every rule holds for it, whatever was changed
        assert reply.plan_digest == EXPECTED.plan_digest
        assert np.linalg.norm(reply.update.astype(np.float64)) <= 1.0
        assert (np.rint(reply.update / GRID) * GRID == reply.update).all()


def test_what_leaves_is_in_the_log_before_it_leaves(tmp_path):
    door = EgressDoor(EgressLog(tmp_path / EGRESS_LOG))
    seen = []

    def send(data: bytes) -> None:
        seen.append((data, read_log(tmp_path).lines[-1].sha256))

    door.release(frame(), EXPECTED, send, instruction=INSTRUCTION, now=12.5)
    door.release(REFUSAL, None, send, now=13.0)
    (update, first), (refusal, second) = seen
    assert (update, refusal) == (frame(), REFUSAL)
    history = read_log(tmp_path)
    assert [line.sha256 for line in history.lines] == [first, second]
    line = history.lines[0]
    assert (line.time, line.kind, line.campaign, line.server_round, line.replay) == (
        12.5,
        "update",
        "autumn",
        3,
        False,
    )
    assert line.size_bytes == len(frame())
    assert [field.name for field in line.fields] == [
        "update",
        "plan_digest",
        "ledger_sequence",
        "ledger_hash",
    ]
    assert history.lines[1].fields[0].value == "BUDGET"
    assert history.size_bytes == len(frame()) + len(REFUSAL)
    assert (tmp_path / EGRESS_LOG).stat().st_mode & 0o777 == 0o600


def test_what_cannot_be_logged_does_not_leave(tmp_path):
    door = EgressDoor(EgressLog(tmp_path / "gone" / EGRESS_LOG))
    with pytest.raises(EgressError, match="nothing was sent"):
        door.release(REFUSAL, None, lambda data: pytest.fail("it left"), now=0.0)


def test_what_breaks_a_rule_is_neither_logged_nor_sent(tmp_path):
    door = EgressDoor(EgressLog(tmp_path / EGRESS_LOG))
    with pytest.raises(EgressError):
        door.release(frame(_spoiled(0, np.nan)), EXPECTED, lambda data: pytest.fail("it left"), now=0.0)
    assert read_log(tmp_path).lines == ()


def test_a_torn_line_is_counted_and_the_next_one_is_whole(tmp_path):
    log = tmp_path / EGRESS_LOG
    door = EgressDoor(EgressLog(log))
    door.release(REFUSAL, None, lambda data: None, now=1.0)
    whole = log.read_bytes()
    log.write_bytes(whole + whole[:40])  # killed in the middle of a line
    door.release(REFUSAL, None, lambda data: None, now=2.0)
    history = read_log(tmp_path)
    assert [line.time for line in history.lines] == [1.0, 2.0]
    assert history.torn == 1


def test_the_log_holds_no_weights(tmp_path):
    door = EgressDoor(EgressLog(tmp_path / EGRESS_LOG))
    door.release(frame(), EXPECTED, lambda data: None, instruction=INSTRUCTION, now=1.0)
    fields = json.loads((tmp_path / EGRESS_LOG).read_text())
    assert len(json.dumps(fields)) < 1500


def test_the_preview_shows_every_stored_update_and_the_form_of_any(tmp_path):
    assert preview_egress(tmp_path).stored == ()
    StoredUpdates(tmp_path / UPDATES_FOLDER).put(("autumn", 3, "a" * 64, "b" * 64), frame())
    preview = preview_egress(tmp_path)
    (stored,) = preview.stored
    assert (stored.campaign, stored.size_bytes) == ("autumn", len(frame()))
    assert [field.name for field in stored.fields] == [field.name for field in preview.form]
    assert preview.form_bytes > 400_000


def test_the_door_is_the_only_code_that_sends():
    root = Path(__file__).parents[2] / "studio_node"
    sending = [
        path.name
        for path in root.glob("*.py")
        if path.name not in {"uplink.py", "runner_client.py"}  # the uplink's side: no plates there
        and any(word in path.read_text() for word in (".send(", ".sendall", ".sendto", ".sendmsg"))
    ]
    assert sending == ["runner.py"]
    tree = ast.parse((root / "runner.py").read_text())
    through_the_door = [
        argument
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "door.release"
        for argument in call.args
        if ast.unparse(argument) == "connection.sendall"
    ]
    everywhere = [n for n in ast.walk(tree) if isinstance(n, ast.Attribute) and n.attr.startswith("send")]
    assert len(everywhere) == len(through_the_door) > 0
