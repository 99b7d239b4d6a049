"""One shot from its files to its pack: read, look at every frame, cut the windows, write them.

What is told of a shot travels as JSON between an ingest and its worker processes (``python -m studio_node.cutting``),
one line a shot each way: a worker that dies takes only the shot in its hands with it.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import cv2
import torch

from federation.errors import FedrotoError, IngestError
from federation.model_spec import frozen_digest
from model.errors import ModelError
from model.matcher import Matcher
from model.network import RotoModel
from model.shapes import ShapeSet
from model.weights import load_public
from studio_node.catalogue import PackEntry, ShapeEntry
from studio_node.deliveries import Delivery
from studio_node.file_stamps import Stamps, read_content, stamps_of
from studio_node.fingerprints import NO_HASHES, plate_hashes
from studio_node.packs import PackHeader, write_pack
from studio_node.plates import PlateSequence
from studio_node.shape_files import read_shapes
from studio_node.shot_folders import Rejected, ShotFolder
from studio_node.shot_windows import CutRecipe, shape_entries, windows_of_shot


@dataclass(frozen=True)
class Reading:
    """How a shot's files are to be taken, where nobody can tell from the files.

    Attributes:
        colour_space: what the plate holds (see ``PlateSequence``); None: as it is.
        movie_start: frame number of a movie's first picture.
        trust_plate_size: see ``read_shapes``.
    """

    colour_space: str | None = None
    movie_start: int = 1
    trust_plate_size: bool = False

    @property
    def text(self) -> str:
        """What the content digest says of it: nothing where it is the usual reading."""
        colour = f"colour={self.colour_space}\0" if self.colour_space else ""
        return colour + (f"movie={self.movie_start}\0" if self.movie_start != 1 else "")


@dataclass(frozen=True)
class CutTask:
    """A shot to be looked at.

    Attributes:
        shot: its files.
        show: whose it is.
        reading: how to take them.
        stamps: of its files when they were last read; empty to read them all.
        made_with: what its pack was made with; None where it has none, or a new one is wanted anyway.
        packs_folder: where the pack goes; None for a dry run, which reads no pixel and writes nothing.
    """

    shot: ShotFolder
    show: str
    reading: Reading
    stamps: Stamps
    made_with: tuple[str, str, str] | None
    packs_folder: Path | None

    def to_json(self) -> str:
        """Return one line."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, line: str) -> Self:
        """Return the task that ``to_json`` wrote."""
        fields = json.loads(line)
        shot = fields["shot"]
        return cls(
            ShotFolder(**shot | {"shapes_file": Path(shot["shapes_file"])}),
            fields["show"],
            Reading(**fields["reading"]),
            stamps_of(fields["stamps"]),
            tuple(fields["made_with"]) if fields["made_with"] else None,
            Path(fields["packs_folder"]) if fields["packs_folder"] else None,
        )


@dataclass(frozen=True)
class CutShot:
    """What came of a shot.

    Attributes:
        pack: written, and to be recorded; None where nothing is new, and in a dry run.
        shapes: what became of each; empty where nothing is new.
        delivery: its files as they are.
        files_read: how many had to be read.
        seconds: that it took.
    """

    pack: PackEntry | None
    shapes: tuple[ShapeEntry, ...]
    delivery: Delivery
    files_read: int
    seconds: float

    def to_json(self) -> str:
        """Return one line."""
        return json.dumps({**asdict(self), "delivery": self.delivery.to_fields()}, default=str)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Self:
        """Return the result that ``to_json`` wrote."""
        pack = fields["pack"]
        return cls(
            None if pack is None else PackEntry(**pack | {"path": Path(pack["path"])}),
            tuple(ShapeEntry(**shape) for shape in fields["shapes"]),
            Delivery.from_fields(fields["delivery"]),
            fields["files_read"],
            fields["seconds"],
        )


class ShotCutter:
    """Cuts shots with one set of public parts: frozen weights and recipe."""

    def __init__(self, weights: Path, recipe: CutRecipe) -> None:
        """Load the frozen weights.

        Raises:
            WeightsError: they cannot be used, or are private.
        """
        # Dense flow depends on the number of threads, and the same shot is to give the same windows.
        cv2.setNumThreads(1)
        self.weights = weights
        self.recipe = recipe
        tensors = load_public(weights).tensors
        self.frozen_digest = frozen_digest(tensors)
        self._matcher: Matcher | None = RotoModel.from_tensors(tensors).matcher

    def cut(self, task: CutTask) -> CutShot:
        """Look at a shot and write its pack, unless it has that one.

        Raises:
            IngestError: no window can be cut, or a file cannot be read.
            ModelError: plate or shapes cannot be used.
        """
        started = time.monotonic()
        shot = task.shot
        if task.packs_folder is None:
            return self._survey(task, started)
        content = read_content(shot.files(), task.stamps, reading=task.reading.text)
        if task.made_with == (content.epoch, self.recipe.text, self.frozen_digest):
            seconds = time.monotonic() - started
            nothing = Delivery(content.stamps, NO_HASHES)
            return CutShot(None, (), nothing, content.files_read, seconds)
        plate, drawn = _opened(task)
        hashes = plate_hashes(plate)  # reads every frame: none that is damaged goes unreported
        windows, entries = windows_of_shot(
            plate, drawn, matcher=self._matcher, recipe=self.recipe, epoch=content.epoch
        )
        if not windows:
            raise _no_window(entries)
        path = task.packs_folder / pack_name(shot.name, content.epoch, self.frozen_digest)
        header = PackHeader(
            shot.name, task.show, content.epoch, self.recipe.text, self.frozen_digest, len(windows)
        )
        size = write_pack(path, windows, header)
        pack = PackEntry(
            shot.name, task.show, path, content.epoch, self.recipe.text, self.frozen_digest, len(windows), size,
            plate.files.pattern, str(shot.shapes_file), plate.first_frame, plate.last_frame, plate.width, plate.height,
        )  # fmt: skip
        problems = tuple(str(problem) for problem in plate.problems)
        delivery = Delivery(content.stamps, hashes, problems, task.reading.text)
        return CutShot(pack, tuple(entries), delivery, content.files_read, time.monotonic() - started)

    def _survey(self, task: CutTask, started: float) -> CutShot:
        plate, drawn = _opened(task)
        entries = shape_entries(drawn, plate)
        if all(entry.skipped for entry in entries):
            raise _no_window(entries)
        problems = tuple(str(problem) for problem in plate.problems)
        delivery = Delivery({}, NO_HASHES, problems)
        return CutShot(None, tuple(entries), delivery, 0, time.monotonic() - started)


def pack_name(shot: str, epoch: str, digest: str) -> str:
    """Name a pack file: readable, safe on any disk, and another one for other content or frozen weights."""
    readable = re.sub(r"[^A-Za-z0-9_-]+", "_", shot)[:40]
    exact = hashlib.sha256(f"{shot}\0{epoch}\0{digest}".encode()).hexdigest()[:16]
    return f"{readable}-{exact}.safetensors"


def _opened(task: CutTask) -> tuple[PlateSequence, ShapeSet]:
    plate = PlateSequence(task.shot.sequence(), colour_space=task.reading.colour_space)
    trusted = task.reading.trust_plate_size
    return plate, read_shapes(
        task.shot.shapes_file, width=plate.width, height=plate.height, trust_plate_size=trusted
    )


def _no_window(entries: list[ShapeEntry]) -> IngestError:
    reasons = "; ".join(f"{entry.path}: {entry.skipped}" for entry in entries[:5])
    return IngestError(f"no training window can be cut: {reasons or 'there are no shapes'}")


def _work(weights: Path, recipe: CutRecipe) -> None:
    """Answer one task a line until there are no more."""
    torch.set_num_threads(1)
    cutter = ShotCutter(weights, recipe)
    for line in sys.stdin:
        task = CutTask.from_json(line)
        try:
            answer = cutter.cut(task).to_json()
        except (FedrotoError, ModelError) as error:
            answer = json.dumps({"rejected": asdict(Rejected.because(task.shot.shapes_file.parent, error))})
        sys.stdout.write(answer + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _work(Path(sys.argv[1]), CutRecipe(int(sys.argv[2]), (int(sys.argv[3]), int(sys.argv[4]))))
