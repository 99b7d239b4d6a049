"""The two folders on disk, a studio's and a coordinator's: where everything lies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from federation import keys
from federation.config import FEDERATION_CONFIG, STUDIO_CONFIG


@dataclass(frozen=True)
class StudioHome:
    """Where a studio's node keeps what it has."""

    root: Path

    @property
    def config(self) -> Path:
        """``studio.toml``."""
        return self.root / STUDIO_CONFIG

    @property
    def node_key(self) -> Path:
        """The node's private key, OpenSSH, 0600."""
        return self.root / "keys" / keys.NODE_KEY

    @property
    def coordinator(self) -> Path:
        """What the join kit said: ``kit.json``, ``ca.crt``, ``plan_key.pub``, ``release_key.pub``."""
        return self.root / "coordinator"

    @property
    def releases(self) -> Path:
        """Releases that were pulled and verified."""
        return self.root / "releases"


@dataclass(frozen=True)
class CoordinatorHome:
    """Where a coordinator keeps what it has."""

    root: Path

    @property
    def config(self) -> Path:
        """``federation.toml``."""
        return self.root / FEDERATION_CONFIG

    @property
    def keys(self) -> Path:
        """``ca.key``, ``server.key``, ``plan_key``, ``release_key``, ``superlink.secret``; all 0600."""
        return self.root / "keys"

    @property
    def ca(self) -> Path:
        """The authority's certificate."""
        return self.root / "ca.crt"

    @property
    def server_certificate(self) -> Path:
        """The server's certificate; its key is ``keys/server.key``."""
        return self.root / "server.pem"

    @property
    def plan_key(self) -> Path:
        """Public half of the plan key, PEM."""
        return self.root / "plan_key.pub"

    @property
    def release_key(self) -> Path:
        """Public half of the release key, PEM."""
        return self.root / "release_key.pub"

    @property
    def release_private_key(self) -> Path:
        """The release key, EC P-256 PEM, 0600."""
        return self.keys / keys.RELEASE_KEY

    @property
    def waiting(self) -> Path:
        """Join requests that came over the line and that nobody has decided on."""
        return self.root / "waiting"

    @property
    def kits(self) -> Path:
        """Join kits of admitted studios, for them to fetch; no secret is in them."""
        return self.root / "kits"

    @property
    def releases(self) -> Path:
        """The release registry."""
        return self.root / "releases"
