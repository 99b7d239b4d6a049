"""``fedroto studio gain`` and ``hold-back``: what the federation is worth to this studio, measured at home."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from federation.cli.options import studio_home
from federation.cli.output import Json, progress, show, table
from federation.cli.studio import HOME_HELP

Home = studio_home(HOME_HELP)


def register(studio: typer.Typer) -> None:
    """Add the command to the studio's group."""
    studio.command(epilog="Example: fedroto studio gain /mnt/shows/HELD_BACK --home node --release releases")(
        gain
    )
    studio.command(epilog="Example: fedroto studio hold-back sh010 sh045 sh120 --home node")(hold_back)


def gain(
    source: list[Path] = typer.Argument(
        ..., help="Folders of approved shots that training never sees: not ingested, or held back."
    ),
    home: Path = Home,
    release: Path | None = typer.Option(
        None, "--release", help="A pulled release, verified before use; or the folder that holds several."
    ),
    own: Path | None = typer.Option(None, "--own", help="Weights tuned from the release: fedroto tune."),
    alone: Path | None = typer.Option(
        None, "--alone", help="Weights tuned from the packaged base: what this studio has without the others."
    ),
    minutes_per_key: float = typer.Option(1.5, help="What a key takes an artist here."),
    rate: float | None = typer.Option(None, help="What an artist's hour costs, in your own currency."),
    tolerance_px: float = typer.Option(1.5, help="How far a frame may be off, plate pixels."),
    tolerance_percent: float = typer.Option(1.0, help="The same in percent of the outline's size."),
    page: Path | None = typer.Option(
        None, "--page", help="The private HTML page; default: reports/gain.html in the home."
    ),
    as_json: bool = Json,
) -> None:
    """Measure on held-back shots how many keys and hours a release saves, against base, own tuning and trackers.

    The result is private: it is written on this machine only, and no command sends it. A noised number for those who
    want to share one: fedroto studio hold-back.
    """
    from federation.config import STUDIO_CONFIG, load_studio_config
    from federation.durable import make_private_dir, write_atomic
    from federation.held_releases import verified_release
    from studio_node.gain import Tolerance, measure_gain
    from studio_node.gain_page import gain_page
    from studio_node.held_back import trained_shots
    from studio_node.predict_shot import load_model
    from studio_node.shot_folders import find_shots
    from studio_node.withdrawal import REPORTS_FOLDER

    studio = load_studio_config(home / STUDIO_CONFIG).name
    pulled = None if release is None else verified_release(release)
    files = {"release": None if pulled is None else pulled.weights, "own": own, "alone": alone}
    models = {"base": load_model(None)[0]}
    models |= {name: load_model(path)[0] for name, path in files.items() if path is not None}
    shots, not_shots = find_shots(source)
    for one in not_shots:
        progress(f"left out: {one.where}: {one.reason}")
    report = measure_gain(
        shots,
        models,
        trained_on=trained_shots(home),
        tolerance=Tolerance(tolerance_px, tolerance_percent),
        minutes_per_key=minutes_per_key,
        progress=progress,
    )
    if page is None:
        make_private_dir(home / REPORTS_FOLDER)
        page = home / REPORTS_FOLDER / "gain.html"
    number = None if pulled is None else pulled.number
    write_atomic(page, gain_page(studio, report, release=number, rate=rate).encode(), mode=0o600)
    show({"page": page, "release": number, "report": report}, as_json, _text)


def hold_back(
    shots: list[str] = typer.Argument(
        ..., metavar="SHOT...", help="Ingested shots that were never trained on."
    ),
    home: Path = Home,
    as_json: bool = Json,
) -> None:
    """Keep shots from training, to measure on them what a release is worth; they stay held back.

    With share_gain = true in studio.toml, a coordinator whose plan asks for it gets one number of them after each
    campaign: noised, charged to their shows and in the egress log. By default nothing of it leaves.
    """
    from studio_node.held_back import hold_back as hold

    show(
        {"held_back": hold(home, shots)},
        as_json,
        lambda done: "\n".join(
            f"{name}: {len(held)} shots are held back: {', '.join(held)}"
            for name, held in done["held_back"].items()
        ),
    )


def _text(done: dict[str, Any]) -> str:
    report = done["report"]
    rows = [[one.method, one.keys, one.saved, f"{one.hours:.1f}"] for one in report.methods]
    lines = [table(["method", "keys", "saved", "hours saved"], rows)]
    lines += [f"left out: {one.where}: {one.reason}" for one in report.rejected]
    lines.append(f"private, for this studio alone: {done['page']}")
    return "\n".join(lines)
