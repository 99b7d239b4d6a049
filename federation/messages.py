"""The typed messages of one update, as bytes between a studio's own two processes.

The runner (which reads plates and has no network) and the uplink (which has the network and cannot read plates)
exchange exactly these: one :class:`TrainRequest` in, one :class:`TrainUpdate` or :class:`TrainRefusal` out. The same
frame crosses the wire (``federation.records``). A frame is

    magic "FRTO" | kind u8 | count u8 | count x length u32 | parts

little-endian, every part bounded before it is read.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from federation.documents import DOCUMENT_BYTES_MAX
from federation.errors import MessageError, RefusalCode
from federation.plan import PARAMETERS_MAX

MAGIC = b"FRTO"
_REQUEST, _UPDATE, _REFUSAL, _STEPS_UPDATE = 1, 2, 3, 4
SHORT_PART_BYTES_MAX = 256
PACKED_BYTES_MAX = 4 * PARAMETERS_MAX
EPSILON_LEFT_MAX = 100.0
UPDATE_SIGNATURE_BYTES = 96  # ECDSA P-384, both halves, big-endian
PackedWeights = npt.NDArray[np.float32]  # [P]: the trainable tensors, flattened in the plan's order
PackedUpdate = npt.NDArray[np.float32] | npt.NDArray[np.int8]
"""[P]: values of an update, or whole steps of the plan's grid where its values have 8 bits (``value_bits``)."""


@dataclass(frozen=True)
class TrainRequest:
    """What a studio is asked to do, as it came over the wire: nothing in it is verified yet.

    Attributes:
        plan: the signed plan's bytes.
        instruction: the signed instruction's bytes.
        weights: float32 [P], the weights that the update will be a difference to; or float32 [2 P], for the gain: the
            weights that the campaign started from and behind them those after its last round.
    """

    plan: bytes
    instruction: bytes
    weights: PackedWeights

    def __post_init__(self) -> None:
        _check_packed(self.weights, np.float32)


@dataclass(frozen=True)
class TrainUpdate:
    """All that passes a studio's egress door: the noised update, the plan's id and the ledger's head.

    Attributes:
        update: trained weights minus the request's weights, float32 [P], or int8 [P] in steps of the plan's grid; or
            float32 [1], the answer to the question for the studio's gain (``federation.plan.GainConstants``).
        plan_digest: 64 hexadecimal digits.
        ledger_sequence: number of records in the studio's ledger.
        ledger_hash: hash of the newest one, 64 hexadecimal digits.
        epsilon_left: what the ledger leaves a shot, by the show that has least; None unless the studio shares it.
    """

    update: PackedUpdate
    plan_digest: str
    ledger_sequence: int
    ledger_hash: str
    epsilon_left: float | None = None

    def __post_init__(self) -> None:
        _check_packed(self.update, np.float32, np.int8)
        if not (_is_digest(self.plan_digest) and _is_digest(self.ledger_hash)):
            raise MessageError(
                "the update's plan id and ledger hash must be 64 lower-case hexadecimal digits"
            )
        if not 0 <= self.ledger_sequence < 2**63:
            raise MessageError(
                f"the update's ledger sequence is {self.ledger_sequence}, expected 0 to 2^63-1"
            )

        if self.epsilon_left is not None and not 0 <= self.epsilon_left <= EPSILON_LEFT_MAX:  # NaN neither
            raise MessageError(f"the update's epsilon left is not between 0 and {EPSILON_LEFT_MAX:g}")

    @property
    def is_gain(self) -> bool:
        """Whether this is a studio's gain and no update: no plan trains a single value."""
        return self.update.size == 1


@dataclass(frozen=True)
class TrainRefusal:
    """Why there is no update: a code and nothing else."""

    code: RefusalCode


TrainReply = TrainUpdate | TrainRefusal


@dataclass(frozen=True)
class SignedUpdate:
    """An update as it crosses the wire; whether the signature holds is for ``federation.update_signature``.

    Attributes:
        content: what passed the egress door.
        signature: the studio's, over the question and the update.
    """

    content: TrainUpdate
    signature: bytes

    def __post_init__(self) -> None:
        if len(self.signature) != UPDATE_SIGNATURE_BYTES:
            raise MessageError(
                f"an update's signature has {UPDATE_SIGNATURE_BYTES} bytes, this one {len(self.signature)}"
            )


def encode_request(request: TrainRequest) -> bytes:
    """Write a request as one frame."""
    return b"".join(request_parts(request))


def request_parts(request: TrainRequest) -> list[bytes | memoryview]:
    """Return the parts that a request's frame is made of, in order; the weights are not copied."""
    return _frame(_REQUEST, [request.plan, request.instruction, packed_bytes(request.weights)])


def encode_reply(reply: TrainReply) -> bytes:
    """Write a reply as one frame."""
    return b"".join(reply_parts(reply))


def reply_parts(reply: TrainReply) -> list[bytes | memoryview]:
    """Return the parts that a reply's frame is made of, in order; the update itself is not copied."""
    if isinstance(reply, TrainRefusal):
        return _frame(_REFUSAL, [struct.pack("<B", reply.code)])
    sequence = struct.pack("<Q", reply.ledger_sequence)
    kind = _STEPS_UPDATE if reply.update.dtype == np.int8 else _UPDATE
    left = b"" if reply.epsilon_left is None else struct.pack("<d", reply.epsilon_left)
    digest, head = reply.plan_digest.encode(), reply.ledger_hash.encode()
    return _frame(kind, [packed_bytes(reply.update), digest, sequence, head, left])


def read_request(read_exactly: Callable[[int], bytes]) -> TrainRequest:
    """Read one request frame.

    Args:
        read_exactly: returns exactly so many bytes or raises.

    Raises:
        MessageError: the frame is of another kind, too large or malformed.
    """
    _, parts = _read_frame(
        read_exactly, {_REQUEST: (DOCUMENT_BYTES_MAX, DOCUMENT_BYTES_MAX, PACKED_BYTES_MAX)}
    )
    return TrainRequest(parts[0], parts[1], _packed_array(parts[2]))


def read_reply(read_exactly: Callable[[int], bytes]) -> TrainReply:
    """Read one reply frame.

    Raises:
        MessageError: the frame is of another kind, too large or malformed.
    """
    short = SHORT_PART_BYTES_MAX
    limits = {
        _UPDATE: (PACKED_BYTES_MAX, short, short, short, 8),
        _STEPS_UPDATE: (PARAMETERS_MAX, short, short, short, 8),
        _REFUSAL: (1,),
    }
    kind, parts = _read_frame(read_exactly, limits)
    if kind == _REFUSAL:
        return TrainRefusal(refusal_code(parts[0][0] if parts[0] else 0))
    if len(parts[2]) != 8:
        raise MessageError(f"the reply's ledger sequence has {len(parts[2])} bytes, expected 8")
    if len(parts[4]) not in (0, 8):
        raise MessageError(f"the reply's epsilon left has {len(parts[4])} bytes, expected 8 or none")
    update = np.frombuffer(parts[0], np.int8) if kind == _STEPS_UPDATE else _packed_array(parts[0])
    left = struct.unpack("<d", parts[4])[0] if parts[4] else None
    return TrainUpdate(update, _ascii(parts[1]), struct.unpack("<Q", parts[2])[0], _ascii(parts[3]), left)


def refusal_code(value: int) -> RefusalCode:
    """Return the refusal code with this value.

    Raises:
        MessageError: no such code.
    """
    try:
        return RefusalCode(value)
    except ValueError as error:
        raise MessageError(f"{value!r} is no refusal code") from error


def packed_bytes(packed: PackedUpdate) -> memoryview:
    """Return a packed array's little-endian bytes, of the array itself where it has that form."""
    return np.ascontiguousarray(packed, packed.dtype.newbyteorder("<")).data.cast("B")


def _frame(kind: int, parts: Sequence[bytes | memoryview]) -> list[bytes | memoryview]:
    head = MAGIC + struct.pack("<BB", kind, len(parts))
    return [head + b"".join(struct.pack("<I", len(part)) for part in parts), *parts]


def _read_frame(
    read_exactly: Callable[[int], bytes], limits_by_kind: dict[int, tuple[int, ...]]
) -> tuple[int, list[bytes]]:
    head = read_exactly(6)
    kind, count = head[4], head[5]
    if head[:4] != MAGIC or kind not in limits_by_kind or count != len(limits_by_kind[kind]):
        raise MessageError(
            f"the frame begins with {head!r}; expected {MAGIC!r} and a kind of {sorted(limits_by_kind)}"
        )
    limits = limits_by_kind[kind]
    lengths = struct.unpack(f"<{count}I", read_exactly(4 * count))
    for index, (length, limit) in enumerate(zip(lengths, limits, strict=True)):
        if length > limit:
            raise MessageError(f"part {index} of the frame has {length} bytes; at most {limit} are read")
    return kind, [read_exactly(length) for length in lengths]


def _packed_array(data: bytes) -> PackedWeights:
    if len(data) % 4:
        raise MessageError(f"a packed float32 array cannot have {len(data)} bytes")
    return np.frombuffer(data, "<f4").astype(np.float32, copy=False)


def _check_packed(packed: PackedUpdate, *dtypes: type[np.generic]) -> None:
    if packed.dtype not in dtypes or packed.ndim != 1 or not 0 < packed.size <= PARAMETERS_MAX:
        raise MessageError(
            f"packed weights are {packed.dtype}{list(packed.shape)}; expected "
            f"{' or '.join(one.__name__ for one in dtypes)} [P], P up to {PARAMETERS_MAX}"
        )


def _is_digest(text: str) -> bool:
    return len(text) == 64 and set(text) <= set("0123456789abcdef")


def _ascii(data: bytes) -> str:
    try:
        return data.decode("ascii")
    except UnicodeDecodeError as error:
        raise MessageError("a text part of the frame is not ASCII") from error
