"""Finding shots in a folder tree: every folder that directly holds one plate and one file of approved shapes.

``<show>/<shot>/plate.####.exr`` beside ``<show>/<shot>/shapes.nk`` is the usual lay-out; the shot is named after its
folder. Where a folder holds several shape files, the approved one must be called ``shapes.nk`` or ``shapes.json``;
an artist's work in progress and predictions may then lie beside it. Nothing here opens a picture or a shape file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from federation.errors import IngestError
from model.errors import ModelError
from model.formats.registry import JSON, READABLE
from studio_node.movies import FIRST_FRAME, is_movie
from studio_node.sequences import PLATE_EXTENSIONS, FileSequence, find_sequence

APPROVED_STEM = "shapes"
DEPTH_MAX = 12
_SHOT_NAME = re.compile(r"\w[\w.\- ]{0,119}")


@dataclass(frozen=True)
class ShotFolder:
    """A shot on disk.

    Attributes:
        name: the declared name, which becomes the shot id for ever.
        plate: pattern, folder or file of its plate; listed anew when it is needed, since an archive has millions.
        frames: of the plate, missing ones included.
        shapes_file: its approved shapes.
        movie_start: frame number of a movie's first picture.
    """

    name: str
    plate: str
    frames: int
    shapes_file: Path
    movie_start: int = FIRST_FRAME

    @classmethod
    def of(cls, name: str, plate: str | Path, shapes_file: Path, *, movie_start: int = FIRST_FRAME) -> Self:
        """Look at a shot's files.

        Raises:
            IngestError: the name cannot name a shot.
            PlateError: there is no such plate.
        """
        if not _SHOT_NAME.fullmatch(name):
            raise IngestError(f"{name!r} cannot name a shot; use letters, digits, '.', '_', '-' and spaces")
        sequence = find_sequence(plate, movie_start=movie_start)
        frames = sequence.last_frame - sequence.first_frame + 1
        return cls(name, str(plate), frames, shapes_file, movie_start)

    def sequence(self) -> FileSequence:
        """List the plate's files.

        Raises:
            PlateError: they are gone.
        """
        return find_sequence(self.plate, movie_start=self.movie_start)

    def files(self) -> dict[str, Path]:
        """Return every file of the shot by what it is in it: ``shapes``, ``movie``, or its frame number.

        Raises:
            PlateError: the plate's files are gone.
        """
        sequence = self.sequence()
        plate = {str(frame): path for frame, path in sorted(sequence.files.items())}
        if sequence.movie_start is not None:
            plate = {"movie": sequence.files[sequence.first_frame]}
        return {"shapes": self.shapes_file} | plate


@dataclass(frozen=True)
class Rejected:
    """Something that did not become training data.

    Attributes:
        where: the folder or file.
        reason: why, and what to do.
        line: line in the file, where one is to blame.
    """

    where: str
    reason: str
    line: int | None = None

    @classmethod
    def because(cls, where: Path | str, error: Exception) -> Rejected:
        """Tell what an error says about a place."""
        return cls(str(where), str(error), getattr(error, "line", None))


def find_shots(
    sources: Iterable[Path], *, prefix: str = "", movie_start: int = FIRST_FRAME
) -> tuple[list[ShotFolder], list[Rejected]]:
    """Find the shots in folders and everything below them, in the order of their paths.

    Args:
        sources: folders; symbolic links are followed, each folder is visited once.
        prefix: put before each folder's name, for shows whose shots are named like those of another show.
        movie_start: frame number of a movie's first picture.

    Returns:
        The shots, and the folders that hold plates or shapes but are no shot, each with the reason.

    Raises:
        IngestError: a source is no folder.
    """
    shots: dict[str, ShotFolder] = {}
    rejected: list[Rejected] = []
    for folder, shape_files, has_plates in _walk(sources):
        strays = all(path.suffix.lower() == ".json" and path.stem != APPROVED_STEM for path in shape_files)
        if not has_plates and strays:
            continue
        try:
            shot = _shot_in(folder, shape_files, has_plates, prefix, movie_start)
            if shot.name in shots:
                raise IngestError(
                    f"shot {shot.name!r} was found at {shots[shot.name].shapes_file.parent} already; "
                    "give each shot its own name"
                )
            shots[shot.name] = shot
        except (IngestError, ModelError) as error:
            rejected.append(Rejected.because(folder, error))
    return list(shots.values()), rejected


def _walk(sources: Iterable[Path]) -> Iterable[tuple[Path, list[Path], bool]]:
    visited: set[Path] = set()
    pending = []
    for source in sorted(sources, reverse=True):
        if not source.is_dir():
            raise IngestError(f"{source} is no folder; name the folder of a show or of a shot")
        pending.append((source, 0))
    while pending:
        folder, depth = pending.pop()
        real = folder.resolve()
        if real in visited or depth > DEPTH_MAX:
            continue
        visited.add(real)
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name, reverse=True)
        except OSError:
            continue  # not ours to read; what lies in it cannot be a shot of ours
        visible = [entry for entry in entries if not entry.name.startswith(".")]
        pending += [(Path(entry.path), depth + 1) for entry in visible if entry.is_dir()]
        files = sorted(Path(entry.path) for entry in visible if entry.is_file())
        has_plates = any(
            is_movie(path) or (path.suffix.lower() in PLATE_EXTENSIONS and any(map(str.isdigit, path.stem)))
            for path in files
        )
        yield folder, _shape_files(files), has_plates


def _shape_files(files: list[Path]) -> list[Path]:
    """Return the files that may be the folder's approved shapes: the ones called so, else an artist's, else JSON."""
    found = [path for path in files if path.suffix.lower() in READABLE]
    approved = [path for path in found if path.stem.lower() == APPROVED_STEM]
    artists = [path for path in found if path.suffix.lower() not in JSON.suffixes]
    return approved or artists or found


def _shot_in(
    folder: Path, shape_files: list[Path], has_plates: bool, prefix: str, movie_start: int
) -> ShotFolder:
    if not shape_files:
        raise IngestError(
            "there are plates but no shapes; put the approved shapes beside them, as shapes.nk or shapes.fxs"
        )
    if len(shape_files) > 1:
        listed = ", ".join(path.name for path in shape_files)
        raise IngestError(
            f"there are several shape files ({listed}); call the approved one shapes.nk, and only it"
        )
    if not has_plates:
        raise IngestError(f"there are shapes ({shape_files[0].name}) but no plate files beside them")
    return ShotFolder.of(prefix + folder.resolve().name, folder, shape_files[0], movie_start=movie_start)
