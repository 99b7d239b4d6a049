"""Private files and folders, and the certificates on disk."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

from federation import certificates
from federation.doctor.finding import Finding, fail, ok, warn
from federation.durable import read_bounded
from federation.errors import IdentityError
from federation.keys import KEY_FILE_BYTES_MAX

SHOWN_MAX = 5


def private(name: str, paths: Iterable[Path]) -> Finding:
    """Look whether files and folders that are there are open to nobody but this user.

    A path that is not there is not looked at; what has to be there is another point.
    """
    looked_at = [path for path in paths if path.exists()]
    faults = [fault for path in looked_at for fault in _faults(path)]
    if not faults:
        return ok(name, f"{len(looked_at)} private files and folders are closed to other users")
    more = f", and {len(faults) - SHOWN_MAX} more" if len(faults) > SHOWN_MAX else ""
    return fail(
        name,
        ", ".join(text for text, _ in faults[:SHOWN_MAX]) + more,
        " && ".join(command for _, command in faults[:SHOWN_MAX]),
    )


def _faults(path: Path) -> Iterator[tuple[str, str]]:
    status = path.lstat()
    mode = stat.S_IMODE(status.st_mode)
    closed = "700" if stat.S_ISDIR(status.st_mode) else "600"
    if stat.S_ISLNK(status.st_mode):
        yield f"{path} is a link", f"put the file itself at {path}"
    elif os.geteuid() not in (0, status.st_uid):  # root looks at homes that are, rightly, somebody else's
        yield f"{path} belongs to user {status.st_uid}, not to {os.geteuid()}", f"chown {os.geteuid()} {path}"
    elif mode & 0o077:
        yield f"{path} is open to other users (mode {mode:04o})", f"chmod {closed} {path}"


def certificate(name: str, path: Path, *, now: datetime, warn_days: int, remedy: str) -> Finding:
    """Look for how long a certificate on disk still holds.

    Args:
        name: of the finding.
        path: PEM file.
        now: the current time, with a time zone.
        warn_days: fewer days left than this are worth a warning.
        remedy: how it is renewed.

    Raises:
        FedrotoError: the file is missing or no certificate.
    """
    pem = read_bounded(path, KEY_FILE_BYTES_MAX)
    ends = certificates.read_certificate(pem).not_valid_after_utc
    try:
        days = certificates.days_left(pem, now=now)
    except IdentityError as error:
        clock = "set this machine's clock" if "only from" in str(error) else remedy
        return fail(name, str(error), clock)
    text = f"{path.name} holds until {ends:%Y-%m-%d}, {days} more days"
    return warn(name, text, remedy) if days < warn_days else ok(name, text)
