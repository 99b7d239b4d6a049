"""Questions to the catalogue: which shows, which shots, how much of everything."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from federation.config import ShowConsent
from federation.errors import IngestError
from studio_node.catalogue import Catalogue, ShapeEntry


@dataclass(frozen=True)
class ShowRow:
    """A show and how much there is of it.

    Attributes:
        name: of the show.
        consent: whether it may be trained on today, until when, and who said so.
        shots: that have a pack.
        merged: names that were given up for another.
        waiting: shots that look like another and wait for a person.
        trained: shots that were trained on at least once.
        shapes: that windows were cut from.
        keyframes: of those shapes.
        windows: training windows.
        frames: of the plates.
        size_bytes: of the packs.
        withdrawn: when it was withdrawn last, seconds since the epoch; None if never.
    """

    name: str
    consent: ShowConsent | None
    shots: int
    merged: int
    waiting: int
    trained: int
    shapes: int
    keyframes: int
    windows: int
    frames: int
    size_bytes: int
    withdrawn: int | None

    def consent_text(self, day: datetime.date) -> str:
        """Say in words whether the show may be trained on."""
        consent = self.consent
        if consent is None or not consent.training_allowed:
            return "no"
        if not consent.holds_on(day):
            return f"ended {consent.allowed_until}"
        until = f" until {consent.allowed_until}" if consent.allowed_until else ""
        return f"yes{until}, by {consent.allowed_by or 'unnamed'}"


@dataclass(frozen=True)
class ShotRow:
    """A shot that was found."""

    shot_id: str
    show: str
    plate: str
    shapes_file: str
    first_frame: int
    last_frame: int
    width: int
    height: int
    shapes: int
    skipped: int
    keyframes: int
    windows: int
    versions: int
    problems: int
    trained: bool
    made_at: int


@dataclass(frozen=True)
class ShotQuery:
    """What is looked for; None or empty asks nothing.

    Attributes:
        name: of shots, with ``*`` and ``?``.
        show: exactly.
        shape: part of a shape's path.
        keyframes_min: of all shapes that are used, together.
        with_problems: only shots with missing or damaged frames, or shapes that are not used.
        untrained: only shots that were never trained on.
    """

    name: str = "*"
    show: str | None = None
    shape: str = ""
    keyframes_min: int = 0
    with_problems: bool = False
    untrained: bool = False


@dataclass(frozen=True)
class VersionRow:
    """A delivery of a shot that was ingested: what it was made of and when."""

    epoch: str
    recipe: str
    frozen_digest: str
    plate: str
    shapes_file: str
    windows: int
    made_at: int


@dataclass(frozen=True)
class ShotHistory:
    """Everything about one shot."""

    shot: ShotRow
    shapes: tuple[ShapeEntry, ...]
    versions: tuple[VersionRow, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Statistics:
    """The whole catalogue in figures; ``skipped`` says why shapes are not used, most frequent first."""

    shows: int
    shots: int
    frames: int
    shapes: int
    keyframes: int
    windows: int
    size_bytes: int
    trained: int
    waiting: int
    skipped: tuple[tuple[str, int], ...]


_SHOTS = """
    SELECT shots.id, shots.show, plate, shapes_file, first_frame, last_frame, width, height,
        (SELECT count(*) FROM shapes WHERE shot = shots.id AND skipped IS NULL),
        (SELECT count(*) FROM shapes WHERE shot = shots.id AND skipped IS NOT NULL) AS unused,
        (SELECT coalesce(sum(keyframes), 0) FROM shapes WHERE shot = shots.id AND skipped IS NULL) AS used_keys,
        windows,
        (SELECT count(DISTINCT epoch) FROM versions WHERE shot = shots.id),
        coalesce((SELECT json_array_length(problems) FROM deliveries WHERE shot = shots.id), 0) AS broken,
        shots.id IN (SELECT shot FROM trained) AS used,
        made_at
    FROM shots JOIN packs ON packs.shot = shots.id
"""


def find_shots_like(catalogue: Catalogue, query: ShotQuery) -> tuple[ShotRow, ...]:
    """Return the shots that answer a query, in the order of their ids."""
    rows = catalogue.read(
        f"""{_SHOTS} WHERE lower(shots.id) GLOB lower(?1) AND (?2 IS NULL OR shots.show = ?2)
            AND (?3 = '' OR EXISTS
                (SELECT 1 FROM shapes WHERE shot = shots.id AND instr(lower(path), lower(?3)) > 0))
            AND used_keys >= ?4 AND (NOT ?5 OR unused > 0 OR broken > 0) AND (NOT ?6 OR NOT used)
            ORDER BY shots.id""",  # noqa: S608 # the query's own text; values are bound
        query.name,
        query.show,
        query.shape,
        query.keyframes_min,
        query.with_problems,
        query.untrained,
    )
    return tuple(_shot_row(row) for row in rows)


def shot_history(catalogue: Catalogue, shot_id: str) -> ShotHistory:
    """Return everything about one shot.

    Raises:
        IngestError: there is no such shot, or it was merged or withdrawn.
    """
    rows = catalogue.read(f"{_SHOTS} WHERE shots.id = ?", shot_id)
    if not rows:
        merged = catalogue.read("SELECT kept, merged_by FROM merges WHERE shot = ?", shot_id)
        why = f"; it was merged into {merged[0][0]!r} by {merged[0][1]}" if merged else ""
        raise IngestError(
            f"there is no shot {shot_id!r} in use{why}", hint="see: fedroto studio catalogue find"
        )
    versions = catalogue.read(
        "SELECT epoch, recipe, frozen_digest, plate, shapes_file, windows, made_at FROM versions "
        "WHERE shot = ? ORDER BY number",
        shot_id,
    )
    delivery = catalogue.delivery(shot_id)
    return ShotHistory(
        _shot_row(rows[0]),
        catalogue.shapes(shot_id),
        tuple(VersionRow(*row) for row in versions),
        delivery.problems if delivery else (),
    )


def statistics(catalogue: Catalogue) -> Statistics:
    """Sum up the whole catalogue."""
    rows = show_rows(catalogue, {})
    skipped = catalogue.read(
        "SELECT skipped, count(*) FROM shapes WHERE skipped IS NOT NULL GROUP BY skipped ORDER BY 2 DESC, 1"
    )
    return Statistics(
        sum(row.shots > 0 for row in rows),
        sum(row.shots for row in rows),
        sum(row.frames for row in rows),
        sum(row.shapes for row in rows),
        sum(row.keyframes for row in rows),
        sum(row.windows for row in rows),
        sum(row.size_bytes for row in rows),
        sum(row.trained for row in rows),
        sum(row.waiting for row in rows),
        tuple((why, count) for why, count in skipped),
    )


def show_rows(catalogue: Catalogue, shows: Mapping[str, ShowConsent]) -> tuple[ShowRow, ...]:
    """Return every show that has shots or an entry in ``studio.toml``, by name.

    Args:
        catalogue: of the studio.
        shows: consent per show, from ``studio.toml``.
    """
    counted = {
        row[0]: row[1:]
        for row in catalogue.read(
            """SELECT shows.name,
                count(packs.shot),
                (SELECT count(*) FROM merges JOIN shots ON shots.id = merges.shot WHERE shots.show = shows.name),
                (SELECT count(*) FROM shots WHERE shots.show = shows.name AND shots.id IN (SELECT shot FROM waiting)),
                (SELECT count(*) FROM trained JOIN shots ON shots.id = trained.shot WHERE shots.show = shows.name),
                coalesce(sum(used.shapes), 0), coalesce(sum(used.keyframes), 0), coalesce(sum(packs.windows), 0),
                coalesce(sum(last_frame - first_frame + 1), 0), coalesce(sum(size_bytes), 0),
                (SELECT max(withdrawn_at) FROM withdrawals WHERE show = shows.name)
            FROM shows LEFT JOIN shots ON shots.show = shows.name LEFT JOIN packs ON packs.shot = shots.id
            LEFT JOIN (SELECT shot, count(*) AS shapes, sum(keyframes) AS keyframes FROM shapes
                WHERE skipped IS NULL GROUP BY shot) used ON used.shot = packs.shot
            GROUP BY shows.name"""
        )
    }
    nothing = (0,) * 9 + (None,)
    return tuple(
        ShowRow(name, shows.get(name), *counted.get(name, nothing))
        for name in sorted(counted.keys() | shows.keys())
    )


def _shot_row(row: tuple[Any, ...]) -> ShotRow:
    found = ShotRow(*row)
    return replace(found, trained=bool(found.trained))  # SQLite has no booleans
