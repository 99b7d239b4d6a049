"""Flower's SuperLink as the coordinator runs it: loopback, TLS, node authentication, SQLite, no subprocess executor.

Its one port also carries the control and runtime APIs without any login, so it listens on loopback only; studios
reach the fleet proxy (``aggregator.fleet_proxy``).
"""

from __future__ import annotations

import ssl
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from federation.config import address, load_federation_config
from federation.durable import make_private_dir, read_bounded
from federation.errors import FlowerError
from federation.flower.roster import SuperLinkAccess
from federation.flower.superlink import become_superlink
from federation.homes import CoordinatorHome
from federation.keys import read_private

LOOPBACK = "127.0.0.1"
CERTIFICATE_BYTES_MAX = 64 * 1024
HEALTH_POLL_S = 0.1


@dataclass(frozen=True)
class SuperLinkSettings:
    """What a SuperLink needs.

    Attributes:
        port: on loopback.
        ca_certificate: file of the federation's authority.
        certificate: file of the server's certificate; it must name 127.0.0.1.
        key: file of the certificate's key.
        secret: file of 32 random bytes, shared with the coordinator process.
        folder: private folder for the database, Flower's home and the log.
    """

    port: int
    ca_certificate: Path
    certificate: Path
    key: Path
    secret: Path
    folder: Path

    @classmethod
    def of_home(cls, home: Path) -> SuperLinkSettings:
        """Return the settings that follow from a coordinator's home.

        Raises:
            ConfigError: ``federation.toml`` is missing or wrong.
        """
        places = CoordinatorHome(home)
        return cls(
            port=load_federation_config(places.config).superlink_port,
            ca_certificate=places.ca,
            certificate=places.server_certificate,
            key=places.keys / "server.key",
            secret=places.keys / "superlink.secret",
            folder=home / "superlink",
        )

    def arguments(self) -> list[str]:
        """Return flower-superlink's options."""
        return [
            *("--host", LOOPBACK, "--port", str(self.port)),
            *("--ssl-ca-certfile", str(self.ca_certificate)),
            *("--ssl-certfile", str(self.certificate), "--ssl-keyfile", str(self.key)),
            "--enable-supernode-auth",
            *("--isolation", "process", "--superexec-auth-secret-file", str(self.secret)),
            *("--database", str(self.folder / "state.db")),
            "--disable-runtime-dependency-installation",
            *("--log-file", str(self.folder / "superlink.log")),
        ]

    def access(self) -> SuperLinkAccess:
        """Return what the coordinator's own processes need to reach this SuperLink.

        Raises:
            FedrotoError: a file is missing or not readable.
        """
        return SuperLinkAccess(
            address=address(LOOPBACK, self.port),
            ca_certificate=read_bounded(self.ca_certificate, CERTIFICATE_BYTES_MAX),
            secret=read_private(self.secret),
            lock_path=self.folder / "coordinator.lock",
        )


def run_superlink(home: Path) -> None:
    """Serve as the SuperLink of a coordinator's home in this process, until SIGTERM.

    Raises:
        ConfigError: ``federation.toml`` is missing or wrong.
        IdentityError: the secret is missing or readable by others.
        FlowerError: the installed Flower is of another series.
    """
    serve(SuperLinkSettings.of_home(home))


def serve(settings: SuperLinkSettings) -> None:
    """Serve as a SuperLink in this process, until SIGTERM; see :func:`run_superlink`."""
    read_private(settings.secret)
    make_private_dir(settings.folder)
    become_superlink(settings.arguments(), settings.folder / "flower_home")


def is_healthy(server: str, ca_certificate: bytes) -> bool:
    """Ask a SuperLink, or a fleet proxy in front of one, whether it serves.

    Args:
        server: host:port.
        ca_certificate: PEM of the federation's authority.
    """
    context = ssl.create_default_context(cadata=ca_certificate.decode("ascii"))
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    try:
        with opener.open(f"https://{server}/health", timeout=5.0) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def wait_until_healthy(server: str, ca_certificate: bytes, timeout_s: float) -> None:
    """Return once a SuperLink or fleet proxy serves.

    Raises:
        FlowerError: it does not within ``timeout_s``.
    """
    deadline = time.monotonic() + timeout_s
    while not is_healthy(server, ca_certificate):
        if time.monotonic() >= deadline:
            raise FlowerError(
                f"https://{server}/health does not answer within {timeout_s:g} s",
                hint="its log is in the coordinator's home, in the folder superlink",
            )
        time.sleep(HEALTH_POLL_S)
