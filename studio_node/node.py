"""The studio node: a runner that reads plates and an uplink that has the network, kept up as two processes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from federation.errors import IdentityError
from federation.set_up import load_kit
from federation.supervisor import Service, supervise


def run(home: Path, *, progress: Callable[[str], None]) -> int:
    """Serve rounds until SIGTERM or SIGINT; returns the exit status.

    Raises:
        IdentityError: the studio has not joined.
    """
    load_kit(home)
    command = (sys.executable, "-m", "federation.cli", "studio")
    revoked = frozenset({IdentityError.exit_code})
    services = [
        Service("runner", (*command, "runner", "--home", str(home))),
        Service("uplink", (*command, "uplink", "--home", str(home)), final_statuses=revoked),
    ]
    return supervise(services, home / "logs", progress=progress)
