r"""Signed documents: canonical JSON in an envelope that is verified before it is parsed.

Rules (docs/protocol.md):
  1. A payload is canonical JSON: UTF-8, keys sorted, no spaces, no NaN or infinity.
  2. What is signed is ``b"fedroto:" + kind + b"\0" + payload``, so that a signature for one kind of document
     never serves for another.
  3. The signature is checked with a key that the reader already holds; the envelope's ``key_id`` only says which.
  4. Nothing of the payload is parsed before the signature holds.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from federation.errors import DocumentError, SignatureError

ENVELOPE_SCHEMA = "fedroto.signed/1"
DOCUMENT_BYTES_MAX = 1 << 20

PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey
PublicKey = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey


def canonical_json(value: Any) -> bytes:
    """Encode a JSON value in its one canonical form.

    Raises:
        DocumentError: the value holds NaN, an infinity or something that JSON cannot say.
    """
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return text.encode()
    except (TypeError, ValueError) as error:  # ValueError: also half a surrogate pair, which UTF-8 cannot say
        raise DocumentError(f"the value cannot be written as canonical JSON: {error}") from error


def digest(*parts: bytes | memoryview) -> str:
    """Return the SHA-256 of bytes, whole or in parts that follow each other, as 64 hexadecimal digits."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(part)
    return whole.hexdigest()


def key_id(public_key: PublicKey) -> str:
    """Name a public key by the SHA-256 of its DER SubjectPublicKeyInfo (64 hexadecimal digits)."""
    return digest(
        public_key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


@dataclass(frozen=True)
class SignedDocument:
    """A payload and its signature, not yet verified.

    Attributes:
        kind: what the payload is ("plan", "instruction", ...); part of what is signed.
        payload: canonical JSON.
        key_id: names the signing key (see :func:`key_id`); a claim, never a proof.
        signature: raw signature bytes.
    """

    kind: str
    payload: bytes
    key_id: str
    signature: bytes

    def to_bytes(self) -> bytes:
        """Encode the envelope as canonical JSON."""
        return canonical_json(
            {
                "schema": ENVELOPE_SCHEMA,
                "kind": self.kind,
                "payload": self.payload.decode(),
                "key_id": self.key_id,
                "signature": base64.b64encode(self.signature).decode(),
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> SignedDocument:
        """Decode an envelope; its payload stays unparsed.

        Raises:
            DocumentError: too large, not JSON, another schema, or a field is missing, extra or of another type.
        """
        if len(data) > DOCUMENT_BYTES_MAX:
            raise DocumentError(f"the document has {len(data)} bytes; at most {DOCUMENT_BYTES_MAX} are read")
        fields = _json_object(data, "the signed document")
        expected = {"schema", "kind", "payload", "key_id", "signature"}
        if set(fields) != expected or not all(isinstance(value, str) for value in fields.values()):
            raise DocumentError(
                f"a signed document has the text fields {sorted(expected)}, this one {sorted(fields)}"
            )
        if fields["schema"] != ENVELOPE_SCHEMA:
            raise DocumentError(
                f"the document's schema is {fields['schema']!r}, expected {ENVELOPE_SCHEMA!r}"
            )
        try:
            signature = base64.b64decode(fields["signature"], validate=True)
        except binascii.Error as error:
            raise DocumentError(f"the document's signature is not base64: {error}") from error
        try:
            payload = fields["payload"].encode()
        except UnicodeEncodeError as error:
            raise DocumentError(f"the document's payload is not UTF-8: {error}") from error
        return cls(fields["kind"], payload, fields["key_id"], signature)

    def verified(self, kind: str, public_key: PublicKey) -> dict[str, Any]:
        """Return the payload's fields once kind and signature hold.

        Raises:
            SignatureError: another kind, another key, or the signature does not hold.
            DocumentError: the payload is not a JSON object.
        """
        if self.kind != kind:
            raise SignatureError(f"expected a signed {kind}, got a signed {self.kind}")
        if self.key_id != key_id(public_key):
            raise SignatureError(
                f"the {kind} is signed by key {self.key_id[:16]}, not by the expected key "
                f"{key_id(public_key)[:16]}",
                hint="compare the key's fingerprint with its owner by phone before trusting another one",
            )
        signed = signed_bytes(self.kind, self.payload)
        try:
            if isinstance(public_key, ed25519.Ed25519PublicKey):
                public_key.verify(self.signature, signed)
            else:
                public_key.verify(self.signature, signed, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature as error:
            raise SignatureError(
                f"the signature of the {kind} does not hold: it was changed after signing"
            ) from error
        return _json_object(self.payload, f"the {kind}")


def sign(kind: str, payload: dict[str, Any], private_key: PrivateKey) -> SignedDocument:
    """Sign a payload as a document of one kind, with an Ed25519 or an EC key (ECDSA with SHA-256)."""
    data = canonical_json(payload)
    signed = signed_bytes(kind, data)
    if isinstance(private_key, ed25519.Ed25519PrivateKey):
        signature = private_key.sign(signed)
    else:
        signature = private_key.sign(signed, ec.ECDSA(hashes.SHA256()))
    return SignedDocument(kind, data, key_id(private_key.public_key()), signature)


def signed_bytes(kind: str, payload: bytes) -> bytes:
    """Return what is signed for a payload of one kind (rule 2)."""
    return b"fedroto:" + kind.encode() + b"\0" + payload


def _json_object(data: bytes, what: str) -> dict[str, Any]:
    try:
        value = json.loads(data, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise DocumentError(f"{what} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise DocumentError(f"{what} is a JSON {type(value).__name__}, expected an object")
    return value


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not allowed")
