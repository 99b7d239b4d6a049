"""Options that many commands share: the two homes, checked before anything else happens."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import typer

from federation.errors import ConfigError

# Of commands that serve until they are stopped: they have no result, and ``main`` renders every error.
JsonErrors = typer.Option(False, "--json", help="If it cannot go on, print why as one JSON object.")

ColourSpace = typer.Option(
    None,
    "--colour-space",
    metavar="NAME",
    help="What the plate's files hold, by its OCIO name ($OCIO, or the built-in configuration): for log plates.",
)
MovieStart = typer.Option(1, "--movie-start", help="Frame number of a movie's first picture.")


def studio_home(help_text: str, *, required: bool = True) -> Any:
    """Return the option ``--home`` of a command for a studio that was set up."""
    return _home(help_text, "studio", required)


def coordinator_home(help_text: str) -> Any:
    """Return the option ``--home`` of a command for a coordinator that was set up."""
    return _home(help_text, "coordinator", True)


def _home(help_text: str, whose: Literal["studio", "coordinator"], required: bool) -> Any:
    def check(home: Path | None) -> Path | None:
        # A mistyped folder would otherwise look like a node to which nothing has happened yet.
        from federation.config import FEDERATION_CONFIG, STUDIO_CONFIG

        sign = {"studio": STUDIO_CONFIG, "coordinator": FEDERATION_CONFIG}[whose]
        if home is not None and not (home / sign).is_file():
            raise ConfigError(
                f"{home} is no {whose}'s home: it has no {sign}",
                hint=f"name another with --home, or make one with: fedroto {whose} init",
            )
        return home

    return typer.Option(... if required else None, "--home", help=help_text, callback=check)
