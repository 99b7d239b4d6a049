"""The studios' nodes that the coordinator's SuperLink knows (Flower's control API, loopback only)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
    load_ssh_public_key,
)
from flwr.proto.control_pb2 import ListNodesRequest, RegisterNodeRequest, UnregisterNodeRequest
from flwr.proto.node_pb2 import NodeInfo
from flwr.supercore.constant import NodeStatus
from flwr.supercore.control.control_http_client import ControlHttpClient
from flwr.supercore.error import ApiErrorCode

from federation.errors import IdentityError
from federation.flower.transport import AnsweredError, open_client, translated

COMPONENT = "fedroto-coordinator"


@dataclass(frozen=True)
class SuperLinkAccess:
    """How the coordinator's own processes reach their SuperLink.

    Attributes:
        address: host:port on loopback.
        ca_certificate: PEM of the federation's authority.
        secret: the 32 raw bytes shared with the SuperLink, which entitle to claim tasks.
        lock_path: a file that one coordinator process holds locked as long as it has a run open.
    """

    address: str
    ca_certificate: bytes
    secret: bytes
    lock_path: Path


@dataclass(frozen=True)
class Node:
    """A studio's node as the SuperLink knows it.

    Attributes:
        node_id: Flower's.
        studio: the name given at registration.
        public_key: PEM SubjectPublicKeyInfo.
        online: whether its last heartbeat is recent enough.
        last_activated_at: seconds since the epoch, UTC; 0 if never. Later than a question's sending time means that
            the node was restarted (or away) and has lost the question: ask again.
        heard_until: how long its last heartbeat holds, seconds since the epoch; 0 if it never dialled in.
    """

    node_id: int
    studio: str
    public_key: bytes
    online: bool
    last_activated_at: float
    heard_until: float = 0.0


class StudioRoster:
    """Registers, revokes and lists the studios' nodes."""

    def __init__(self, access: SuperLinkAccess) -> None:
        self._client = open_client(
            ControlHttpClient,
            access.address,
            access.ca_certificate,
            [],
            component=COMPONENT,
            loopback=True,
        )

    def register(self, public_key: bytes, studio: str) -> int:
        """Register a studio's node and return its node id; registering it twice changes nothing.

        Args:
            public_key: EC public key, OpenSSH or PEM.
            studio: the studio's name.

        Raises:
            IdentityError: the key is not an EC key, is registered for another studio, or was revoked.
            FlowerError: the SuperLink refuses or cannot be reached.
        """
        pem = public_key_pem(public_key)
        for node in self.nodes():
            if node.public_key == pem:
                if node.studio != studio:
                    raise IdentityError(
                        f"this key is already registered for {node.studio!r}, not for {studio!r}"
                    )
                return node.node_id
        try:
            with translated(f"register {studio}"):
                request = RegisterNodeRequest(public_key=pem, name=studio)
                return int(self._client.RegisterNode(request).node_id)
        except AnsweredError as error:
            if error.code == ApiErrorCode.PUBLIC_KEY_ALREADY_IN_USE:
                raise IdentityError(
                    f"the key of {studio!r} was revoked before and cannot come back",
                    hint="let the studio make a new key and send a new join request",
                ) from error
            raise

    def unregister(self, node_id: int) -> None:
        """Revoke a node: from the next call on its key is refused, for ever.

        Raises:
            IdentityError: no such node.
            FlowerError: the SuperLink refuses or cannot be reached.
        """
        try:
            with translated(f"revoke node {node_id}"):
                self._client.UnregisterNode(UnregisterNodeRequest(node_id=node_id))
        except AnsweredError as error:
            if error.code == ApiErrorCode.NODE_NOT_FOUND:
                raise IdentityError(f"the SuperLink knows no node {node_id}") from error
            raise

    def nodes(self) -> list[Node]:
        """Return all registered nodes, online or not, by studio name.

        Raises:
            FlowerError: the SuperLink refuses or cannot be reached.
        """
        with translated("list the nodes"):
            infos = self._client.ListNodes(ListNodesRequest()).nodes_info
        known = [_node(info) for info in infos if info.status != NodeStatus.UNREGISTERED]
        return sorted(known, key=lambda node: (node.studio, node.node_id))

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def public_key_pem(public_key: bytes) -> bytes:
    """Return an EC public key (OpenSSH or PEM) in the PEM form that Flower compares.

    Raises:
        IdentityError: it is neither, or not an EC key.
    """
    try:
        if public_key.lstrip().startswith(b"-----"):
            key = load_pem_public_key(public_key)
        else:
            key = load_ssh_public_key(public_key)
    except (ValueError, NotImplementedError, UnsupportedAlgorithm) as error:
        raise IdentityError(f"the node's public key cannot be read: {error}") from error
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise IdentityError(f"a node's key is an EC key, this is a {type(key).__name__}")
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _node(info: NodeInfo) -> Node:
    activated = info.last_activated_at
    return Node(
        node_id=info.node_id,
        studio=info.name,
        public_key=info.public_key,
        online=info.status == NodeStatus.ONLINE,
        last_activated_at=datetime.fromisoformat(activated).timestamp() if activated else 0.0,
        heard_until=info.online_until,
    )
