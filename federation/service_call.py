"""Who calls the coordinator's service: a document that the studio's node key signs for one call.

It travels as metadata beside the call, names federation and method, holds for minutes, and serves once. TLS says who
the coordinator is; this says who the studio is, with the identity that it has already and no password.
"""

from __future__ import annotations

import secrets
from typing import Annotated, Final, Literal

from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import Field

from federation.documents import PublicKey, sign
from federation.errors import DocumentError
from federation.plan import Name
from federation.provisioning import Form, split_key_line, validated, with_key_line

CALL_SCHEMA: Final = "fedroto.service-call/1"
CALL_METADATA: Final = "fedroto-call-bin"
CALL_BYTES_MAX: Final = 4096
SKEW_S: Final = 300
"""How far the two clocks may be apart, and so how long a call's document holds; Flower asks for about the same."""


class ServiceCall(Form):
    """What a studio says about one call.

    Attributes:
        method: full gRPC name, ``/package.Service/Method``.
        issued_at: seconds since the epoch, UTC.
        nonce: never used before by this key.
    """

    schema_: Literal["fedroto.service-call/1"] = Field(CALL_SCHEMA, alias="schema")
    federation: Name
    method: Annotated[str, Field(min_length=1, max_length=200)]
    issued_at: Annotated[int, Field(ge=0)]
    nonce: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


def sign_call(
    federation: str, method: str, node_key: ec.EllipticCurvePrivateKey, *, now: int
) -> tuple[str, bytes]:
    """Return the metadata entry of a call."""
    call = ServiceCall(federation=federation, method=method, issued_at=now, nonce=secrets.token_hex(16))
    return CALL_METADATA, with_key_line(sign("service-call", call.payload(), node_key), node_key)


def verified_call(data: bytes, *, federation: str, method: str, now: int) -> tuple[PublicKey, ServiceCall]:
    """Read a call's document; whose the key is and whether the nonce was used is for the caller.

    Raises:
        SignatureError: the key that it names did not sign it.
        DocumentError: malformed, too large, for another federation or method, or too old or too new.
    """
    if len(data) > CALL_BYTES_MAX:
        raise DocumentError(f"the call's document has {len(data)} bytes; at most {CALL_BYTES_MAX} are read")
    key, document = split_key_line(data, "service call")
    call = validated(ServiceCall, document.verified("service-call", key), "service call")
    if (call.federation, call.method) != (federation, method):
        raise DocumentError(f"the call's document is for {call.method} of federation {call.federation}")
    if abs(now - call.issued_at) > SKEW_S:
        raise DocumentError(
            f"the call's document is {now - call.issued_at} s old, at most {SKEW_S} s are taken: is a clock wrong?"
        )
    return key, call
