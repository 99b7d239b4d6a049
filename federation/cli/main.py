"""The command tree and the one place where errors become text and exit codes.

Exit codes: 0 done; 1 refused or failed; 2 wrong usage or configuration; 3 identity, signature or release not trusted;
4 privacy guard (ledger, egress); 5 a round or campaign did not reach its quorum; 130 interrupted. Any other exception
is a bug and keeps its traceback.
"""

from __future__ import annotations

import sys

import click
import typer

from federation.cli import (
    archive,
    artist,
    audit,
    bridge,
    console,
    coordinator,
    demo,
    desk,
    doctor,
    gain,
    model,
    plates,
    releases,
    retraining,
    rotation,
    rounds,
    shapes,
    status,
    studio,
    tune,
)
from federation.cli.output import fail
from federation.errors import FedrotoError
from model.errors import ModelError

app = typer.Typer(
    name="fedroto",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Federated, privacy-preserving training of a rotoscoping model: better keyframes for artists, "
    "and no image ever leaves a studio.",
)
demo.register(app)
doctor.register(app)
artist.register(app)
audit.register(app)
rotation.register(studio.app, coordinator.app)
releases.register(coordinator.app)
retraining.register(coordinator.app)
console.register(coordinator.app)
status.register(coordinator.app)
archive.register(studio.app)
gain.register(studio.app)
desk.register(app)
tune.register(app)
bridge.register(app)
app.add_typer(studio.app, name="studio")
app.add_typer(studio.ledger_app, name="ledger")
app.add_typer(studio.egress_app, name="egress")
app.add_typer(coordinator.app, name="coordinator")
app.add_typer(rounds.app, name="round")
app.add_typer(plates.app, name="plates")
app.add_typer(shapes.app, name="shapes")
app.add_typer(model.app, name="model")


@app.callback(invoke_without_command=True)
def _version(
    version: bool = typer.Option(False, "--version", help="Print the installed version and exit."),
) -> None:
    if version:
        from importlib.metadata import version as installed

        typer.echo(f"fedroto {installed('fedroto')}")
        raise typer.Exit


def main() -> None:
    """Run the command line and end the process with its exit code."""
    as_json = "--json" in sys.argv
    try:
        status = app(prog_name="fedroto", standalone_mode=False)
        if status == StoppedError.exit_code:  # what typer makes of Ctrl-C
            raise StoppedError
    except click.exceptions.Abort:
        fail(StoppedError(), as_json)
        sys.exit(StoppedError.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.ClickException as error:
        fail(UsageError.of(error), as_json)
        sys.exit(error.exit_code)
    except FedrotoError as error:
        fail(error, as_json)
        sys.exit(error.exit_code)
    except ModelError as error:
        fail(error, as_json)
        sys.exit(1)
    sys.exit(status if isinstance(status, int) else 0)


class StoppedError(FedrotoError):
    """The person stopped the command."""

    exit_code = 130

    def __init__(self) -> None:
        super().__init__("interrupted")


class UsageError(FedrotoError):
    """The command line itself cannot be understood."""

    @classmethod
    def of(cls, error: click.ClickException) -> UsageError:
        """Say in our own form what click has found."""
        text = error.format_message().rstrip(".")
        context = error.ctx if isinstance(error, click.UsageError) else None
        command = context.command_path if context else "fedroto"
        return cls(text[:1].lower() + text[1:], hint=f"see: {command} --help")
