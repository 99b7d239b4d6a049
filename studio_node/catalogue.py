"""What a studio has ingested: shows, shots, their shapes and the pack of training windows of each shot.

One SQLite file in the studio's home, which never leaves it. The shot is the privacy unit, so its id (the declared
name) is fixed for ever, unique in the studio whatever its case, and belongs to one show for ever: triggers in the
database hold that, not only this code. Ingesting a shot again replaces its pack, keeps its id and adds a version.
Whether a show may be trained on stands in ``studio.toml`` and is asked anew every time. Two shots that look alike wait
for a person before they are trained on for the first time (:mod:`studio_node.duplicates`).
"""

from __future__ import annotations

import contextlib
import datetime
import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from federation.config import ShowConsent
from federation.errors import IngestError
from studio_node.catalogue_schema import catalogue_errors, connect
from studio_node.deliveries import Delivery
from studio_node.file_stamps import Stamps
from studio_node.fingerprints import Hashes

CATALOGUE_FILE = "catalogue.sqlite"
PACKS_FOLDER = "packs"


@dataclass(frozen=True)
class ShapeEntry:
    """A shape of a shot as the catalogue knows it.

    Attributes:
        path: where it sits in its file.
        kind: ``bezier``, ``bspline`` or ``polygon``.
        points: how many points it has.
        keyframes: how many keys.
        windows: how many training windows were cut from it.
        skipped: why none were, or None.
    """

    path: str
    kind: str
    points: int
    keyframes: int
    windows: int
    skipped: str | None = None


@dataclass(frozen=True)
class PackEntry:
    """The one pack of a shot.

    Attributes:
        shot_id: the shot's declared name, fixed for ever.
        show: its show, fixed for ever.
        path: the pack file.
        epoch: SHA-256 over the shot's plate and shape files at the time of ingest; never leaves the studio.
        recipe: how the windows were cut (versions and settings); another recipe makes another pack.
        frozen_digest: of the frozen public weights that the windows were cut with.
        windows: how many.
        size_bytes: of the file.
        plate: the plate's pattern.
        shapes_file: where the shapes were read from.
        first_frame: of the plate, inclusive.
        last_frame: of the plate, inclusive.
        width: of the plate, pixels.
        height: of the plate, pixels.
    """

    shot_id: str
    show: str
    path: Path
    epoch: str
    recipe: str
    frozen_digest: str
    windows: int
    size_bytes: int
    plate: str
    shapes_file: str
    first_frame: int
    last_frame: int
    width: int
    height: int

    @property
    def made_with(self) -> tuple[str, str, str]:
        """What the pack's windows follow from: epoch, recipe, frozen digest."""
        return (self.epoch, self.recipe, self.frozen_digest)


class Catalogue:
    """The catalogue of one studio; use as a context manager, from one thread."""

    def __init__(self, connection: sqlite3.Connection, home: Path) -> None:
        self._connection = connection
        self.home = home

    @classmethod
    def open(cls, home: Path) -> Self:
        """Open the catalogue of a studio's home; an empty one is made where there is none.

        Raises:
            IngestError: the home does not exist, or the file is damaged, locked or made by a newer fedroto.
        """
        path = home / CATALOGUE_FILE
        if not home.is_dir():
            raise IngestError(
                f"{home} is no studio home",
                hint="make one with: fedroto studio init, or name another with --home",
            )
        return cls(connect(path), home)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def packs_folder(self) -> Path:
        """Where the pack files lie."""
        return self.home / PACKS_FOLDER

    def check_shot(self, shot_id: str, show: str) -> None:
        """Refuse a shot id that belongs to another show or is known in another spelling.

        Raises:
            IngestError: says which show or spelling holds it.
        """
        row = next(iter(self.read("SELECT id, show FROM shots WHERE id = ?", shot_id)), None)
        merged = next(iter(self.read("SELECT kept, merged_by FROM merges WHERE shot = ?", shot_id)), None)
        if merged is not None:
            raise IngestError(
                f"shot {shot_id!r} was merged into {merged[0]!r} by {merged[1]} and is not used by itself"
            )
        if row is None or row == (shot_id, show):
            return
        if row[0] != shot_id:
            raise IngestError(
                f"shot {shot_id!r} is in the catalogue as {row[0]!r}; a shot keeps one spelling for ever, "
                "because its privacy is accounted under its name"
            )
        raise IngestError(
            f"shot {shot_id!r} belongs to show {row[1]!r} for ever and cannot be ingested for {show!r}",
            hint="if it is another shot of the same name, ingest it under a prefix: --prefix",
        )

    def record(
        self,
        pack: PackEntry,
        shapes: Sequence[ShapeEntry],
        *,
        now: datetime.datetime,
        delivery: Delivery | None = None,
        alike: Mapping[str, float] | None = None,
    ) -> Path | None:
        """Enter a shot with its new pack, in one transaction; the pack file must be on disk already.

        Args:
            pack: what was cut.
            shapes: what became of each shape.
            now: the time to enter.
            delivery: what the files were; None if the next ingest is to read them again.
            alike: shots that it looks like, with their likeness, for a person to decide on.

        Returns:
            The shot's pack file until now, to be removed, where it is another one.

        Raises:
            IngestError: the shot belongs to another show (see :meth:`check_shot`), or the database failed.
        """
        self.check_shot(pack.shot_id, pack.show)
        seconds = int(now.timestamp())
        values = (
            pack.shot_id, pack.path.name, pack.epoch, pack.recipe, pack.frozen_digest, pack.windows,
            pack.size_bytes, pack.plate, pack.shapes_file, pack.first_frame, pack.last_frame, pack.width,
            pack.height, seconds,
        )  # fmt: skip
        with self.write() as run:
            run("INSERT OR IGNORE INTO shows VALUES (?, ?)", (pack.show, seconds))
            run("INSERT OR IGNORE INTO shots VALUES (?, ?, ?)", (pack.shot_id, pack.show, seconds))
            before = run("SELECT file FROM packs WHERE shot = ?", (pack.shot_id,)).fetchone()
            run("INSERT OR REPLACE INTO packs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
            run(
                "INSERT INTO versions VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*values[:1], *values[2:5], *values[7:9], values[5], seconds),
            )
            run("DELETE FROM shapes WHERE shot = ?", (pack.shot_id,))
            run("DELETE FROM deliveries WHERE shot = ?", (pack.shot_id,))
            if delivery is not None:
                run(
                    "INSERT INTO deliveries VALUES (?, ?, ?, ?, ?)",
                    (pack.shot_id, *delivery.to_row()),
                )
            for other, likeness in (alike or {}).items():
                run(
                    "INSERT OR IGNORE INTO lookalikes VALUES (?, ?, ?, NULL, NULL)",
                    (*sorted((pack.shot_id, other)), likeness),
                )
            for shape in shapes:
                run(
                    "INSERT INTO shapes VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (
                        pack.shot_id, shape.path, shape.kind, shape.points, shape.keyframes, shape.windows,
                        shape.skipped,
                    ),
                )  # fmt: skip
        return None if before is None or before[0] == pack.path.name else self.packs_folder / before[0]

    def packs(self, *, show: str | None = None) -> tuple[PackEntry, ...]:
        """Every pack, or one show's, in the order of shot ids."""
        return self._packs(show=show)

    def pack_of(self, shot_id: str) -> PackEntry | None:
        """The pack of a shot, or None."""
        return next(iter(self._packs(shot=shot_id)), None)

    def shapes(self, shot_id: str) -> tuple[ShapeEntry, ...]:
        """The shapes of a shot, those that were skipped too."""
        rows = self.read(
            "SELECT path, kind, points, keyframes, windows, skipped FROM shapes "
            "JOIN shots ON shots.id = shapes.shot WHERE shots.id = ? ORDER BY path",
            shot_id,
        )
        return tuple(ShapeEntry(*row) for row in rows)

    def delivery(self, shot_id: str) -> Delivery | None:
        """What the shot's files were when it was last ingested; None if that is not known."""
        rows = self.read(
            "SELECT reading, stamps, fingerprints, problems FROM deliveries WHERE shot = ?", shot_id
        )
        return next((Delivery.from_row(*row) for row in rows), None)

    def touched(self, shot_id: str, stamps: Stamps) -> None:
        """Note new stamps of files whose content is what it was."""
        with self.write() as run:
            run("UPDATE deliveries SET stamps = ? WHERE shot = ?", (json.dumps(stamps), shot_id))

    def fingerprints(self) -> Iterator[tuple[str, Hashes]]:
        """The fingerprints of every shot that is known, also of merged ones, by the shot that was kept."""
        for shot, hashes in self.read(
            "SELECT coalesce(kept, deliveries.shot), fingerprints FROM deliveries "
            "LEFT JOIN merges ON merges.shot = deliveries.shot"
        ):
            yield shot, np.frombuffer(hashes, np.uint64)

    def mark_trained(self, shot_ids: Sequence[str], now: datetime.datetime) -> None:
        """Note, durably, that shots are about to be trained on: their ids are fixed from now on."""
        known = {shot for (shot,) in self.read("SELECT shot FROM trained")}
        fresh = [(shot, int(now.timestamp())) for shot in shot_ids if shot not in known]
        if fresh:
            with self.write() as run:
                for values in fresh:
                    run("INSERT OR IGNORE INTO trained VALUES (?, ?)", values)

    def trainable_shots(
        self, shows: Mapping[str, ShowConsent], now: datetime.datetime, *, held_back: bool = False
    ) -> tuple[PackEntry, ...]:
        """Return the packs that may be trained on now: consent of their show holds and their file is there.

        A show that is not in ``shows`` has no consent. A pack file that was deleted withdraws its shot. A shot that
        looks like another waits until a person has said whether they are one, unless it was trained on before.

        Args:
            shows: consent per show, from ``studio.toml``.
            now: with a time zone; consent runs in whole days, UTC.
            held_back: return those that are kept from training instead, which a gain may be measured on.
        """
        day = now.astimezone(datetime.UTC).date()
        allowed = {name for name, consent in shows.items() if consent.holds_on(day)}
        waiting = {shot for (shot,) in self.read("SELECT shot FROM waiting")}
        kept = {shot.casefold() for name in allowed for shot in shows[name].held_back}
        return tuple(
            pack
            for pack in self.packs()
            if pack.show in allowed
            and pack.shot_id not in waiting
            and (pack.shot_id.casefold() in kept) == held_back
            and pack.path.is_file()
        )

    def _packs(self, *, show: str | None = None, shot: str | None = None) -> tuple[PackEntry, ...]:
        rows = self.read(
            "SELECT shots.id, shots.show, file, epoch, recipe, frozen_digest, windows, size_bytes, plate, "
            "shapes_file, first_frame, last_frame, width, height FROM packs JOIN shots ON shots.id = packs.shot "
            "WHERE (?1 IS NULL OR shots.show = ?1) AND (?2 IS NULL OR shots.id = ?2) ORDER BY shots.id",
            show,
            shot,
        )
        return tuple(PackEntry(row[0], row[1], self.packs_folder / row[2], *row[3:]) for row in rows)

    def read(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows of a query.

        Raises:
            IngestError: the database failed.
        """
        with catalogue_errors(self.home / CATALOGUE_FILE):
            return self._connection.execute(query, values).fetchall()

    @contextlib.contextmanager
    def write(self) -> Iterator[Callable[..., sqlite3.Cursor]]:
        """Yield a function that runs statements of one transaction, which is on disk when the block ends.

        Raises:
            IngestError: the database failed; nothing was changed.
        """
        with catalogue_errors(self.home / CATALOGUE_FILE):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection.execute
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")
