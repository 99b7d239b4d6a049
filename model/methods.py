"""Ways to place an outline between its keys, by name: the model, what it is measured against, and the best of them.

An artist may prefer any of them. Each is exact at the keys and says how far it expects to be off: a tracker by the
miss at the other key before it was closed there, an interpolation by how far the keys lie apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from model.draft import (
    INTERPOLATION_FLOOR,
    INTERPOLATION_MOTION,
    TRACKERS,
    along_contour,
    far_from_keys,
    span_reference,
)
from model.errors import PredictionError
from model.network import RotoModel
from model.pictures import Pictures
from model.predict import (
    OutlineMethod,
    OutlinePrediction,
    Progress,
    SpanMemory,
    finished_outline,
    predict_outline,
)
from model.trackers import KeyFrames, check_keys, closed_spans, smooth
from model.tracks import Chain, Points, blend

Method = Literal["smooth", "track", "planar", "flow", "tracker", "model", "best"]
METHODS: Final[tuple[Method, ...]] = get_args(Method)
"""``smooth``: Nuke's own interpolation. ``track``: Lucas-Kanade on the outline. ``planar``: an affine plane. ``flow``:
dense flow inside the object. ``tracker``: one of the studio's own. ``model``: the network. ``best``: per shape,
whichever misses the keys least."""
TRACKER_OF: Final = {"track": "lk", "planar": "planar", "flow": "dis"}
KEYS_LEFT_OUT_MAX: Final = 4
"""``best`` leaves out at most this many keys in turn, spread over the shot: each costs two spans by every method."""
OWN_FLOOR: Final = 0.006
OWN_PER_MISS: Final = 0.35
"""Expected error of a studio's own tracker, as of those in `TRACKERS`: between the two best of them."""
CLEARLY_BETTER: Final = 0.9
"""``best`` leaves the model only for a method that misses the keys by less than this share of the model's miss."""


def method_named(
    name: Method,
    model: RotoModel | None = None,
    *,
    memory: SpanMemory | None = None,
    tracker: Chain | None = None,
) -> OutlineMethod:
    """The method of this name.

    Args:
        name: one of `METHODS`.
        model: the weights; needed by ``model`` and ``best`` only.
        memory: see `predict_outline`.
        tracker: one of the studio's own: ``tracker`` is it alone, ``model`` blends it with what the network says by
            the error that each expects, ``best`` compares it too.

    Raises:
        PredictionError: no such method, or it needs weights or a tracker and was given none.
    """
    if require_method(name) in CLASSICAL:
        return CLASSICAL[name]
    own = None if tracker is None else ClassicalMethod("tracker", tracker, OWN_FLOOR, OWN_PER_MISS)
    if name == "tracker":
        if own is None:
            raise PredictionError("the method 'tracker' needs a tracker of your own; name one")
        return own
    if model is None:
        raise PredictionError(f"the method '{name}' needs weights; give a model")
    predicted: OutlineMethod = partial(predict_outline, model, memory=memory)
    if own is not None:
        predicted = BlendedMethod(predicted, own)
    if name == "model":
        return predicted
    alone: dict[str, OutlineMethod] = {} if own is None else {"tracker": own}
    return BestMethod(CLASSICAL | alone | {"model": predicted})


def require_method(name: str) -> Method:
    """The method of this name, or an error that lists them."""
    for method in METHODS:
        if method == name:
            return method
    raise PredictionError(f"there is no method '{name}'; choose one of {', '.join(METHODS)}")


@dataclass(frozen=True)
class ClassicalMethod:
    """A method without weights: an interpolation, or a tracker run from both keys and closed on the other one.

    Attributes:
        name: as in `METHODS`.
        chain: the tracker; None interpolates without a look at the pictures.
        floor, per_miss: expected error at a key, and per unit of closure miss halfway, outline sizes.
    """

    name: str
    chain: Chain | None = None
    floor: float = 0.0
    per_miss: float = 0.0

    def __call__(
        self,
        frames: Pictures,
        key_frames: KeyFrames,
        key_points: Points,
        progress: Progress | None = None,
        *,
        interpolation: Points | None = None,
    ) -> OutlinePrediction:
        """See `predict_outline`."""
        check_keys(key_frames, key_points)
        times = [int(frame) for frame in key_frames]
        points = smooth(times, key_points) if interpolation is None else interpolation.copy()
        sizes, expected = _interpolation_errors(times, key_points)
        spans = () if self.chain is None else closed_spans(frames, times, key_points, self.chain)
        for between, tracks in spans:
            if tracks is not None:
                points[between] = blend(tracks)
                miss = along_contour(0.5 * (tracks.left_miss + tracks.right_miss)) / sizes[between.start]
                time = np.arange(1, len(tracks.left) + 1) / (len(tracks.left) + 1)
                expected[between] = self.floor + self.per_miss * miss * far_from_keys(time)[:, None]
            if progress is not None:
                progress(between.stop + 1, len(points))
        if progress is not None:
            progress(len(points), len(points))
        return finished_outline(frames, times, key_points, points, expected, sizes, method=self.name)


CLASSICAL: Final[dict[str, OutlineMethod]] = {
    "smooth": ClassicalMethod("smooth"),
    **{
        name: ClassicalMethod(name, chain, floor, per_miss)
        for tracker, chain, floor, per_miss in TRACKERS
        for name in METHODS
        if TRACKER_OF.get(name) == tracker
    },
}


@dataclass(frozen=True)
class BlendedMethod:
    """Two methods, blended point by point and frame by frame by the error that each expects of itself."""

    one: OutlineMethod
    other: OutlineMethod

    def __call__(
        self,
        frames: Pictures,
        key_frames: KeyFrames,
        key_points: Points,
        progress: Progress | None = None,
        *,
        interpolation: Points | None = None,
    ) -> OutlinePrediction:
        """See `predict_outline`."""
        first = self.one(frames, key_frames, key_points, progress, interpolation=interpolation)
        second = self.other(frames, key_frames, key_points, interpolation=interpolation)
        precision = np.exp(-2 * np.stack([first.log_scale, second.log_scale]))
        share = (precision / precision.sum(axis=0))[..., None]
        points = share[0] * first.points + share[1] * second.points
        # Trackers err together: agreement of both does not make the blend surer than they are.
        error_px = np.sqrt(2 / precision.sum(axis=0))
        times = [int(frame) for frame in key_frames]
        sizes = _interpolation_errors(times, key_points)[0]
        return finished_outline(frames, times, key_points, points, error_px / sizes[:, None], sizes)


@dataclass(frozen=True)
class BestMethod:
    """The method that places the artist's own keys best when they are left out in turn.

    With two keys there is none to leave out, and the last method is taken.

    Attributes:
        methods: by name, the one to keep when in doubt last.
    """

    methods: Mapping[str, OutlineMethod]

    def __call__(
        self,
        frames: Pictures,
        key_frames: KeyFrames,
        key_points: Points,
        progress: Progress | None = None,
        *,
        interpolation: Points | None = None,
    ) -> OutlinePrediction:
        """See `predict_outline`."""
        check_keys(key_frames, key_points)
        errors = key_errors(self.methods, frames, key_frames, key_points)
        trusted = list(self.methods)[-1]
        chosen = min(errors, key=lambda name: errors[name], default=trusted)
        if errors and errors[chosen] > CLEARLY_BETTER * errors[trusted]:
            chosen = trusted
        found = self.methods[chosen](frames, key_frames, key_points, progress, interpolation=interpolation)
        return replace(found, key_errors=errors)


def key_errors(
    methods: Mapping[str, OutlineMethod], frames: Pictures, key_frames: KeyFrames, key_points: Points
) -> dict[str, float]:
    """How far each method is from the artist's own keys when each is placed from its two neighbours alone.

    Args:
        methods: by name.
        frames: the shot.
        key_frames: [K] plate frames.
        key_points: [K, M, 2] plate pixels.

    Returns:
        Per method the mean distance of matching points, outline sizes; empty with fewer than three keys.
    """
    times = [int(frame) for frame in key_frames]
    inner = np.arange(1, len(times) - 1)
    if len(inner) > KEYS_LEFT_OUT_MAX:
        inner = inner[np.linspace(0, len(inner) - 1, KEYS_LEFT_OUT_MAX).round().astype(int)]
    found: dict[str, list[float]] = {name: [] for name in methods if len(inner)}
    for index in inner:
        others = np.delete(np.arange(len(times)), index)
        shown = smooth([times[i] for i in others], key_points[others])
        pair = [int(index) - 1, int(index) + 1]
        ends = key_points[pair]
        first, last = (times[i] for i in pair)
        between = shown[first - times[0] : last - times[0] + 1]
        size = span_reference(ends).size
        for name, errors in found.items():
            placed = methods[name](frames, [first, last], ends, interpolation=between.copy())
            off = placed.points[times[index] - first] - key_points[index]
            errors.append(float(np.linalg.norm(off, axis=1).mean()) / size)
    return {name: float(np.mean(errors)) for name, errors in found.items()}


def _interpolation_errors(times: list[int], key_points: Points) -> tuple[NDArray[np.float64], Points]:
    """Outline sizes [T] in pixels, and what an interpolation is expected to be off [T, M], outline sizes."""
    count = times[-1] - times[0] + 1
    sizes, expected = np.ones(count), np.full((count, key_points.shape[1]), INTERPOLATION_FLOOR)
    for index, (first, last) in enumerate(pairwise(times)):
        ends = key_points[index : index + 2]
        rows = slice(first - times[0], last - times[0] + 1)
        sizes[rows] = span_reference(ends).size
        moved = np.linalg.norm(ends[1] - ends[0], axis=1) / sizes[rows.start]
        far = far_from_keys(np.linspace(0, 1, last - first + 1))[:, None]
        expected[rows] = INTERPOLATION_FLOOR + INTERPOLATION_MOTION * moved * far
    return sizes, expected
