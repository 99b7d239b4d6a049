"""``fedroto coordinator``: what the coordinator of a federation runs."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer

from federation.cli.confirmation import confirmed
from federation.cli.options import JsonErrors, coordinator_home
from federation.cli.output import Json, progress, show, table

app = typer.Typer(
    no_args_is_help=True, help="A federation's coordinator: admit studios, run rounds, release."
)
TEXT_SETTINGS = frozenset({"aggregation"})
HOME_HELP = "The coordinator's folder: keys, enrolment, campaigns, releases."
Home = coordinator_home(HOME_HELP)


@app.command(epilog="Example: fedroto coordinator init --home fed --name north --host fed.example.org")
def init(
    home: Path = typer.Option(..., "--home", help=HOME_HELP),
    name: str = typer.Option(..., help="The federation's name: a-z, 0-9, . _ -"),
    host: list[str] = typer.Option(
        ...,
        help="DNS name or address that studios dial; the first one stands in the join kits. Repeat for more.",
    ),
    fleet_port: int = typer.Option(9443, help="What studios' uplinks dial."),
    service_port: int = typer.Option(9444, help="gRPC: joining, rounds, releases."),
    superlink_port: int = typer.Option(9100, help="Loopback only."),
    as_json: bool = Json,
) -> None:
    """Make the federation's authority, certificates and signing keys."""
    from federation.config import FederationConfig
    from federation.set_up import init_coordinator

    config = FederationConfig.from_fields(
        {
            "name": name,
            "hosts": host,
            "fleet_port": fleet_port,
            "service_port": service_port,
            "superlink_port": superlink_port,
        }
    )
    result = init_coordinator(home, config, now=datetime.now(UTC))
    show(
        result,
        as_json,
        lambda done: (
            f"{done.home} is set up\nplan key     {done.plan_key}\nrelease key  {done.release_key}\n"
            "read these fingerprints out to studios by phone"
        ),
    )


@app.command(epilog="Example: fedroto coordinator admit alder.join-request --home fed")
def admit(
    request: str = typer.Argument(
        ..., metavar="REQUEST|STUDIO", help="The .join-request that a studio sent, or a studio that waits."
    ),
    home: Path = Home,
    tier: str | None = typer.Option(None, help="Size tier to agree to; default: the one asked for."),
    fingerprint: str | None = typer.Option(
        None, help="The node key's fingerprint, as the studio read it out; without it you are asked."
    ),
    kit: Path | None = typer.Option(None, help="Where the join kit goes; default: beside the request."),
    as_json: bool = Json,
) -> None:
    """Admit a studio and write its join kit, which holds no secret; one that waits fetches it by itself."""
    from aggregator.admission import admit as run_admit
    from aggregator.waiting_room import request_file

    file = request_file(home, request, fingerprint)
    result = run_admit(home, file, kit, now=datetime.now(UTC), size_tier=tier, confirm=confirmed(fingerprint))
    show(
        result,
        as_json,
        lambda done: (
            f"{done.studio} is admitted in size tier {done.size_tier}\n"
            f"{_kit_text(done, home)}\n"
            f"plan key to read out: {done.plan_key}"
        ),
    )


@app.command(epilog="Example: fedroto coordinator waiting --home fed")
def waiting(
    home: Path = Home,
    dismiss: str | None = typer.Option(None, help="Forget this studio's request."),
    fingerprint: str | None = typer.Option(None, help="Of which key, if several call themselves that."),
    as_json: bool = Json,
) -> None:
    """List the join requests that came over the line and wait to be admitted."""
    from aggregator.waiting_room import WaitingRoom

    room = WaitingRoom(home)
    if dismiss is not None:
        room.find(dismiss, fingerprint).file.unlink(missing_ok=True)
    show(
        {"waiting": room.requests()},
        as_json,
        lambda done: table(
            ["studio", "tier", "node key to compare by phone"],
            [[one.studio, one.size_tier, one.fingerprint] for one in done["waiting"]],
        ),
    )


@app.command(epilog="Example: fedroto coordinator revoke alder --home fed")
def revoke(
    studio: str = typer.Argument(..., help="The studio's name."),
    home: Path = Home,
    as_json: bool = Json,
) -> None:
    """Withdraw a studio's key: within seconds it can no longer dial in; lists what was made with its updates."""
    from aggregator.departure import revoke_studio

    show(
        revoke_studio(home, studio, now=int(datetime.now(UTC).timestamp())),
        as_json,
        lambda left: _departure_text(left, home),
    )


@app.command(epilog="Example: fedroto coordinator studios --home fed")
def studios(home: Path = Home, as_json: bool = Json) -> None:
    """List the enrolled studios with their size tiers, states and keys."""
    from aggregator.enrolment import Enrolment

    with Enrolment(home) as enrolment:
        enrolled = enrolment.studios()
    show(
        {"studios": enrolled},
        as_json,
        lambda done: table(
            ["studio", "tier", "state", "key"],
            [[one.name, one.size_tier, one.state, one.fingerprint] for one in done["studios"]],
        ),
    )


@app.command(epilog="Example: fedroto coordinator serve --home fed")
def serve(home: Path = Home, as_json: bool = JsonErrors) -> None:
    """Keep the SuperLink, the fleet proxy, the roster and the release service up until stopped."""
    from aggregator.node import run as run_node

    raise typer.Exit(run_node(home, progress=progress))


@app.command(epilog="Example: fedroto coordinator run --home fed --campaign autumn --set rounds=20")
def run(
    home: Path = Home,
    campaign: str = typer.Option(
        ..., help="A new name begins a campaign; one that is there is gone on with."
    ),
    setting: list[str] | None = typer.Option(
        None, "--set", metavar="NAME=VALUE", help="A setting of the plan, as in federation.toml; repeat."
    ),
    carried: list[str] | None = typer.Option(
        None, help="A studio without any line: its rounds are carried as files, see fedroto round; repeat."
    ),
    check: bool = typer.Option(
        True, help="Measure each round's weights on the public benchmark and roll back what is worse."
    ),
    as_json: bool = Json,
) -> None:
    """Run a campaign's rounds from the newest release; stop and start it again at any point."""
    from aggregator.campaign_run import run as run_campaign

    result = run_campaign(
        home,
        campaign,
        plan_settings(setting),
        carried=carried or (),
        check_rounds=check,
        progress=progress,
    )
    show(result, as_json, campaign_text)
    if result.exit_code:
        raise typer.Exit(result.exit_code)


@app.command(hidden=True, epilog="Example: fedroto coordinator part superlink --home fed")
def part(
    name: str = typer.Argument(..., help="superlink, fleet-proxy, roster or releases."),
    home: Path = Home,
    as_json: bool = JsonErrors,
) -> None:
    """Run one of the standing processes by itself."""
    if name == "superlink":
        from aggregator.superlink import run_superlink

        run_superlink(home)
    elif name == "fleet-proxy":
        from aggregator.fleet_proxy import run_fleet_proxy

        run_fleet_proxy(home)
    elif name == "roster":
        from aggregator.roster_sync import run_roster_sync

        run_roster_sync(home, progress=progress)
    elif name == "releases":
        from aggregator.service import serve as serve_releases

        serve_releases(home)
    else:
        raise typer.BadParameter(f"{name!r} is none of superlink, fleet-proxy, roster, releases")


def _kit_text(admission: Any, home: Path) -> str:
    from federation.homes import CoordinatorHome

    if admission.kit.parent == CoordinatorHome(home).kits:
        return "it waits on the line and takes its join kit by itself"
    return f"send back {admission.kit}"


def _departure_text(left: Any, home: Path) -> str:
    lines = [
        f"{left.studio.name} is {left.studio.state}; its key {left.studio.fingerprint} never comes back",
        "what its shots were charged stays spent: its own ledger keeps it, also if it comes back",
    ]
    for part in left.campaigns:
        rounds = ", ".join(map(str, part.rounds))
        base = f"round {part.last_without}" if part.last_without else f"release {part.base_release}"
        lines.append(f"campaign {part.campaign}: its updates are in rounds {rounds}; none is in {base}")
    made = ", ".join(map(str, left.releases)) or "none"
    lines.append(f"releases made with it: {made}" + ("; artists get one of them now" if left.current else ""))
    if left.campaigns:
        lines.append(
            f"train again without it: fedroto coordinator retrain --home {shlex.quote(str(home))} "
            f"--without {left.studio.name} --restart {left.campaigns[-1].campaign}"
        )
    return "\n".join(lines)


def plan_settings(texts: list[str] | None) -> dict[str, int | float | str]:
    """Read ``--set NAME=VALUE``.

    Raises:
        typer.BadParameter: a value is no number.
    """
    settings: dict[str, int | float | str] = {}
    for text in texts or ():
        name, _, value = text.partition("=")
        if name in TEXT_SETTINGS:
            settings[name] = value
            continue
        try:
            settings[name] = float(value) if any(c in value for c in ".eE") else int(value)
        except ValueError:
            raise typer.BadParameter(f"{text!r} is not NAME=NUMBER") from None
    return settings


def _phase(outcome: Any) -> str:
    return "rolled back" if outcome.rolled_back else str(outcome.phase)


def campaign_text(result: Any) -> str:
    """Say how a campaign's rounds went and what they cost."""
    rows = [
        [one.server_round, _phase(one), len(one.returned), len(one.late), one.bytes_in, one.reason]
        for one in result.rounds
    ]
    cost = ", ".join(f"tier {tier}: epsilon {value:.3f}" for tier, value in result.epsilon.items())
    return (
        table(["round", "state", "returned", "late", "bytes in", "why"], rows)
        + f"\n{result.campaign} is {result.state}: {result.reason}\nmost that a shot was charged: {cost}"
    )
