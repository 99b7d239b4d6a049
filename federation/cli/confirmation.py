"""How the person at the coordinator says that a studio's fingerprint was compared by phone."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from federation.provisioning import JoinRequest


def confirmed(fingerprint: str | None) -> Callable[[JoinRequest], bool]:
    """Return what says whether a request's fingerprint was compared.

    Args:
        fingerprint: as the studio read it out; None asks the person at the terminal.
    """

    def confirm(asked: JoinRequest) -> bool:
        from federation.errors import ConfigError

        if fingerprint is not None:
            return fingerprint == asked.fingerprint
        if not sys.stdin.isatty():
            raise ConfigError(
                f"{asked.studio} has node key {asked.fingerprint} and nobody is here to say that it was compared",
                hint="compare it with the studio by phone, then say --fingerprint with what they read out",
            )
        return typer.confirm(
            f"{asked.studio} has node key {asked.fingerprint}: did you compare it by phone?", err=True
        )

    return confirm
