"""``fedroto coordinator release`` and what may happen to a release afterwards."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from federation.cli.coordinator import HOME_HELP
from federation.cli.options import coordinator_home
from federation.cli.output import Json, progress, show, table

if TYPE_CHECKING:
    from aggregator.release_comparison import ReleaseComparison

Home = coordinator_home(HOME_HELP)
Reason = typer.Option(..., help="Why; everybody who holds the release reads it at the next pull.")


def register(coordinator: typer.Typer) -> None:
    """Add the commands to the coordinator's group."""
    for command, example in (
        (release, "release --home fed --campaign autumn"),
        (releases, "releases --home fed"),
        (promote, "promote 4 --home fed"),
        (withdraw, 'withdraw 4 --home fed --reason "fails on motion blur"'),
        (rollback, 'rollback --home fed --reason "fails on motion blur"'),
        (compare, "compare 3 4 --home fed"),
    ):
        coordinator.command(epilog=f"Example: fedroto coordinator {example}")(command)


def release(
    home: Path = Home,
    base: bool = typer.Option(False, "--base", help="Check and publish the packaged base weights."),
    campaign: str | None = typer.Option(None, help="Check and publish the candidate of this campaign."),
    hold: bool = typer.Option(
        False, "--hold", help="Sign it but hand it out only after: fedroto coordinator promote."
    ),
    as_json: bool = Json,
) -> None:
    """Check weights on the public benchmark and publish them signed, or say why not; status 1 if they do not pass."""
    from aggregator.releasing import release_base, release_candidate

    if base == (campaign is not None):
        raise typer.BadParameter("give either --base or --campaign NAME")
    result = (
        release_base(home, hold=hold, progress=progress)
        if campaign is None
        else release_candidate(home, campaign, hold=hold, progress=progress)
    )
    show(result, as_json, release_text)
    if result.number is None:
        raise typer.Exit(1)


def releases(home: Path = Home, as_json: bool = Json) -> None:
    """List the releases: which one artists get, what each was made by and measured at, which were withdrawn and why."""
    from aggregator.release_list import list_releases

    show(list_releases(home), as_json, _list_text)


def promote(
    number: int = typer.Argument(..., help="Number of a release that is held."),
    home: Path = Home,
    as_json: bool = Json,
) -> None:
    """Hand out a release that was published with --hold."""
    from aggregator.campaign_run import open_registry
    from federation.homes import CoordinatorHome

    result = open_registry(home).promote(number, CoordinatorHome(home).release_private_key)
    show(
        {"number": result.number, "path": result.path},
        as_json,
        lambda done: f"release {done['number']} is what artists get from now on",
    )


def withdraw(
    number: int = typer.Argument(..., help="The release's number."),
    home: Path = Home,
    reason: str = Reason,
    as_json: bool = Json,
) -> None:
    """Hand a release out no more, for ever; whoever holds it is told at the next pull and cannot use it after that."""
    from aggregator.campaign_run import open_registry
    from federation.homes import CoordinatorHome

    registry = open_registry(home)
    registry.withdraw(number, reason, CoordinatorHome(home).release_private_key)
    show(
        {"number": number, "reason": reason, "current": registry.log().current},
        as_json,
        lambda done: (
            f"release {number} is withdrawn; artists get release {done['current']} now"
            if done["current"]
            else f"release {number} is withdrawn; none stands now"
        ),
    )


def rollback(
    home: Path = Home,
    reason: str = Reason,
    to: int | None = typer.Option(None, help="Whose weights come back; default: the newest beneath."),
    as_json: bool = Json,
) -> None:
    """Withdraw the newest release and bring an older one's weights back under the next number; no reader goes back."""
    from aggregator.campaign_run import open_registry
    from federation.homes import CoordinatorHome

    registry = open_registry(home)
    withdrawn = registry.log().current
    result = registry.roll_back(reason, CoordinatorHome(home).release_private_key, to=to)
    show(
        {
            "number": result.number,
            "restores": result.manifest.restores,
            "withdrawn": withdrawn,
            "path": result.path,
        },
        as_json,
        lambda done: (
            f"release {done['withdrawn']} is withdrawn; release {done['number']} has the weights of release "
            f"{done['restores']} and is what artists get from now on"
        ),
    )


def compare(
    old: int = typer.Argument(..., help="Number of the older release."),
    new: int = typer.Argument(..., help="Number of the newer release."),
    home: Path = Home,
    again: bool = typer.Option(
        False, "--again", help="Measure both on the public benchmark now; otherwise their recorded numbers."
    ),
    as_json: bool = Json,
) -> None:
    """Compare two releases: on the public benchmark, how far the weights moved, what each cost in privacy."""
    from aggregator.release_comparison import compare_releases

    show(compare_releases(home, old, new, again=again, progress=progress), as_json, comparison_text)


def release_text(outcome: Any) -> str:
    """Say which gates a candidate passed, and what became of it."""
    gates = table(
        ["gate", "passed", "why"],
        [[gate.name, "yes" if gate.passed else "no", gate.why] for gate in outcome.check.gates],
    )
    if outcome.number is None:
        return f"{gates}\nno release: the previous one stays"
    what = (
        f"published: {outcome.folder}"
        if outcome.promoted
        else f"held; hand it out with: fedroto coordinator promote {outcome.number}"
    )
    return f"{gates}\nrelease {outcome.number} is signed and {what}"


def _list_text(result: Any) -> str:
    rows = [
        [
            one.number,
            one.state,
            f"{datetime.fromtimestamp(one.created_at, UTC):%Y-%m-%d}",
            one.made_by,
            f"{one.error:.3f}",
            f"{one.best_baseline_error:.3f} ({one.best_baseline})",
            ", ".join(f"{tier} {epsilon:.2f}" for tier, epsilon in one.epsilon.items()) or "-",
            one.reason or "",
        ]
        for one in result.releases
    ]
    head = ["release", "state", "made", "by", "error %", "best baseline %", "epsilon by tier", "why"]
    log = f"log of releases: {result.log_entries} entries, head {result.log_head[:16]}"
    return f"{table(head, rows)}\n{log}" if rows else "no release is published yet"


def comparison_text(result: ReleaseComparison) -> str:
    """Say which of two releases is better, and what each cost."""
    old, new, by = result.old, result.new, result.difference
    rows = [[name, f"{error:.3f}"] for name, error in result.baselines.items()]
    rows += [[f"release {side.number}", f"{side.error:.3f}"] for side in (old, new)]
    rows.sort(key=lambda row: float(row[1]))
    costs = [
        f"release {side.number} cost a shot of tier {tier} at most epsilon {epsilon:.2f}"
        for side in (old, new)
        for tier, epsilon in side.epsilon.items()
    ]
    verdict = "better" if by.upper < 0 else "worse" if by.lower > 0 else "not told apart"
    return "\n".join(
        [
            f"{result.benchmark}, {'measured now' if result.measured_now else 'as recorded when they were made'}",
            table(["method", "boundary error %"], rows),
            f"release {new.number} against {old.number}: {verdict}; mean difference {by.mean:+.4f}, 95% interval "
            f"{by.lower:+.4f} to {by.upper:+.4f}; better on {result.clips_better} of {result.clips} clips",
            f"the weights moved by {result.weights_moved:.2%} of their length",
            *costs,
        ]
    )
