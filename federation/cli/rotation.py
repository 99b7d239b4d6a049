"""``fedroto studio rotate``, ``fedroto coordinator rotate`` and ``renew-certificate``: keys change, rounds go on."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from federation.cli.confirmation import confirmed
from federation.cli.coordinator import HOME_HELP as COORDINATOR_HELP
from federation.cli.options import coordinator_home, studio_home
from federation.cli.output import Json, show
from federation.cli.studio import HOME_HELP as STUDIO_HELP

if TYPE_CHECKING:
    from federation.studio_rotation import SentRotation

StudioHomeOption = studio_home(STUDIO_HELP)
CoordinatorHomeOption = coordinator_home(COORDINATOR_HELP)


def register(studio: typer.Typer, coordinator: typer.Typer) -> None:
    """Add the commands to the two sides' groups."""
    studio.command("rotate", epilog="Example: fedroto studio rotate --home node")(studio_rotate)
    coordinator.command("rotate", epilog="Example: fedroto coordinator rotate alder --home fed")(
        coordinator_rotate
    )
    coordinator.command(
        "renew-certificate", epilog="Example: fedroto coordinator renew-certificate --home fed"
    )(renew_certificate)


def studio_rotate(home: Path = StudioHomeOption, as_json: bool = Json) -> None:
    """Make the studio's next node key and the request for it; the running node takes it when the old one is retired."""
    from federation.studio_rotation import begin_rotation, send_rotation

    show(send_rotation(home, begin_rotation(home, now=datetime.now(UTC))), as_json, _sent_text)


def _sent_text(begun: SentRotation) -> str:
    if begun.sent_to is None:
        way = f"it was not sent ({begun.why_not_sent}); send {begun.request} to the coordinator another way"
    else:
        way = f"the request waits at {begun.sent_to}, signed by the present key"
    return (
        f"next node key  {begun.fingerprint}\n{way}\nread the fingerprint out by phone; until the coordinator has "
        "rotated the present key stays in use, then the running uplink goes on with the next one by itself"
    )


def coordinator_rotate(
    request: str = typer.Argument(
        ...,
        metavar="REQUEST|STUDIO",
        help="The .join-request that fedroto studio rotate wrote, or its studio.",
    ),
    home: Path = CoordinatorHomeOption,
    fingerprint: str | None = typer.Option(
        None, help="The new key's fingerprint, as the studio read it out; without it you are asked."
    ),
    kit: Path | None = typer.Option(None, help="Where the new kit goes; default: beside the request."),
    as_json: bool = Json,
) -> None:
    """Give an admitted studio its new key; the old one is refused within seconds, and rounds go on."""
    from aggregator.admission import rotate
    from aggregator.waiting_room import request_file

    file = request_file(home, request, fingerprint)
    result = rotate(home, file, kit, now=datetime.now(UTC), confirm=confirmed(fingerprint))
    show(
        result,
        as_json,
        lambda done: (
            f"{done.studio} has the new key {done.fingerprint}; its running uplink takes it by itself\n"
            f"its kit with the new key, where one is wanted: {done.kit}"
        ),
    )


def renew_certificate(home: Path = CoordinatorHomeOption, as_json: bool = Json) -> None:
    """Issue the server's certificate anew; what shows it is started again within seconds, and studios try again."""
    from federation.config import load_federation_config
    from federation.homes import CoordinatorHome
    from federation.set_up import renew_server_certificate

    config = load_federation_config(CoordinatorHome(home).config)
    ends = renew_server_certificate(home, config, now=datetime.now(UTC))
    show(
        {"holds_until": ends.isoformat(), "hosts": config.hosts},
        as_json,
        lambda done: (
            f"the certificate for {', '.join(done['hosts'])} holds until {done['holds_until'][:10]}\n"
            "studios need nothing new: their kit names the authority, not this certificate"
        ),
    )
