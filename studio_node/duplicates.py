"""The same shot under two names: found by what it looks like, decided by a person, fixed before it is first trained on.

A shot is the privacy unit. If one shot were trained on under two names, it would be charged as two and leak as one that
was never accounted for. So a shot that looks like another waits; a person says that they are one (:func:`merge`: one
name is given up for ever) or two (:func:`tell_apart`). A name that was trained on is never given up.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from federation.errors import IngestError
from studio_node.catalogue import Catalogue


@dataclass(frozen=True)
class Lookalike:
    """Two shots that may be one.

    Attributes:
        shot: one of them.
        other: the other.
        shows: of the two.
        likeness: part of a few frames of one that were found in the other, 0 to 1.
        trained: which of them were trained on already.
    """

    shot: str
    other: str
    shows: tuple[str, str]
    likeness: float
    trained: tuple[str, ...]


@dataclass(frozen=True)
class Merge:
    """A name that was given up: ``given_up`` is ``kept`` from now on, and its pack is gone."""

    kept: str
    given_up: str
    by: str


def lookalikes(catalogue: Catalogue) -> tuple[Lookalike, ...]:
    """Return the pairs that a person has not decided on."""
    rows = catalogue.read(
        "SELECT a.id, b.id, a.show, b.show, likeness, "
        "a.id IN (SELECT shot FROM trained), b.id IN (SELECT shot FROM trained) FROM lookalikes "
        "JOIN shots a ON a.id = shot JOIN shots b ON b.id = other WHERE decided_at IS NULL ORDER BY a.id, b.id"
    )
    return tuple(
        Lookalike(a, b, (show_a, show_b), likeness, (a,) * bool(trained_a) + (b,) * bool(trained_b))
        for a, b, show_a, show_b, likeness, trained_a, trained_b in rows
    )


def merge(catalogue: Catalogue, kept: str, given_up: str, *, by: str, now: datetime.datetime) -> Merge:
    """Say that two shots are one: ``given_up`` is never used by itself again, and its pack is deleted.

    Raises:
        IngestError: a shot is not known, they are the same, or the one to be given up was trained on.
    """
    kept, given_up = _known(catalogue, kept), _known(catalogue, given_up)
    if kept == given_up:
        raise IngestError(
            f"{kept!r} cannot be merged into itself; name the shot to keep and the one to give up"
        )
    merged = catalogue.read("SELECT shot, kept FROM merges WHERE shot IN (?, ?)", kept, given_up)
    if merged:
        raise IngestError(f"shot {merged[0][0]!r} was merged into {merged[0][1]!r} already")
    stands_for = catalogue.read("SELECT shot FROM merges WHERE kept = ?", given_up)
    if stands_for or catalogue.read("SELECT 1 FROM trained WHERE shot = ?", given_up):
        why = f"stands for {stands_for[0][0]!r} too" if stands_for else "was trained on under its own name"
        raise IngestError(
            f"shot {given_up!r} {why} and cannot be given up",
            hint=f"keep that name instead: fedroto studio catalogue merge {given_up} {kept}; where both were trained "
            "on, what the two were charged adds up, and nothing undoes it: say that you know with catalogue distinct",
        )
    with catalogue.write() as run:
        pack = run("SELECT file FROM packs WHERE shot = ?", (given_up,)).fetchone()
        run("INSERT INTO merges VALUES (?, ?, ?, ?)", (given_up, kept, int(now.timestamp()), by))
        run("DELETE FROM packs WHERE shot = ?", (given_up,))
        run("DELETE FROM shapes WHERE shot = ?", (given_up,))
        for one, other, likeness in run(
            "SELECT shot, other, likeness FROM lookalikes WHERE decided_at IS NULL AND ? IN (shot, other)",
            (given_up,),
        ).fetchall():
            third = other if one == given_up else one
            if third != kept:  # who looked like the name given up looks like the one kept
                pair = (*_pair(kept, third), likeness)
                run("INSERT OR IGNORE INTO lookalikes VALUES (?, ?, ?, NULL, NULL)", pair)
        run("DELETE FROM lookalikes WHERE ? IN (shot, other)", (given_up,))
    if pack is not None:
        (catalogue.packs_folder / pack[0]).unlink(missing_ok=True)
    return Merge(kept, given_up, by)


def tell_apart(
    catalogue: Catalogue, shot: str, other: str, *, by: str, now: datetime.datetime
) -> tuple[str, str]:
    """Say that two shots that look alike are two; they are not asked about again.

    Raises:
        IngestError: a shot is not known, or the two were never found to look alike.
    """
    pair = _pair(_known(catalogue, shot), _known(catalogue, other))
    with catalogue.write() as run:
        changed = run(
            "UPDATE lookalikes SET decided_at = ?, decided_by = ? WHERE shot = ? AND other = ?",
            (int(now.timestamp()), by, *pair),
        ).rowcount
    if not changed:
        raise IngestError(
            f"{pair[0]!r} and {pair[1]!r} were not found to look alike",
            hint="see: fedroto studio catalogue duplicates",
        )
    return pair


def _pair(one: str, other: str) -> tuple[str, str]:
    first, second = sorted((one, other))
    return first, second


def _known(catalogue: Catalogue, shot: str) -> str:
    """Return a shot's id as the catalogue spells it."""
    for (known,) in catalogue.read("SELECT id FROM shots WHERE id = ?", shot):
        return str(known)
    raise IngestError(
        f"there is no shot {shot!r} in the catalogue", hint="see: fedroto studio catalogue find"
    )
