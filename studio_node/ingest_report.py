"""What an ingest tells while it runs and when it has ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from studio_node.catalogue import ShapeEntry
from studio_node.shot_folders import Rejected

State = Literal["new", "updated", "unchanged"]


@dataclass(frozen=True)
class IngestStep:
    """How far an ingest is.

    Attributes:
        text: what just happened, for people.
        done: shots that are through.
        total: shots in all.
        seconds_left: about how long the rest takes; None while nobody can tell.
    """

    text: str
    done: int
    total: int
    seconds_left: float | None = None


@dataclass(frozen=True)
class IngestedShot:
    """A shot that is in the catalogue now.

    Attributes:
        name: the shot id.
        state: ``unchanged`` where its files are those of its pack.
        frames: of the plate, missing ones included.
        shapes: what became of each shape.
        windows: in its pack.
        problems: frames that are missing or damaged and count as missing.
        files_read: how many of its files had to be read.
        looks_like: shots that may be the same one; a person decides before it is trained on.
        seconds: that it took.
    """

    name: str
    state: State
    frames: int
    shapes: tuple[ShapeEntry, ...]
    windows: int
    problems: tuple[str, ...] = ()
    files_read: int = 0
    looks_like: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True)
class IngestReport:
    """What an ingest did.

    Attributes:
        show: whose shots they are.
        shots: those that are in the catalogue now.
        rejected: folders, files and shapes that are not, each with the reason.
        notes: what the person should know besides.
        dry_run: nothing was read closely or written; ``windows`` are not known.
        seconds: that it took in all.
    """

    show: str
    shots: tuple[IngestedShot, ...]
    rejected: tuple[Rejected, ...]
    notes: tuple[str, ...] = field(default=())
    dry_run: bool = False
    seconds: float = 0.0

    @property
    def files_read(self) -> int:
        """Files that had to be read; those of unchanged shots are not among them."""
        return sum(shot.files_read for shot in self.shots)

    @property
    def shapes(self) -> int:
        """Shapes that windows were cut from, or would be."""
        return len(self._used)

    @property
    def keyframes(self) -> int:
        """Keyframes of those shapes."""
        return sum(shape.keyframes for shape in self._used)

    @property
    def windows(self) -> int:
        """Training windows in all."""
        return sum(shot.windows for shot in self.shots)

    @property
    def _used(self) -> list[ShapeEntry]:
        every = (shape for shot in self.shots for shape in shot.shapes)
        return [shape for shape in every if (shape.skipped is None if self.dry_run else shape.windows)]


Progress = Callable[[IngestStep], None]
