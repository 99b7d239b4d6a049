"""The coordinator's standing processes, kept up together: SuperLink, fleet proxy, roster and release service.

Rounds are run by a process of their own (``fedroto coordinator run``): its end or crash leaves these untouched.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from federation.config import load_federation_config
from federation.homes import CoordinatorHome
from federation.supervisor import Service, supervise

PARTS = ("superlink", "fleet-proxy", "roster", "releases")
CERTIFIED_PARTS = frozenset({"superlink", "fleet-proxy", "releases"})
"""Show the server's certificate, which they read when they start; a renewed one starts them anew."""


def run(home: Path, *, progress: Callable[[str], None]) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit status.

    Raises:
        ConfigError: ``federation.toml`` is missing or wrong.
    """
    load_federation_config(CoordinatorHome(home).config)
    command = (sys.executable, "-m", "federation.cli", "coordinator", "part")
    certificate = (CoordinatorHome(home).server_certificate,)
    services = [
        Service(
            part, (*command, part, "--home", str(home)), files=certificate if part in CERTIFIED_PARTS else ()
        )
        for part in PARTS
    ]
    return supervise(services, home / "logs", progress=progress)
