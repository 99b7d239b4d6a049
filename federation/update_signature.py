"""The studio's signature over an update: which studio answered which question with which bytes.

Made by the uplink, which holds the node key, over ``fedroto:update NUL`` and canonical JSON that names campaign, round,
studio, plan, base weights and the SHA-256 of the update's frame (the very bytes that passed the egress door). Nothing
of that is sent: both sides know it. Only the signature is, in raw form and so of one size for every update.

ECDSA P-384 with SHA-256 and the deterministic nonce of RFC 6979: the same answer to the same question has the same
signature, which the studio can compute again; a node cannot hide bits in a free choice of nonces.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from federation.documents import PublicKey, canonical_json, digest, signed_bytes
from federation.errors import SignatureError
from federation.messages import UPDATE_SIGNATURE_BYTES, SignedUpdate, TrainUpdate, reply_parts
from federation.plan import RoundInstruction

UPDATE_SCHEMA: Final = "fedroto.update/1"
_HALF: Final = UPDATE_SIGNATURE_BYTES // 2


@dataclass(frozen=True)
class UpdateSubject:
    """The question that an update answers, as far as a signature names it.

    Attributes:
        base_digest: of the packed weights that the update is a difference to.
    """

    campaign: str
    server_round: int
    studio: str
    plan_digest: str
    base_digest: str

    @classmethod
    def of(cls, instruction: RoundInstruction) -> UpdateSubject:
        """Take the question from a verified instruction."""
        return cls(
            instruction.campaign,
            instruction.server_round,
            instruction.studio,
            instruction.plan_digest,
            instruction.base_digest,
        )


def sign_update(
    update: TrainUpdate, subject: UpdateSubject, node_key: ec.EllipticCurvePrivateKey
) -> SignedUpdate:
    """Sign an update as the answer to one question, with the studio's node key."""
    method = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
    r, s = decode_dss_signature(node_key.sign(_signed(update, subject), method))
    return SignedUpdate(update, r.to_bytes(_HALF, "big") + s.to_bytes(_HALF, "big"))


def require_signature(signed: SignedUpdate, subject: UpdateSubject, public_key: PublicKey) -> None:
    """Check that the holder of a node key gave this update as the answer to this question.

    Raises:
        SignatureError: it did not, or the key is no node key.
    """
    if not isinstance(public_key, ec.EllipticCurvePublicKey):
        raise SignatureError("an update is signed with an EC node key; the key at hand is of another kind")
    r, s = (int.from_bytes(half, "big") for half in (signed.signature[:_HALF], signed.signature[_HALF:]))
    try:
        public_key.verify(
            encode_dss_signature(r, s), _signed(signed.content, subject), ec.ECDSA(hashes.SHA256())
        )
    except InvalidSignature as error:
        raise SignatureError(
            f"the update is not what studio {subject.studio} signed for round {subject.server_round} of "
            f"{subject.campaign}"
        ) from error


def _signed(update: TrainUpdate, subject: UpdateSubject) -> bytes:
    fields = {
        "schema": UPDATE_SCHEMA,
        "campaign": subject.campaign,
        "server_round": subject.server_round,
        "studio": subject.studio,
        "plan_digest": subject.plan_digest,
        "base_digest": subject.base_digest,
        "update": digest(*reply_parts(update)),
    }
    return signed_bytes("update", canonical_json(fields))
