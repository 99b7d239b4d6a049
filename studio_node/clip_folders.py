"""Clips to measure on, from a folder: real ones (frames, masks, shapes) and what ``fedroto plates make`` wrote.

``<clip>/frames/*.jpg`` with ``<clip>/shapes.json`` and, where they exist, ``<clip>/masks/*.png`` (the layout of DAVIS
clips); or ``<shot>/plate.*`` with ``<shot>/truth.json``, each of whose shapes is a clip. A ``manifest.json`` beside the
clips may say which are suitable for one outline: those and the others are then averaged apart.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from federation.durable import read_bounded
from federation.errors import IngestError
from model.curves import CENTRE, outline
from model.evaluation import EvaluationClip, Masks
from model.shapes import Shape
from studio_node.pictures import read_pixels
from studio_node.plates import PlateSequence
from studio_node.sequences import FileSequence, find_sequence, find_sequences
from studio_node.shape_files import read_shapes
from studio_node.written_shots import CLIP_JSON_BYTES_MAX, clip_shapes

SAMPLES_PER_SEGMENT: Final = 4
SUITABLE, HARD, UNSORTED = "suitable", "hard", "clips"


def clip_names(folder: Path) -> list[str]:
    """Names of the clips in a folder, sorted."""
    found = {path.parent.name for name in ("shapes.json", "truth.json") for path in folder.glob(f"*/{name}")}
    return sorted(found)


def read_clips(folder: Path, names: Sequence[str] = ()) -> Iterator[EvaluationClip]:
    """Read clips one by one; pictures are read when they are asked for.

    Args:
        folder: of the clips.
        names: which of them; empty for all, sorted.

    Raises:
        IngestError: no such clip, or its shapes are not of that form.
        PlateError: its frames cannot be found or read.
    """
    found = clip_names(folder)
    wanted = list(names) or found
    missing = [name for name in wanted if name not in found]
    if missing or not wanted:
        raise IngestError(
            f"{folder} has no clip {', '.join(missing) or 'at all'} (a folder with shapes.json or truth.json); "
            f"it has: {', '.join(found) or 'none'}"
        )
    groups = _groups(folder / "manifest.json")
    for name in wanted:
        group = groups.get(name, UNSORTED)
        if (folder / name / "shapes.json").is_file():
            yield _real_clip(folder / name, group)
        else:
            yield from _written_clips(folder / name, group)


def _real_clip(clip: Path, group: str) -> EvaluationClip:
    plate = PlateSequence(find_sequence(clip / "frames"))
    count = plate.last_frame - plate.first_frame + 1
    (shape,) = clip_shapes(clip / "shapes.json", frames=count).shapes
    masks = clip / "masks"
    reader = _mask_reader(find_sequence(masks), plate) if masks.is_dir() else None
    return EvaluationClip(clip.name, group, plate, shape.controls[:, :, CENTRE], masks=reader)


def _written_clips(shot: Path, group: str) -> Iterator[EvaluationClip]:
    plate = PlateSequence(next(iter(find_sequences(shot).values())))
    shapes = read_shapes(shot / "truth.json", width=plate.width, height=plate.height)
    frames = range(plate.first_frame, plate.last_frame + 1)
    for shape in shapes.shapes:
        visible = np.array([shape.is_alive(frame) for frame in frames])
        yield EvaluationClip(
            f"{shot.name}/{shape.name}", group, plate, outline_over(shape, frames), visible=visible
        )


def outline_over(shape: Shape, frames: Sequence[int]) -> NDArray[np.float64]:
    """A shape's outline [T, M, 2] on screen at the given frames, plate pixels."""
    controls = np.stack([shape.at(frame) for frame in frames])
    return outline(controls, shape.kind, shape.closed, SAMPLES_PER_SEGMENT)


def _mask_reader(files: FileSequence, plate: PlateSequence) -> Masks:
    """Reads the mask of a plate frame; masks count from their own first frame."""
    shift = files.first_frame - plate.first_frame

    def mask(frame: int) -> NDArray[np.bool_] | None:
        path = files.files.get(frame + shift)
        if path is None:
            return None
        flat = read_pixels(path)[1][..., 0]
        if flat.shape != (plate.height, plate.width):
            raise IngestError(
                f"{path} is {flat.shape[1]}x{flat.shape[0]}, its plate {plate.width}x{plate.height}"
            )
        return np.asarray(flat > (127 if flat.dtype == np.uint8 else 0.5))

    return mask


def _groups(manifest: Path) -> dict[str, str]:
    if not manifest.is_file():
        return {}
    try:
        clips = json.loads(read_bounded(manifest, CLIP_JSON_BYTES_MAX))["clips"]
        return {str(clip["name"]): SUITABLE if clip["suitable"] else HARD for clip in clips}
    except (ValueError, TypeError, KeyError) as error:
        raise IngestError(f"{manifest} does not say which clips are suitable: {error!r}") from error
