"""The public benchmark: procedural clips from a versioned recipe, the same for whoever runs it.

A release is checked on it, so its clips are disjoint from pretraining by construction: every generator here is seeded
with another word than those of `model.pretrain`, and no seed of the one can be given to the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.candidates import span_evidence, with_smooth
from model.curves import outline
from model.draft import SpanReference
from model.errors import PredictionError, WeightsError
from model.evidence import SpanEvidence, column
from model.frames import ArrayFrames
from model.matcher import Matcher
from model.metrics import outline_distance_px
from model.network import RotoModel
from model.pictures import Pictures
from model.predict import fuse
from model.procedural import make_shot
from model.procedural_settings import ShotSettings
from model.rasteriser import coverage
from model.threads import one_thread
from model.trackers import linear, smooth
from model.tracks import Points
from model.weights import TensorSpec
from model.windows import resample_circular
from model.working import to_working

SEED_ROOM: Final = "fedroto public benchmark"
RECIPE: Final = "procedural/1"
"""Name of this recipe; any change of clips, scores or of the procedural generator needs a new one."""
CLIPS: Final = 24
FRAMES: Final = 17
GAPS: Final = (8, 16)
"""Key distances, in turn over the clips."""
SAMPLES: Final = 64
KINDS: Final = (
    ShotSettings(width=192, height=144, size=(0.35, 0.6), deformation=0.0, occluder_chance=0.0),
    ShotSettings(width=192, height=144, size=(0.35, 0.6), motion=1.5),
    ShotSettings(width=192, height=144, size=(0.35, 0.6), deformation=2.0, parts_chance=1.0),
    ShotSettings(width=192, height=144, size=(0.3, 0.5), occluder_chance=1.0, grain=0.03),
)
BASELINES: Final = ("linear", "smooth", "lk_closed", "dis_closed", "planar_closed")
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class BenchmarkClip:
    """One clip with its evidence gathered: what every model is asked to weigh, and the truth.

    Attributes:
        name: as ``procedural/1-03``.
        key_frames: [K] frame indices.
        truth: [T, M, 2] plate pixels.
        visible: [T] frames whose outline is mostly in the picture; others are not scored.
        spans: index of each span's left key, its evidence and its units.
        baselines: per classical method [T, M, 2].
        width, height: of the picture, pixels.
    """

    name: str
    key_frames: NDArray[np.int64]
    truth: Points
    visible: NDArray[np.bool_]
    spans: tuple[tuple[int, SpanEvidence, SpanReference], ...]
    baselines: dict[str, Points]
    width: int
    height: int


Spread = Callable[[Callable[[int], BenchmarkClip], Iterable[int]], Iterable[BenchmarkClip]]


@dataclass(frozen=True)
class ClipScore:
    """One method on one clip, over its in-between frames.

    Attributes:
        clip: the clip's name.
        method: a baseline's name or the model's.
        boundary: mean distance between outlines, percent of the outline's size (square root of its area).
        iou: mean intersection over union of the mattes.
        point: mean distance of matching points, percent of the outline's size.
    """

    clip: str
    method: str
    boundary: float
    iou: float
    point: float


@dataclass(frozen=True)
class Interval:
    """A mean and its two-sided 95% bootstrap interval."""

    mean: float
    low: float
    high: float


def build_clips(
    matcher: Matcher | None, *, count: int = CLIPS, progress: Progress | None = None, spread: Spread = map
) -> list[BenchmarkClip]:
    """Make the benchmark's clips and gather their evidence, once for all models that share a matcher.

    Args:
        matcher: the frozen matcher of the models to be evaluated.
        count: how many clips; the first n are the same whatever the count.
        progress: told after every clip.
        spread: makes each clip; like `map`, but it may share the work between processes.
    """
    clips = []
    for clip in spread(partial(build_clip, matcher), range(count)):
        clips.append(clip)
        if progress is not None:
            progress(len(clips), count)
    return clips


@one_thread()
def build_clip(matcher: Matcher | None, index: int) -> BenchmarkClip:
    """Make clip ``index`` of the recipe."""
    rng = np.random.default_rng([*f"{SEED_ROOM} {RECIPE}".encode(), index])
    kind = KINDS[index % len(KINDS)]
    shot = make_shot(
        rng,
        ShotSettings(**{**vars(kind), "frames": FRAMES, "first_frame": 0, "contrast": rng.uniform(0.6, 1.2)}),
    )
    pictures = Pictures(ArrayFrames([to_working(frame) for frame in shot.frames]))
    samples = [resample_circular(outline(truth, "bezier", True, 16), SAMPLES) for truth in shot.truth]
    window = np.array([pictures.width, pictures.height])
    seen = [((s >= 0) & (s <= window)).all(axis=2).mean(axis=1) for s in samples]
    best = int(np.argmax([share.mean() for share in seen]))
    truth = samples[best]
    gap = GAPS[(index // len(KINDS)) % len(GAPS)]
    keys = np.arange(0, FRAMES, gap)
    points = truth[keys]
    smooth_points = smooth(keys, points)
    baselines = {name: linear(keys, points) for name in BASELINES} | {"smooth": smooth_points}
    spans = []
    for row, first in enumerate(keys[:-1]):
        between, ends = slice(int(first) + 1, int(first) + gap), points[row : row + 2]
        evidence, reference = span_evidence(pictures, int(first), int(first) + gap, ends, matcher=matcher)
        evidence = with_smooth(evidence, reference, pictures, int(first), ends, smooth_points[between])
        spans.append((int(first), evidence, reference))
        for method in ("lk", "dis", "planar"):
            left, right = (evidence.points[:, :, column(f"{method}_{side}")] for side in ("left", "right"))
            share = evidence.time[:, None, None]
            mixed = ((1 - share) * left + share * right).astype(np.float64)
            baselines[f"{method}_closed"][between] = mixed * reference.size + reference.origin
    return BenchmarkClip(
        f"{RECIPE}-{index:02d}",
        keys,
        truth,
        seen[best] > 0.5,
        tuple(spans),
        baselines,
        pictures.width,
        pictures.height,
    )


def evaluate(models: Mapping[str, RotoModel], clips: Sequence[BenchmarkClip]) -> list[ClipScore]:
    """Score every model and every baseline on every clip.

    Args:
        models: by name; all with the matcher for which the clips were built.
        clips: from `build_clips`.

    Raises:
        WeightsError: a model is called like a baseline.
        PredictionError: a clip has no frame to score.
    """
    clash = sorted(set(models) & set(BASELINES))
    if clash:
        raise WeightsError(f"a model cannot be called '{clash[0]}', which is a baseline; choose another name")
    scores = []
    for clip in clips:
        predicted = dict(clip.baselines)
        for name, model in models.items():
            predicted[name] = predict_clip(model, clip)
        scores += [score(clip, name, points) for name, points in predicted.items()]
    return scores


def predict_clip(model: RotoModel, clip: BenchmarkClip) -> Points:
    """Predict a clip from its evidence: [T, M, 2] plate pixels, the truth on its keys."""
    points = clip.truth.copy()
    for first, evidence, reference in clip.spans:
        points[first + 1 : first + 1 + len(evidence.time)] = fuse(model, evidence, reference)[0]
    return points


def boundary_error(clip: BenchmarkClip, points: Points) -> float:
    """Mean distance between outlines over a clip's scored frames, percent of the outline's size."""
    return float(np.mean([_boundary(clip, points, row) for row in _scored_rows(clip)]))


def score(clip: BenchmarkClip, method: str, points: Points) -> ClipScore:
    """Score one prediction [T, M, 2] on a clip's visible in-between frames."""
    overlap, point = [], []
    for row in _scored_rows(clip):
        truth, guess = clip.truth[row], points[row]
        matte, guessed = (coverage(o, clip.height, clip.width) for o in (truth, guess))
        union = float(np.maximum(matte, guessed).sum())
        overlap.append(float(np.minimum(matte, guessed).sum()) / union if union else 1.0)
        point.append(100 * float(np.linalg.norm(guess - truth, axis=1).mean()) / _size(truth))
    return ClipScore(
        clip.name, method, boundary_error(clip, points), float(np.mean(overlap)), float(np.mean(point))
    )


def _scored_rows(clip: BenchmarkClip) -> NDArray[np.int64]:
    rows = np.setdiff1d(np.flatnonzero(clip.visible), clip.key_frames)
    if len(rows) == 0:
        raise PredictionError(
            f"benchmark clip {clip.name} shows nothing between its keys; the recipe is broken"
        )
    return rows


def _boundary(clip: BenchmarkClip, points: Points, row: int) -> float:
    truth = clip.truth[row]
    return 100 * outline_distance_px(points[row], truth) / _size(truth)


def _size(outline_px: Points) -> float:
    following = np.roll(outline_px, -1, axis=0)
    area = (outline_px[:, 0] * following[:, 1] - outline_px[:, 1] * following[:, 0]).sum() / 2
    return float(np.sqrt(abs(area)))


def paired_interval(
    one: Sequence[float], other: Sequence[float], *, resamples: int = 4000, seed: int = 0
) -> Interval:
    """Mean of the differences ``one - other`` over clips, with a 95% bootstrap interval over clips.

    Args:
        one: a score per clip.
        other: the score it is compared with, same clips in the same order.
        resamples: bootstrap draws.
        seed: of the draws; a check repeats exactly.
    """
    if len(one) != len(other) or len(one) < 2:
        raise PredictionError(
            f"a paired comparison needs the same clips, two or more; got {len(one)} and {len(other)}"
        )
    difference = np.asarray(one, np.float64) - np.asarray(other, np.float64)
    rng = np.random.default_rng(seed)
    means = difference[rng.integers(0, len(difference), (resamples, len(difference)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(difference.mean()), float(low), float(high))


def of_method(scores: Sequence[ClipScore], method: str, measure: str = "boundary") -> list[float]:
    """One measure ("boundary", "iou" or "point") of one method over the clips, in their order."""
    return [float(getattr(s, measure)) for s in scores if s.method == method]


def same_matcher(one: RotoModel, other: RotoModel) -> bool:
    """Whether two models can share a benchmark's evidence: both without a matcher, or with equal weights."""
    if one.matcher is None or other.matcher is None:
        return one.matcher is other.matcher
    if TensorSpec.of(one.matcher) != TensorSpec.of(other.matcher):
        return False
    pairs = zip(one.matcher.state_dict().values(), other.matcher.state_dict().values(), strict=True)
    return all(bool((a == b).all()) for a, b in pairs)
