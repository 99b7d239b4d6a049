"""The studio node: a runner that reads plates and an uplink that has the network, kept up as two processes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from federation.errors import IdentityError
from federation.set_up import load_kit
from federation.supervisor import Service, supervise
from studio_node.network_namespace import isolated, require_permission


def run(home: Path, *, progress: Callable[[str], None], isolate: bool = False) -> int:
    """Serve rounds until SIGTERM or SIGINT; returns the exit status.

    Args:
        home: of the studio.
        progress: told of every start, end and restart.
        isolate: put the runner into a network namespace of its own, where only its Unix socket leads out.

    Raises:
        IdentityError: the studio has not joined.
        FedrotoError: ``isolate``, and this machine does not allow it; nothing was started.
    """
    load_kit(home)
    if isolate:
        require_permission()
    return supervise(services(home, isolate=isolate), home / "logs", progress=progress)


def services(home: Path, *, isolate: bool = False) -> list[Service]:
    """Return the two processes of a node."""
    command = (sys.executable, "-m", "federation.cli", "studio")
    runner = (*command, "runner", "--home", str(home))
    revoked = frozenset({IdentityError.exit_code})
    return [
        Service("runner", isolated(runner) if isolate else runner),
        Service("uplink", (*command, "uplink", "--home", str(home)), final_statuses=revoked),
    ]
