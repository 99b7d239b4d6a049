import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from federation import messages
from federation.documents import DOCUMENT_BYTES_MAX
from federation.errors import MessageError, RefusalCode
from federation.messages import TrainRefusal, TrainRequest, TrainUpdate, read_reply, read_request
from federation.plan import PARAMETERS_MAX

WEIGHTS = np.arange(5, dtype=np.float32)
UPDATE = TrainUpdate(WEIGHTS, "ab" * 32, 7, "cd" * 32)
REQUEST = TrainRequest(b"plan", b"instruction", WEIGHTS)

arrays = hnp.arrays(np.float32, st.integers(1, 40), elements=st.floats(width=32))
digests = st.text("0123456789abcdef", min_size=64, max_size=64)


class Ended(Exception):
    """The peer's bytes are at their end."""


class Bytes:
    """Read-exactly over bytes; remembers the largest piece that was asked for."""

    def __init__(self, data):
        self.data, self.position, self.largest = data, 0, 0

    def __call__(self, count):
        self.largest = max(self.largest, count)
        if self.position + count > len(self.data):
            raise Ended
        self.position += count
        return self.data[self.position - count : self.position]


def same(first, second):
    return first.dtype == second.dtype and first.tobytes() == second.tobytes()


@given(plan=st.binary(max_size=50), instruction=st.binary(max_size=50), weights=arrays)
@settings(deadline=None)
def test_a_request_survives_its_frame_bit_for_bit(plan, instruction, weights):
    frame = Bytes(messages.encode_request(TrainRequest(plan, instruction, weights)))
    read = read_request(frame)
    assert (read.plan, read.instruction) == (plan, instruction)
    assert same(read.weights, weights)
    assert frame.position == len(frame.data)


@given(
    update=arrays,
    plan_digest=digests,
    sequence=st.integers(0, 2**63 - 1),
    ledger_hash=digests,
    left=st.none() | st.floats(0, 100),
)
@settings(deadline=None)
def test_an_update_survives_its_frame_bit_for_bit(update, plan_digest, sequence, ledger_hash, left):
    sent = TrainUpdate(update, plan_digest, sequence, ledger_hash, left)
    read = read_reply(Bytes(messages.encode_reply(sent)))
    assert same(read.update, update)
    assert (read.plan_digest, read.ledger_sequence, read.ledger_hash) == (plan_digest, sequence, ledger_hash)
    assert read.epsilon_left == left


@pytest.mark.parametrize("code", RefusalCode)
def test_every_refusal_survives_its_frame(code):
    assert read_reply(Bytes(messages.encode_reply(TrainRefusal(code)))) == TrainRefusal(code)


def test_the_values_of_refusals_are_the_wire_format():
    assert [code.value for code in RefusalCode] == list(range(1, 14))
    assert RefusalCode.BUDGET == 7
    assert RefusalCode.BUSY == 13


def frame(kind, parts, *, lengths=None, count=None, magic=b"FRTO"):
    lengths = [len(part) for part in parts] if lengths is None else lengths
    head = magic + struct.pack("<BB", kind, len(parts) if count is None else count)
    return head + struct.pack(f"<{len(lengths)}I", *lengths) + b"".join(parts)


@pytest.mark.parametrize(
    "data",
    [
        frame(1, [b"", b"", b"\0\0\0\0"], magic=b"HTTP"),
        frame(9, [b"x"]),
        frame(1, [b"", b""]),
        frame(1, [b"", b"", b"\0" * 4, b""]),
        frame(1, [b"", b"", b"\0" * 6]),
        frame(1, [b"", b"", b""]),
        messages.encode_reply(UPDATE),
    ],
)
def test_a_frame_of_another_kind_or_form_is_no_request(data):
    with pytest.raises(MessageError):
        read_request(Bytes(data))


@pytest.mark.parametrize(
    "data",
    [
        messages.encode_request(REQUEST),
        frame(3, [b"\x63"]),
        frame(3, [b"\x00"]),
        frame(3, [b""]),
        frame(3, [b"\x01\x02"]),
        frame(2, [b"\0" * 4, b"ab" * 32, b"\0" * 8, b"cd" * 32]),
        frame(2, [b"\0" * 4, b"ab" * 32, b"\0" * 7, b"cd" * 32, b""]),
        frame(2, [b"\0" * 4, b"ab" * 32, b"\xff" * 8, b"cd" * 32, b""]),
        frame(2, [b"\0" * 4, b"AB" * 32, b"\0" * 8, b"cd" * 32, b""]),
        frame(2, [b"\0" * 4, b"ab" * 31, b"\0" * 8, b"cd" * 32, b""]),
        frame(2, [b"\0" * 4, b"ab" * 32, b"\0" * 8, b"\xff" * 64, b""]),
        frame(2, [b"", b"ab" * 32, b"\0" * 8, b"cd" * 32, b""]),
        frame(2, [b"\0" * 5, b"ab" * 32, b"\0" * 8, b"cd" * 32, b""]),
        frame(2, [b"\0" * 4, b"ab" * 32, b"\0" * 8, b"cd" * 32, b"\0" * 7]),
        frame(2, [b"\0" * 4, b"ab" * 32, b"\0" * 8, b"cd" * 32, struct.pack("<d", -1)]),
        frame(2, [b"\0" * 4, b"ab" * 32, b"\0" * 8, b"cd" * 32, struct.pack("<d", np.nan)]),
    ],
)
def test_a_frame_of_another_kind_or_form_is_no_reply(data):
    with pytest.raises(MessageError):
        read_reply(Bytes(data))


@pytest.mark.parametrize("part", [0, 1, 2])
@pytest.mark.parametrize("excess", [1, 2**31])
def test_no_part_beyond_its_limit_is_even_asked_for(part, excess):
    limits = [DOCUMENT_BYTES_MAX, DOCUMENT_BYTES_MAX, 4 * PARAMETERS_MAX]
    lengths = [0, 0, 4]
    lengths[part] = limits[part] + excess
    reader = Bytes(frame(1, [b"", b"", b"\0" * 4], lengths=lengths))
    with pytest.raises(MessageError, match=f"part {part} of the frame"):
        read_request(reader)
    assert reader.largest <= 12


def test_a_claimed_length_is_checked_before_anything_is_allocated():
    reader = Bytes(frame(2, [b""] * 5, lengths=[2**32 - 1] * 5))
    with pytest.raises(MessageError, match="at most"):
        read_reply(reader)
    assert reader.largest <= 20


@given(cut=st.integers(0, 10_000))
@settings(deadline=None)
def test_a_truncated_frame_ends_in_the_readers_own_error(cut):
    for data, read in (
        (messages.encode_request(REQUEST), read_request),
        (messages.encode_reply(UPDATE), read_reply),
    ):
        with pytest.raises(Ended):
            read(Bytes(data[: cut % len(data)]))


@given(data=st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_rubbish_is_a_message_error_or_the_readers_end(data):
    for read in (read_request, read_reply):
        with pytest.raises((MessageError, Ended)):
            read(Bytes(data))


@given(position=st.integers(0, 10_000), value=st.integers(0, 255))
@settings(max_examples=200, deadline=None)
def test_a_changed_byte_gives_a_well_formed_reply_or_an_error(position, value):
    data = bytearray(messages.encode_reply(UPDATE))
    data[position % len(data)] = value
    try:
        reply = read_reply(Bytes(bytes(data)))
    except (MessageError, Ended):
        return
    assert isinstance(reply, TrainUpdate)
    assert len(reply.plan_digest) == 64


@pytest.mark.parametrize(
    "packed",
    [
        np.zeros(3, np.float64),
        np.zeros((2, 2), np.float32),
        np.zeros(0, np.float32),
        np.float32(1.0).reshape(()),
        np.broadcast_to(np.float32(0), PARAMETERS_MAX + 1),
    ],
)
def test_packed_weights_of_another_form_are_refused_at_birth(packed):
    with pytest.raises(MessageError, match=r"expected float32( or int8)? \[P\]"):
        TrainRequest(b"", b"", packed)
    with pytest.raises(MessageError, match=r"expected float32( or int8)? \[P\]"):
        TrainUpdate(packed, "ab" * 32, 0, "cd" * 32)


@pytest.mark.parametrize(
    ("plan_digest", "sequence", "ledger_hash"),
    [
        ("zz" * 32, 0, "cd" * 32),
        ("ab" * 32, -1, "cd" * 32),
        ("ab" * 32, 2**63, "cd" * 32),
        ("ab" * 32, 0, ""),
    ],
)
def test_an_update_with_impossible_fields_is_refused_at_birth(plan_digest, sequence, ledger_hash):
    with pytest.raises(MessageError):
        TrainUpdate(WEIGHTS, plan_digest, sequence, ledger_hash)


def test_nan_passes_the_frame_and_is_left_to_the_validators():
    # The frame carries bits; finiteness is checked at the egress door and again by the coordinator.
    weights = np.array([np.nan, np.inf], np.float32)
    assert same(
        read_request(Bytes(messages.encode_request(TrainRequest(b"", b"", weights)))).weights, weights
    )


def test_a_read_array_is_of_the_bytes_that_came_and_cannot_be_changed():
    read = read_request(Bytes(messages.encode_request(REQUEST)))
    with pytest.raises(ValueError, match="read-only"):
        read.weights[0] = 9
