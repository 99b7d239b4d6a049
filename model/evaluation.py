"""Measures methods on clips whose outlines are known: keys at a distance, the frames between scored, pairs compared.

A method gets pictures and keys and nothing else. Scores are taken on frames between the keys only, against the clip's
masks where it has them (hand-made masks are the better truth) and against its outlines where it has not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.frames import FrameSource
from model.metrics import boundary_distance_px, iou, outline_distance_px
from model.pictures import Pictures
from model.predict import OutlineMethod
from model.public_benchmark import Interval, paired_interval
from model.rasteriser import coverage
from model.tracks import Points

GAP_STRETCH_MAX: Final = 1.5
"""A clip too short for keys at the wanted distance, within this factor, is left out."""
ALL: Final = "all"
Masks = Callable[[int], NDArray[np.bool_] | None]


@dataclass(frozen=True)
class EvaluationClip:
    """A clip with its truth.

    Attributes:
        name: unique among the clips.
        group: clips that are averaged together.
        frames: the pictures.
        outline: [T, M, 2] plate pixels, row 0 at the first frame, point i the same place at every frame.
        visible: [T] frames that are scored; None for all.
        masks: the mask [H, W] of a plate frame; None where outlines are the truth.
    """

    name: str
    group: str
    frames: FrameSource
    outline: Points
    visible: NDArray[np.bool_] | None = None
    masks: Masks | None = None


@dataclass(frozen=True)
class MethodScore:
    """One method on one clip at one key distance.

    Attributes:
        clip, group: of the clip.
        gap: wanted distance of keys, frames.
        method: its name.
        rows: [n] rows of the clip that were scored.
        boundary: [n] distance between outlines, percent of the outline's size (square root of its area).
        iou: [n] intersection over union.
        apart: [n] distance to the clip's outline, percent of its size: what an artist corrects. No outline lies on a
            mask exactly, not even the true one; without masks the same as ``boundary``.
        confidence: [n] the method's own, 0..1.
        points: [T, M, 2] what it placed.
    """

    clip: str
    group: str
    gap: int
    method: str
    rows: NDArray[np.int64]
    boundary: Points
    iou: Points
    apart: Points
    confidence: Points
    points: Points = field(repr=False)

    @property
    def mean_boundary(self) -> float:
        """Mean over the frames, percent."""
        return float(self.boundary.mean())

    @property
    def mean_iou(self) -> float:
        """Mean over the frames."""
        return float(self.iou.mean())


@dataclass(frozen=True)
class Difference:
    """One method against another on the same clips, every clip weighing the same.

    Attributes:
        group, gap: what was compared; group ``all`` is every clip.
        one, other: the methods.
        clips: how many.
        boundary: mean of ``one - other``, percent of the outline's size, with 95% bootstrap interval over clips.
        iou: the same for intersection over union.
        won: clips on which ``one`` has the smaller boundary distance.
    """

    group: str
    gap: int
    one: str
    other: str
    clips: int
    boundary: Interval
    iou: Interval
    won: int


def spread_keys(frames: int, gap: int) -> NDArray[np.int64] | None:
    """Rows of evenly spread keys about ``gap`` apart, first and last included; None where the clip is too short."""
    spans = round((frames - 1) / gap)
    if spans < 1:
        return None
    keys = np.round(np.linspace(0, frames - 1, spans + 1)).astype(np.int64)
    return keys if np.diff(keys).max() <= GAP_STRETCH_MAX * gap else None


def measure(clip: EvaluationClip, gap: int, methods: Mapping[str, OutlineMethod]) -> list[MethodScore]:
    """Score methods on a clip; an empty list where it is too short for the gap or shows nothing between keys."""
    keys = spread_keys(len(clip.outline), gap)
    if keys is None:
        return []
    rows = np.setdiff1d(np.arange(len(clip.outline)), keys)
    if clip.visible is not None:
        rows = rows[clip.visible[rows]]
    truth = {int(row): _matte_and_size(clip, int(row)) for row in rows}
    rows = np.array([row for row in rows if truth[int(row)][1] > 0], np.int64)
    if len(rows) == 0:
        return []
    pictures = Pictures(clip.frames)
    scores = []
    for name, method in methods.items():
        found = method(pictures, keys + clip.frames.first_frame, clip.outline[keys])
        measures = [_score(clip, int(row), found.points[row], *truth[int(row)]) for row in rows]
        boundary, overlap, apart = np.array(measures).T
        scores.append(
            MethodScore(
                clip.name,
                clip.group,
                gap,
                name,
                rows,
                boundary,
                overlap,
                apart,
                found.confidence[rows],
                found.points,
            )
        )
    return scores


def means(scores: Sequence[MethodScore], group: str, gap: int) -> dict[str, tuple[float, float, int]]:
    """Per method: boundary distance (percent), intersection over union, number of clips."""
    chosen = _chosen(scores, group, gap)
    found = {}
    for method in dict.fromkeys(score.method for score in chosen):
        own = [score for score in chosen if score.method == method]
        boundary = float(np.mean([score.mean_boundary for score in own]))
        found[method] = (boundary, float(np.mean([score.mean_iou for score in own])), len(own))
    return found


def difference(
    scores: Sequence[MethodScore], one: str, other: str, *, group: str = ALL, gap: int
) -> Difference | None:
    """Compare two methods, pair by pair; None with fewer than two clips."""
    chosen = _chosen(scores, group, gap)
    ours, theirs = ({s.clip: s for s in chosen if s.method == name} for name in (one, other))
    shared = [clip for clip in ours if clip in theirs]
    if len(shared) < 2:
        return None
    boundary, overlap = (
        [[getattr(side[clip], measure) for clip in shared] for side in (ours, theirs)]
        for measure in ("mean_boundary", "mean_iou")
    )
    return Difference(
        group,
        gap,
        one,
        other,
        len(shared),
        paired_interval(*boundary),
        paired_interval(*overlap),
        sum(a < b for a, b in zip(*boundary, strict=True)),
    )


def groups_of(scores: Sequence[MethodScore]) -> list[str]:
    """The groups in order, ``all`` first where there are several."""
    found = list(dict.fromkeys(score.group for score in scores))
    return found if len(found) == 1 else [ALL, *found]


def _chosen(scores: Sequence[MethodScore], group: str, gap: int) -> list[MethodScore]:
    return [score for score in scores if score.gap == gap and group in (ALL, score.group)]


def outline_sizes(outlines: Points) -> Points:
    """Square root of the area [T] of outlines [T, M, 2]."""
    following = np.roll(outlines, -1, axis=1)
    doubled = outlines[..., 0] * following[..., 1] - outlines[..., 1] * following[..., 0]
    return np.asarray(np.sqrt(np.abs(doubled.sum(axis=1)) / 2))


def _matte_and_size(clip: EvaluationClip, row: int) -> tuple[NDArray[np.generic], float]:
    """The truth of a frame: its mask and the mask's size, or the outline's; size 0 where there is nothing to score."""
    mask = None if clip.masks is None else clip.masks(clip.frames.first_frame + row)
    if mask is not None:
        return mask, float(np.sqrt(mask.sum()))
    matte = coverage(clip.outline[row], clip.frames.height, clip.frames.width)
    return matte, float(outline_sizes(clip.outline[row : row + 1])[0])


def _score(
    clip: EvaluationClip, row: int, guess: Points, truth: NDArray[np.generic], size: float
) -> tuple[float, float, float]:
    """Boundary distance and distance to the outline, percent of the size, with the overlap between."""
    matte = coverage(guess, clip.frames.height, clip.frames.width)
    apart = 100 * outline_distance_px(guess, clip.outline[row]) / size
    if truth.dtype == np.bool_:
        return 100 * boundary_distance_px(matte >= 0.5, truth) / size, iou(matte >= 0.5, truth), apart
    return apart, iou(matte, truth), apart
