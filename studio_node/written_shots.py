"""Shots written as the files a studio would have: plates, approved shapes, and an artist's sparse keys.

``<folder>/<shot>/plate.1001.exr`` ..., ``shapes.nk`` (approved: every frame keyed), ``artist.nk`` (a few keys, as
handed over for prediction) and ``truth.json`` (the same as ``shapes.nk``, lossless). The rest of the product then
reads real files, by the same code as any studio's. A shot's folder appears whole or not at all.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from federation.durable import publish_folder, read_bounded, temporary_beside
from federation.errors import IngestError
from federation.worker_pool import in_processes, stop_if_asked
from model.curves import polygon_controls
from model.formats import nuke, roto_json
from model.procedural import make_shot, thinned
from model.procedural_settings import ShotSettings
from model.shapes import Shape, ShapeSet
from studio_node.pictures import read_pixels, write_exr, write_png
from studio_node.sequences import find_sequence

FIRST_FRAME = 1001
ARTIST_GAP = 12
CLIP_JSON_BYTES_MAX = 64 * 2**20
CLIP_CONVENTION = "pixel centre at integer"
Progress = Callable[[str], None]
PlateFormat = Literal["jpg", "png"]


@dataclass(frozen=True)
class WrittenShot:
    """A shot that is on disk now.

    Attributes:
        name: of the shot and its folder.
        folder: where it lies.
        plate: pattern of its plate files.
        first_frame: inclusive.
        last_frame: inclusive.
        shapes: names of its shapes.
        artist_keys: frames that ``artist.nk`` has keys on.
    """

    name: str
    folder: Path
    plate: Path
    first_frame: int
    last_frame: int
    shapes: tuple[str, ...]
    artist_keys: tuple[int, ...]

    @property
    def approved_file(self) -> Path:
        """The approved shapes."""
        return self.folder / "shapes.nk"

    @property
    def artist_file(self) -> Path:
        """The artist's sparse keys."""
        return self.folder / "artist.nk"

    @property
    def truth_file(self) -> Path:
        """The approved shapes in our own lossless JSON."""
        return self.folder / "truth.json"


def make_procedural_shots(
    folder: Path,
    *,
    seed: int,
    count: int,
    settings: ShotSettings | None = None,
    prefix: str = "shot",
    artist_gap: int = ARTIST_GAP,
    workers: int = 1,
    progress: Progress | None = None,
) -> tuple[WrittenShot, ...]:
    """Invent shots and write them: half-float EXR plates, and shapes whose truth is exact.

    Args:
        folder: gets one folder per shot; made where it is missing.
        seed: shot ``i`` follows from ``(seed, i)`` and the settings alone.
        count: how many shots.
        settings: their kind; None for the usual one.
        prefix: of the shots' names, ``<prefix>001`` and on.
        artist_gap: frames between the artist's keys, about.
        workers: processes to share the work; the files are the same whatever their number.
        progress: called with a line of text per shot.

    Raises:
        IngestError: a count, seed, gap or number of workers that cannot be, or the folder cannot be made.
        FedrotoError: a shot's folder is there already, or the disk refused; shots written before stay.
    """
    if count < 1 or seed < 0 or workers < 1:
        raise IngestError(
            f"{count} shots from seed {seed} by {workers} workers cannot be made; give at least one shot and one "
            "worker, seed 0 or more"
        )
    make = partial(_make_procedural_shot, folder, seed, settings or ShotSettings(), prefix, artist_gap)
    shots = in_processes(make, range(count), workers=workers)
    return tuple(_told(shot, progress) for shot in shots)


def _make_procedural_shot(
    folder: Path, seed: int, settings: ShotSettings, prefix: str, artist_gap: int, index: int
) -> WrittenShot:
    stop_if_asked()
    shot = make_shot(np.random.default_rng([seed, index]), settings)

    def write_plate(into: Path) -> str:
        for number, picture in enumerate(shot.frames, start=shot.first_frame):
            stop_if_asked()
            write_exr(into / f"plate.{number:04d}.exr", picture)
        return "plate.%04d.exr"

    return _write_shot(folder, f"{prefix}{index + 1:03d}", shot.shapes, write_plate, artist_gap)


def _told(shot: WrittenShot, progress: Progress | None) -> WrittenShot:
    if progress is not None:
        frames = shot.last_frame - shot.first_frame + 1
        progress(f"{shot.name}: {frames} frames, {len(shot.shapes)} shapes")
    return shot


def make_clip_shots(
    clips: Path,
    names: Sequence[str],
    folder: Path,
    *,
    plate_format: PlateFormat = "jpg",
    artist_gap: int = ARTIST_GAP,
    progress: Progress | None = None,
) -> tuple[WrittenShot, ...]:
    """Write real clips as a studio's files: ``<clips>/<name>/frames/*.jpg`` and ``shapes.json`` become a shot each.

    The clips' shapes are polygons whose coordinates count pixel centres at integers; they become Bezier shapes with
    zero tangents, half a pixel further right and down, as plate pixels have it.

    Args:
        clips: the folder of clips.
        names: which of them, in the order wanted; empty for all, sorted.
        folder: gets one folder per shot; made where it is missing.
        plate_format: ``jpg`` copies the frames byte by byte, ``png`` writes them anew without loss.
        artist_gap: frames between the artist's keys, about.
        progress: called with a line of text per shot.

    Raises:
        IngestError: no such clip, or its shapes are not of that form.
        PlateError: its frames cannot be found or read.
        FedrotoError: a shot's folder is there already, or the disk refused; shots written before stay.
    """
    found = sorted(path.parent.name for path in clips.glob("*/shapes.json"))
    wanted = list(names) or found
    missing = [name for name in wanted if name not in found]
    if missing or not wanted:
        raise IngestError(
            f"{clips} has no clip {', '.join(missing) or 'at all'}; it has: {', '.join(found) or 'none'}"
        )
    written = []
    for name in wanted:
        frames = sorted(find_sequence(clips / name / "frames").files.items())
        shapes = clip_shapes(clips / name / "shapes.json", frames=len(frames))

        def write_plate(into: Path, frames: list[tuple[int, Path]] = frames) -> str:
            for number, (_, source) in enumerate(frames, start=FIRST_FRAME):
                target = into / f"plate.{number:04d}.{plate_format}"
                if plate_format == "jpg":
                    shutil.copyfile(source, target)
                else:
                    write_png(target, read_pixels(source)[1])
            return f"plate.%04d.{plate_format}"

        written.append(_told(_write_shot(folder, name, shapes, write_plate, artist_gap), progress))
    return tuple(written)


def clip_shapes(path: Path, *, frames: int) -> ShapeSet:
    """Read a clip's ``shapes.json`` (one closed polygon per frame) into plate pixels, keyed on every frame.

    Raises:
        IngestError: it is not of that form, or does not have ``frames`` frames.
    """
    try:
        clip = json.loads(read_bounded(path, CLIP_JSON_BYTES_MAX))
        name, width, height = str(clip["name"]), int(clip["width"]), int(clip["height"])
        convention = str(clip["convention"])
        points = np.array(clip["shapes"], np.float64)
    except (ValueError, TypeError, KeyError) as error:
        raise IngestError(f"{path} is no clip's shapes: {type(error).__name__} {error}") from error
    if points.ndim != 3 or points.shape[2] != 2 or len(points) != frames or not np.isfinite(points).all():
        raise IngestError(f"{path} has shapes {points.shape}; it must be {frames} frames of points (x, y)")
    if not convention.startswith(CLIP_CONVENTION):
        raise IngestError(
            f"{path} counts pixels otherwise ({convention[:60]!r}); it must say {CLIP_CONVENTION!r}"
        )
    numbers = FIRST_FRAME + np.arange(frames)
    shape = Shape.from_keys(name, numbers, polygon_controls(points + 0.5))
    return ShapeSet((shape,), width, height, FIRST_FRAME, FIRST_FRAME + frames - 1)


def artist_frames(first_frame: int, last_frame: int, gap: int) -> tuple[int, ...]:
    """Return the frames an artist would key: the first, the last, and evenly between them about every ``gap``."""
    if gap < 1:
        raise IngestError(f"a gap of {gap} frames between keys cannot be; give 1 or more")
    keys = max(2, round((last_frame - first_frame) / gap) + 1)
    return tuple(np.unique(np.linspace(first_frame, last_frame, keys).round().astype(int)).tolist())


def _write_shot(
    folder: Path,
    name: str,
    shapes: ShapeSet,
    write_plate: Callable[[Path], str],
    artist_gap: int,
) -> WrittenShot:
    target = folder / name
    first, last = shapes.first_frame or FIRST_FRAME, shapes.last_frame or FIRST_FRAME
    keys = artist_frames(first, last, artist_gap)
    sparse = tuple(thinned(shape, np.array(keys)) for shape in shapes.shapes)
    artist = ShapeSet(sparse, shapes.width, shapes.height, first, last)
    if target.exists():
        raise IngestError(f"{target} is there already; name another folder, or remove it first")
    temporary = temporary_beside(target)
    try:
        temporary.mkdir(parents=True)
        pattern = write_plate(temporary)
        (temporary / "shapes.nk").write_bytes(nuke.dumps(shapes, "Roto1"))
        (temporary / "artist.nk").write_bytes(nuke.dumps(artist, "Roto1"))
        (temporary / "truth.json").write_text(roto_json.dumps(shapes))
        publish_folder(temporary, target)
    except OSError as error:
        raise IngestError(
            f"cannot write {target}: {error.strerror or error}; check the folder and the disk"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return WrittenShot(
        name, target, target / pattern, first, last, tuple(shape.name for shape in shapes.shapes), keys
    )
