"""Flower records to typed messages and back, strictly."""

import io

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from federation.documents import DOCUMENT_BYTES_MAX
from federation.errors import MessageError, RefusalCode
from federation.messages import SignedUpdate, TrainRefusal, TrainRequest, TrainUpdate
from federation.plan import PARAMETERS_MAX
from federation.records import read_reply, read_request, reply_records, request_records

WEIGHTS = np.array([1.0, -2.5, np.nan, 3e38], np.float32)


def request():
    return TrainRequest(b"plan", b"instruction", WEIGHTS)


def update():
    return TrainUpdate(WEIGHTS, "a" * 64, 2**62, "b" * 64)


def array(ndarray, **changes):
    fields = {"dtype": str(ndarray.dtype), "shape": ndarray.shape, "stype": "numpy.ndarray"}
    buffer = io.BytesIO()
    np.save(buffer, ndarray)
    return Array(**(fields | {"data": buffer.getvalue()} | changes))


@settings(max_examples=30, deadline=None)
@given(
    npst.arrays(np.float32, st.integers(1, 50), elements=st.floats(width=32)),
    st.binary(max_size=50),
    st.binary(max_size=50),
)
def test_a_request_survives_the_wire_bit_for_bit(weights, plan, instruction):
    back = read_request(request_records(TrainRequest(plan, instruction, weights)))
    assert (back.plan, back.instruction) == (plan, instruction)
    assert back.weights.tobytes() == weights.tobytes()
    assert back.weights.dtype == np.float32


def test_a_signed_update_survives_the_wire_with_its_signature():
    signed = SignedUpdate(update(), bytes(range(96)))
    records = reply_records(signed)
    assert set(records["signature"]) == {"node_key"}
    back = read_reply(records)
    assert isinstance(back, SignedUpdate)
    assert back.signature == signed.signature
    assert back.content.update.tobytes() == WEIGHTS.tobytes()


def test_an_update_survives_the_wire_bit_for_bit():
    back = read_reply(reply_records(update()))
    assert isinstance(back, TrainUpdate)
    assert back.update.tobytes() == WEIGHTS.tobytes()
    assert (back.plan_digest, back.ledger_sequence, back.ledger_hash) == ("a" * 64, 2**62, "b" * 64)


@pytest.mark.parametrize("code", list(RefusalCode))
def test_a_refusal_is_its_code_and_nothing_else(code):
    records = reply_records(TrainRefusal(code))
    assert {name: dict(record) for name, record in records.items()} == {"refusal": {"code": int(code)}}
    assert read_reply(records) == TrainRefusal(code)


def test_a_request_travels_as_one_array():
    message_objects = request_records(request())
    assert [len(record) for record in message_objects.array_records.values()] == [1]


def changed_reply(**changes):
    records = reply_records(update())
    for name, value in changes.items():
        if value is None:
            del records[name]
        else:
            records[name] = value
    return records


def report(**changes):
    fields = {"plan_digest": "a" * 64, "ledger_sequence": 1, "ledger_hash": "b" * 64} | changes
    return ConfigRecord({name: value for name, value in fields.items() if value is not None})


@pytest.mark.parametrize(
    "records",
    [
        RecordDict(),
        changed_reply(update=None),
        changed_reply(report=None),
        changed_reply(signature=ConfigRecord({"node_key": bytes(95)})),
        changed_reply(signature=ConfigRecord({"node_key": "0" * 96})),
        changed_reply(signature=ConfigRecord({"node_key": bytes(96), "more": b""})),
        changed_reply(signature=ConfigRecord({"other": bytes(96)})),
        changed_reply(signature=ArrayRecord()),
        changed_reply(metrics=MetricRecord({"loss": 0.5})),
        changed_reply(path=ConfigRecord({"path": "/mnt/show/shot"})),
        changed_reply(report=report(extra="a")),
        changed_reply(report=report(plan_digest=None)),
        changed_reply(report=report(plan_digest="A" * 64)),
        changed_reply(report=report(ledger_hash="b" * 63)),
        changed_reply(report=report(ledger_hash=b"b" * 64)),
        changed_reply(report=report(ledger_sequence=-1)),
        changed_reply(report=report(ledger_sequence=1.0)),
        changed_reply(report=report(ledger_sequence=True)),
        changed_reply(report=MetricRecord({"plan_digest": 1})),
        changed_reply(update=ConfigRecord({"packed": b""})),
        changed_reply(update=ArrayRecord()),
        changed_reply(update=ArrayRecord({"packed": array(WEIGHTS), "more": array(WEIGHTS)})),
        changed_reply(update=ArrayRecord({"other": array(WEIGHTS)})),
        changed_reply(update=ArrayRecord({"packed": array(WEIGHTS.astype(np.float64))})),
        changed_reply(update=ArrayRecord({"packed": array(WEIGHTS.astype(np.complex64), dtype="float32")})),
        changed_reply(update=ArrayRecord({"packed": array(WEIGHTS.astype(">f4"), dtype="float32")})),
        changed_reply(update=ArrayRecord({"packed": array(WEIGHTS.reshape(2, 2))})),
        changed_reply(update=ArrayRecord({"packed": array(np.float32(1))})),
        changed_reply(update=ArrayRecord({"packed": array(np.zeros(0, np.float32))})),
        changed_reply(update=ArrayRecord({"packed": array(WEIGHTS, stype="pickle")})),
        changed_reply(update=ArrayRecord({"packed": array(WEIGHTS, data=b"not npy")})),
        changed_reply(update=ArrayRecord({"packed": array(WEIGHTS, data=b"")})),
        RecordDict({"refusal": ConfigRecord({"code": 0})}),
        RecordDict({"refusal": ConfigRecord({"code": 999})}),
        RecordDict({"refusal": ConfigRecord({"code": "1"})}),
        RecordDict({"refusal": ConfigRecord({"code": True})}),
        RecordDict({"refusal": ConfigRecord({"code": 1, "reason": "/mnt/show"})}),
        RecordDict({"refusal": ConfigRecord({"code": 1}), "update": ArrayRecord()}),
    ],
)
def test_a_reply_with_anything_more_less_or_other_is_refused(records):
    with pytest.raises(MessageError):
        read_reply(records)


def test_object_arrays_are_never_unpickled():
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    records = changed_reply(update=ArrayRecord({"packed": array(WEIGHTS, data=buffer.getvalue())}))
    with pytest.raises(MessageError):
        read_reply(records)


def test_a_header_that_promises_more_than_there_is_allocates_nothing():
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (2**40,)})
    records = changed_reply(
        update=ArrayRecord({"packed": array(WEIGHTS, data=header.getvalue() + b"\0" * 16)})
    )
    with pytest.raises(MessageError, match="contradict"):
        read_reply(records)


def test_more_weights_than_any_plan_has_are_refused_unread():
    data = b"\x93NUMPY" + b"\0" * (4 * PARAMETERS_MAX + 1024)
    records = changed_reply(update=ArrayRecord({"packed": array(WEIGHTS, data=data)}))
    with pytest.raises(MessageError, match="at most"):
        read_reply(records)


def test_an_oversized_plan_is_refused():
    records = request_records(TrainRequest(b"x" * (DOCUMENT_BYTES_MAX + 1), b"i", WEIGHTS))
    with pytest.raises(MessageError, match="at most"):
        read_request(records)


def test_errors_do_not_repeat_what_the_other_side_wrote():
    with pytest.raises(MessageError) as error:
        read_reply(RecordDict({"/mnt/secret_show": ConfigRecord()}))
    assert "secret" not in str(error.value)
