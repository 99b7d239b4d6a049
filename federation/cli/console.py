"""``fedroto coordinator console`` and ``report``: the federation on a page of this machine, and in a file to keep."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from federation.cli.coordinator import HOME_HELP
from federation.cli.options import coordinator_home
from federation.cli.output import Json, show

Home = coordinator_home(HOME_HELP)


def register(coordinator: typer.Typer) -> None:
    """Add the commands to the coordinator's group."""
    coordinator.command(epilog="Example: fedroto coordinator console --home fed")(console)
    coordinator.command(
        epilog="Example: fedroto coordinator report --home fed --campaign autumn -o autumn.html"
    )(report)


def console(
    home: Path = Home,
    port: int = typer.Option(0, help="Port on 127.0.0.1; 0 takes a free one."),
    token_file: Path | None = typer.Option(
        None,
        help="Keep the token in this file (0600, made if missing), so that it outlives a restart: for Prometheus.",
    ),
    browser: bool = typer.Option(True, "--browser/--no-browser", help="Open the page in the browser."),
    as_json: bool = Json,
) -> None:
    """Watch the federation on a page: rounds as they go, studios, benchmark, privacy cost, releases. It only reads.

    The page is served on 127.0.0.1 to whoever has its address; from another machine use an SSH tunnel
    (ssh -L PORT:127.0.0.1:PORT). Ctrl-C ends it and changes nothing. /metrics is for Prometheus, with the same token.
    """
    from aggregator.console.server import open_console

    def told(address: str) -> None:
        typer.echo(json.dumps({"address": address}) if as_json else f"console: {address}")
        if not as_json:
            typer.echo("console: it reads and never writes; Ctrl-C ends it")
        if browser and not as_json:
            typer.launch(address)

    open_console(home, port=port, token_file=token_file, on_open=told)


def report(
    home: Path = Home,
    campaign: str | None = typer.Option(
        None, help="The campaign's name; default: the one that something happened in last."
    ),
    output: Path | None = typer.Option(None, "-o", "--output", help="Write the report as one HTML file."),
    tensorboard: Path | None = typer.Option(
        None, "--tensorboard", help="Write the curves as a TensorBoard run below this folder."
    ),
    as_json: bool = Json,
) -> None:
    """Keep a campaign for the archive: one HTML file without a script, or its curves for TensorBoard."""
    import time

    from aggregator.overview import Overviews
    from aggregator.plan_cost import PlanCosts

    if output is None and tensorboard is None:
        raise typer.BadParameter("say what to write: -o FILE.html, --tensorboard FOLDER, or both")
    overview = Overviews(home, PlanCosts()).take(now=time.time(), nodes=None, campaign=campaign, wait=True)
    values = None
    if output is not None:
        from aggregator.console.report import report as write
        from federation.durable import write_atomic

        write_atomic(output, write(overview).encode())
    if tensorboard is not None:
        from aggregator.console.tensorboard import export_tensorboard

        values = export_tensorboard(overview, tensorboard)
    show(
        {"report": output, "tensorboard": tensorboard, "values": values},
        as_json,
        lambda done: "\n".join(
            f"{what} written: {done[what]}" for what in ("report", "tensorboard") if done[what] is not None
        ),
    )
