"""``fedroto audit``: evidence for a studio's lawyer and security team, made on their own machine."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import typer

from federation.cli.options import studio_home
from federation.cli.output import Json, progress, show, table

Home = studio_home("A studio's folder, whose node key signs the report.", required=False)


def register(app: typer.Typer) -> None:
    """Add the command to the tree."""
    app.command(epilog="Example: fedroto audit --level 2 --home node --output audit")(audit)


def audit(
    level: int = typer.Option(
        1, min=1, max=3, help="1: the mechanism (seconds); 2: and canaries (minutes); 3: and reconstruction."
    ),
    home: Path | None = Home,
    plan: Path | None = typer.Option(
        None, help="Plan whose constants are claimed; default: those that a new plan has."
    ),
    output: Path = typer.Option(Path("audit"), help="Folder for audit.json and audit.html."),
    membership: int = typer.Option(
        0,
        min=0,
        help="Also try to tell who was trained on, by so many whole trainings with the plan's noise and as many "
        "without, some 3 s each; 64 or more say something.",
    ),
    check: Path | None = typer.Option(
        None,
        help="Audit nothing; check signature and page of the report in this folder (with --key or --home).",
    ),
    key: Path | None = typer.Option(
        None, help="For --check: the studio's node_key.pub, as it gave it to you."
    ),
    as_json: bool = Json,
) -> None:
    """Attack the installed training code with made-up data; ends with status 4 if a claim is contradicted.

    What it finds is a lower bound, not proof. No picture and no shot of a studio is read.
    """
    if check is not None:
        show(_checked(check, key, home), as_json, _checked_text)
        return
    import torch

    from federation.errors import EgressError
    from studio_node.audit.auditor import run_audit

    torch.set_num_threads(1)
    outcome = run_audit(
        level, output, now=int(time.time()), home=home, plan=plan, trainings=membership, progress=progress
    )
    result = outcome.report.payload() | {
        "document": outcome.files.document,
        "page": outcome.files.page,
        "signed": outcome.files.signed,
    }
    show(result, as_json, _audit_text)
    if not outcome.report.holds:
        raise typer.Exit(EgressError.exit_code)


def _checked(folder: Path, key: Path | None, home: Path | None) -> dict[str, Any]:
    from federation.durable import read_bounded
    from federation.errors import ConfigError
    from federation.homes import StudioHome
    from federation.keys import KEY_FILE_BYTES_MAX, fingerprint, read_openssh_public
    from studio_node.audit.report_files import check_report

    if key is None and home is not None:
        key = StudioHome(home).node_key.with_suffix(".pub")
    if key is None:
        raise ConfigError("a report is checked against a key", hint="name the studio's: --key node_key.pub")
    public = read_openssh_public(read_bounded(key, KEY_FILE_BYTES_MAX).strip())
    return check_report(folder, public) | {"node_key": fingerprint(public)}


def _checked_text(result: Any) -> str:
    verdict = "nothing contradicted the claims" if result["holds"] else "A CLAIM WAS CONTRADICTED"
    return (
        f"signed by node key {result['node_key']} of studio {result['studio']}; the page beside it is the one that was "
        f"signed for\nlevel {result['level']}: {verdict}; a {result['label']}"
    )


def _audit_text(result: Any) -> str:
    rows = [
        [
            one["name"],
            _short(one["measured"]),
            _short(one["limit"]),
            "holds" if one["holds"] else "CONTRADICTED",
        ]
        for one in result["findings"]
    ]
    lines = [table(["check", "measured", "honest limit", "outcome"], rows)]
    if result["canaries"]:
        rows = [
            [
                one["claim"]["name"],
                f"{one['claim']['epsilon']:.2f}",
                f"{max(one['one_run'], one['independent'], one['independent_gaussian']):.2f}",
                "CONTRADICTED" if one["fires"] else "holds",
            ]
            for one in result["canaries"]
        ]
        lines.append(table(["canaries", "epsilon claimed", "at least", "outcome"], rows))
    if result["reconstruction"] is not None:
        rows = [
            [one["name"], f"{one['error_px']:.3g}", f"{one['likeness']:.2f}"]
            for one in result["reconstruction"]["releases"]
        ]
        lines.append(table(["reconstruction from a release with", "px off", "likeness"], rows))
    if result["membership"] is not None:
        rows = [
            [one["score"], f"{one['noise_multiplier']:g}", f"{one['shot_right']:.2f}", f"{one['caught']:.0%}"]
            for one in result["membership"]["recognised"]
        ]
        lines.append(
            table(["membership by", "noise multiplier", "right of two", "named at 1% false alarms"], rows)
        )
    verdict = "nothing contradicts the claims" if result["holds"] else "A CLAIM IS CONTRADICTED"
    signed = "signed" if result["signed"] else "not signed (no --home)"
    lines.append(f"{verdict}; this is a {result['label']}\n{result['document']} ({signed}), {result['page']}")
    return "\n\n".join(lines)


def _short(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"
