"""Ingest: a folder tree of plates and approved shapes becomes packs of training windows and catalogue entries.

Each shot stands alone: one that cannot be used is reported with its file, line and reason, and the rest goes on. A
shot's pack is written before the catalogue names it, and the former pack is deleted after, so that a process killed at
any moment leaves the catalogue with whole packs only; what it left half-written is removed when ingest runs again.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import cv2

from federation.config import load_studio_config
from federation.durable import make_private_dir, remove_leftovers
from federation.errors import FedrotoError, IngestError
from federation.homes import StudioHome
from federation.model_spec import frozen_digest
from model.errors import ModelError
from model.matcher import Matcher
from model.network import RotoModel
from model.weights import base_path, load_public
from studio_node.catalogue import Catalogue, PackEntry, ShapeEntry
from studio_node.packs import PackHeader, write_pack
from studio_node.plates import PlateSequence
from studio_node.shape_files import read_shapes
from studio_node.shot_folders import Rejected, ShotFolder, content_digest, find_shots
from studio_node.shot_windows import CutRecipe, windows_of_shot

LOCK_FILE = "ingest.lock"
Progress = Callable[[str], None]
_SHOW_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


@dataclass(frozen=True)
class IngestedShot:
    """A shot that is in the catalogue now.

    Attributes:
        name: the shot id.
        state: ``unchanged`` where its files are those of its pack.
        frames: of the plate, missing ones included.
        shapes: what became of each shape.
        windows: in its pack.
        problems: frames that are missing or damaged and count as missing; empty for an unchanged shot.
        seconds: that it took.
    """

    name: str
    state: Literal["new", "updated", "unchanged"]
    frames: int
    shapes: tuple[ShapeEntry, ...]
    windows: int
    problems: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True)
class IngestReport:
    """What an ingest did.

    Attributes:
        show: whose shots they are.
        shots: those that are in the catalogue now.
        rejected: folders, files and shapes that are not, each with the reason.
        notes: what the person should know besides.
    """

    show: str
    shots: tuple[IngestedShot, ...]
    rejected: tuple[Rejected, ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def shapes(self) -> int:
        """Shapes that windows were cut from."""
        return sum(shape.windows > 0 for shot in self.shots for shape in shot.shapes)

    @property
    def keyframes(self) -> int:
        """Keyframes of those shapes."""
        return sum(shape.keyframes for shot in self.shots for shape in shot.shapes if shape.windows)

    @property
    def windows(self) -> int:
        """Training windows in all."""
        return sum(shot.windows for shot in self.shots)


def ingest(
    home: Path,
    sources: Sequence[Path],
    show: str,
    *,
    recipe: CutRecipe | None = None,
    weights: Path | None = None,
    force: bool = False,
    prefix: str = "",
    trust_plate_size: bool = False,
    progress: Progress | None = None,
    now: datetime.datetime | None = None,
) -> IngestReport:
    """Ingest the shots of a show.

    Args:
        home: the studio's home.
        sources: folders; every folder in them with a plate and approved shapes is a shot, named after it.
        show: the show, as ``studio.toml`` names it. A shot belongs to its show for ever.
        recipe: how windows are cut; None for the usual one.
        weights: a weights file with the frozen matcher that the coordinator's plans stand on; None for the base
            weights of the package.
        force: cut the windows of unchanged shots anew as well.
        prefix: put before each shot's name.
        trust_plate_size: see ``read_shapes``.
        progress: called with a line of text for people.
        now: the time to enter; None for now.

    Returns:
        What was ingested and what was rejected, and why. Running it again skips shots whose files are unchanged.

    Raises:
        IngestError: the home, a source, the show's name or the catalogue cannot be used, or another ingest runs.
        WeightsError: the weights cannot be used.
    """
    if not _SHOW_NAME.fullmatch(show):
        raise IngestError(f"{show!r} cannot name a show; use letters, digits, '.', '_' and '-', at most 63")
    say = progress or (lambda _: None)
    with Catalogue.open(home) as catalogue, _only_one(home):
        _tidy(catalogue)
        shots, rejected = find_shots(sources, prefix=prefix)
        say(f"found {len(shots)} shots in {', '.join(str(source) for source in sources)}")
        cutter = _Cutter.load(weights or base_path(), recipe or CutRecipe())
        done = []
        for number, shot in enumerate(shots, start=1):
            place = f"{shot.name} ({number} of {len(shots)})"
            started = time.monotonic()
            try:
                entry = _ingest_shot(
                    catalogue, cutter, shot, show,
                    force=force, trust_plate_size=trust_plate_size, started=started,
                    now=now or datetime.datetime.now(datetime.UTC),
                )  # fmt: skip
            except (FedrotoError, ModelError) as error:
                rejected.append(_rejection(catalogue, shot, error))
                say(f"{place}: rejected: {rejected[-1].reason}")
                continue
            done.append(entry)
            say(f"{place}: {entry.state}, {entry.windows} windows, {entry.seconds:.1f} s")
    return IngestReport(show, tuple(done), tuple(rejected), _consent_note(home, show))


@dataclass(frozen=True)
class _Cutter:
    """The public parts of cutting: frozen weights and recipe."""

    matcher: Matcher | None
    digest: str
    recipe: CutRecipe

    @classmethod
    def load(cls, weights: Path, recipe: CutRecipe) -> _Cutter:
        cv2.setNumThreads(
            1
        )  # dense flow depends on the number of threads; the same shot gives the same windows
        tensors = load_public(weights).tensors
        return cls(RotoModel.from_tensors(tensors).matcher, frozen_digest(tensors), recipe)


def _ingest_shot(
    catalogue: Catalogue,
    cutter: _Cutter,
    shot: ShotFolder,
    show: str,
    *,
    force: bool,
    trust_plate_size: bool,
    started: float,
    now: datetime.datetime,
) -> IngestedShot:
    catalogue.check_shot(shot.name, show)
    epoch = content_digest(shot)
    former = catalogue.pack_of(shot.name)
    made_with = (epoch, cutter.recipe.text, cutter.digest)
    frames = shot.plate.last_frame - shot.plate.first_frame + 1
    if former is not None and not force and former.path.is_file() and former.made_with == made_with:
        seconds = time.monotonic() - started
        shapes = catalogue.shapes(shot.name)
        return IngestedShot(shot.name, "unchanged", frames, shapes, former.windows, (), seconds)
    plate = PlateSequence(shot.plate)
    drawn = read_shapes(
        shot.shapes_file, width=plate.width, height=plate.height, trust_plate_size=trust_plate_size
    )
    windows, entries = windows_of_shot(
        plate, drawn, matcher=cutter.matcher, recipe=cutter.recipe, epoch=epoch
    )
    if not windows:
        reasons = "; ".join(f"{entry.path}: {entry.skipped}" for entry in entries[:5])
        raise IngestError(f"no training window can be cut: {reasons or 'there are no shapes'}")
    path = catalogue.packs_folder / pack_name(shot.name, epoch, cutter.digest)
    header = PackHeader(shot.name, show, epoch, cutter.recipe.text, cutter.digest, len(windows))
    size = write_pack(path, windows, header)
    pack = PackEntry(
        shot.name, show, path, epoch, cutter.recipe.text, cutter.digest, len(windows), size, shot.plate.pattern,
        str(shot.shapes_file), plate.first_frame, plate.last_frame, plate.width, plate.height,
    )  # fmt: skip
    replaced = catalogue.record(pack, entries, now=now)
    if replaced is not None:
        replaced.unlink(missing_ok=True)
    return IngestedShot(
        shot.name,
        "new" if former is None else "updated",
        frames,
        tuple(entries),
        len(windows),
        tuple(str(problem) for problem in plate.problems),
        time.monotonic() - started,
    )


def _rejection(catalogue: Catalogue, shot: ShotFolder, error: Exception) -> Rejected:
    rejected = Rejected.because(shot.shapes_file.parent, error)
    if catalogue.pack_of(shot.name) is None:
        return rejected
    return replace(rejected, reason=f"{rejected.reason} (the shot's former pack stays as it was)")


def pack_name(shot: str, epoch: str, digest: str) -> str:
    """Name a pack file: readable, safe on any disk, and another one for other content or frozen weights."""
    readable = re.sub(r"[^A-Za-z0-9_-]+", "_", shot)[:40]
    exact = hashlib.sha256(f"{shot}\0{epoch}\0{digest}".encode()).hexdigest()[:16]
    return f"{readable}-{exact}.safetensors"


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
