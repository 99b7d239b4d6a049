"""``fedroto round``: rounds carried by hand as signed files, for studios without any line."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import typer

from federation.cli.coordinator import HOME_HELP as COORDINATOR_HELP
from federation.cli.options import coordinator_home, studio_home
from federation.cli.output import Json, show
from federation.cli.studio import HOME_HELP as STUDIO_HELP

app = typer.Typer(no_args_is_help=True, help="Rounds carried by hand, for studios without any line.")
StudioHomeOption = studio_home(STUDIO_HELP)
CoordinatorHomeOption = coordinator_home(COORDINATOR_HELP)


@app.command("export", epilog="Example: fedroto round export alder --home fed")
def export_round(
    studio: str = typer.Argument(..., help="The studio that the question is for."),
    home: Path = CoordinatorHomeOption,
    campaign: str | None = typer.Option(None, help="The campaign; default: the newest question of any."),
    output: Path | None = typer.Option(None, "--output", help="The file to write; default: here, by name."),
    as_json: bool = Json,
) -> None:
    """Write the open round's question for a carried studio to a file; it is signed and holds no secret."""
    from aggregator.carried_rounds import export_question

    result = export_question(home, studio, output, campaign=campaign)
    until = datetime.fromtimestamp(result.expires_at, UTC)
    show(
        result,
        as_json,
        lambda done: (
            f"{done.file}: round {done.server_round} of {done.campaign}, to be answered by {until:%Y-%m-%d %H:%M} UTC"
        ),
    )


@app.command("answer", epilog="Example: fedroto round answer autumn-0001-alder.question --home node")
def answer_round(
    question: Path = typer.Argument(..., help="The .question that was carried here."),
    home: Path = StudioHomeOption,
    output: Path | None = typer.Option(
        None, "--output", help="The answer's file; default: beside the question."
    ),
    as_json: bool = Json,
) -> None:
    """Let this studio's runner train on a carried question and write the signed answer; charged as any round."""
    from studio_node.carried_rounds import answer_question
    from studio_node.runner import JOURNAL_NAME

    result = answer_question(home, question, output)
    said = "the update"
    if result.refusal is not None:
        said = f"a refusal ({result.refusal.name}; why: {home / JOURNAL_NAME})"
    show(
        result,
        as_json,
        lambda done: f"{done.answer}: {said}, {done.size_bytes} bytes; all of it: fedroto egress log",
    )
    if result.refusal is not None:
        raise typer.Exit(1)


@app.command("import", epilog="Example: fedroto round import autumn-0001-alder.answer --home fed")
def import_round(
    answer: Path = typer.Argument(..., help="The .answer that was carried back."),
    home: Path = CoordinatorHomeOption,
    as_json: bool = Json,
) -> None:
    """Take in a carried answer, if the studio's own key signed it for a question that was asked."""
    from aggregator.carried_rounds import import_answer

    result = import_answer(home, answer)
    said = "a refusal" if result.is_refusal else "the update"
    show(
        result,
        as_json,
        lambda done: f"{said} of {done.studio} for round {done.server_round} of {done.campaign} is taken in",
    )
