"""The messages of one update as Flower records: the only place where a record key is spelled.

    question   weights.packed (array)   instruction.plan, instruction.instruction (bytes)
    update     update.packed (array, float32 or int8)
                                        report.plan_digest, report.ledger_sequence, report.ledger_hash
               signature.node_key (bytes), which the uplink puts to what the runner gave it
    refusal    refusal.code

Reading is strict in both directions: a key too many, one too few, another type, shape or dtype is a MessageError, and
nothing of an array is allocated before its size is known. Whether the values make sense (finite, norm, the right
length) is for the reader's own checks.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from federation.documents import DOCUMENT_BYTES_MAX
from federation.errors import MessageError
from federation.messages import (
    PackedUpdate,
    SignedUpdate,
    TrainRefusal,
    TrainReply,
    TrainRequest,
    TrainUpdate,
    packed_bytes,
    refusal_code,
)
from federation.plan import PARAMETERS_MAX

_WEIGHTS, _UPDATE, _PACKED = "weights", "update", "packed"
_INSTRUCTION, _PLAN = "instruction", "plan"
_REPORT, _PLAN_DIGEST, _SEQUENCE, _HASH = "report", "plan_digest", "ledger_sequence", "ledger_hash"
_SIGNATURE, _NODE_KEY = "signature", "node_key"
_REFUSAL, _CODE = "refusal", "code"
_NPY_HEADER_BYTES_MAX = 512


def request_records(request: TrainRequest) -> RecordDict:
    """Write a request as the records of a Flower message."""
    instruction = {_PLAN: request.plan, _INSTRUCTION: request.instruction}
    return RecordDict(
        {_WEIGHTS: _array_record(request.weights), _INSTRUCTION: ConfigRecord(dict(instruction.items()))}
    )


def read_request(records: RecordDict) -> TrainRequest:
    """Read a request; nothing in it is verified yet.

    Raises:
        MessageError: the records are not exactly those of a request.
    """
    _expect_keys(records, {_WEIGHTS, _INSTRUCTION}, "the request")
    fields = _config(records[_INSTRUCTION], {_PLAN: bytes, _INSTRUCTION: bytes}, "the request's instruction")
    for name, value in fields.items():
        if len(value) > DOCUMENT_BYTES_MAX:
            raise MessageError(
                f"the request's {name} has {len(value)} bytes; at most {DOCUMENT_BYTES_MAX} are read"
            )
    return TrainRequest(fields[_PLAN], fields[_INSTRUCTION], _packed(records[_WEIGHTS], "float32"))


def reply_records(reply: TrainReply | SignedUpdate) -> RecordDict:
    """Write an update, signed or not yet, or a refusal as the records of a Flower message."""
    if isinstance(reply, SignedUpdate):
        records = reply_records(reply.content)
        records[_SIGNATURE] = ConfigRecord({_NODE_KEY: reply.signature})
        return records
    if isinstance(reply, TrainRefusal):
        return RecordDict({_REFUSAL: ConfigRecord({_CODE: int(reply.code)})})
    report = ConfigRecord(
        {
            _PLAN_DIGEST: reply.plan_digest,
            _SEQUENCE: reply.ledger_sequence,
            _HASH: reply.ledger_hash,
        }
    )
    return RecordDict({_UPDATE: _array_record(reply.update), _REPORT: report})


def read_reply(records: RecordDict) -> TrainReply | SignedUpdate:
    """Read an update, signed or not, or a refusal; no signature is verified here.

    Raises:
        MessageError: the records are none of them.
    """
    if set(records) == {_REFUSAL}:
        fields = _config(records[_REFUSAL], {_CODE: int}, "the refusal")
        return TrainRefusal(refusal_code(fields[_CODE]))
    is_signed = _SIGNATURE in records
    _expect_keys(records, {_UPDATE, _REPORT} | ({_SIGNATURE} if is_signed else set()), "the reply")
    types = {_PLAN_DIGEST: str, _SEQUENCE: int, _HASH: str}
    fields = _config(records[_REPORT], types, "the reply's report")
    packed = _packed(records[_UPDATE], "float32", "int8")
    update = TrainUpdate(packed, fields[_PLAN_DIGEST], fields[_SEQUENCE], fields[_HASH])
    if not is_signed:
        return update
    seal = _config(records[_SIGNATURE], {_NODE_KEY: bytes}, "the reply's signature")
    return SignedUpdate(update, seal[_NODE_KEY])


def _array_record(packed: PackedUpdate) -> ArrayRecord:
    return ArrayRecord({_PACKED: Array(packed.dtype.name, packed.shape, "numpy.ndarray", _npy(packed))})


def _expect_keys(mapping: Any, keys: set[str], what: str) -> None:
    # The names come from the other side: they are counted, never repeated.
    if set(mapping) != keys:
        raise MessageError(f"{what} has {len(mapping)} entries, expected exactly {sorted(keys)}")


def _config(record: object, types: dict[str, type], what: str) -> dict[str, Any]:
    if not isinstance(record, ConfigRecord):
        raise MessageError(f"{what} is not a ConfigRecord but {type(record).__name__}")
    _expect_keys(record, set(types), what)
    for name, expected in types.items():
        if type(record[name]) is not expected:
            raise MessageError(
                f"{what}'s {name} is {type(record[name]).__name__}, expected {expected.__name__}"
            )
    return {name: record[name] for name in types}


def _packed(record: object, *dtypes: str) -> Any:
    if not isinstance(record, ArrayRecord):
        raise MessageError(f"the packed weights are not an ArrayRecord but {type(record).__name__}")
    _expect_keys(record, {_PACKED}, "the weights' record")
    array = record[_PACKED]
    size_bytes_max = 4 * PARAMETERS_MAX + _NPY_HEADER_BYTES_MAX
    if array.stype != "numpy.ndarray" or array.dtype not in dtypes or len(array.data) > size_bytes_max:
        raise MessageError(
            f"the packed weights are {len(array.data)} bytes of another type, expected {' or '.join(dtypes)} in npy "
            f"form, at most {size_bytes_max} bytes"
        )
    return _read_npy(array.data, np.dtype(array.dtype).newbyteorder("<"))


def _npy(packed: PackedUpdate) -> bytes:
    """Write a one-dimensional npy with one copy of the array, where numpy's own writer makes two."""
    header = io.BytesIO()
    descr = np.lib.format.dtype_to_descr(packed.dtype.newbyteorder("<"))
    fields = {"descr": descr, "fortran_order": False, "shape": packed.shape}
    np.lib.format.write_array_header_1_0(header, fields)
    return b"".join((header.getvalue(), packed_bytes(packed)))


def _read_npy(data: bytes, expected: np.dtype[Any]) -> npt.NDArray[Any]:
    """Read a one-dimensional npy of one type in place; numpy's loader allocates what the header claims."""
    stream = io.BytesIO(data[: _NPY_HEADER_BYTES_MAX + 16])
    try:
        if np.lib.format.read_magic(stream) != (1, 0):
            raise MessageError("the packed weights are of another npy version than 1.0")
        shape, _, dtype = np.lib.format.read_array_header_1_0(stream, max_header_size=_NPY_HEADER_BYTES_MAX)
    except (ValueError, TypeError, SyntaxError) as error:
        raise MessageError(
            f"the packed weights have no readable npy header: {type(error).__name__}"
        ) from error
    start = stream.tell()
    size_bytes = len(data) - start
    if dtype != expected or len(shape) != 1 or size_bytes != expected.itemsize * shape[0]:
        raise MessageError(f"the packed weights' header and their {size_bytes} bytes contradict each other")
    return np.frombuffer(data, expected, offset=start).astype(expected.newbyteorder("="), copy=False)
