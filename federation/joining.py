"""Joining by address: the request goes over the line, people compare fingerprints by phone, the kit comes back.

The studio knows two things of the coordinator: where it dials, and the plan key's fingerprint that was read out. It has
no certificate yet, so it takes the authority that the server shows, sends its request (which holds no secret), and
believes nothing until the kit is signed by the key of that fingerprint *and* names that very authority. Whoever stands
in between can keep a studio from joining and can do nothing else.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from federation import keys, set_up
from federation.certificates import read_certificate
from federation.config import load_studio_config
from federation.doctor.dialling import dial, split_address
from federation.durable import read_bounded
from federation.errors import FedrotoError, IdentityError
from federation.homes import StudioHome
from federation.provisioning import JoinKit

if TYPE_CHECKING:
    from federation.service_client import RoundsView

POLL_S = 5.0
HANDSHAKE_S = 10.0


def join_by_address(
    root: Path,
    address: str,
    plan_key_fingerprint: str,
    *,
    wait_s: float,
    bundle_digest: str | None,
    progress: Callable[[str], None],
    clock: Callable[[], float] = time.time,
    pause: Callable[[float], None] = time.sleep,
) -> JoinKit:
    """Join a federation over the line; interrupted, the same call goes on.

    Args:
        root: the studio's home, set up.
        address: ``host:port`` of the coordinator's service.
        plan_key_fingerprint: as the coordinator read it out by phone.
        wait_s: how long to wait for the coordinator's people to admit this studio.
        bundle_digest: of the app bundle that this installation would build; None leaves that check to the uplink.
        progress: told one sentence at a time.
        clock: seconds since the epoch.
        pause: waits so many seconds.

    Raises:
        IdentityError: not admitted in time; refused or revoked; the kit is not by the coordinator of that
            fingerprint; or somebody opens the connection in between.
        FedrotoError: the coordinator cannot be reached, or see ``federation.set_up.join``.
    """
    from federation.service_client import ServiceClient, Standing  # imports grpc

    home = StudioHome(root)
    config = load_studio_config(home.config)
    node_key = keys.load_node_key(home.node_key).private
    request = read_bounded(root / f"{config.name}.join-request", keys.KEY_FILE_BYTES_MAX)
    authority = shown_authority(address)
    ours = keys.fingerprint(node_key.public_key())
    until, told = clock() + wait_s, False
    with ServiceClient(address, authority, federation=config.federation, node_key=node_key) as client:
        standing = client.submit(request)
        while standing is not Standing.ADMITTED:
            if standing is Standing.REVOKED:
                raise IdentityError(
                    f"the coordinator at {address} has revoked or replaced this studio's key",
                    hint="set up a new home, or fedroto studio rotate",
                )
            if clock() >= until:
                raise IdentityError(
                    f"the request lies at {address} and is not admitted yet",
                    hint=f"read out {ours} by phone, then run the same command again",
                )
            if not told:
                progress(f"the request lies at {address}; read out by phone {ours}")
                told = True
            pause(min(POLL_S, max(until - clock(), 0.0)))
            standing = client.standing()
        kit_file = client.kit()
    _require_authority(kit_file, authority, address)
    return set_up.join(
        root,
        kit_file,
        now=datetime.now(UTC),
        bundle_digest=bundle_digest,
        plan_key_fingerprint=plan_key_fingerprint,
    )


def ask_rounds(root: Path, campaign: str | None = None) -> RoundsView:
    """Ask the coordinator of a studio that has joined where a campaign stands.

    Raises:
        IdentityError: the studio has not joined, or is not admitted any more.
        RoundError: there is no such campaign.
        FedrotoError: the coordinator does not answer.
    """
    from federation.service_client import ServiceClient

    kit = set_up.load_kit(root)
    node_key = keys.load_node_key(StudioHome(root).node_key).private
    with ServiceClient(
        kit.service_address, kit.ca_pem.encode(), federation=kit.federation, node_key=node_key
    ) as client:
        return client.rounds(campaign)


def shown_authority(address: str) -> bytes:
    """Return the certificate, PEM, of the authority that a server shows along with its own; nothing is verified.

    Raises:
        FedrotoError: the server cannot be reached or shows no authority.
    """
    from OpenSSL import SSL, crypto

    host, port = split_address(address)
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_verify(SSL.VERIFY_NONE)
    context.set_alpn_protos([b"h2"])
    with dial(host, port, timeout_s=HANDSHAKE_S) as connection:
        connection.settimeout(None)  # pyOpenSSL wants a blocking socket; the kernel's own timeout bounds it
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", int(HANDSHAKE_S), 0))
        tls = SSL.Connection(context, connection)
        tls.set_tlsext_host_name(host.encode())
        tls.set_connect_state()
        try:
            tls.do_handshake()
        except (SSL.Error, OSError) as error:
            raise FedrotoError(
                f"{address} does not speak TLS as the coordinator's service does: {error or type(error).__name__}",
                hint="the address is the service's (service_port), not the fleet proxy's; see fedroto doctor",
            ) from error
        chain = tls.get_peer_cert_chain() or []
    if len(chain) < 2:
        raise FedrotoError(
            f"{address} shows no authority of its own; it is not a fedroto coordinator, or TLS is intercepted"
        )
    return crypto.dump_certificate(crypto.FILETYPE_PEM, chain[-1])


def _require_authority(kit_file: bytes, authority: bytes, address: str) -> None:
    kit = JoinKit.verified(kit_file)
    if read_certificate(kit.ca_pem.encode()) != read_certificate(authority):
        raise IdentityError(
            f"the kit names another authority than {address} shows: somebody opens the connection in between; "
            "nothing was changed",
            hint=f"exempt {address} from TLS inspection, or take the kit as a file",
        )
