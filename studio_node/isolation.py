"""Whether this process can reach a network: said at the runner's start, never assumed."""

from __future__ import annotations

import fcntl
import socket
import struct
from dataclasses import dataclass
from pathlib import Path

INTERFACES = Path("/proc/self/net/dev")  # of this process's own network namespace
_SIOCGIFFLAGS = 0x8913
_IFF_UP, _IFF_LOOPBACK = 0x1, 0x8


@dataclass(frozen=True)
class Isolation:
    """Whether a process is cut off from networks, and why it is said so."""

    isolated: bool
    text: str


def isolation_here() -> Isolation:
    """Look at the network interfaces of this process's own network namespace.

    Isolated means that no interface besides loopback is up. Whether files are kept apart (another OS user for the
    uplink) cannot be seen from here.
    """
    try:
        names = [name for _, name in socket.if_nameindex()]
        up = sorted(name for name in names if _is_up_beyond_loopback(name))
    except OSError as error:
        return _without_sockets(error)
    if up:
        return Isolation(False, f"not isolated here: network interface {', '.join(up)} is up")
    return Isolation(True, "isolated: this process has no network interface besides loopback")


def _without_sockets(error: OSError) -> Isolation:
    """Look where no network socket may be made, which a sandbox forbids (systemd's RestrictAddressFamilies=AF_UNIX)."""
    try:
        names = [line.split(":")[0].strip() for line in INTERFACES.read_text().splitlines()[2:]]
    except OSError:
        names = []
    if names == ["lo"]:
        return Isolation(
            True, "isolated: no network socket may be made, and there is no interface besides loopback"
        )
    there = f"there is {', '.join(names)}" if names else f"the network interfaces cannot be listed ({error})"
    return Isolation(False, f"not isolated here: {there}")


def _is_up_beyond_loopback(name: str) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        asked = struct.pack("256s", name.encode()[:15])
        flags = struct.unpack("16sH", fcntl.ioctl(probe.fileno(), _SIOCGIFFLAGS, asked)[:18])[1]
    return bool(flags & _IFF_UP) and not flags & _IFF_LOOPBACK
