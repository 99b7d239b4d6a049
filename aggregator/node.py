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


def run(home: Path, *, progress: Callable[[str], None]) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit status.

    Raises:
        ConfigError: ``federation.toml`` is missing or wrong.
    """
    load_federation_config(CoordinatorHome(home).config)
    command = (sys.executable, "-m", "federation.cli", "coordinator", "part")
    services = [Service(part, (*command, part, "--home", str(home))) for part in PARTS]
    return supervise(services, home / "logs", progress=progress)
