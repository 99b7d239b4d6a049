"""``fedroto bridge``: the process that the Nuke panel starts and talks to."""

from __future__ import annotations

import typer

from federation.cli.output import Json, show


def register(app: typer.Typer) -> None:
    """Add the command to the command tree."""
    app.command(epilog="Example: fedroto bridge --where")(bridge)


def bridge(
    where: bool = typer.Option(
        False, "--where", help="Print the folder to add to Nuke's plug-in path, and end."
    ),
    as_json: bool = Json,
) -> None:
    """Answer the Nuke panel on stdin and stdout until stdin ends; the panel starts this by itself.

    Add the panel's folder once to ~/.nuke/init.py: nuke.pluginAddPath("FOLDER"). Nothing listens on any port.
    """
    import json
    import os
    import sys
    from importlib.resources import files

    if where:
        folder = str(files("studio_node") / "nuke")
        show({"folder": folder}, as_json, lambda found: found["folder"])
        return
    # Whatever a library prints must not come between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)
    from studio_node.bridge import serve

    def say(message: dict[str, object]) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    serve(sys.stdin, say)
