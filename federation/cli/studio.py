"""``fedroto studio``, ``fedroto ledger`` and ``fedroto egress``: what a studio's TD and security team run."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import typer

from federation.cli.options import JsonErrors, studio_home
from federation.cli.output import Json, progress, show, table

app = typer.Typer(no_args_is_help=True, help="A studio's node: join, ingest, train.")
ledger_app = typer.Typer(no_args_is_help=True, help="What a studio's privacy budget was spent on.")
egress_app = typer.Typer(no_args_is_help=True, help="What left a studio, byte for byte.")
ADDRESS = r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}"
HOME_HELP = "The studio's folder: keys, ledger, catalogue, packs."
Home = studio_home(HOME_HELP)


@app.command(epilog="Example: fedroto studio init --home node --name alder --federation north")
def init(
    home: Path = typer.Option(..., "--home", help=HOME_HELP),
    name: str = typer.Option(..., help="The studio's name in the federation: a-z, 0-9, . _ -"),
    federation: str = typer.Option(..., help="The federation's name."),
    tier: str = typer.Option("s", help="Size tier to ask for: a public bucket of shot counts."),
    as_json: bool = Json,
) -> None:
    """Make the studio's keys here and write the join request, which holds no secret."""
    from federation.config import StudioConfig
    from federation.set_up import init_studio

    config = StudioConfig.from_fields({"name": name, "federation": federation})
    result = init_studio(home, config, size_tier=tier, now=datetime.now(UTC))
    show(
        result,
        as_json,
        lambda done: (
            f"{done.home} is set up\nnode key  {done.fingerprint}\n"
            f"send {done.request} to the coordinator, or join by its address: fedroto studio join HOST:PORT\n"
            f"no secret is in the request, and the private key never leaves {done.home}"
        ),
    )


@app.command(epilog="Example: fedroto studio join fed.example.org:9444 --home node --fingerprint SHA256:...")
def join(
    kit: str = typer.Argument(
        ...,
        metavar="KIT|HOST:PORT",
        help="The join kit that came back, or the coordinator's service to ask for it.",
    ),
    home: Path = Home,
    fingerprint: str | None = typer.Option(None, help="The plan key's fingerprint, as read out by phone."),
    wait: float = typer.Option(
        600.0, help="Seconds to wait, by address, for the coordinator to admit this studio."
    ),
    as_json: bool = Json,
) -> None:
    """Join by a kit or by the coordinator's address, and say exactly what will leave this studio."""
    from federation import set_up
    from federation.flower.bundle import build_bundle, bundle_digest
    from federation.joining import join_by_address

    digest = bundle_digest(build_bundle())
    if Path(kit).exists() or not re.fullmatch(ADDRESS, kit):
        joined = set_up.join(
            home,
            _read(Path(kit)),
            now=datetime.now(UTC),
            bundle_digest=digest,
            plan_key_fingerprint=fingerprint,
        )
    elif fingerprint is None:
        raise typer.BadParameter(
            "joining by address needs --fingerprint, as the coordinator reads it out by phone"
        )
    else:
        joined = join_by_address(home, kit, fingerprint, wait_s=wait, bundle_digest=digest, progress=progress)
    result = {
        "federation": joined.federation,
        "studio": joined.studio,
        "size_tier": joined.size_tier,
        "fleet_address": joined.fleet_address,
        "service_address": joined.service_address,
    }
    show(
        result,
        as_json,
        lambda done: (
            f"{done['studio']} joined {done['federation']} at {done['fleet_address']}, size tier {done['size_tier']}\n"
            "what leaves this building: one noised array of weight differences a round, the plan's id, "
            "the ledger's head and a signature over them; nothing else\n"
            "see it: fedroto egress preview, fedroto egress log"
        ),
    )


@app.command(epilog="Example: fedroto studio rounds --home node")
def rounds(
    home: Path = Home,
    campaign: str | None = typer.Option(None, help="Its name; default: the newest."),
    as_json: bool = Json,
) -> None:
    """Ask the coordinator where the rounds stand, and this studio in them."""
    from federation.joining import ask_rounds

    show(ask_rounds(home, campaign), as_json, _rounds_text)


@app.command(epilog="Example: fedroto studio consent SHOW --home node --by 'contract 12' --until 2027-12-31")
def consent(
    show_name: str = typer.Argument(..., metavar="SHOW", help="The show's name, as given to ingest."),
    home: Path = Home,
    by: str = typer.Option(..., "--by", help="Who allows it: a name, a contract, a ticket."),
    until: datetime | None = typer.Option(
        None, formats=["%Y-%m-%d"], help="Last day, inclusive; default: no end."
    ),
    epsilon_lifetime: float | None = typer.Option(
        None, help="A cap of the show's own on the privacy loss of a shot; it can only narrow the studio's."
    ),
    withdraw: bool = typer.Option(False, "--withdraw", help="Training on this show is no longer allowed."),
    as_json: bool = Json,
) -> None:
    """Allow training on a show, or withdraw it; without consent a show is never trained on."""
    from federation.config import ShowConsent
    from federation.set_up import record_consent

    last: date | None = until.date() if until else None
    fields = {"allowed_until": last, "allowed_by": by, "epsilon_lifetime": epsilon_lifetime}
    entry = ShowConsent.from_fields({"training_allowed": not withdraw, **fields})
    record_consent(home, show_name, entry)
    show(
        {"show": show_name, "training_allowed": not withdraw},
        as_json,
        lambda done: (
            f"{done['show']}: training {'allowed' if done['training_allowed'] else 'withdrawn'} by {by}"
        ),
    )


@app.command(epilog="Example: fedroto studio run --home node --isolate")
def run(
    home: Path = Home,
    isolate: bool = typer.Option(
        False,
        "--isolate",
        help="Give the runner no network: a namespace of its own, only its socket leads out.",
    ),
    as_json: bool = JsonErrors,
) -> None:
    """Serve rounds until stopped: a runner that reads plates and an uplink that has the network, as two processes."""
    from studio_node.node import run as run_node

    raise typer.Exit(run_node(home, progress=progress, isolate=isolate))


@app.command(epilog="Example: fedroto studio runner --home node")
def runner(home: Path = Home, as_json: bool = JsonErrors) -> None:
    """Only the runner, for a user or container that can read plates and has no network."""
    from studio_node.runner import run as run_runner

    raise typer.Exit(run_runner(home))


@app.command(epilog="Example: fedroto studio uplink --home node")
def uplink(home: Path = Home, as_json: bool = JsonErrors) -> None:
    """Only the uplink, for a user that has the network and cannot read plates."""
    from studio_node.uplink import run as run_uplink

    run_uplink(home)


@ledger_app.command("show", epilog="Example: fedroto ledger show --home node")
def ledger_show(home: Path = Home, as_json: bool = Json) -> None:
    """Show what each show's shots were charged, what is left, and every charge."""
    from studio_node.ledger_report import show_ledger

    show(show_ledger(home), as_json, _ledger_text)


@ledger_app.command("verify", epilog="Example: fedroto ledger verify --home node")
def ledger_verify(home: Path = Home, as_json: bool = Json) -> None:
    """Check every record and hash, and that all that left was charged; ends with status 4 if anything is wrong."""
    from federation.errors import LedgerError
    from studio_node.ledger_report import verify_ledger

    result = verify_ledger(home)
    verdict = "the ledger holds" if result.intact else f"the ledger does not hold: {result.problem}"
    show(
        result,
        as_json,
        lambda done: (
            f"{verdict}\n{done.records} records, head {done.head_sequence}:{done.head_hash}\n"
            f"{done.updates_left} updates left, each under a charge of this ledger; "
            f"{done.charges_kept} stored and never sent"
            if done.intact
            else verdict
        ),
    )
    if not result.intact:
        raise typer.Exit(LedgerError.exit_code)


@ledger_app.command("export", epilog="Example: fedroto ledger export ledger.jsonl --home node")
def ledger_export(
    output: Path = typer.Argument(..., help="File to write: one JSON record a line. It names shows."),
    home: Path = Home,
    as_json: bool = Json,
) -> None:
    """Write the ledger for an auditor, record by record with its hashes."""
    from studio_node.ledger_report import export_ledger

    result = export_ledger(home, output)
    show(
        {"output": output, "records": result.records, "sha256": result.sha256},
        as_json,
        lambda done: f"{done['records']} records in {done['output']}, sha256 {done['sha256']}",
    )


@ledger_app.command("adopt", epilog="Example: fedroto ledger adopt 12:9f2c...e1 --home node")
def ledger_adopt(
    head: str = typer.Argument(
        ..., help="SEQUENCE:HASH, the head that the coordinator has seen; the runner's log names it."
    ),
    home: Path = Home,
    as_json: bool = Json,
) -> None:
    """Go on with a restored ledger: every show that is here now counts as spent, since nobody knows what was lost."""
    from federation.plan import LedgerHead
    from studio_node.ledger_adoption import adopt_head

    sequence, _, digest = head.partition(":")
    if not sequence.isdigit() or len(digest) != 64 or set(digest) - set("0123456789abcdef"):
        raise typer.BadParameter(f"{head!r} is not SEQUENCE:HASH with a hash of 64 hexadecimal digits")
    result = adopt_head(
        home, LedgerHead(sequence=int(sequence), hash=digest), now=int(datetime.now(UTC).timestamp())
    )
    show(
        result,
        as_json,
        lambda done: (
            f"the ledger goes on at record {done.head.sequence}; "
            f"spent for good: {', '.join(done.exhausted) or 'no show'}"
        ),
    )


@egress_app.command("log", epilog="Example: fedroto egress log --home node")
def egress_log(home: Path = Home, as_json: bool = Json) -> None:
    """List everything that left this studio: when, for which round, how many bytes, which hash."""
    from studio_node.egress_log import read_log

    result = read_log(home)
    show(
        {"lines": result.lines, "size_bytes": result.size_bytes, "torn": result.torn},
        as_json,
        lambda done: (
            table(
                ["time", "campaign", "round", "bytes", "sha256"],
                [
                    [
                        datetime.fromtimestamp(line.time, UTC).isoformat(timespec="seconds"),
                        line.campaign,
                        line.server_round,
                        line.size_bytes,
                        line.sha256,
                    ]
                    for line in done["lines"]
                ],
            )
            + f"\n{done['size_bytes']} bytes left in all"
        ),
    )


@egress_app.command("preview", epilog="Example: fedroto egress preview --home node")
def egress_preview(home: Path = Home, as_json: bool = Json) -> None:
    """Show exactly what would leave: every field of an update, and the updates that are stored."""
    from studio_node.egress_preview import preview_egress

    show(preview_egress(home), as_json, _preview_text)


def _read(path: Path) -> bytes:
    from federation.documents import DOCUMENT_BYTES_MAX
    from federation.durable import read_bounded

    return read_bounded(path, 2 * DOCUMENT_BYTES_MAX)


def _rounds_text(view: Any) -> str:
    text = f"{view.campaign} is {view.state}: round {view.server_round} of {view.rounds_planned}"
    if not view.server_round:
        return f"{text}, none was begun"
    deadline = datetime.fromtimestamp(view.deadline_at, UTC).isoformat(timespec="seconds")
    return (
        f"{text} is {view.phase}, {view.returned} of {view.named} returned, quorum {view.quorum}, deadline {deadline}\n"
        f"this studio: {view.standing}"
    )


def _ledger_text(view: Any) -> str:
    accounts = table(
        ["show", "epsilon of a shot", "delta", "cap", "used", "charges", "left"],
        [
            [
                one.show,
                f"{one.epsilon:.3f}",
                f"{one.delta:g}",
                f"{one.epsilon_lifetime:g}",
                f"{one.lifetime_used:.0%}",
                one.charges,
                one.charges_left,
            ]
            for one in view.accounts
        ],
    )
    charges = table(
        ["record", "campaign", "round", "steps", "outcome"],
        [[one.sequence, one.campaign, one.server_round, one.steps, one.outcome] for one in view.charges],
    )
    head = f"head: record {view.head_sequence}, {view.head_hash}"
    return f"{accounts}\n\n{charges}\n\n{head}"


def _preview_text(preview: Any) -> str:
    fields = table(["field", "type"], [[one.name, one.type] for one in preview.form])
    stored = table(
        ["campaign", "bytes", "sha256", "stored update"],
        [[one.campaign, one.size_bytes, one.sha256, one.path] for one in preview.stored],
    )
    return f"an update has exactly these fields, {preview.form_bytes} bytes in all:\n{fields}\n\n{stored}"
