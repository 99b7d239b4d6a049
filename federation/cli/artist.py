"""``fedroto pull`` and ``fedroto predict``: what an artist, or a farm for artists, runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import typer

from federation.cli.options import ColourSpace, MovieStart, studio_home
from federation.cli.output import Json, progress, show, table
from federation.cli.predict_list import predict_list, write_report
from federation.errors import ConfigError

Home = studio_home("The studio's folder: knows the address and the keys.", required=False)


def register(app: typer.Typer) -> None:
    """Add the artist's commands to the command tree."""
    app.command(epilog="Example: fedroto pull releases --home node")(pull)
    app.command(epilog="Example: fedroto predict shot.####.exr --shapes artist.nk -o predicted.nk")(predict)


def pull(
    destination: Path = typer.Argument(..., help="Folder that holds the releases you have pulled."),
    home: Path | None = Home,
    source: Path | None = typer.Option(None, "--from", help="Instead: a release's folder, copied by hand."),
    release_key: Path | None = typer.Option(None, help="With --from: the coordinator's release key (PEM)."),
    number: int | None = typer.Option(None, help="Release number; default: the newest."),
    go_back: bool = typer.Option(
        False, "--go-back", help="Take an older release if every newer one that was here was withdrawn."
    ),
    as_json: bool = Json,
) -> None:
    """Fetch a release, verify its signature, learn of withdrawn ones, and refuse one older than what you hold.

    Shows the release's card: what it was trained on, its figures on the public benchmark, its privacy, its limits.
    """
    from federation.documents import DOCUMENT_BYTES_MAX
    from federation.durable import read_bounded
    from federation.release_client import pull as pull_over_network
    from federation.release_client import pull_folder
    from federation.set_up import load_kit

    if source is not None:
        if release_key is None:
            raise ConfigError(
                "--from needs --release-key, the coordinator's public key",
                hint="a studio that has joined holds it as coordinator/release_key.pub",
            )
        key = read_bounded(release_key, DOCUMENT_BYTES_MAX)
        result = pull_folder(source, key, destination, progress, go_back=go_back)
    elif home is not None:
        kit = load_kit(home)
        result = pull_over_network(
            kit.service_address,
            kit.ca_pem.encode(),
            kit.release_key_pem.encode(),
            destination,
            number,
            progress,
            federation=kit.federation,
            go_back=go_back,
        )
    else:
        raise ConfigError("say where from: --home of a studio that has joined, or --from with --release-key")
    show(
        {
            "number": result.release.number,
            "path": result.release.path,
            "already_held": result.already_held,
            "bytes_fetched": result.bytes_fetched,
            "restores": result.release.manifest.restores,
            "withdrawn": {entry.number: entry.reason for entry in result.withdrawn},
            "log_head": None if result.log is None else result.log.head,
            "card": result.release.card,
        },
        as_json,
        _pulled_text,
    )


def _pulled_text(done: dict[str, Any]) -> str:
    again = "" if done["restores"] is None else f", with the weights of release {done['restores']} again"
    lines = [
        f"release {number} was withdrawn by the coordinator: {reason}; it is not used any more"
        for number, reason in done["withdrawn"].items()
    ]
    lines.append(f"release {done['number']}{again} is in {done['path']}; its signature holds")
    if done["log_head"] is not None:
        lines.append(f"log of releases: head {done['log_head'][:16]}; who was told the same has the same")
    head, line, body = done["card"].partition("\n---\n")
    lines += ["", (body if line else head).strip()]  # a YAML head is for programs
    return "\n".join(lines)


def predict(
    plate: str | None = typer.Argument(
        None, help="The plate: shot.####.exr, shot.%04d.exr, a folder, or one file of it."
    ),
    shapes: Path | None = typer.Option(
        None, "--shapes", help="The artist's .nk, .gizmo, .fxs or .json with two keys or more a shape."
    ),
    output: Path | None = typer.Option(
        None, "-o", "--output", help="File to write; the input is never touched."
    ),
    batch: Path | None = typer.Option(
        None,
        "--batch",
        help='Instead of all three: a list of shots, one {"plate", "shapes", "output"} a line. Run it again to go on.',
    ),
    report: Path | None = typer.Option(
        None, "--report", help="Also write what was done as JSON here, with every frame's confidence."
    ),
    shape: list[str] | None = typer.Option(None, "--shape", help="Only these shapes; repeat."),
    method: str = typer.Option(
        "model",
        help="smooth (Nuke's curve), track (points), planar, flow, model, or best: "
        "whichever misses your own keys least when they are left out in turn.",
    ),
    tracker: str | None = typer.Option(
        None,
        help="A tracker of your own, an entry point or module:function: blended with the model, compared by "
        "'best', or alone with --method tracker.",
    ),
    release: Path | None = typer.Option(
        None, "--release", help="A pulled release's folder, verified before use; default: the packaged base."
    ),
    weights: Path | None = typer.Option(
        None, "--weights", help="Instead: a .safetensors file of your own, which nothing verifies."
    ),
    every: int = typer.Option(1, help="Write a predicted key on every n-th frame only."),
    trust_plate_size: bool = typer.Option(
        False, "--trust-plate-size", help="Take the plate's size where the script's format says another."
    ),
    colour_space: str | None = ColourSpace,
    movie_start: int = MovieStart,
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace an output that is there already."),
    device: str = typer.Option("cpu", help="Where the networks run: cpu, cuda, cuda:N or auto."),
    as_json: bool = Json,
) -> None:
    """Predict the keys between an artist's keys, on the artist's own points, into a node of their own.

    Ends with 0 where every shape was predicted, 1 where some were not (the rest is written), 2 where the command or
    the list cannot be understood, 130 where it was stopped.
    """
    from model.methods import require_method

    settings: dict[str, Any] = {
        "method": require_method(method),
        "tracker": tracker,
        "every": every,
        "trust_plate_size": trust_plate_size,
        "colour_space": colour_space,
        "movie_start": movie_start,
        "device": device,
    }
    weights_file = weights_to_use(release, weights)
    if batch is not None:
        if plate is not None or shapes is not None or output is not None or shape:
            raise ConfigError("--batch names plates, shapes and outputs itself; give it alone")
        predict_list(batch, weights_file, report, overwrite=overwrite, as_json=as_json, settings=settings)
        return
    from studio_node.predict_shot import predict_shot

    def tell(name: str, done: int, of: int) -> None:
        progress(f"{name}: {done} of {of} frames")

    result = predict_shot(
        _given(plate, "PLATE", "argument"),
        _given(shapes, "--shapes", "option"),
        _given(output, "--output", "option"),
        weights=weights_file,
        shapes=tuple(shape or ()),
        overwrite=overwrite,
        progress=tell,
        **settings,
    )
    if report is not None:
        write_report(report, result)
    show(result, as_json, _prediction_text)
    if result.rejected:
        raise typer.Exit(1)


def _given(value: Any, name: str, kind: str) -> Any:
    if value is None:
        raise click.MissingParameter(param_hint=f"'{name}'", param_type=kind)
    return value


def weights_to_use(release: Path | None, weights: Path | None) -> Path | None:
    """Return the weights file to predict with: a release's once it is verified, one of one's own, or None.

    Raises:
        ConfigError: both are given.
        ReleaseError: the release was changed since it was pulled, or was never pulled.
    """
    from federation.held_releases import verified_release

    if release is not None and weights is not None:
        raise ConfigError("give either --release or --weights, not both")
    return weights if release is None else verified_release(release).weights


def _prediction_text(result: Any) -> str:
    rows = [
        [
            one.path,
            f"{one.frames[0]}-{one.frames[-1]}",
            len(one.frames) - len(one.artist_keys),
            f"{min(one.confidence):.2f}",
            "-" if one.next_key is None else one.next_key,
            one.method,
        ]
        for one in result.shapes
    ]
    lines = [table(["shape", "frames", "predicted", "least confidence", "key next", "method"], rows)]
    lines += [
        f"{one.path}: no picture for frame {', '.join(map(str, one.missing))}"
        for one in result.shapes
        if one.missing
    ]
    lines += [f"not predicted: {one.where}: {one.reason}" for one in result.rejected]
    return "\n".join(
        [*lines, *result.problems, f"written with {result.weights or result.method}: {result.output}"]
    )
