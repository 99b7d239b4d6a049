"""``fedroto tune``: an artist's own weights, made at home from own approved shots."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from federation.cli.output import Json, progress, show, table


def register(app: typer.Typer) -> None:
    """Add the command to the command tree."""
    app.command(epilog="Example: fedroto tune /mnt/shows/SHOW -o mine.safetensors")(tune)


def tune(
    source: list[Path] = typer.Argument(
        ..., help="Folders of shots or shows (a plate beside shapes.nk); with --shapes: one plate."
    ),
    output: Path = typer.Option(..., "-o", "--output", help="The .safetensors file to write."),
    shapes: Path | None = typer.Option(None, "--shapes", help="The approved shapes of the one plate named."),
    release: Path | None = typer.Option(
        None,
        "--release",
        help="Begin with a pulled release, verified before use; default: the packaged base.",
    ),
    weights: Path | None = typer.Option(None, "--weights", help="Instead: begin with a file of your own."),
    windows: int = typer.Option(32, help="Spans to cut from each shot, at most."),
    steps: int = typer.Option(300, help="Steps of training, about 0.1 s each on one core."),
    seed: int = typer.Option(1, help="Order of training."),
    trust_plate_size: bool = typer.Option(
        False, "--trust-plate-size", help="Take the plate's size where the script's format says another."
    ),
    as_json: bool = Json,
) -> None:
    """Fine-tune the weights on shots of your own, here: what comes out is marked private and no command sends it.

    Part of the shots is kept aside and only judged by. Where tuning does not help there, nothing is written and the
    command ends with 1. Stopped, it goes on where it was when it is run again; what it has read and learned until then
    is kept in OUTPUT.tuning. Use the weights with --weights of predict and desk.
    """
    from federation.cli.artist import weights_to_use
    from federation.errors import ConfigError
    from studio_node.shot_folders import find_shots
    from studio_node.tuning import single_shot, tune_on_shots

    if shapes is None:
        shots, not_shots = find_shots(source)
    elif len(source) == 1:
        shots, not_shots = [single_shot(source[0], shapes)], []
    else:
        raise ConfigError(f"--shapes belongs to one plate, {len(source)} were named")
    for one in not_shots:
        progress(f"left out: {one.where}: {one.reason}")

    def tell(point: Any) -> None:
        progress(
            f"step {point.step} of {point.steps}: loss {_loss(point)}, kept aside {point.aside_loss:.3f}, "
            f"error {point.aside_error:.2f}% of the shape's size"
        )

    result = tune_on_shots(
        shots,
        output,
        weights=weights_to_use(release, weights),
        windows=windows,
        steps=steps,
        seed=seed,
        trust_plate_size=trust_plate_size,
        progress=progress,
        on_point=tell,
    )
    show(result, as_json, _text)
    if result.output is None:
        raise typer.Exit(1)


def _loss(point: Any) -> str:
    return "-" if point.learned_loss is None else f"{point.learned_loss:.3f}"


def _text(result: Any) -> str:
    most = max(point.aside_error for point in result.curve) or 1.0
    rows = [
        [
            point.step,
            _loss(point),
            f"{point.aside_loss:.3f}",
            f"{point.aside_error:.2f}",
            "▇" * max(1, round(24 * point.aside_error / most))
            + (" kept" if point.step == result.best_step else ""),
        ]
        for point in result.curve
    ]
    lines = [table(["step", "loss", "kept aside", "error, %", ""], rows)]
    lines += [f"left out: {one.where}: {one.reason}" for one in result.rejected]
    lines.append(
        f"{result.learned} spans learned from, {result.aside} kept aside ({result.kept_aside}): error "
        f"{result.error_before:.2f}% before, {result.error_after:.2f}% after"
    )
    if result.output is None:
        lines.append(f"no better than {result.began_with} on what was kept aside: nothing was written")
    else:
        lines.append(
            f"{result.output}: private, for this machine; fedroto predict ... --weights {result.output}"
        )
    return "\n".join(lines)
