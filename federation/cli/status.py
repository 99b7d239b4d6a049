"""``fedroto coordinator status``: where a campaign stands, once or as it goes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from federation.cli.coordinator import HOME_HELP
from federation.cli.options import coordinator_home
from federation.cli.output import Json, show

if TYPE_CHECKING:
    from rich.console import RenderableType

    from aggregator.campaign_status import CampaignStatus

Home = coordinator_home(HOME_HELP)
WATCH_S = 1.0
STYLES = {"closed": "green", "degraded": "bold yellow", "failed": "bold red", "open": "cyan"}


def register(coordinator: typer.Typer) -> None:
    """Add the command to the coordinator's group."""
    coordinator.command(epilog="Example: fedroto coordinator status --home fed --watch")(status)


def status(
    home: Path = Home,
    campaign: str | None = typer.Option(
        None, help="The campaign's name; default: the one that something happened in last."
    ),
    watch: bool = typer.Option(
        False, "--watch", help="Show it anew every second until it has ended, or Ctrl-C."
    ),
    as_json: bool = Json,
) -> None:
    """Show each round of a campaign: who returned, who is late, how many bytes, what is degraded and why."""
    from aggregator.campaign_status import campaign_status

    if not watch:
        return show(campaign_status(home, campaign), as_json, _text)
    if as_json:
        raise typer.BadParameter(
            "--watch shows a table; for programs there is progress.jsonl, or --json again and again"
        )
    from rich.live import Live

    with Live(_picture(campaign_status(home, campaign)), auto_refresh=False) as live:
        while True:
            now = campaign_status(home, campaign)
            live.update(_picture(now), refresh=True)
            if not now.running:
                return None
            time.sleep(WATCH_S)


def _text(result: CampaignStatus) -> str:
    from rich.console import Console

    console = Console()
    with console.capture() as captured:
        console.print(_picture(result))
    return captured.get().rstrip()


def _picture(result: CampaignStatus) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for heading in ("round", "state", "returned", "late", "bytes in", "took", "why"):
        table.add_column(heading)
    for one in result.rounds:
        took = [studio.seconds for studio in one.studios if studio.standing == "accepted"]
        table.add_row(
            str(one.server_round) + (f" (try {one.attempt})" if one.attempt > 1 else ""),
            Text(one.phase.upper() if one.phase == "degraded" else one.phase, STYLES.get(one.phase, "")),
            f"{len(one.returned)} of {one.named}",
            Text(", ".join(one.late) or "-"),
            f"{one.bytes_in:,}",
            f"{max(took):.1f} s" if took else "-",
            Text(one.reason),
        )
    head = f"{result.campaign} is {result.state}: round {len(result.rounds)} of {result.rounds_planned}, "
    head += f"{result.studios} studios, quorum {result.quorum}"
    feed = [one.sentence for one in result.rounds[-3:]]
    return Group(Text(head), table, Text("\n".join(feed)), Text("\n".join(result.events), "dim"))
