"""``fedroto studio ingest``, ``catalogue`` and ``withdraw``: from an archive to a training set, and back out."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer

from federation.cli.options import ColourSpace, MovieStart, studio_home
from federation.cli.output import Json, show, table

catalogue_app = typer.Typer(
    no_args_is_help=True, help="What a studio has ingested, and what it was used for."
)
Home = studio_home("The studio's folder: keys, ledger, catalogue, packs.")
By = typer.Option(..., "--by", help="Who says so: a name, a letter, a ticket.")


def register(studio: typer.Typer) -> None:
    """Add the commands to ``fedroto studio``."""
    studio.command(epilog="Example: fedroto studio ingest /plates/show --home node --show SHOW")(ingest)
    studio.command(epilog="Example: fedroto studio withdraw SHOW --home node --by 'letter of 3 May'")(
        withdraw
    )
    studio.add_typer(catalogue_app, name="catalogue")


def ingest(
    sources: list[Path] | None = typer.Argument(
        None, help="Folders of shots: each with a plate and its shapes (.nk, .gizmo, .fxs or .json)."
    ),
    home: Path = Home,
    show_name: str = typer.Option(..., "--show", help="The show that these shots belong to, for ever."),
    source: str | None = typer.Option(
        None,
        "--from",
        metavar="HOOK",
        help="An import hook that names shots: an entry point, or module:function.",
    ),
    dry_run: bool = typer.Option(False, "--dry-run", help="Say what would be ingested; write nothing."),
    workers: int | None = typer.Option(None, help="Processes to cut in; default: one a core."),
    force: bool = typer.Option(
        False, "--force", help="Read and cut everything again, even where nothing changed."
    ),
    windows: int | None = typer.Option(
        None, help="Training windows a shot; more cost disk and time, not privacy."
    ),
    prefix: str = typer.Option("", help="Put before each shot's name, where shows share names."),
    trust_plate_size: bool = typer.Option(
        False, "--trust-plate-size", help="Take the plate's size where a script's format says another."
    ),
    colour_space: str | None = ColourSpace,
    movie_start: int = MovieStart,
    as_json: bool = Json,
) -> None:
    """Read plates and shapes into the catalogue and cut training windows.

    Bad shots are reported and the rest goes on. Interrupt it and run it again at any point: what is in stays in, and
    only what has changed is read again.
    """
    from federation.cli.progress_bar import progress_bar
    from federation.worker_pool import usable_cores
    from studio_node.cutting import Reading
    from studio_node.ingest import ingest as run_ingest
    from studio_node.shot_sources import load_source
    from studio_node.shot_windows import CutRecipe

    if not sources and source is None:
        raise typer.BadParameter("name a folder of shots, or an import hook with --from")
    with progress_bar() as progress:
        result = run_ingest(
            home,
            sources or [],
            show_name,
            source=None if source is None else load_source(source),
            recipe=None if windows is None else CutRecipe(windows=windows),
            force=force,
            prefix=prefix,
            reading=Reading(colour_space, movie_start, trust_plate_size),
            workers=workers or usable_cores(),
            dry_run=dry_run,
            progress=progress,
        )
    show(result, as_json, _ingest_text)
    if result.rejected and not result.shots:
        raise typer.Exit(1)


def withdraw(
    show_name: str = typer.Argument(..., metavar="SHOW", help="The show's name."),
    home: Path = Home,
    by: str = By,
    as_json: bool = Json,
) -> None:
    """Withdraw a show: consent ends, its packs are deleted, the ledger keeps the spend, and a report is written."""
    from studio_node.withdrawal import withdraw_show

    show(withdraw_show(home, show_name, by=by, now=datetime.now(UTC)), as_json, _withdrawal_text)


@catalogue_app.command("ls", epilog="Example: fedroto studio catalogue ls --home node")
def catalogue_ls(home: Path = Home, as_json: bool = Json) -> None:
    """List the shows, whether each may be trained on, and how much there is of it."""
    from federation.config import STUDIO_CONFIG, load_studio_config
    from studio_node.catalogue import Catalogue
    from studio_node.catalogue_search import show_rows

    with Catalogue.open(home) as catalogue:
        rows = show_rows(catalogue, load_studio_config(home / STUDIO_CONFIG).shows)
    show({"shows": rows}, as_json, lambda done: _shows_text(done["shows"]))


@catalogue_app.command("stats", epilog="Example: fedroto studio catalogue stats --home node")
def catalogue_stats(home: Path = Home, as_json: bool = Json) -> None:
    """Sum up the whole catalogue: what is there, what is used, why shapes are not."""
    from studio_node.catalogue import Catalogue
    from studio_node.catalogue_search import statistics

    with Catalogue.open(home) as catalogue:
        result = statistics(catalogue)
    show(result, as_json, _statistics_text)


@catalogue_app.command("find", epilog="Example: fedroto studio catalogue find 'sh0*' --home node --shape arm")
def catalogue_find(
    name: str = typer.Argument("*", help="Shots, with * and ?."),
    home: Path = Home,
    show_name: str | None = typer.Option(None, "--show", help="Only of this show."),
    shape: str = typer.Option("", help="Only shots with a shape whose path holds this."),
    keyframes_min: int = typer.Option(0, help="Only shots with so many keyframes in use."),
    with_problems: bool = typer.Option(
        False, "--with-problems", help="Only shots with missing frames or shapes that are not used."
    ),
    untrained: bool = typer.Option(False, "--untrained", help="Only shots that were never trained on."),
    as_json: bool = Json,
) -> None:
    """Find shots by name, show, shape, keyframes, problems, or whether they were trained on."""
    from studio_node.catalogue import Catalogue
    from studio_node.catalogue_search import ShotQuery, find_shots_like

    query = ShotQuery(name, show_name, shape, keyframes_min, with_problems, untrained)
    with Catalogue.open(home) as catalogue:
        rows = find_shots_like(catalogue, query)
    show({"shots": rows}, as_json, lambda done: _shots_text(done["shots"]))


@catalogue_app.command("show", epilog="Example: fedroto studio catalogue show sh010 --home node")
def catalogue_show(
    shot: str = typer.Argument(..., help="The shot's id."), home: Path = Home, as_json: bool = Json
) -> None:
    """Show everything about one shot: files, shapes and why some are not used, problems, versions."""
    from studio_node.catalogue import Catalogue
    from studio_node.catalogue_search import shot_history

    with Catalogue.open(home) as catalogue:
        result = shot_history(catalogue, shot)
    show(result, as_json, _history_text)


@catalogue_app.command("duplicates", epilog="Example: fedroto studio catalogue duplicates --home node")
def catalogue_duplicates(home: Path = Home, as_json: bool = Json) -> None:
    """List shots that look alike and wait for you to say whether they are one: merge them, or say they are distinct."""
    from studio_node.catalogue import Catalogue
    from studio_node.duplicates import lookalikes

    with Catalogue.open(home) as catalogue:
        pairs = lookalikes(catalogue)
    show({"duplicates": pairs}, as_json, lambda done: _duplicates_text(done["duplicates"]))


@catalogue_app.command(
    "merge", epilog="Example: fedroto studio catalogue merge sh010 sh010_v2 --home node --by ann"
)
def catalogue_merge(
    kept: str = typer.Argument(..., help="The shot that stays."),
    given_up: str = typer.Argument(
        ..., help="The name that is given up, with its windows; never one trained on."
    ),
    home: Path = Home,
    by: str = By,
    as_json: bool = Json,
) -> None:
    """Say that two shots are one: from now on only the first is used, for ever."""
    from studio_node.catalogue import Catalogue
    from studio_node.duplicates import merge

    with Catalogue.open(home) as catalogue:
        result = merge(catalogue, kept, given_up, by=by, now=datetime.now(UTC))
    show(result, as_json, lambda done: f"{done.given_up} is {done.kept} from now on; its windows are deleted")


@catalogue_app.command(
    "distinct", epilog="Example: fedroto studio catalogue distinct sh010 sh020 --home node --by ann"
)
def catalogue_distinct(
    shot: str = typer.Argument(..., help="One shot."),
    other: str = typer.Argument(..., help="The other."),
    home: Path = Home,
    by: str = By,
    as_json: bool = Json,
) -> None:
    """Say that two shots that look alike are two."""
    from studio_node.catalogue import Catalogue
    from studio_node.duplicates import tell_apart

    with Catalogue.open(home) as catalogue:
        pair = tell_apart(catalogue, shot, other, by=by, now=datetime.now(UTC))
    show({"distinct": pair}, as_json, lambda done: f"{' and '.join(done['distinct'])} are two shots")


def _ingest_text(result: Any) -> str:
    from federation.cli.progress_bar import duration

    changed = [shot for shot in result.shots if shot.state != "unchanged"]
    rows = [[shot.name, shot.state, shot.frames, len(shot.shapes), shot.windows] for shot in changed]
    lines = [table(["shot", "state", "frames", "shapes", "windows"], rows)] if rows else []
    lines += [f"{shot.name}: {problem}" for shot in changed for problem in shot.problems]
    lines += [
        f"{shot.name} / {shape.path}: not used: {shape.skipped}"
        for shot in changed
        for shape in shot.shapes
        if shape.skipped
    ]
    lines += [f"{shot.name} looks like {', '.join(shot.looks_like)}" for shot in changed if shot.looks_like]
    if any(shot.looks_like for shot in changed):
        lines.append("shots that look alike wait for you: fedroto studio catalogue duplicates")
    if result.rejected:
        lines.append(table(["rejected", "why"], [[one.where, one.reason] for one in result.rejected]))
    count = {state: sum(s.state == state for s in result.shots) for state in ("new", "updated", "unchanged")}
    read = "" if result.dry_run else f" in {result.windows} windows; {result.files_read} files read"
    lines.append(
        f"{'would be ' if result.dry_run else ''}ingested: {count['new']} new, {count['updated']} updated, "
        f"{count['unchanged']} unchanged; {len(result.rejected)} rejected; {result.keyframes} keyframes of "
        f"{result.shapes} shapes{read}; {duration(result.seconds)}"
    )
    return "\n".join([*lines, *result.notes])


def _withdrawal_text(done: Any) -> str:
    spent = "it was never trained on"
    if done.account is not None:
        spent = (
            f"any one shot of it has spent epsilon {done.account.epsilon:.3f} over {len(done.charges)} rounds; what "
            "left in them was noised and stays in the releases made since"
        )
    return (
        f"{done.show} is withdrawn: {done.packs_deleted} packs of {len(done.shots)} shots deleted "
        f"({done.bytes_deleted} bytes)\n{spent}\nreport  {done.report}"
    )


def _shows_text(rows: Any) -> str:
    day = datetime.now(UTC).date()
    headings = [
        "show",
        "may be trained on",
        "shots",
        "trained",
        "waiting",
        "shapes",
        "keyframes",
        "windows",
        "MB",
    ]
    return table(
        headings,
        [
            [
                row.name,
                row.consent_text(day) + (" (withdrawn)" if row.withdrawn and not row.shots else ""),
                row.shots,
                row.trained,
                row.waiting,
                row.shapes,
                row.keyframes,
                row.windows,
                row.size_bytes // 10**6,
            ]
            for row in rows
        ],
    )


def _shots_text(rows: Any) -> str:
    headings = [
        "shot",
        "show",
        "frames",
        "size",
        "shapes",
        "unused",
        "keyframes",
        "windows",
        "version",
        "trained",
    ]
    cells = [
        [
            row.shot_id,
            row.show,
            f"{row.first_frame}-{row.last_frame}",
            f"{row.width}x{row.height}",
            row.shapes,
            row.skipped,
            row.keyframes,
            row.windows,
            row.versions,
            "yes" if row.trained else "no",
        ]
        for row in rows
    ]
    return f"{table(headings, cells)}\n{len(rows)} shots"


def _statistics_text(done: Any) -> str:
    rows = [
        ["shows", done.shows],
        ["shots", done.shots],
        ["frames", done.frames],
        ["shapes in use", done.shapes],
        ["keyframes in use", done.keyframes],
        ["windows", done.windows],
        ["packs, bytes", done.size_bytes],
        ["shots trained on", done.trained],
        ["shots that wait for a decision", done.waiting],
    ]
    skipped = table(["shapes", "not used because"], [[count, why] for why, count in done.skipped])
    return table(["", "count"], rows) + (f"\n\n{skipped}" if done.skipped else "")


def _history_text(done: Any) -> str:
    shot = done.shot
    shapes = [
        [one.path, one.kind, one.points, one.keyframes, one.windows, one.skipped or ""] for one in done.shapes
    ]
    versions = [
        [
            datetime.fromtimestamp(one.made_at, UTC).isoformat(timespec="seconds"),
            one.windows,
            one.epoch[:12],
            one.plate,
        ]
        for one in done.versions
    ]
    lines = [
        f"{shot.shot_id} of {shot.show}, {'trained on' if shot.trained else 'never trained on'}",
        f"plate   {shot.plate} {shot.first_frame}-{shot.last_frame}, {shot.width}x{shot.height}",
        f"shapes  {shot.shapes_file}",
        table(["shape", "kind", "points", "keyframes", "windows", "not used because"], shapes),
        table(["ingested", "windows", "content", "plate"], versions),
    ]
    return "\n".join([*lines, *done.problems])


def _duplicates_text(pairs: Any) -> str:
    rows = [
        [
            pair.shot,
            pair.other,
            " / ".join(pair.shows),
            f"{pair.likeness:.0%}",
            ", ".join(pair.trained) or "neither",
        ]
        for pair in pairs
    ]
    text = table(["shot", "looks like", "shows", "frames alike", "trained on"], rows)
    return (
        f"{text}\nsay: fedroto studio catalogue merge KEPT GIVEN_UP, or: catalogue distinct A B"
        if rows
        else "none"
    )
