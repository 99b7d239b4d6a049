"""What leaves the desk for other programs: Nuke scripts, our own JSON, and mattes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from federation.durable import make_private_dir, read_bounded, write_atomic
from federation.errors import ConfigError
from model.curves import outline
from model.formats import nuke, silhouette
from model.formats.registry import NUKE, SILHOUETTE, ShapeFormat, format_of
from model.predict import ShapePrediction
from model.rasteriser import coverage_patch
from model.shapes import Shape, ShapeSet
from studio_node.desk.course import Course, FrameState
from studio_node.desk.document import DeskShape
from studio_node.pictures import write_exr, write_png
from studio_node.predict_shot import predicted_keys
from studio_node.shape_files import SHAPE_BYTES_MAX

ExportFormat = Literal["nk", "fxs", "json", "png", "exr"]
FORMATS: Final = get_args(ExportFormat)
NOT_IN_MATTES: Final = "feather and motion blur are not in these mattes; export .nk to render them in Nuke"
SAMPLES_PER_SEGMENT: Final = 16
NAMED: Final = 3
"""Shapes that a note names; of more it says how many."""


@dataclass(frozen=True)
class Export:
    """What was written.

    Attributes:
        path: the file, or the folder of the mattes.
        notes: what the artist should know about it.
    """

    path: Path
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Drawn:
    """The shapes to export, each with its course, and the plate they were drawn on."""

    shapes: tuple[tuple[DeskShape, Course], ...]
    width: int
    height: int
    first_frame: int
    last_frame: int
    source: Path | None = None


def baked(one: DeskShape, course: Course) -> Shape:
    """The shape on screen with a key on every frame from its first anchor to its last, each marked whose it is."""
    anchors = one.anchors
    first, last = max(anchors[0], course.first), min(anchors[-1], course.first + len(course.states) - 1)
    rows = slice(first - course.first, last - course.first + 1)
    prediction = ShapePrediction(
        frames=np.arange(first, last + 1),
        controls=course.controls[rows],
        feather=None if course.feather is None else course.feather[rows],
        confidence=course.confidence[rows],
        next_key=None,
    )
    return predicted_keys(one.shape, prediction, every=1)


def export_shapes(drawn: Drawn, folder: Path, name: str, kind: ExportFormat) -> Export:
    """Write the shapes as a Nuke script, a Silhouette file or JSON.

    A Nuke script or Silhouette file that they came from is kept byte by byte, with new nodes or a new layer.

    Raises:
        ConfigError: no shapes, or an unknown format.
        ModelError: the shapes cannot be written in this format.
        FedrotoError: the disk refused.
    """
    _check(drawn, kind)
    make_private_dir(folder)
    path = folder / f"{name}.{kind}"
    known = format_of(path, reading=False)
    shapes = tuple(baked(one, course) for one, course in drawn.shapes)
    write_atomic(path, _written(drawn, shapes, known))
    notes = _losses(shapes, known)
    pending = [one.shape.name for one, course in drawn.shapes if (course.states == FrameState.PENDING).any()]
    if pending:
        notes.append(
            f"not predicted to the end yet: {', '.join(pending)}; export again when the strip is full"
        )
    return Export(path, tuple(notes))


def _losses(shapes: Sequence[Shape], known: ShapeFormat) -> list[str]:
    """What the file cannot say, once each, with the shapes that it is about."""
    about: dict[str, list[str]] = {}
    for shape in shapes:
        for lost in known.losses(shape):
            about.setdefault(lost, []).append(shape.name)
    return [
        f"not in this file: {lost} ({', '.join(names[:NAMED]) if len(names) <= NAMED else f'{len(names)} shapes'})"
        for lost, names in about.items()
    ]


def _written(drawn: Drawn, shapes: tuple[Shape, ...], known: ShapeFormat) -> bytes:
    source = drawn.source
    if source is not None and source.suffix.lower() in known.suffixes and known in (NUKE, SILHOUETTE):
        data = read_bounded(source, SHAPE_BYTES_MAX)
        if known is SILHOUETTE:
            return silhouette.add_prediction(data, shapes)
        nodes = [node.name for node in nuke.loads(data, height=drawn.height, width=drawn.width).nodes]
        at_home = tuple(s if s.path.partition(":")[0] in nodes else _in_node(s, nodes[0]) for s in shapes)
        return nuke.add_prediction(data, at_home, height=drawn.height, width=drawn.width)
    whole = ShapeSet(shapes, drawn.width, drawn.height, drawn.first_frame, drawn.last_frame)
    return known.dumps(whole, f"Roto1{nuke.PREDICTION_SUFFIX}")


def export_mattes(
    drawn: Drawn,
    folder: Path,
    name: str,
    kind: ExportFormat,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Export:
    """Write one matte a frame, the union of the shapes: 8-bit PNG, or half-float EXR, linear, the same in R, G and B.

    Raises:
        ConfigError: no shapes, or an unknown format.
        FedrotoError: the disk refused.
    """
    _check(drawn, kind)
    target = folder / f"{name}-mattes"
    make_private_dir(target)
    frames = range(drawn.first_frame, drawn.last_frame + 1)
    for done, frame in enumerate(frames, 1):
        matte = matte_at(drawn.shapes, frame, drawn.width, drawn.height)
        path = target / f"matte.{frame:04d}.{kind}"
        if kind == "png":
            write_png(path, np.repeat(np.rint(255 * matte).astype(np.uint8)[:, :, None], 3, axis=2))
        else:
            write_exr(path, np.repeat(matte[:, :, None], 3, axis=2))
        progress(done, len(frames))
    return Export(target, (NOT_IN_MATTES,))


def matte_at(
    shapes: Sequence[tuple[DeskShape, Course]], frame: int, width: int, height: int
) -> NDArray[np.float32]:
    """The union [H, W], 0..1, of what closed shapes that live at ``frame`` cover, each with its opacity."""
    bare = np.ones((height, width), np.float32)
    for one, course in shapes:
        shape = one.shape
        if not (shape.closed and shape.is_alive(frame)):
            continue
        controls = course.controls[course.row(frame)]
        left, top, patch = coverage_patch(
            outline(controls, shape.kind, shape.closed, SAMPLES_PER_SEGMENT), height, width
        )
        opacity = float(np.clip(shape.opacity.at(frame), 0, 1))
        bare[top : top + patch.shape[0], left : left + patch.shape[1]] *= 1 - opacity * patch
    return np.asarray(1 - bare, np.float32)


def _check(drawn: Drawn, kind: str) -> None:
    if kind not in FORMATS:
        raise ConfigError(f"shapes cannot be exported as {kind!r:.20}; choose one of {', '.join(FORMATS)}")
    if not drawn.shapes:
        raise ConfigError("there is no shape to export; draw or select one")


def _in_node(shape: Shape, node: str) -> Shape:
    """A shape drawn on the desk goes beside the first node of the script."""
    return replace(shape, path=f"{node}:{shape.path}")


def visible_only(
    shapes: Mapping[int, Course], document: Sequence[DeskShape]
) -> tuple[tuple[DeskShape, Course], ...]:
    """The shapes that are shown on the desk, with their courses."""
    return tuple((one, shapes[one.shape_id]) for one in document if one.shown)
