"""Ingest: a folder tree of plates and approved shapes becomes packs of training windows and catalogue entries.

Each shot stands alone: one that cannot be used is reported with its file, line and reason, and the rest goes on. A
shot's pack is written before the catalogue names it, and the former pack is deleted after, so that a process killed at
any moment leaves the catalogue with whole packs only; what it left half-written is removed when ingest runs again.
Shots whose files have not changed since are not read again.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import os
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from federation.config import load_studio_config
from federation.durable import make_private_dir, remove_leftovers
from federation.errors import FedrotoError, IngestError
from federation.homes import StudioHome
from model.errors import ModelError
from model.weights import base_path
from studio_node.catalogue import CATALOGUE_FILE, Catalogue
from studio_node.cutting import CutShot, CutTask, Reading, ShotCutter
from studio_node.cutting_pool import cut_all
from studio_node.file_stamps import unchanged
from studio_node.fingerprints import FingerprintIndex
from studio_node.ingest_report import IngestedShot, IngestReport, IngestStep, Progress, State
from studio_node.shot_folders import Rejected, ShotFolder, find_shots
from studio_node.shot_sources import ShotSource, shots_from
from studio_node.shot_windows import CutRecipe

LOCK_FILE = "ingest.lock"
_SHOW_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


def ingest(
    home: Path,
    sources: Sequence[Path],
    show: str,
    *,
    source: ShotSource | None = None,
    recipe: CutRecipe | None = None,
    weights: Path | None = None,
    force: bool = False,
    prefix: str = "",
    reading: Reading | None = None,
    workers: int = 1,
    dry_run: bool = False,
    progress: Progress | None = None,
    now: datetime.datetime | None = None,
) -> IngestReport:
    """Ingest the shots of a show.

    Args:
        home: the studio's home.
        sources: folders; every folder in them with a plate and approved shapes is a shot, named after it.
        show: the show, as ``studio.toml`` names it. A shot belongs to its show for ever.
        source: an import hook that names further shots, for studios whose shapes lie in a database.
        recipe: how windows are cut; None for the usual one.
        weights: a weights file with the frozen matcher that the coordinator's plans stand on; None for the base
            weights of the package.
        force: read everything and cut the windows of unchanged shots anew as well.
        prefix: put before each shot's name.
        reading: how the files are taken; None for the usual way.
        workers: processes to cut in; 1 cuts in this one.
        dry_run: look at headers and shapes only, and write nothing.
        progress: called as it goes on.
        now: the time to enter; None for now.

    Returns:
        What was ingested and what was rejected, and why. Running it again skips shots whose files are unchanged.

    Raises:
        IngestError: the home, a source, the show's name or the catalogue cannot be used, or another ingest runs.
        WeightsError: the weights cannot be used.
    """
    if not _SHOW_NAME.fullmatch(show):
        raise IngestError(f"{show!r} cannot name a show; use letters, digits, '.', '_' and '-', at most 63")
    started = time.monotonic()
    reading = reading or Reading()
    say = progress or (lambda _: None)
    with contextlib.ExitStack() as opened:
        catalogue = None
        if not dry_run or (home / CATALOGUE_FILE).is_file():
            catalogue = opened.enter_context(Catalogue.open(home))
        if not dry_run:
            opened.enter_context(_only_one(home))
        found, rejected = find_shots(sources, prefix=prefix, movie_start=reading.movie_start)
        if source is not None:
            scratch = Path(opened.enter_context(tempfile.TemporaryDirectory())) if dry_run else None
            more, refused = shots_from(
                source, show, home, prefix=prefix, movie_start=reading.movie_start, scratch=scratch
            )
            twice = {shot.name for shot in found} & {shot.name for shot in more}
            rejected += refused + [
                Rejected(f"{name} (import hook)", "a folder holds a shot of this name; give each its own")
                for name in sorted(twice)
            ]
            found += [shot for shot in more if shot.name not in twice]
        say(IngestStep(f"found {len(found)} shots", 0, len(found)))
        cutter = ShotCutter(weights or base_path(), recipe or CutRecipe())
        run = _Run(
            catalogue, cutter, show, reading, force, dry_run, now or datetime.datetime.now(datetime.UTC)
        )
        if catalogue is not None and not dry_run:
            _tidy(catalogue)
        done = run.through(found, workers, say)
        rejected += run.rejected
    seconds = time.monotonic() - started
    return IngestReport(show, done, tuple(rejected), _consent_note(home, show), dry_run, seconds)


@dataclass
class _Run:
    """One ingest on its way; the catalogue is None in a dry run where there is none."""

    catalogue: Catalogue | None
    cutter: ShotCutter
    show: str
    reading: Reading
    force: bool
    dry_run: bool
    now: datetime.datetime
    rejected: list[Rejected] = field(default_factory=list)
    index: FingerprintIndex | None = None

    def through(self, found: list[ShotFolder], workers: int, say: Progress) -> tuple[IngestedShot, ...]:
        """Ingest every shot, unchanged ones first, and return those that are in, in the order found."""
        done: dict[str, IngestedShot] = {}
        total = len(found)
        pending = []
        for shot in found:
            known = self._known(shot)
            if isinstance(known, Rejected):
                self.rejected.append(known)
                say(IngestStep(f"{shot.name}: rejected: {known.reason}", len(done), total))
            elif known is not None:
                done[shot.name] = known
            else:
                pending.append(shot)
        if done:
            say(IngestStep(f"{len(done)} shots are unchanged", len(done), total))
        before, clock = total - len(pending), _Clock(sum(shot.frames for shot in pending))
        tasks = map(self._task, pending)
        with contextlib.closing(cut_all(tasks, self.cutter, workers=min(workers, len(pending)))) as outcomes:
            for number, (task, outcome) in enumerate(outcomes, start=before + 1):
                entry = self._entered(task, outcome)
                left = clock.left(task.shot.frames)
                place = f"{task.shot.name} ({number} of {total})"
                if isinstance(entry, Rejected):
                    self.rejected.append(entry)
                    say(IngestStep(f"{place}: rejected: {entry.reason}", number, total, left))
                    continue
                done[task.shot.name] = entry
                told = f"{place}: {entry.state}, {entry.windows} windows, {entry.seconds:.1f} s"
                say(IngestStep(told, number, total, left))
        return tuple(done[shot.name] for shot in found if shot.name in done)

    def _known(self, shot: ShotFolder) -> IngestedShot | Rejected | None:
        """Say what is clear without reading a file: the shot is unchanged, or cannot be this show's."""
        if self.catalogue is None:
            return None
        try:
            self.catalogue.check_shot(shot.name, self.show)
            pack = self.catalogue.pack_of(shot.name)
            delivery = self.catalogue.delivery(shot.name)
            if self.force or pack is None or delivery is None or not pack.path.is_file():
                return None
            if (pack.recipe, pack.frozen_digest) != (self.cutter.recipe.text, self.cutter.frozen_digest):
                return None
            if delivery.reading != self.reading.text or not unchanged(shot.files(), delivery.stamps):
                return None
        except (FedrotoError, ModelError) as error:
            return Rejected.because(shot.shapes_file.parent, error)
        shapes = self.catalogue.shapes(shot.name)
        return IngestedShot(shot.name, "unchanged", shot.frames, shapes, pack.windows, delivery.problems)

    def _task(self, shot: ShotFolder) -> CutTask:
        catalogue = self.catalogue
        if catalogue is None or self.dry_run:
            return CutTask(shot, self.show, self.reading, {}, None, None)
        pack, delivery = catalogue.pack_of(shot.name), catalogue.delivery(shot.name)
        known = pack is not None and delivery is not None and pack.path.is_file() and not self.force
        return CutTask(
            shot,
            self.show,
            self.reading,
            delivery.stamps if delivery is not None and not self.force else {},
            pack.made_with if pack is not None and known else None,
            catalogue.packs_folder,
        )

    def _entered(self, task: CutTask, outcome: CutShot | Rejected) -> IngestedShot | Rejected:
        """Enter what came of a shot into the catalogue."""
        shot, catalogue = task.shot, self.catalogue
        former = catalogue.pack_of(shot.name) if catalogue is not None else None
        if isinstance(outcome, Rejected):
            if former is None:
                return outcome
            return replace(outcome, reason=f"{outcome.reason} (the shot's former pack stays as it was)")
        if catalogue is None or self.dry_run:
            return _ingested(shot, "new" if former is None else "updated", outcome)
        if outcome.pack is None and former is not None:
            catalogue.touched(shot.name, outcome.delivery.stamps)
            shapes = catalogue.shapes(shot.name)
            return replace(_ingested(shot, "unchanged", outcome), shapes=shapes, windows=former.windows)
        if outcome.pack is None:
            return Rejected(
                str(shot.shapes_file.parent), "its pack vanished while it was looked at; ingest it again"
            )
        self.index = self.index or FingerprintIndex(catalogue.fingerprints())
        alike = self.index.like(shot.name, outcome.delivery.fingerprints)
        try:
            replaced = catalogue.record(
                outcome.pack, outcome.shapes, now=self.now, delivery=outcome.delivery, alike=alike
            )
        except IngestError as error:
            return Rejected.because(shot.shapes_file.parent, error)
        self.index.add(shot.name, outcome.delivery.fingerprints)
        if replaced is not None:
            replaced.unlink(missing_ok=True)
        entry = _ingested(shot, "new" if former is None else "updated", outcome)
        return replace(entry, looks_like=tuple(sorted(alike)))


class _Clock:
    """Tells how long the rest takes, from how long frames took so far."""

    def __init__(self, frames: int) -> None:
        self._started = time.monotonic()
        self._frames = frames
        self._done = 0

    def left(self, frames: int) -> float:
        """Take in that so many more frames are done; return the seconds left."""
        self._done += frames
        return (time.monotonic() - self._started) / self._done * (self._frames - self._done)


def _ingested(shot: ShotFolder, state: State, outcome: CutShot) -> IngestedShot:
    return IngestedShot(
        shot.name,
        state,
        shot.frames,
        outcome.shapes,
        0 if outcome.pack is None else outcome.pack.windows,
        outcome.delivery.problems,
        outcome.files_read,
        seconds=outcome.seconds,
    )


def _tidy(catalogue: Catalogue) -> None:
    """Remove what an ingest that was killed has left: half-written files, and packs that no shot names."""
    make_private_dir(catalogue.packs_folder)
    remove_leftovers(catalogue.packs_folder)
    named = {pack.path for pack in catalogue.packs()}
    for path in catalogue.packs_folder.glob("*.safetensors"):
        if path not in named:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def _only_one(home: Path) -> Iterator[None]:
    descriptor = os.open(home / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise IngestError(f"another ingest is running in {home}", hint="wait until it has ended") from error
    finally:
        os.close(descriptor)


def _consent_note(home: Path, show: str) -> tuple[str, ...]:
    try:
        consent = load_studio_config(StudioHome(home).config).shows.get(show)
    except FedrotoError as error:
        return (f"whether show {show!r} may be trained on is unknown: {error}",)
    if consent is None or not consent.training_allowed:
        return (
            f"show {show!r} has no consent for training in studio.toml, so its packs stay unused until it has",
        )
    return ()
