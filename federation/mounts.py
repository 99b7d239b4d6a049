"""What a path is mounted from, by the kernel's own list."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

MOUNTINFO = Path("/proc/self/mountinfo")
NETWORK_KINDS = frozenset(
    {
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "afs",
        "9p",
        "ceph",
        "glusterfs",
        "lustre",
        "beegfs",
        "gpfs",
        "davfs",
    }
    | {"orangefs", "ocfs2", "gfs2", "fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.rclone", "fuse.s3fs"}
    | {"fuse.davfs2", "vboxsf", "prl_fs", "vmhgfs", "fuse.vmhgfs-fuse"}
)
VOLATILE_KINDS = frozenset({"tmpfs", "ramfs"})


@dataclass(frozen=True)
class Mount:
    """A mounted file system: where, of which kind, from what."""

    point: Path
    kind: str
    source: str


def mount_of(path: Path, mountinfo: str | None = None) -> Mount | None:
    """Find the mount that an absolute path lies on; the newest of several at one point is the one in force.

    Args:
        path: absolute, without links.
        mountinfo: the kernel's list of mounts; None reads this process's own.

    Returns:
        The mount, or None where the list names none.
    """
    text = MOUNTINFO.read_text(errors="replace") if mountinfo is None else mountinfo
    best: Mount | None = None
    for line in text.splitlines():
        before, dash, after = line.partition(" - ")
        fields, source = before.split(), after.split()
        if not dash or len(fields) < 5 or len(source) < 2:
            continue
        mount = Mount(Path(_unescaped(fields[4])), source[0], _unescaped(source[1]))
        if path.is_relative_to(mount.point) and (
            best is None or len(mount.point.parts) >= len(best.point.parts)
        ):
            best = mount
    return best


def _unescaped(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), field)
