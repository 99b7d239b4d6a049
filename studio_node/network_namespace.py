"""Run a program in a network namespace of its own, in which there is nothing: not even loopback is up.

    python -m studio_node.network_namespace PROGRAM ARGUMENT...

Linux only. Unix sockets with a path go on working, since they belong to the file system: that is the runner's one way
out. Needs either the right to make a network namespace (root, CAP_SYS_ADMIN) or a kernel that lets users make user
namespaces. A process that stays root in the first user namespace could find its way back; run it as a plain user.
This module imports the standard library only: threads that a library starts would stay outside.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

from federation.errors import FedrotoError

_CLONE_NEWUSER, _CLONE_NEWNET, _PR_SET_PDEATHSIG = 0x10000000, 0x40000000, 1
_LIBC = ctypes.CDLL(None, use_errno=True)


def isolated(command: tuple[str, ...]) -> tuple[str, ...]:
    """Return the command that runs ``command`` without a network."""
    return (sys.executable, "-m", "studio_node.network_namespace", *command)


def require_permission() -> None:
    """Check that this machine lets this user make a network namespace.

    Tried in a new process: a fork of this one may bring threads (gRPC starts some), and the kernel gives a process with
    threads no user namespace.

    Raises:
        FedrotoError: it does not; says what the kernel answered and what to do.
    """
    tried = subprocess.run(isolated(("true",)), stderr=subprocess.PIPE, text=True, check=False)
    if tried.returncode:
        raise FedrotoError(
            f"this machine does not let this user make a network namespace ({tried.stderr.strip()}); "
            "nothing was started",
            hint="use the systemd units of docs/deployment.md, which need no such right, or allow user namespaces "
            "(sysctl kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns, "
            "user.max_user_namespaces); without --isolate the runner keeps the network",
        )


def leave_network() -> None:
    """Move this process, which must have one thread, into a new and empty network namespace.

    Raises:
        OSError: the kernel refuses.
    """
    if _unshared(_CLONE_NEWNET):
        return
    user, group = os.getuid(), os.getgid()
    if not _unshared(_CLONE_NEWUSER | _CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    # The same user inside as outside, so that files keep their owner; no other user exists in there.
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{user} {user} 1"),
        ("gid_map", f"{group} {group} 1"),
    ):
        Path(f"/proc/self/{name}").write_text(text)


def main(command: list[str]) -> None:
    """Leave the network, then become the program."""
    parent = os.getppid()
    try:
        leave_network()
    except OSError as error:
        sys.exit(f"{errno.errorcode.get(error.errno or 0, error.errno)}: {error.strerror}")
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)  # new credentials have cleared what the supervisor set
    if os.getppid() != parent:
        sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606 # no shell: the arguments are the program's own


def _unshared(flags: int) -> bool:
    return int(_LIBC.unshare(flags)) == 0


if __name__ == "__main__":
    main(sys.argv[1:])
