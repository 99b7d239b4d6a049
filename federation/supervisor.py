"""Keeps the processes of one node up: starts them, restarts what dies, stops them all together.

The restart delay doubles from 0.5 s to 20 s and starts anew once a process has lived for a minute. An exit status that
the service calls final (a revoked key, say) ends the whole node with that status instead of a restart. A service whose
files were replaced (a renewed certificate, say) is stopped and started anew at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from federation import child_process

DELAY_FIRST_S, DELAY_MAX_S, STABLE_S = 0.5, 20.0, 60.0
POLL_S = 0.1


@dataclass(frozen=True)
class Service:
    """One process to keep up.

    Attributes:
        name: for people and for its log file's name.
        argv: program and arguments.
        final_statuses: exit statuses after which restarting is of no use.
        files: read only when the process starts; it is started anew when one of them is replaced.
    """

    name: str
    argv: tuple[str, ...]
    final_statuses: frozenset[int] = frozenset()
    files: tuple[Path, ...] = ()


@dataclass
class _Running:
    service: Service
    log: Path
    child: child_process.Child | None = None
    started_at: float = 0.0
    delay_s: float = DELAY_FIRST_S
    start_after: float = field(default=0.0)
    stamps: tuple[tuple[int, int] | None, ...] = ()


def supervise(services: Sequence[Service], logs: Path, *, progress: Callable[[str], None]) -> int:
    """Keep services up until SIGTERM or SIGINT (status 0) or a final exit status (returned).

    Args:
        services: what to run; started in this order.
        logs: folder for one appended log file a service.
        progress: told of every start, end and restart.
    """
    logs.mkdir(parents=True, exist_ok=True)
    stop_requested = child_process.stop_on_signals()
    running = [_Running(service, logs / f"{service.name}.log") for service in services]
    try:
        while not stop_requested.is_set():
            for one in running:
                status = _keep_up(one, progress)
                if status is not None:
                    return status
            stop_requested.wait(POLL_S)
        return 0
    finally:
        child_process.stop([one.child for one in running if one.child is not None])


def _keep_up(one: _Running, progress: Callable[[str], None]) -> int | None:
    """Start or restart one service if it is time; returns a final exit status, if there is one."""
    now = time.monotonic()
    if one.child is None:
        if now >= one.start_after:
            one.stamps = _stamps(one.service.files)  # before the start: a file that changes now is noticed
            with one.log.open("ab") as log:
                one.child = child_process.start(one.service.argv, stdout=log, stderr=log)
            one.started_at = now
            progress(f"{one.service.name} started (process {one.child.pid}, log {one.log})")
        return None
    status = one.child.poll()
    if status is None:
        if one.stamps != _stamps(one.service.files):
            progress(f"{one.service.name} is started again: a file that it reads at its start was replaced")
            child_process.stop([one.child])
            one.child, one.start_after = None, now
        return None
    child_process.stop([one.child], patience_s=0)
    if status in one.service.final_statuses:
        progress(f"{one.service.name} ended for good with status {status}; see {one.log}")
        return status
    one.delay_s = DELAY_FIRST_S if now - one.started_at > STABLE_S else min(2 * one.delay_s, DELAY_MAX_S)
    one.child, one.start_after = None, now + one.delay_s
    progress(f"{one.service.name} ended with status {status}; starting it again in {one.delay_s:g} s")
    return None


def _stamps(files: Sequence[Path]) -> tuple[tuple[int, int] | None, ...]:
    """Tell a file from its replacement; None for one that is not there."""
    stamps: list[tuple[int, int] | None] = []
    for path in files:
        try:
            status = path.stat()
        except OSError:
            stamps.append(None)
        else:
            stamps.append((status.st_ino, status.st_mtime_ns))
    return tuple(stamps)
