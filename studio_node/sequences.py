"""Numbered plate files on disk: which files are the frames of one plate, and which frames are missing.

A plate is named by a pattern (``plate.%04d.exr``, ``plate.####.exr``, ``plate.@@@.exr``), by its folder, by a single
file or by a movie. Frame numbers are plate numbers and stay what they are (a plate usually starts at 1001);
``first_frame`` and ``last_frame`` are inclusive. No picture is opened here, only a movie, to see how many it holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from model.errors import PlateError
from studio_node import movies

PLATE_EXTENSIONS = frozenset({".exr", ".png", ".jpg", ".jpeg", ".dpx", ".cin", ".tif", ".tiff"})
FRAMES_MAX = 200_000
"""Most frames between the first and the last of one plate; beyond it a number in the name is no frame number."""

_TOKEN = re.compile(r"%0?(\d*)d|#+|@+")
_STEREO = re.compile(r"%[vV]")
_NUMBERED = re.compile(r"^(?P<prefix>.*?)(?P<number>\d+)(?P<suffix>\D*)$")


@dataclass(frozen=True)
class FileSequence:
    """The files of one plate.

    Attributes:
        pattern: the sequence's name as an artist writes it, ``plate.%04d.exr``, with its folder.
        files: plate frame -> file, at least one; of a movie, every frame has the same.
        movie_start: frame number of the movie's first picture; None where every frame is a file of its own.
    """

    pattern: str
    files: Mapping[int, Path]
    movie_start: int | None = None

    def __post_init__(self) -> None:
        if not self.files:
            raise PlateError(f"{self.pattern} has no files; check the folder and the number of digits")
        if self.last_frame - self.first_frame >= FRAMES_MAX:
            raise PlateError(
                f"{self.pattern} runs from {self.first_frame} to {self.last_frame}, more than {FRAMES_MAX} frames; "
                "move files whose number is no frame number out of the folder"
            )

    @property
    def first_frame(self) -> int:
        """First plate frame, inclusive."""
        return min(self.files)

    @property
    def last_frame(self) -> int:
        """Last plate frame, inclusive."""
        return max(self.files)

    @property
    def missing(self) -> tuple[int, ...]:
        """Frames between the first and the last that have no file."""
        return tuple(f for f in range(self.first_frame, self.last_frame + 1) if f not in self.files)

    def between(self, first_frame: int | None, last_frame: int | None) -> FileSequence:
        """Return the part of the sequence from one frame to another, both inclusive.

        Raises:
            PlateError: no file lies in that range.
        """
        first = self.first_frame if first_frame is None else first_frame
        last = self.last_frame if last_frame is None else last_frame
        kept = {frame: path for frame, path in self.files.items() if first <= frame <= last}
        if not kept:
            raise PlateError(
                f"{self.pattern} has frames {self.first_frame}-{self.last_frame}, none in {first}-{last}; "
                "ask for frames that exist"
            )
        return FileSequence(self.pattern, kept, self.movie_start)


def find_sequence(
    plate: str | Path,
    *,
    first_frame: int | None = None,
    last_frame: int | None = None,
    movie_start: int = movies.FIRST_FRAME,
) -> FileSequence:
    """Find the files of the one plate that a pattern, a folder or a file name stands for.

    Args:
        plate: a pattern whose file name holds one frame token (``%04d``, ``%d``, ``####``, ``@@@``; a single ``#``
            or ``@`` stands for any number of digits), a folder that holds exactly one sequence (or, without any, one
            movie), or one file, which stands for the sequence that it belongs to (as when an artist drops it into a
            compositing script).
        first_frame: leave out files before this frame.
        last_frame: leave out files after this frame.
        movie_start: frame number of a movie's first picture.

    Returns:
        The sequence; the extension's case does not matter.

    Raises:
        PlateError: nothing there, two files for one frame, or several sequences in the folder (they are listed).
    """
    path = Path(plate)
    if path.is_dir():
        found = find_sequences(path) or _movies_in(path, movie_start)
        if not found:
            raise PlateError(f"{path} holds no plate files ({_kinds()}); name the folder of the frames")
        if len(found) > 1:
            listed = "; ".join(
                f"{Path(s.pattern).name} {s.first_frame}-{s.last_frame}" for s in found.values()
            )
            raise PlateError(
                f"{path} holds {len(found)} sequences: {listed}; name one of them by its pattern"
            )
        sequence = next(iter(found.values()))
    elif path.is_file():
        sequence = _movie(path, movie_start) if movies.is_movie(path) else _single(path)
    else:
        sequence = _matching(path)
    if first_frame is None and last_frame is None:
        return sequence
    return sequence.between(first_frame, last_frame)


def find_sequences(folder: Path) -> dict[str, FileSequence]:
    """Return every sequence of plate files that lies directly in a folder, by its pattern.

    The last number in a file's name is its frame. Hidden files (``._plate.1001.exr`` and the like) do not count, nor
    do pictures without a number where there are numbered ones.

    Raises:
        PlateError: two files of a sequence carry the same frame number, or the folder cannot be read.
    """
    groups: dict[tuple[str, str, str], list[tuple[int, Path]]] = {}
    stills = []
    for path in _plate_files(folder):
        match = _NUMBERED.match(path.stem)
        if match is None:
            stills.append(path)
            continue
        key = (match["prefix"], match["suffix"], path.suffix.lower())
        groups.setdefault(key, []).append((int(match["number"]), path))
    if not groups:
        return {str(path): _single(path) for path in stills}
    sequences = {}
    for members in groups.values():
        pattern = _pattern_of(members[0][1])
        sequences[pattern] = FileSequence(pattern, _one_file_per_frame(members))
    return dict(sorted(sequences.items()))


def describe_frames(frames: Iterable[int]) -> str:
    """Write frame numbers as an artist would: ``1001-1004, 1010``."""
    runs: list[list[int]] = []
    for frame in sorted(set(frames)):
        if runs and frame == runs[-1][1] + 1:
            runs[-1][1] = frame
        else:
            runs.append([frame, frame])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def _plate_files(folder: Path, extensions: frozenset[str] = PLATE_EXTENSIONS) -> list[Path]:
    try:
        return sorted(
            path
            for path in folder.iterdir()
            if path.suffix.lower() in extensions and not path.name.startswith(".") and path.is_file()
        )
    except OSError as error:
        raise PlateError(
            f"{folder} cannot be read: {error.strerror or error}; check its permissions"
        ) from error


def _single(path: Path) -> FileSequence:
    if path.suffix.lower() not in PLATE_EXTENSIONS:
        raise PlateError(f"{path} is no plate file; plates are {_kinds()}")
    if _NUMBERED.match(path.stem):
        return _matching(Path(_pattern_of(path)))
    return FileSequence(str(path), {1: path})


def _movie(path: Path, start: int) -> FileSequence:
    frames = range(start, start + movies.Movie(path).pictures)
    return FileSequence(str(path), dict.fromkeys(frames, path), start)


def _movies_in(folder: Path, start: int) -> dict[str, FileSequence]:
    return {str(path): _movie(path, start) for path in _plate_files(folder, movies.MOVIE_EXTENSIONS)}


def _kinds() -> str:
    return ", ".join(sorted(PLATE_EXTENSIONS | movies.MOVIE_EXTENSIONS))


def _pattern_of(path: Path) -> str:
    match = _NUMBERED.match(path.stem)
    if match is None:
        return str(path)
    token = f"%0{len(match['number'])}d" if len(match["number"]) > 1 else "%d"
    return str(path.with_name(f"{match['prefix']}{token}{match['suffix']}{path.suffix}"))


def _matching(path: Path) -> FileSequence:
    tokens = list(_TOKEN.finditer(path.name))
    if _STEREO.search(path.name):
        raise PlateError(f"{path.name} holds a view token; name one view, as in plate.left.%04d.exr")
    if not path.parent.is_dir():
        raise PlateError(f"the folder {path.parent} does not exist; check the plate's path")
    if len(tokens) != 1:
        what = "does not exist" if not tokens else f"holds {len(tokens)} frame tokens"
        raise PlateError(f"{path} {what}; name a file, a folder, or a pattern with one token: plate.%04d.exr")
    token = tokens[0]
    text = token.group()
    width = int(token.group(1) or 1) if text.startswith("%") else len(text)
    before = re.escape(path.name[: token.start()])
    after, _, extension = path.name[token.end() :].rpartition(".")
    matcher = re.compile(rf"{before}(\d+){re.escape(after)}\.(?i:{re.escape(extension)})")
    members = []
    for candidate in _plate_files(path.parent):
        match = matcher.fullmatch(candidate.name)
        if match and _fits_width(match[1], width):
            members.append((int(match[1]), candidate))
    if not members:
        raise PlateError(f"no file matches {path}; check the name and the number of digits ({width})")
    return FileSequence(str(path), _one_file_per_frame(members))


def _fits_width(digits: str, width: int) -> bool:
    """Padded numbers have exactly ``width`` digits, or more without a leading zero; width 1 takes any."""
    return width == 1 or len(digits) == width or (len(digits) > width and not digits.startswith("0"))


def _one_file_per_frame(members: list[tuple[int, Path]]) -> dict[int, Path]:
    files: dict[int, Path] = {}
    for frame, path in sorted(members):
        if frame in files:
            raise PlateError(
                f"frame {frame} exists twice in {path.parent}: {files[frame].name} and {path.name}; keep one of them"
            )
        files[frame] = path
    return files
