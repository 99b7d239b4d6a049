"""A round carried by hand, for a studio without any line: one file in, one file out.

The question is the frame that a studio's runner reads: plan and instruction are signed with the coordinator's plan key,
the instruction names the studio and the weights' digest, so the file needs no further seal. The answer is the runner's
reply frame behind one line: a document, signed with the studio's node key, that names question and frame by digest and
holds an update's own signature. What leaves is what leaves over a line, plus that document's signature, which a refusal
needs too: no line has authenticated it.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Final, TypeVar

from cryptography.hazmat.primitives.asymmetric import ec

from federation.documents import DOCUMENT_BYTES_MAX, PublicKey, SignedDocument, digest, sign
from federation.errors import DocumentError, MessageError
from federation.messages import (
    PACKED_BYTES_MAX,
    SignedUpdate,
    TrainRefusal,
    TrainReply,
    TrainRequest,
    TrainUpdate,
    encode_reply,
    read_reply,
    read_request,
)
from federation.update_signature import UpdateSubject, sign_update

ANSWER_SCHEMA: Final = "fedroto.carried-answer/2"
QUESTION_BYTES_MAX = PACKED_BYTES_MAX + 2 * DOCUMENT_BYTES_MAX + 4096
ANSWER_BYTES_MAX = PACKED_BYTES_MAX + 64 * 1024
Frame = TypeVar("Frame", TrainRequest, TrainReply)


def read_question(data: bytes) -> TrainRequest:
    """Read a question's file.

    Raises:
        MessageError: it is no question, or something follows it.
    """
    return _whole(data, "question", read_request)


def sign_answer(
    reply: TrainReply, *, question: bytes, subject: UpdateSubject, node_key: ec.EllipticCurvePrivateKey
) -> bytes:
    """Put a reply behind its signatures; returns the answer's file.

    Args:
        reply: the runner's.
        question: the question's file.
        subject: what it asks.
        node_key: the studio's.
    """
    frame, fields = encode_reply(reply), {"schema": ANSWER_SCHEMA, "question": digest(question)}
    if isinstance(reply, TrainUpdate):
        fields["update_signature"] = sign_update(reply, subject, node_key).signature.hex()
    fields["frame"] = digest(frame)
    return sign("carried-answer", fields, node_key).to_bytes() + b"\n" + frame


def verified_answer(
    data: bytes, public_key: PublicKey, *, question_digest: str
) -> SignedUpdate | TrainRefusal:
    """Read an answer's file; the update's own signature is for the coordinator's validation, as over a line.

    Raises:
        SignatureError: not signed by this key, or changed after signing.
        DocumentError: malformed, or the answer to another question.
        MessageError: the frame is no reply.
    """
    line, frame = _parts(data)
    fields = SignedDocument.from_bytes(line).verified("carried-answer", public_key)
    signature = fields.pop("update_signature", None)
    expected = {"schema": ANSWER_SCHEMA, "question": question_digest, "frame": digest(frame)}
    if fields != expected:
        wrong = sorted(name for name in expected if fields.get(name) != expected[name])
        raise DocumentError(f"the carried answer does not belong to this question: {', '.join(wrong)} differ")
    reply = _whole(frame, "answer", read_reply)
    if isinstance(reply, TrainRefusal):
        return reply
    try:
        return SignedUpdate(reply, bytes.fromhex(signature or ""))
    except (TypeError, ValueError, MessageError) as error:
        raise DocumentError("the carried answer holds an update without its signature") from error


def claimed_question(data: bytes) -> str:
    """Return which question an answer says that it answers: a claim, to find the question to verify it against.

    Raises:
        DocumentError: malformed.
    """
    try:
        return str(json.loads(SignedDocument.from_bytes(_parts(data)[0]).payload)["question"])
    except (ValueError, KeyError, TypeError) as error:
        raise DocumentError(f"the file is no carried answer: {error}") from error


def _parts(data: bytes) -> tuple[bytes, bytes]:
    line, newline, frame = data.partition(b"\n")
    if not newline:
        raise DocumentError("the file is no carried answer: it has no signed first line")
    return line, frame


def _whole(data: bytes, what: str, read: Callable[[Callable[[int], bytes]], Frame]) -> Frame:
    stream = io.BytesIO(data)

    def read_exactly(count: int) -> bytes:
        part = stream.read(count)
        if len(part) < count:
            raise MessageError(f"the {what}'s file ends too early")
        return part

    value = read(read_exactly)
    if stream.read(1):
        raise MessageError(f"something follows the {what} in its file")
    return value
