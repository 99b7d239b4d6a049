"""Keeps the SuperLink's list of nodes equal to the enrolment book: who is admitted may dial in, nobody else."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from aggregator.enrolment import EnrolledStudio, Enrolment
from aggregator.superlink import SuperLinkSettings
from federation.child_process import stop_on_signals
from federation.errors import FlowerError, IdentityError
from federation.flower.roster import Node, StudioRoster, public_key_pem

PERIOD_S = 1.0


@dataclass(frozen=True)
class RosterChange:
    """What the SuperLink's list lacks and what it has too much."""

    register: tuple[EnrolledStudio, ...]
    unregister: tuple[Node, ...]


def roster_change(studios: Sequence[EnrolledStudio], nodes: Sequence[Node]) -> RosterChange:
    """Compare the enrolment book with the SuperLink's list, key by key."""
    admitted = {
        public_key_pem(studio.public_key.encode()): studio for studio in studios if studio.is_admitted
    }
    registered = {node.public_key: node for node in nodes}
    return RosterChange(
        tuple(studio for key, studio in admitted.items() if key not in registered),
        tuple(node for key, node in registered.items() if key not in admitted),
    )


def run_roster_sync(home: Path, *, progress: Callable[[str], None]) -> None:
    """Keep the list in step until SIGTERM; a SuperLink that is down is waited for.

    Raises:
        ConfigError: ``federation.toml`` is missing or wrong.
    """
    stop_requested = stop_on_signals()
    with (
        Enrolment(home) as enrolment,
        contextlib.closing(StudioRoster(SuperLinkSettings.of_home(home).access())) as roster,
    ):
        while not stop_requested.wait(PERIOD_S):
            with contextlib.suppress(FlowerError):  # it is down or starting: the next look is a second away
                apply(roster_change(enrolment.studios(), roster.nodes()), roster, progress)


def apply(change: RosterChange, roster: StudioRoster, progress: Callable[[str], None]) -> None:
    """Carry out a change; one studio's fault does not keep the others out.

    Raises:
        FlowerError: the SuperLink cannot be reached.
    """
    for node in change.unregister:
        roster.unregister(node.node_id)
        progress(f"{node.studio}: key revoked, node {node.node_id} may no longer dial in")
    for studio in change.register:
        try:
            node_id = roster.register(studio.public_key.encode(), studio.name)
        except IdentityError as error:
            progress(f"{studio.name} cannot dial in: {error}")
        else:
            progress(f"{studio.name} may dial in as node {node_id}")
