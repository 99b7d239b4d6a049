"""The messages of one update as Flower records: the only place where a record key is spelled.

A message is the frame of ``federation.messages`` in pieces:

    question   0, 1, ...: piece (bytes)
    update     0, 1, ...: piece (bytes), and in 0 signature (bytes), which the uplink puts to what the runner gave it
    refusal    0: piece (bytes)

So the very bytes that passed the egress door cross the wire, and a message is as few objects as it can be, each of
which costs Flower two requests: three for a model of up to 4 MiB. Reading is strict: a key too many, one too few,
another type or a piece of another size is a MessageError, and every part of the frame is bounded before it is read.
Whether the values make sense (finite, norm, the right length) is for the reader's own checks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from flwr.app import ConfigRecord, RecordDict

from federation import messages
from federation.errors import MessageError
from federation.messages import SignedUpdate, TrainReply, TrainRequest, TrainUpdate

PIECE_BYTES = 4 << 20
"""Of one piece; the fleet proxy takes requests of twice that."""
_PIECE, _SIGNATURE = "piece", "signature"


def request_records(request: TrainRequest) -> RecordDict:
    """Write a request as the records of a Flower message."""
    return _records(messages.request_parts(request))


def read_request(records: RecordDict) -> TrainRequest:
    """Read a request; nothing in it is verified yet.

    Raises:
        MessageError: the records are not exactly those of a request.
    """
    frame = _Frame(records)
    request = messages.read_request(frame.read_exactly)
    frame.require_end()
    return request


def reply_records(reply: TrainReply | SignedUpdate) -> RecordDict:
    """Write an update, signed or not yet, or a refusal as the records of a Flower message."""
    if isinstance(reply, SignedUpdate):
        return _records(messages.reply_parts(reply.content), {_SIGNATURE: reply.signature})
    return _records(messages.reply_parts(reply))


def read_reply(records: RecordDict) -> TrainReply | SignedUpdate:
    """Read an update, signed or not, or a refusal; no signature is verified here.

    Raises:
        MessageError: the records are none of them.
    """
    frame = _Frame(records, optional=_SIGNATURE)
    reply = messages.read_reply(frame.read_exactly)
    frame.require_end()
    if frame.beside is None:
        return reply
    if not isinstance(reply, TrainUpdate):
        raise MessageError("a refusal carries a signature, which only updates have")
    return SignedUpdate(reply, frame.beside)


def _records(parts: Iterable[bytes | memoryview], beside: Mapping[str, bytes] | None = None) -> RecordDict:
    records = RecordDict()
    for number, piece in enumerate(_pieces(parts)):
        fields: dict[str, Any] = {_PIECE: piece} | (dict(beside or {}) if number == 0 else {})
        records[str(number)] = ConfigRecord(fields)
    return records


def _pieces(parts: Iterable[bytes | memoryview]) -> Iterator[bytes]:
    """Cut what the parts make together into pieces, the last one shorter."""
    piece = bytearray()
    for part in parts:
        rest = memoryview(part)
        while rest:
            room = PIECE_BYTES - len(piece)
            piece += rest[:room]
            rest = rest[room:]
            if len(piece) == PIECE_BYTES:
                yield bytes(piece)
                piece.clear()
    if piece:
        yield bytes(piece)


class _Frame:
    """The frame that records hold, read from front to back.

    Attributes:
        beside: what the first record holds beside its piece, if anything.
    """

    def __init__(self, records: RecordDict, *, optional: str | None = None) -> None:
        # The names come from the other side: they are counted, never repeated.
        if not records or set(records) != {str(number) for number in range(len(records))}:
            raise MessageError(f"the message has {len(records)} records, which are not named 0, 1, ...")
        fields = [_fields(records[str(number)]) for number in range(len(records))]
        self.beside = fields[0].pop(optional, None) if optional else None
        if any(set(one) != {_PIECE} for one in fields):
            raise MessageError("a record of the message holds other fields than its piece")
        self._pieces = [memoryview(one[_PIECE]) for one in fields]
        *full, last = map(len, self._pieces)
        if any(size != PIECE_BYTES for size in full) or not 0 < last <= PIECE_BYTES:
            raise MessageError(f"the pieces of the message are not all of {PIECE_BYTES} bytes but the last")
        self._size = sum(full) + last
        self._position = 0

    def read_exactly(self, count: int) -> bytes:
        """Return the next bytes, so many."""
        if count > self._size - self._position:
            raise MessageError(f"the frame ends after {self._size} bytes, in the middle of a part")
        parts = []
        while count > 0:
            number, start = divmod(self._position, PIECE_BYTES)
            parts.append(self._pieces[number][start : start + count])
            self._position += len(parts[-1])
            count -= len(parts[-1])
        return b"".join(parts)

    def require_end(self) -> None:
        """Refuse bytes that follow the frame."""
        if self._position != self._size:
            raise MessageError(f"{self._size - self._position} bytes follow the frame")


def _fields(record: object) -> dict[str, Any]:
    if not isinstance(record, ConfigRecord):
        raise MessageError(f"a record of the message is not a ConfigRecord but {type(record).__name__}")
    fields = dict(record)
    if any(type(value) is not bytes for value in fields.values()):
        raise MessageError("a field of the message is not bytes")
    return fields
