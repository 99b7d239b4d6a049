"""How a studio asks for a new node key: made here, proved by a request, compared by phone."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from federation.durable import write_atomic
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
