"""How a studio joins: a request that proves its key, and a kit that holds no secret.

Rules:
  1. The node key is made at the studio and never leaves it; the request carries the public half and is signed with
     it, which proves possession and nothing else. Who the key belongs to is settled by comparing its fingerprint
     by phone.
  2. The kit is signed with the coordinator's plan key and bound to the studio's node key. A studio that holds a plan
     key already accepts only kits signed with that one; at the first joining the fingerprint is compared by phone.
  3. Both files begin with a line that holds the signing key in OpenSSH form (``ssh-keygen -lf FILE`` prints its
     fingerprint); the signed document follows. Nothing of it is parsed before its signature holds.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeVar

from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from federation.certificates import read_certificate
from federation.documents import PrivateKey, PublicKey, SignedDocument, sign
from federation.errors import DocumentError, IdentityError
from federation.keys import fingerprint, openssh_public, read_openssh_public, read_public_pem
from federation.plan import Name, Sha256

REQUEST_SCHEMA: Final = "fedroto.join-request/1"
KIT_SCHEMA: Final = "fedroto.join-kit/1"

Pem = Annotated[str, Field(min_length=1, max_length=16 * 1024)]
Address = Annotated[str, Field(pattern=r"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}$", max_length=300)]
Fingerprint = Annotated[str, Field(pattern=r"^SHA256:[A-Za-z0-9+/]{43}$")]
AnyForm = TypeVar("AnyForm", bound="Form")


class Form(BaseModel):
    """A frozen document with known fields only."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, populate_by_name=True
    )

    def payload(self) -> dict[str, Any]:
        """Return the form as a JSON object, ready to sign."""
        return self.model_dump(mode="json", by_alias=True)


class JoinRequest(Form):
    """A studio's request to join: what it calls itself, the size tier that it asks for, and its node key."""

    schema_: Literal["fedroto.join-request/1"] = Field(REQUEST_SCHEMA, alias="schema")
    federation: Name
    studio: Name
    size_tier: Name
    node_public_key: Annotated[str, Field(min_length=1, max_length=1024)]  # one OpenSSH line
    created_at: Annotated[int, Field(ge=0)]  # seconds since the epoch, UTC

    @property
    def fingerprint(self) -> str:
        """The node key's fingerprint, to be compared by phone."""
        return fingerprint(read_openssh_public(self.node_public_key.encode()))

    def signed(self, node_key: ec.EllipticCurvePrivateKey) -> bytes:
        """Sign the request with the node key that it names; returns the file's bytes.

        Raises:
            IdentityError: it names another key.
        """
        if openssh_public(node_key.public_key()).decode() != self.node_public_key:
            raise IdentityError("a join request is signed with the node key that it names, not with another")
        return with_key_line(sign("join-request", self.payload(), node_key), node_key)

    @classmethod
    def from_payload(cls, payload: dict[str, Any]) -> JoinRequest:
        """Validate a request's JSON object.

        Raises:
            DocumentError: a field is missing, unknown, of the wrong type or out of range; says which.
        """
        return validated(cls, payload, "join request")

    @classmethod
    def verified(cls, data: bytes) -> JoinRequest:
        """Read a request's file and check that its sender holds the node key.

        Raises:
            SignatureError: the signature does not hold.
            DocumentError: malformed, or the request names another key than the one that signed it.
        """
        key, document = split_key_line(data, "join request")
        request = cls.from_payload(document.verified("join-request", key))
        if request.node_public_key.encode() != openssh_public(key):
            raise DocumentError("the join request names another node key than the one that signed it")
        return request


class JoinKit(Form):
    """What an admitted studio needs to know of its coordinator; all of it is public."""

    schema_: Literal["fedroto.join-kit/1"] = Field(KIT_SCHEMA, alias="schema")
    federation: Name
    studio: Name
    size_tier: Name
    node_key: Fingerprint  # of the node key that was admitted
    fleet_address: Address  # host:port of the fleet proxy
    service_address: Address  # host:port of the gRPC service
    ca_pem: Pem
    plan_key_pem: Pem
    release_key_pem: Pem
    bundle_digest: Sha256  # of the app bundle; must equal the studio's own installation
    created_at: Annotated[int, Field(ge=0)]

    @model_validator(mode="after")
    def _parts_are_readable(self) -> JoinKit:
        try:
            read_certificate(self.ca_pem.encode())
            read_public_pem(self.plan_key_pem.encode())
            read_public_pem(self.release_key_pem.encode())
        except IdentityError as error:
            raise ValueError(str(error)) from error
        return self

    @property
    def plan_key(self) -> PublicKey:
        """The key that plans, instructions and kits are signed with."""
        return read_public_pem(self.plan_key_pem.encode())

    @property
    def release_key(self) -> PublicKey:
        """The key that releases are signed with."""
        return read_public_pem(self.release_key_pem.encode())

    def signed(self, plan_key: PrivateKey) -> bytes:
        """Sign the kit with the plan key that it carries; returns the file's bytes.

        Raises:
            IdentityError: it carries another key.
        """
        if plan_key.public_key() != self.plan_key:
            raise IdentityError("a join kit is signed with the plan key that it carries, not with another")
        return with_key_line(sign("join-kit", self.payload(), plan_key), plan_key)

    @classmethod
    def from_payload(cls, payload: dict[str, Any]) -> JoinKit:
        """Validate a kit's JSON object.

        Raises:
            DocumentError: a field is missing, unknown, of the wrong type or out of range; says which.
        """
        return validated(cls, payload, "join kit")

    @classmethod
    def verified(cls, data: bytes, *, plan_key: PublicKey | None = None) -> JoinKit:
        """Read a kit's file.

        Args:
            data: the file's bytes.
            plan_key: the coordinator's key if the studio holds it already. None at the first joining: the kit then
                vouches for itself, and its plan key's fingerprint must be compared by phone.

        Raises:
            SignatureError: not signed with the plan key.
            DocumentError: malformed, or the kit carries another plan key than the one that signed it.
        """
        key, document = split_key_line(data, "join kit")
        kit = validated(cls, document.verified("join-kit", key if plan_key is None else plan_key), "join kit")
        if kit.plan_key != key:
            raise DocumentError("the join kit carries another plan key than the one that signed it")
        return kit


def with_key_line(document: SignedDocument, private_key: PrivateKey) -> bytes:
    """Put a document behind the line that holds its signing key (rule 3)."""
    return openssh_public(private_key.public_key()) + b"\n" + document.to_bytes() + b"\n"


def split_key_line(data: bytes, what: str) -> tuple[PublicKey, SignedDocument]:
    """Take a document and the key that it claims apart; nothing is verified yet.

    Raises:
        DocumentError: malformed.
    """
    line, newline, rest = data.partition(b"\n")
    if not newline or len(line) > 1024:
        raise DocumentError(f"the file is no {what}: its first line is not a public key")
    try:
        key = read_openssh_public(line)
    except IdentityError as error:
        raise DocumentError(f"the file is no {what}: {error}") from error
    return key, SignedDocument.from_bytes(rest.strip())


def validated(cls: type[AnyForm], payload: dict[str, Any], what: str) -> AnyForm:
    """Make a form of a JSON object.

    Raises:
        DocumentError: a field is missing, unknown, of the wrong type or out of range; says which.
    """
    try:
        return cls.model_validate(payload)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or what
        raise DocumentError(f"the {what} is not valid at {where}: {first['msg']}") from error
