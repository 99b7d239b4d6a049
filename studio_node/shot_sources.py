"""Import hooks: a studio whose shapes lie in a database, or whose shots lie elsewhere, names its shots by a function.

The function is called with the show's name and yields a :class:`SourcedShot` each. It is found as an entry point of the
group ``fedroto.shots``, or as ``module:function``. Shapes that are handed over as values are kept as files in the
studio's home (``imported``), private like packs, so that what was trained on can be looked at later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from federation.durable import make_private_dir, write_atomic
from federation.errors import FedrotoError, IngestError
from model.errors import ModelError
from model.formats import roto_json
from model.shapes import ShapeSet
from studio_node.hooks import load_hook
from studio_node.movies import FIRST_FRAME
from studio_node.shot_folders import Rejected, ShotFolder

ENTRY_POINTS = "fedroto.shots"
IMPORTED_FOLDER = "imported"


@dataclass(frozen=True)
class SourcedShot:
    """A shot that an import hook names.

    Attributes:
        name: the shot id, for ever.
        plate: pattern, folder or file.
        shapes: approved shapes, in the plate's pixels (``model.shapes``), or the file that they are in.
    """

    name: str
    plate: str | Path
    shapes: ShapeSet | Path


ShotSource = Callable[[str], Iterable[SourcedShot]]


def load_source(name: str) -> ShotSource:
    """Find an import hook by its entry point's name or as ``module:function``.

    Raises:
        IngestError: there is none, or it cannot be imported.
    """
    return load_hook(name, ENTRY_POINTS, "import hook")


def shots_from(
    source: ShotSource,
    show: str,
    home: Path,
    *,
    prefix: str = "",
    movie_start: int = FIRST_FRAME,
    scratch: Path | None = None,
) -> tuple[list[ShotFolder], list[Rejected]]:
    """Ask an import hook for the shots of a show.

    Args:
        source: the hook.
        show: whose shots are wanted.
        home: of the studio; shapes that are handed over as values are kept in it.
        prefix: put before each shot's name.
        movie_start: frame number of a movie's first picture.
        scratch: where shapes that are new go instead, in a dry run.

    Returns:
        The shots, and those that cannot be used, each with the reason.

    Raises:
        IngestError: the hook failed, or yields something else than shots.
    """
    shots: dict[str, ShotFolder] = {}
    rejected: list[Rejected] = []
    try:
        for sourced in source(show):
            try:
                shot = _kept(sourced, show, home, scratch or home, prefix, movie_start)
                if shot.name in shots:
                    raise IngestError(f"shot {shot.name!r} was named twice; give each shot its own name")
                shots[shot.name] = shot
            except (FedrotoError, ModelError) as error:
                rejected.append(Rejected.because(f"{sourced.name} (import hook)", error))
    except Exception as error:
        raise IngestError(
            f"the import hook failed after {len(shots)} shots: {type(error).__name__}: {error}"
        ) from error
    return list(shots.values()), rejected


def _kept(
    sourced: SourcedShot, show: str, home: Path, new_in: Path, prefix: str, movie_start: int
) -> ShotFolder:
    name = prefix + sourced.name
    if isinstance(sourced.shapes, Path):
        return ShotFolder.of(name, sourced.plate, sourced.shapes, movie_start=movie_start)
    place = Path(IMPORTED_FOLDER, show, f"{name}.json")
    data = roto_json.dumps(sourced.shapes).encode()
    # Shapes that are those of last time keep their file's time of change, so that they are not read again.
    unchanged = (home / place).is_file() and (home / place).read_bytes() == data
    file = (home if unchanged else new_in) / place
    shot = ShotFolder.of(name, sourced.plate, file, movie_start=movie_start)
    if not unchanged:
        make_private_dir(file.parent)
        write_atomic(file, data, mode=0o600)
    return shot
