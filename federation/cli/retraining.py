"""``fedroto coordinator retrain``: the next release in one command, or on a schedule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from federation.cli.coordinator import HOME_HELP, campaign_text, plan_settings
from federation.cli.options import coordinator_home
from federation.cli.output import Json, progress, show
from federation.cli.releases import comparison_text, release_text

Home = coordinator_home(HOME_HELP)


def register(coordinator: typer.Typer) -> None:
    """Add the command to the coordinator's group."""
    coordinator.command(epilog="Example: fedroto coordinator retrain --home fed --set rounds=20")(retrain)


def retrain(
    home: Path = Home,
    campaign: str | None = typer.Option(
        None, help="The campaign's name; default: release-N with the number of the next release."
    ),
    setting: list[str] | None = typer.Option(
        None, "--set", metavar="NAME=VALUE", help="A setting of the plan, as in federation.toml; repeat."
    ),
    carried: list[str] | None = typer.Option(
        None, help="A studio without any line: its rounds are carried as files, see fedroto round; repeat."
    ),
    without: str | None = typer.Option(
        None, help="Train without this studio, which left; with --restart. Its key has to be revoked."
    ),
    restart: str | None = typer.Option(
        None, help="With --without: the campaign to go on from, at the last round before that studio's first."
    ),
    hold: bool = typer.Option(
        False, "--hold", help="Sign the release but hand it out only after: fedroto coordinator promote."
    ),
    as_json: bool = Json,
) -> None:
    """Train from the newest release on all shots allowed by now, check, publish and compare; run again to go on.

    Studios need do nothing: shots that they approved since take part, and their ledgers go on counting.
    """
    from aggregator.retraining import Leaver
    from aggregator.retraining import retrain as run_retraining

    if (without is None) != (restart is None):
        raise typer.BadParameter("--without STUDIO and --restart CAMPAIGN go together")
    result = run_retraining(
        home,
        campaign,
        plan_settings(setting),
        leaver=None if without is None or restart is None else Leaver(without, restart),
        carried=carried or (),
        hold=hold,
        progress=progress,
    )
    show(result, as_json, _text)
    if result.exit_code:
        raise typer.Exit(result.exit_code)


def _text(result: Any) -> str:
    parts = [campaign_text(result.campaign)]
    if result.outcome is not None:
        parts.append(release_text(result.outcome))
    if result.comparison is not None:
        parts.append(comparison_text(result.comparison))
    return "\n\n".join(parts)
