"""``fedroto doctor``: what is wrong with this studio's or coordinator's set-up, and what to do next."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from federation.cli.output import Json, show

if TYPE_CHECKING:
    from federation.doctor.finding import Examination


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: fedroto doctor --home node")(doctor)


def doctor(
    home: Path = typer.Option(..., "--home", help="A studio's or a coordinator's folder."),
    offline: bool = typer.Option(False, "--offline", help="Look at nothing that has to be dialled."),
    as_json: bool = Json,
) -> None:
    """Name the exact fault of a studio's or coordinator's set-up and the next step; status 1 if anything fails."""
    result = examine(home, dial=not offline)
    show(result, as_json, _text)
    if result.exit_code:
        raise typer.Exit(result.exit_code)


def examine(home: Path, *, dial: bool) -> Examination:
    """Find out whose home it is and look at it.

    Raises:
        ConfigError: it is neither a studio's home nor a coordinator's.
    """
    from federation.config import FEDERATION_CONFIG, STUDIO_CONFIG
    from federation.errors import ConfigError

    now = datetime.now(UTC)
    if (home / STUDIO_CONFIG).is_file():
        from studio_node.doctor import examine_studio

        return examine_studio(home, now=now, dial=dial)
    if (home / FEDERATION_CONFIG).is_file():
        from aggregator.doctor import examine_coordinator

        return examine_coordinator(home, now=now, dial=dial)
    raise ConfigError(
        f"{home} is no home: it has neither {STUDIO_CONFIG} nor {FEDERATION_CONFIG}",
        hint="make one with fedroto studio init or fedroto coordinator init",
    )


def _text(result: Examination) -> str:
    width = max(len(finding.name) for finding in result.findings)
    lines = []
    for finding in result.findings:
        lines.append(f"{finding.verdict:<4}  {finding.name:<{width}}  {finding.what}")
        if finding.next_step:
            lines.append(f"{'':<4}  {'':<{width}}  -> {finding.next_step}")
    failed = sum(finding.verdict == "fail" for finding in result.findings)
    warned = sum(finding.verdict == "warn" for finding in result.findings)
    return "\n".join([*lines, f"{len(result.findings)} looked at: {failed} fail, {warned} warn"])
