"""How a studio asks for a new node key: made here, proved by a request, compared by phone.

The request goes over the line, as a call that the key in use signs, or as a file. The running uplink takes the next
key by itself as soon as the coordinator has retired the old one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from federation import keys
from federation.durable import read_bounded, write_atomic
from federation.errors import FedrotoError
from federation.homes import StudioHome
from federation.next_key import made_next_key
from federation.provisioning import REQUEST_SCHEMA, JoinRequest
from federation.set_up import StudioSetUp, load_kit


def begin_rotation(root: Path, *, now: datetime) -> StudioSetUp:
    """Make a studio's next node key and the request that names it; the key in use stays in use.

    The request is a join request: signed with the new key, which proves possession. That it comes from this studio is
    settled by comparing its fingerprint by phone, so a rotation works just as well when the old key was lost or
    stolen, and a thief of the old key gains nothing.

    Args:
        root: the studio's home; it has joined.
        now: the current time, with a time zone.

    Raises:
        IdentityError: the studio has not joined, or a key is readable by others.
        FedrotoError: the disk refused.
    """
    kit = load_kit(root)
    key = made_next_key(root)
    request = JoinRequest.from_payload(
        {
            "schema": REQUEST_SCHEMA,
            "federation": kit.federation,
            "studio": kit.studio,
            "size_tier": kit.size_tier,
            "node_public_key": key.public.decode(),
            "created_at": int(now.timestamp()),
        }
    )
    path = root / f"{kit.studio}-new-key.join-request"
    write_atomic(path, request.signed(key.private))
    return StudioSetUp(root, path, request.fingerprint)


@dataclass(frozen=True)
class SentRotation:
    """A rotation that has begun.

    Attributes:
        request: the file that asks for the next key.
        fingerprint: of the next key, to be read out by phone.
        sent_to: the coordinator's service, where the request waits; None if it has to go by another way.
        why_not_sent: what was in the way.
    """

    request: Path
    fingerprint: str
    sent_to: str | None
    why_not_sent: str | None = None


def send_rotation(root: Path, begun: StudioSetUp) -> SentRotation:
    """Leave the request for the next key with the coordinator; doing it again changes nothing.

    Raises:
        IdentityError: the coordinator refuses it; the key in use is revoked, or was replaced already.
    """
    from federation.service_client import ServiceClient  # imports grpc

    kit = load_kit(root)
    request = read_bounded(begun.request, keys.KEY_FILE_BYTES_MAX)
    with ServiceClient(
        kit.service_address,
        kit.ca_pem.encode(),
        federation=kit.federation,
        node_key=keys.load_node_key(StudioHome(root).node_key).private,
    ) as client:
        try:
            client.submit(request, as_studio=True)
        except FedrotoError as error:
            if type(error) is not FedrotoError:
                raise
            return SentRotation(begun.request, begun.fingerprint, None, str(error))
    return SentRotation(begun.request, begun.fingerprint, kit.service_address)
