"""Child processes that never outlive their parent: own group, killed with the parent, stopped group by group."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO

PR_SET_PDEATHSIG = 1
STOP_S = 10.0
_LIBC = ctypes.CDLL(None, use_errno=True)

Child = subprocess.Popen[bytes]


def start(
    argv: Sequence[str | Path],
    *,
    stdin: IO[bytes] | int | None = subprocess.DEVNULL,
    stdout: IO[bytes] | int | None = None,
    stderr: IO[bytes] | int | None = None,
    environment: Mapping[str, str] | None = None,
) -> Child:
    """Start a program in a process group of its own, which gets SIGTERM when this process dies, however it dies.

    Must be called from the main thread: Linux sends the signal when the *thread* that started the child ends.

    Args:
        argv: program and arguments.
        stdin: where its input comes from; None inherits.
        stdout: where its output goes; None inherits.
        stderr: where its errors go; None inherits.
        environment: variables added to this process's own.
    """
    return subprocess.Popen(
        list(map(str, argv)),
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        process_group=0,
        preexec_fn=die_with_parent,
        env={**os.environ, **(environment or {})},
    )


def die_with_parent() -> None:
    """Have Linux send this process SIGTERM when the thread that started it ends."""
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def stop(children: Iterable[Child], *, patience_s: float = STOP_S) -> None:
    """Ask every child to end, wait, then kill what is left of each one's process group."""
    children = list(children)
    for child in children:
        signal_group(child, signal.SIGTERM)
    deadline = time.monotonic() + patience_s
    for child in children:
        try:
            child.wait(max(0.05, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            pass
        finally:
            signal_group(child, signal.SIGKILL)  # also grandchildren that stayed behind in the group
            child.wait()


def signal_group(child: Child, number: signal.Signals) -> None:
    """Signal a child's whole process group, if there is any of it left."""
    try:
        os.killpg(child.pid, number)
    except ProcessLookupError:
        return


def stop_on_signals() -> threading.Event:
    """Return an event that SIGTERM or SIGINT sets; to be called in a long-running process's main thread.

    A second signal while the process is stopping changes nothing: stopping is bounded everywhere.
    """
    stop_requested = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop_requested.set())
    return stop_requested
