"""What the federation is worth to this studio: keys that its artists need not set, measured at home on its own shots.

On shots that were held back from training, every method gets the artist's place: keys on the first and last frame, then
one more wherever it is furthest off, until every frame is within tolerance of the approved shape
(``model.played_artist``). Fewer keys are time saved. What is measured here is private: it depends on private
shots without any noise, so it goes to this studio's own producer and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from federation.errors import ConfigError, FedrotoError, IngestError
from model.errors import ModelError
from model.evaluation import EvaluationClip
from model.methods import CLASSICAL, method_named
from model.network import RotoModel
from model.played_artist import play_artist
from model.predict import SpanMemory
from model.public_benchmark import Interval, paired_interval
from model.shapes import Shape
from studio_node.plates import PlateSequence
from studio_node.shape_files import read_shapes
from studio_node.shot_folders import Rejected, ShotFolder
from studio_node.shot_windows import approved_outlines, unusable_reason
from studio_node.tuning_windows import Part

TODAY: Final = "smooth"
"""What an artist has without any help: Nuke's own interpolation between keys."""
BEST_CLASSICAL: Final = "best classical, chosen per shape afterwards"
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Tolerance:
    """How far a frame may be off: mean distance of outlines; the larger of both counts.

    Attributes:
        px: plate pixels.
        percent: of the outline's size (square root of its area).
    """

    px: float = 1.5
    percent: float = 1.0

    def __post_init__(self) -> None:
        if self.px < 0 or self.percent < 0 or self.px + self.percent == 0:
            raise ConfigError(f"a tolerance of {self.px} px and {self.percent}% lets no frame pass")


@dataclass(frozen=True)
class ShapeKeys:
    """Keys that one shape needs.

    Attributes:
        shot, shape: its names.
        frames: that were to be filled, the first and last key included.
        set_by_artist: keys that its artist had set.
        keys: by method, the first and last included.
    """

    shot: str
    shape: str
    frames: int
    set_by_artist: int
    keys: Mapping[str, int]


@dataclass(frozen=True)
class MethodGain:
    """One method over all shapes.

    Attributes:
        method: its name.
        keys: that it needs in all.
        saved: fewer than ``TODAY`` needs.
        saved_per_shape: mean over shapes with a 95% bootstrap interval; None with fewer than two shapes.
        hours: that the saved keys take to set.
    """

    method: str
    keys: int
    saved: int
    saved_per_shape: Interval | None
    hours: float


@dataclass(frozen=True)
class GainReport:
    """What was measured; private.

    Attributes:
        shapes: one by one.
        methods: fewest keys first.
        minutes_per_key: what a key takes an artist of this studio.
        rejected: shots and shapes that could not be measured, each with the reason.
    """

    tolerance: Tolerance
    minutes_per_key: float
    shapes: tuple[ShapeKeys, ...]
    methods: tuple[MethodGain, ...]
    rejected: tuple[Rejected, ...]


def measure_gain(
    shots: Sequence[ShotFolder],
    models: Mapping[str, RotoModel],
    *,
    trained_on: frozenset[str],
    tolerance: Tolerance,
    minutes_per_key: float,
    progress: Progress,
) -> GainReport:
    """Measure on shots that no training has seen; one that cannot be measured is named and the rest goes on.

    Args:
        shots: with approved shapes.
        models: by name ("base", "release", ...), measured beside the classical methods.
        trained_on: names of shots that were given to training; they prove nothing and are left out.
        tolerance: how far a frame may be off.
        minutes_per_key: what a key takes an artist.
        progress: told one line per shape and method.

    Raises:
        IngestError: no shot can be measured.
        ConfigError: the minutes cannot be.
    """
    if not 0 < minutes_per_key <= 600:
        raise ConfigError(f"{minutes_per_key} minutes cannot be what a key takes")
    measured: list[ShapeKeys] = []
    rejected: list[Rejected] = []
    for number, shot in enumerate(shots, 1):
        if shot.name in trained_on:
            rejected.append(Rejected(shot.name, "it was given to training, so it is not held back"))
            continue
        say = _prefixed(progress, f"shot {number} of {len(shots)}, {shot.name}")
        try:
            found, left_out = _measured_shot(shot, models, tolerance, say)
        except (ModelError, FedrotoError) as error:
            rejected.append(Rejected.because(shot.name, error))
            continue
        measured += found
        rejected += left_out
    if not measured:
        reasons = "; ".join(f"{one.where}: {one.reason}" for one in rejected[:5])
        raise IngestError(f"no shot can be measured: {reasons or 'none was named'}")
    return GainReport(
        tolerance, minutes_per_key, tuple(measured), _methods(measured, minutes_per_key), tuple(rejected)
    )


def _measured_shot(
    shot: ShotFolder, models: Mapping[str, RotoModel], tolerance: Tolerance, say: Progress
) -> tuple[list[ShapeKeys], list[Rejected]]:
    plate = PlateSequence(shot.sequence())
    drawn = read_shapes(shot.shapes_file, width=plate.width, height=plate.height)
    measured, rejected = [], []
    for shape in drawn.shapes:
        reason = unusable_reason(shape, plate)
        if reason is None and not shape.closed:
            reason = "it is open; tolerance is measured on outlines"
        if reason is None:
            measured.append(_measured_shape(shot, shape, plate, models, tolerance, say))
        else:
            rejected.append(Rejected(f"{shot.name}/{shape.path}", reason))
    return measured, rejected


def _measured_shape(
    shot: ShotFolder,
    shape: Shape,
    plate: PlateSequence,
    models: Mapping[str, RotoModel],
    tolerance: Tolerance,
    say: Progress,
) -> ShapeKeys:
    outlines, weight = approved_outlines(shape, plate)
    approved = np.flatnonzero(weight > 0)
    first, last = int(approved[0]), int(approved[-1])
    part = Part(plate, plate.first_frame + first, plate.first_frame + last)
    rows = slice(first, last + 1)
    clip = EvaluationClip(shape.path, shot.name, part, outlines[rows], visible=weight[rows] > 0)
    methods = CLASSICAL | {
        name: method_named("model", model, memory=SpanMemory()) for name, model in models.items()
    }
    keys = {}
    for name, method in methods.items():
        artist = play_artist(clip, method, tolerance_px=tolerance.px, tolerance_percent=tolerance.percent)
        keys[name] = len(artist.keys)
        say(f"{shape.path}: {len(artist.keys)} keys by {name}")
    keys[BEST_CLASSICAL] = min(keys[name] for name in CLASSICAL)
    set_by_artist = sum(part.first_frame <= frame <= part.last_frame for frame in shape.key_frames)
    return ShapeKeys(shot.name, shape.path, last - first + 1, set_by_artist, keys)


def _methods(shapes: Sequence[ShapeKeys], minutes_per_key: float) -> tuple[MethodGain, ...]:
    today = [one.keys[TODAY] for one in shapes]
    gains = []
    for name in shapes[0].keys:
        keys = [one.keys[name] for one in shapes]
        saved = sum(today) - sum(keys)
        interval = paired_interval(today, keys) if len(shapes) > 1 else None
        gains.append(MethodGain(name, sum(keys), saved, interval, saved * minutes_per_key / 60))
    return tuple(sorted(gains, key=lambda one: one.keys))


def _prefixed(progress: Progress, prefix: str) -> Progress:
    return lambda line: progress(f"{prefix}: {line}")
