"""Flower records to typed messages and back, strictly."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from federation import records as wire
from federation.documents import DOCUMENT_BYTES_MAX
from federation.errors import MessageError, RefusalCode
from federation.messages import (
    SignedUpdate,
    TrainRefusal,
    TrainRequest,
    TrainUpdate,
    encode_reply,
    encode_request,
)
from federation.records import read_reply, read_request, reply_records, request_records

WEIGHTS = np.array([1.0, -2.5, np.nan, 3e38], np.float32)
UPDATE = TrainUpdate(WEIGHTS, "a" * 64, 2**62, "b" * 64)
FRAME = encode_reply(UPDATE)


def record(piece=FRAME, **more):
    return ConfigRecord({"piece": piece} | more)


@settings(max_examples=30, deadline=None)
@given(
    npst.arrays(np.float32, st.integers(1, 50), elements=st.floats(width=32)),
    st.binary(max_size=50),
    st.binary(max_size=50),
    st.sampled_from([7, 64, 4 << 20]),
)
def test_a_request_survives_the_wire_bit_for_bit_in_however_many_pieces(weights, plan, instruction, size):
    asked = TrainRequest(plan, instruction, weights)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire, "PIECE_BYTES", size)
        records = request_records(asked)
        back = read_request(records)
    assert len(records) == -(-len(encode_request(asked)) // size)
    assert (back.plan, back.instruction) == (plan, instruction)
    assert back.weights.tobytes() == weights.tobytes()
    assert back.weights.dtype == np.float32


@pytest.mark.parametrize("array", [WEIGHTS, np.array([127, -127, 0], np.int8)])
def test_a_signed_update_survives_the_wire_with_its_signature_and_is_the_frame_that_passed_the_door(array):
    update = TrainUpdate(array, "a" * 64, 2**62, "b" * 64)
    signed = SignedUpdate(update, bytes(range(96)))
    records = reply_records(signed)
    assert {name: dict(one) for name, one in records.items()} == {
        "0": {"piece": encode_reply(update), "signature": bytes(range(96))}
    }
    back = read_reply(records)
    assert isinstance(back, SignedUpdate)
    assert back.signature == signed.signature
    assert (back.content.update.dtype, back.content.update.tobytes()) == (array.dtype, array.tobytes())
    bare = read_reply(reply_records(update))
    assert (bare.plan_digest, bare.ledger_sequence, bare.ledger_hash) == ("a" * 64, 2**62, "b" * 64)


@pytest.mark.parametrize("code", list(RefusalCode))
def test_a_refusal_is_its_code_and_nothing_else(code):
    assert read_reply(reply_records(TrainRefusal(code))) == TrainRefusal(code)
    with pytest.raises(MessageError, match="a refusal carries a signature"):
        read_reply(RecordDict({"0": record(encode_reply(TrainRefusal(code)), signature=bytes(96))}))


@pytest.mark.parametrize(
    "records",
    [
        {},
        {"1": record()},
        {"0": record(), "2": record()},
        {"0": record(), "1": record()},
        {"00": record()},
        {"0": record(signature=bytes(95))},
        {"0": record(signature="0" * 96)},
        {"0": record(signature=bytes(96), more=b"")},
        {"0": record(other=bytes(96))},
        {"0": record(loss=0.5)},
        {"0": ConfigRecord()},
        {"0": record(b"")},
        {"0": record(FRAME.hex())},
        {"0": record(FRAME[:-1])},
        {"0": record(FRAME + b"\0")},
        {"0": record(encode_request(TrainRequest(b"plan", b"instruction", WEIGHTS)))},
        {"0": MetricRecord({"piece": 1})},
        {"0": ArrayRecord({"piece": Array(WEIGHTS)})},
        {"0": record(), "metrics": MetricRecord({"loss": 0.5})},
        {"0": record(), "path": ConfigRecord({"path": "/mnt/show/shot"})},
        {"0": record(encode_reply(UPDATE).replace(b"a" * 64, b"A" * 64))},
    ],
)
def test_a_reply_with_anything_more_less_or_other_is_refused(records):
    with pytest.raises(MessageError):
        read_reply(RecordDict(records))


def test_pieces_of_another_size_are_refused_so_that_a_frame_has_one_form(monkeypatch):
    monkeypatch.setattr(wire, "PIECE_BYTES", 100)
    cut = [FRAME[:90], FRAME[90:]]
    with pytest.raises(MessageError, match="not all of 100 bytes"):
        read_reply(RecordDict({str(number): record(piece) for number, piece in enumerate(cut)}))
    whole = [FRAME[:100], FRAME[100:]]
    moved = {"0": record(whole[0]), "1": record(whole[1], signature=bytes(96))}
    with pytest.raises(MessageError, match="other fields"):
        read_reply(RecordDict(moved))


def test_a_part_that_claims_more_than_there_is_allocates_nothing():
    claimed = FRAME[:6] + (2**25).to_bytes(4, "little") + FRAME[10:]
    with pytest.raises(MessageError, match="in the middle of a part"):
        read_reply(RecordDict({"0": record(claimed)}))


def test_an_oversized_plan_is_refused():
    records = request_records(TrainRequest(b"x" * (DOCUMENT_BYTES_MAX + 1), b"i", WEIGHTS))
    with pytest.raises(MessageError, match="at most"):
        read_request(records)


def test_errors_do_not_repeat_what_the_other_side_wrote():
    for records in (RecordDict({"/mnt/secret_show": ConfigRecord()}), RecordDict({"0": record(secret=b"")})):
        with pytest.raises(MessageError) as error:
            read_reply(records)
        assert "secret" not in str(error.value)
