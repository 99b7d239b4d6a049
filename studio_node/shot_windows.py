"""From one shot's plate and approved shapes to its training windows.

Guarantee: the windows of a shot are a function of that shot's files, of the public frozen weights and of the public
recipe, and of nothing else. So removing a shot from a studio changes no other shot's windows, which is what the
shot-level privacy guarantee rests on. The random choice of spans is seeded from the shot's own content: it needs to
be repeatable, not secret, because it protects nothing (the sampling of shots and the noise do, and those come from
the operating system).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from model.curves import outline
from model.formats import nuke
from model.frames import FrameSource
from model.matcher import Matcher
from model.predict import SHAPE_SAMPLES, SHAPE_SAMPLES_PER_SEGMENT
from model.shapes import PREDICTION_LAYER, Shape, ShapeSet
from model.windows import GAPS, WINDOW_POINTS, Window, cut_windows
from studio_node.catalogue import ShapeEntry

KEY_WEIGHT = 2.0
"""What a frame counts that the artist keyed, against 1 for one that was only approved."""
FRAMES_PER_WINDOW = 2
"""At least so many approved frames of a shape for each window: more windows would mostly repeat each other."""
_PREDICTION = re.compile(rf".*{nuke.PREDICTION_SUFFIX}\d*")


@dataclass(frozen=True)
class CutRecipe:
    """How windows are cut: public settings, the same for every shot.

    Attributes:
        windows: at most how many per shot; fewer from short shapes (``FRAMES_PER_WINDOW``).
        gaps: shortest and longest distance of a window's keys, frames, inclusive.
    """

    windows: int = 32
    gaps: tuple[int, int] = GAPS

    @property
    def text(self) -> str:
        """What a pack records of it: another text makes another pack."""
        return f"windows/3 count={self.windows} gaps={self.gaps[0]}-{self.gaps[1]} samples={WINDOW_POINTS}"


def windows_of_shot(
    frames: FrameSource, shapes: ShapeSet, *, matcher: Matcher | None, recipe: CutRecipe, epoch: str
) -> tuple[list[Window], list[ShapeEntry]]:
    """Cut the training windows of one shot.

    Args:
        frames: its plate.
        shapes: its approved shapes, in the plate's pixels.
        matcher: the frozen public matcher.
        recipe: the public settings.
        epoch: the shot's content digest, 64 hexadecimal digits; seeds the choice of spans.

    Returns:
        The windows, and an entry for every shape: how many windows it gave, or why it gave none.
    """
    rng = np.random.default_rng(int(epoch, 16))
    entries = {entry.path: entry for entry in shape_entries(shapes, frames)}
    usable = [shape for shape in shapes.shapes if entries[shape.path].skipped is None]
    windows: list[Window] = []
    for shape, count in _shares(usable, recipe.windows, rng):
        truth, weight = approved_outlines(shape, frames)
        count = min(count, max(1, int((weight > 0).sum()) // FRAMES_PER_WINDOW))
        cut = cut_windows(frames, truth, weight, matcher=matcher, rng=rng, count=count, gaps=recipe.gaps)
        reason = None if cut else f"no span of {recipe.gaps[0]} frames or more of it can be used"
        entries[shape.path] = replace(entries[shape.path], windows=len(cut), skipped=reason)
        windows += cut
    return windows, list(entries.values())


def shape_entries(shapes: ShapeSet, frames: FrameSource) -> list[ShapeEntry]:
    """Return an entry for every shape, before any window is cut: why it gives none, or None."""
    return [
        ShapeEntry(
            shape.path, shape.kind, shape.points, len(shape.key_frames), 0, unusable_reason(shape, frames)
        )
        for shape in shapes.shapes
    ]


def approved_outlines(shape: Shape, frames: FrameSource) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Return what the artist approved on every frame of the plate.

    In an approved roto every frame from a shape's first to its last key is right, keyed or not: the artist keyed
    until it was. Outside that range, outside its lifetime and where it is invisible its points mean nothing.

    Returns:
        The outline [T, M, 2] in plate pixels on each frame of the plate, and what each frame counts [T]: 0 where the
        shape means nothing, ``KEY_WEIGHT`` at keys, else 1.
    """
    first, last = shape.key_frames[0], shape.key_frames[-1]
    every = range(frames.first_frame, frames.last_frame + 1)
    low, high = SHAPE_SAMPLES_PER_SEGMENT
    per_segment = int(np.clip(-(-SHAPE_SAMPLES // shape.points), low, high))
    controls = np.stack([shape.at(float(np.clip(frame, first, last))) for frame in every])
    keys = set(shape.key_frames)
    weight = [
        (KEY_WEIGHT if frame in keys else 1.0) if first <= frame <= last and shape.is_alive(frame) else 0.0
        for frame in every
    ]
    return outline(controls, shape.kind, shape.closed, per_segment), np.array(weight, np.float32)


def unusable_reason(shape: Shape, frames: FrameSource) -> str | None:
    """Say why a shape cannot be trained on, or None."""
    if shape.read_only_reason is not None:
        return shape.read_only_reason
    if not shape.closed:
        return "it is an open spline; only closed shapes are trained on"
    if shape.points < 3:
        return f"it has {shape.points} point(s); an outline needs three"
    if "predicted" in shape.key_sources or is_prediction(shape):
        return "its keys are predicted; set them as artist keys once they are approved"
    if len(shape.key_frames) < 2:
        return f"it has keys on {len(shape.key_frames)} frame(s); an approved animation has at least two"
    if shape.key_frames[-1] < frames.first_frame or shape.key_frames[0] > frames.last_frame:
        return (
            f"its keys {shape.key_frames[0]}-{shape.key_frames[-1]} lie outside the plate "
            f"{frames.first_frame}-{frames.last_frame}"
        )
    return None


def is_prediction(shape: Shape) -> bool:
    """Whether a shape lies in a node or a layer that a prediction was written to."""
    node, _, place = shape.path.rpartition(":")
    return _PREDICTION.fullmatch(node) is not None or PREDICTION_LAYER in place.split("/")[:-1]


def _shares(shapes: list[Shape], windows: int, rng: np.random.Generator) -> list[tuple[Shape, int]]:
    """Share a shot's windows out evenly; with more shapes than windows, a random choice gets one each."""
    if not shapes:
        return []
    order = rng.permutation(len(shapes))[:windows]
    share, rest = divmod(windows, len(order))
    return [(shapes[index], share + (place < rest)) for place, index in enumerate(order)]
