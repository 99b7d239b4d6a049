"""How good the artist's prediction was, on a shot whose truth the demo knows: numbers and pictures for the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from federation.pages.report_page import Outline, picture

if TYPE_CHECKING:
    from model.frames import FrameSource
    from model.shapes import Shape, ShapeSet

Points = npt.NDArray[np.float64]
SAMPLES_PER_SEGMENT = 12
COLOURS = {"truth": "#ffffff", "smooth": "#ff5d5d", "fedroto": "#39d98a"}
LABELS = {
    "fedroto": "fedroto",
    "smooth": "Nuke's own interpolation",
    "lk_closed": "tracking (LK, closed on both keys)",
    "dis_closed": "optical flow in the object (DIS, closed)",
    "planar_closed": "planar tracking (closed)",
}


@dataclass(frozen=True)
class ShapeMeasurement:
    """One shape of the artist's shot against the truth, over the frames between the artist's keys.

    Attributes:
        shot: its folder's name.
        shape: its name.
        artist_keys: frames.
        frames: how many were predicted.
        mean_px: outline distance by method, mean over frames, pixels.
        worst_px: the same on the worst frame.
        figures: pictures as HTML.
    """

    shot: str
    shape: str
    artist_keys: tuple[int, ...]
    frames: int
    mean_px: Mapping[str, float]
    worst_px: Mapping[str, float]
    figures: tuple[str, ...]


def measure_prediction(shot: Path, predicted_file: Path) -> list[ShapeMeasurement]:
    """Compare a prediction with the approved shapes of a shot that the demo wrote.

    Args:
        shot: folder with the plate, ``shapes.nk`` (approved) and ``artist.nk``.
        predicted_file: the ``.nk`` that ``fedroto predict`` wrote from ``artist.nk``.
    """
    from model.formats.nuke import PREDICTION_SUFFIX
    from model.pictures import Pictures
    from studio_node.plates import PlateSequence
    from studio_node.sequences import find_sequences
    from studio_node.shape_files import read_shapes

    plate = PlateSequence(next(iter(find_sequences(shot).values())))

    def read(path: Path) -> ShapeSet:
        return read_shapes(path, width=plate.width, height=plate.height)

    approved = {shape.name: shape for shape in read(shot / "shapes.nk").shapes}
    artists = {shape.name: shape for shape in read(shot / "artist.nk").shapes}
    predicted = [shape for shape in read(predicted_file).shapes if PREDICTION_SUFFIX in shape.path]
    pictures = Pictures(plate)
    return [
        _measure(shot.name, plate, pictures, approved[one.name], artists[one.name], one)
        for one in predicted
        if one.name in approved
    ]


def _measure(
    shot: str, plate: FrameSource, pictures: object, approved: Shape, artist: Shape, predicted: Shape
) -> ShapeMeasurement:
    from model.metrics import outline_distance_px
    from model.pictures import Pictures
    from model.trackers import dis_closed, lk_closed, planar_closed

    if not isinstance(pictures, Pictures):
        raise TypeError("pictures must be model.pictures.Pictures")
    keys = artist.key_frames
    frames = range(keys[0], keys[-1] + 1)
    truth = _outlines(approved, frames)
    at_keys = _outlines(artist, keys)
    methods = {
        "fedroto": _outlines(predicted, frames),
        "smooth": _outlines(artist, frames),
        "lk_closed": lk_closed(pictures, keys, at_keys),
        "dis_closed": dis_closed(pictures, keys, at_keys),
        "planar_closed": planar_closed(pictures, keys, at_keys),
    }
    between = [row for row, frame in enumerate(frames) if frame not in keys and approved.is_alive(frame)]
    errors = {
        name: np.array([outline_distance_px(points[row], truth[row]) for row in between])
        for name, points in methods.items()
    }
    return ShapeMeasurement(
        shot,
        approved.name,
        keys,
        len(between),
        {name: float(error.mean()) for name, error in errors.items()},
        {name: float(error.max()) for name, error in errors.items()},
        _figures(plate, truth, methods, frames, _shown(between, errors)),
    )


def _shown(between: list[int], errors: Mapping[str, npt.NDArray[np.float64]]) -> dict[int, str]:
    """Choose frames to show: where fedroto is worst, where interpolation is worst, and the middle one."""
    worst = between[int(errors["fedroto"].argmax())]
    hard = between[int(errors["smooth"].argmax())]
    middle = between[len(between) // 2]
    captions: dict[int, str] = {}
    for row, why in (
        (worst, "fedroto's worst frame"),
        (hard, "the interpolation's worst frame"),
        (middle, "the middle frame"),
    ):
        captions[row] = f"{captions[row]}, {why}" if row in captions else why
    return captions


def _figures(
    plate: FrameSource,
    truth: Points,
    methods: Mapping[str, Points],
    frames: range,
    shown: Mapping[int, str],
) -> tuple[str, ...]:
    figures = []
    for row, why in shown.items():
        image = plate.working(frames[row])
        if image is not None:
            outlines = [
                Outline("truth", truth[row], COLOURS["truth"]),
                *(Outline(name, methods[name][row], COLOURS[name]) for name in ("smooth", "fedroto")),
            ]
            figures.append(picture(image, outlines, f"frame {frames[row]}: {why}"))
    return tuple(figures)


def _outlines(shape: Shape, frames: range | tuple[int, ...]) -> Points:
    """Outline samples [T, M, 2] on the given frames, plate pixels."""
    from model.curves import outline

    controls = np.stack([shape.at(frame) for frame in frames])
    return outline(controls, shape.kind, shape.closed, SAMPLES_PER_SEGMENT)
