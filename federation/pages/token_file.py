"""A page's token in a file, for a program that reads the page's server over its restarts (a Prometheus, for one)."""

from __future__ import annotations

import re
import secrets
from pathlib import Path
from typing import Final

from federation.durable import write_atomic
from federation.errors import IdentityError
from federation.keys import read_private

_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{32,256}")


def kept_token(path: Path) -> str:
    """Return the token that a file of mode 0600 holds; a missing file is made with a new one.

    Raises:
        IdentityError: the file is open to others, or holds something else than a token.
        FedrotoError: the disk refused.
    """
    if not path.exists():
        write_atomic(path, f"{secrets.token_urlsafe(32)}\n".encode(), mode=0o600)
    token = read_private(path).decode("ascii", "replace").strip()
    if _TOKEN.fullmatch(token) is None:
        raise IdentityError(
            f"{path} holds no token: one is 32 to 256 letters, digits, - and _",
            hint="remove the file, and a new one is made",
        )
    return token
