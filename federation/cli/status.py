"""``fedroto coordinator status``: where a federation stands, once or as it goes."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from federation.cli.coordinator import HOME_HELP
from federation.cli.options import coordinator_home
from federation.cli.output import Json, show

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from aggregator.campaign_status import CampaignStatus, RoundLine
    from aggregator.overview import Overview

Home = coordinator_home(HOME_HELP)
WATCH_S = 1.0
FEED_LINES = 8
FIXED_LINES = 11  # of the picture: headline, headings, blank lines, and two rows that are folded
RELEASES_WATCHED = 2
STYLES = {
    **{"closed": "green", "complete": "green", "current": "green", "online": "green"},
    **{"open": "cyan", "preparing": "cyan", "running": "cyan"},
    **{"degraded": "bold yellow", "held": "yellow", "failed": "bold red", "withdrawn": "red"},
}


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
    """Show who returned in each round, who is late or missing and why, studios, privacy cost and releases."""
    from aggregator.overview import Overviews
    from aggregator.plan_cost import PlanCosts
    from aggregator.presence import Presence

    if watch and as_json:
        raise typer.BadParameter(
            "--watch shows a table; for programs there is progress.jsonl, or --json again and again"
        )
    presence = Presence.of_home(home)
    overviews = Overviews(home, PlanCosts(points_max=0))

    def look(*, wait: bool) -> Overview:
        return overviews.take(now=time.time(), nodes=presence.nodes, campaign=campaign, wait=wait)

    if not watch:
        presence.look()
        return show(look(wait=True), as_json, _text)
    from rich.live import Live

    with presence, Live(auto_refresh=False) as live:
        while True:
            now = look(wait=False)
            live.update(_picture(now, lines=live.console.height), refresh=True)
            if now.campaign is None or not now.campaign.running:
                return None
            time.sleep(WATCH_S)


def _text(overview: Overview) -> str:
    from rich.console import Console

    console = Console()
    with console.capture() as captured:
        console.print(_picture(overview))
    return captured.get().rstrip()


def _picture(overview: Overview, lines: int | None = None) -> RenderableType:
    """Draw an overview; where lines are few, with its last rounds, events and releases only."""
    from rich.console import Group
    from rich.text import Text

    status = overview.campaign
    rounds = releases = None
    feed_lines = FEED_LINES
    if lines is not None:
        releases = RELEASES_WATCHED
        room = max(4, lines - FIXED_LINES - releases - len(overview.studios))
        feed_lines = min(FEED_LINES, room // 2)
        rounds = room - feed_lines
    parts: list[RenderableType] = []
    if status is None:
        parts.append(Text(f"{overview.federation}: no campaign has begun yet"))
    else:
        parts.append(_headline(overview, status))
        parts.append(_rounds(status, rounds))
        feed = [f"{datetime.fromtimestamp(one.at):%H:%M:%S}  {one.text}" for one in status.events]
        parts += [Text(""), *(_feed_line(one) for one in feed[-feed_lines:]), Text("")]
    parts += [_studios(overview), Text(""), _releases(overview, releases)]
    return Group(*parts)


def _headline(overview: Overview, status: CampaignStatus) -> RenderableType:
    from rich.text import Text

    head = Text(f"{overview.federation}: {status.campaign} is ")
    head.append(
        status.state.upper() if status.state == "degraded" else status.state, STYLES.get(status.state, "")
    )
    head.append(
        f": round {len(status.rounds)} of {status.rounds_planned}, {status.studios} studios, quorum {status.quorum}"
    )
    if status.rounds:
        head.append(f"\n{status.rounds[-1].sentence}", "bold")
    if status.gain is not None:
        head.append(f"; {status.gain.gain_sentence}")
    costs = [
        f"tier {cost.tier} {cost.spent:.3f} of {cost.planned:.3f}"
        if cost.spent is not None and cost.planned is not None
        else f"tier {cost.tier} being computed"
        for cost in overview.costs
    ]
    head.append(f"\nepsilon, most that a shot was charged by the signed plan: {', '.join(costs)}")
    return head


def _rounds(status: CampaignStatus, last: int | None) -> Table:
    from rich.text import Text

    table = _table("round", "state", "returned", "late", "bytes in", "took", "public", "why")
    for one in status.rounds[-last if last else None :]:
        took = [studio.seconds for studio in one.studios if studio.standing == "accepted"]
        table.add_row(
            str(one.server_round) + (f" (try {one.attempt})" if one.attempt > 1 else ""),
            Text(one.phase.upper() if one.phase == "degraded" else one.phase, STYLES.get(one.phase, "")),
            f"{len(one.returned)} of {one.named}",
            Text(", ".join(one.late) or "-"),
            f"{one.bytes_in:,}",
            f"{max(took):.1f} s" if took else "-",
            Text(
                "-" if one.shown_error is None else f"{one.shown_error:.3f}",
                "bold red" if one.rolled_back else "",
            ),
            Text(f"ROLLED BACK: {one.verdict}" if one.rolled_back else _why(one)),
        )
    return table


def _why(one: RoundLine) -> str:
    """Why a round ended as it did, where the columns do not say it."""
    return "" if len(one.returned) == one.named else one.reason


def _feed_line(text: str) -> RenderableType:
    from rich.text import Text

    return Text(text, "dim", no_wrap=True, overflow="ellipsis")


def _studios(overview: Overview) -> Table:
    from rich.text import Text

    table = _table("studio", "tier", "seen", "updates in time", "epsilon left", "version")
    for one in overview.studios:
        seen = "not known (no SuperLink)" if one.online is None else "online" if one.online else "offline"
        if one.online is False and one.last_seen is not None:
            seen = f"offline since {datetime.fromtimestamp(one.last_seen):%Y-%m-%d %H:%M:%S}"
        late = f", {one.late} late" if one.late else ""
        table.add_row(
            one.name,
            one.size_tier,
            Text(seen if one.admitted else "revoked", STYLES.get(seen, "") if one.admitted else "red"),
            f"{one.returned} of {one.rounds}{late}" if one.named else "not in this plan",
            "not shared" if one.epsilon_left is None else f"{one.epsilon_left:.2f}",
            {"same": "same as here", "other": "another", "unknown": "not known yet"}[one.installation],
        )
    return table


def _releases(overview: Overview, newest: int | None) -> Table:
    from rich.text import Text

    table = _table("release", "state", "error %", "best baseline %", "by", "why")
    for one in overview.releases.releases[:newest]:
        table.add_row(
            str(one.number),
            Text(one.state, STYLES.get(one.state, "")),
            f"{one.error:.3f}",
            f"{one.best_baseline_error:.3f} ({one.best_baseline})",
            one.made_by,
            Text(one.reason),
        )
    return table


def _table(*headings: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading)
    return table
