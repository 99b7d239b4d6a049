"""Prediction: the artist's keys and the pictures in, every frame between the keys out, with its confidence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from model.candidates import span_evidence, with_smooth
from model.confidence import confidence_of, row_most_worth_a_key
from model.curves import fit_controls, outline, smooth_points
from model.draft import SpanReference, span_reference
from model.errors import PredictionError
from model.evidence import SpanEvidence
from model.frame_errors import frame_errors
from model.frames import FrameSource
from model.local_motion import local_motion
from model.network import SCALE_FLOOR, EvidenceTensors, RotoModel
from model.pictures import Pictures
from model.shapes import Shape
from model.trackers import SHORTEST_SPAN, KeyFrames, check_keys, smooth
from model.tracks import Points

Progress = Callable[[int, int], None]
"""Called with the number of frames done and in all."""

SAMPLES_MIN: Final = 48
"""Outlines with fewer samples are refined for the network, which looks at neighbours along the contour."""
SHAPE_SAMPLES: Final = 96
SHAPE_SAMPLES_PER_SEGMENT: Final = (4, 16)
FEATHER_SAMPLES_PER_SEGMENT: Final = 4
MISSING_PICTURE: Final = 0.01
"""Error, in outline sizes, that a frame without a picture is taken to have at least, on top of its neighbours'."""


@dataclass(frozen=True)
class OutlinePrediction:
    """Every frame of an outline from its first to its last key.

    Attributes:
        frames: [T] plate frames.
        points: [T, M, 2] plate pixels; at keys exactly what was given.
        confidence: [T] 0..1, 1 at keys.
        log_scale: [T, M] log of the expected error in pixels.
        next_key: the frame most worth a key, see `row_most_worth_a_key`; None if every frame has one.
        method: the name in `model.methods` that placed the frames between.
        key_errors: where methods were compared, each one's measured error at the keys, outline sizes.
    """

    frames: NDArray[np.int64]
    points: Points
    confidence: Points
    log_scale: Points
    next_key: int | None
    method: str = "model"
    key_errors: Mapping[str, float] = field(default_factory=dict)


class OutlineMethod(Protocol):
    """A way to place an outline between its keys; arguments and result as in `predict_outline`."""

    def __call__(
        self,
        frames: Pictures,
        key_frames: KeyFrames,
        key_points: Points,
        progress: Progress | None = None,
        *,
        interpolation: Points | None = None,
    ) -> OutlinePrediction:
        """Place every frame from the first to the last key."""
        ...


@dataclass(frozen=True)
class ShapePrediction:
    """Every frame of a shape from its first to its last key, as the artist's own controls.

    Attributes:
        frames: [T] plate frames.
        controls: [T, N, 3, 2] on screen, plate pixels; at keys exactly ``shape.at(key)``.
        feather: [T, N, 3, 2] feather offsets carried by the outline's own motion; None where there is none.
        confidence: [T] 0..1, 1 at keys.
        next_key: the frame most worth a key; None if every frame has one.
        method, key_errors: see `OutlinePrediction`.
    """

    frames: NDArray[np.int64]
    controls: Points
    feather: Points | None
    confidence: Points
    next_key: int | None
    method: str = "model"
    key_errors: Mapping[str, float] = field(default_factory=dict)


@dataclass
class SpanMemory:
    """Evidence of spans seen before on the same pictures: unchanged spans need no new tracking when a key moves."""

    spans_max: int = 256
    kept: dict[tuple[int, int, bytes], tuple[SpanEvidence, SpanReference]] = field(default_factory=dict)

    def evidence(
        self, model: RotoModel, pictures: Pictures, first: int, last: int, keys: Points
    ) -> tuple[SpanEvidence, SpanReference]:
        """The evidence of a span, gathered once."""
        name = (first, last, keys.tobytes())
        if name not in self.kept:
            while len(self.kept) >= self.spans_max:
                self.kept.pop(next(iter(self.kept)))
            self.kept[name] = span_evidence(pictures, first, last, keys, matcher=model.matcher)
        return self.kept[name]


def predict_outline(
    model: RotoModel,
    frames: FrameSource | Pictures,
    key_frames: KeyFrames,
    key_points: Points,
    progress: Progress | None = None,
    *,
    interpolation: Points | None = None,
    memory: SpanMemory | None = None,
) -> OutlinePrediction:
    """Predict a closed outline between its keys.

    Args:
        model: the weights.
        frames: the shot; pass `Pictures` to keep its caches between calls.
        key_frames: [K] plate frames of the keys, increasing, at least two.
        key_points: [K, M, 2] the outline there, plate pixels, point i the same place on the object at every key.
        progress: called after every span.
        interpolation: [T, M, 2] what the application shows between the keys; None takes Nuke's smooth rule.
        memory: pass the same one again to reuse the evidence of unchanged spans; only for the same pictures and
            matcher.

    Returns:
        All frames from the first to the last key. Points may lie outside the picture.

    Raises:
        KeyframeError: keys that cannot be interpolated.
    """
    pictures = frames if isinstance(frames, Pictures) else Pictures(frames)
    check_keys(key_frames, key_points)
    times = [int(frame) for frame in key_frames]
    shown = smooth(times, key_points) if interpolation is None else interpolation
    refinement = -(-SAMPLES_MIN // key_points.shape[1])
    keys, points = refined(key_points, refinement), refined(shown, refinement)
    spans = memory or SpanMemory()
    expected = np.full(points.shape[:2], SCALE_FLOOR)  # outline sizes
    sizes = np.empty(len(points))
    for index, (first, last) in enumerate(pairwise(times)):
        between = slice(first - times[0] + 1, last - times[0])
        ends = np.ascontiguousarray(keys[index : index + 2])
        points[[between.start - 1, between.stop]] = ends
        evidence, reference = (
            (None, span_reference(ends))
            if last - first < SHORTEST_SPAN
            else spans.evidence(model, pictures, first, last, ends)
        )
        sizes[between.start - 1 : between.stop + 1] = reference.size
        if evidence is not None:
            seen = with_smooth(evidence, reference, pictures, first, ends, points[between])
            placed, error = fuse(model, seen, reference)
            frames_error = frame_errors(pictures, first, seen, reference, placed, error)
            points[between] = placed
            expected[between] = error * (frames_error / error.mean(axis=1))[:, None]
        if progress is not None:
            progress(last - times[0] + 1, len(points))
    points, expected = points[:, ::refinement], expected[:, ::refinement]
    return finished_outline(pictures, times, key_points, points, expected, sizes)


def finished_outline(
    pictures: Pictures,
    times: list[int],
    key_points: Points,
    points: Points,
    expected: Points,
    sizes: Points,
    *,
    method: str = "model",
) -> OutlinePrediction:
    """What is said of every frame once its points are placed: exact keys, confidence, the next key.

    Args:
        pictures: the shot; frames without a picture are doubted.
        times: [K] the keys' frames.
        key_points: [K, M, 2] plate pixels.
        points: [T, M, 2] plate pixels, all frames from the first to the last key; changed.
        expected: [T, M] error expected, outline sizes; changed.
        sizes: [T] outline size in pixels.
        method: the name of what placed the points.
    """
    _doubt_missing(pictures, times, expected)
    keyed = np.isin(np.arange(len(points)), np.array(times) - times[0])
    points[keyed] = key_points
    error = expected.mean(axis=1)
    error[keyed] = 0.0
    row = row_most_worth_a_key(error, keyed)
    return OutlinePrediction(
        frames=np.arange(times[0], times[-1] + 1),
        points=points,
        confidence=confidence_of(error),
        log_scale=np.log(expected * sizes[:, None]),
        next_key=None if row is None else times[0] + row,
        method=method,
    )


def fuse(model: RotoModel, evidence: SpanEvidence, reference: SpanReference) -> tuple[Points, Points]:
    """Run the network on one span: points [T, M, 2] in plate pixels, expected error [T, M] in outline sizes."""
    with torch.no_grad():
        output = model.fusion(EvidenceTensors.stack([evidence]).to(model.device))
    points = output.points[0].cpu().numpy().astype(np.float64) * reference.size + reference.origin
    return points, np.exp(output.log_scale[0].cpu().numpy().astype(np.float64))


def predict_shape(
    method: RotoModel | OutlineMethod,
    frames: FrameSource | Pictures,
    shape: Shape,
    progress: Progress | None = None,
    *,
    memory: SpanMemory | None = None,
) -> ShapePrediction:
    """Predict a shape between its keys on the artist's own points, tangents and feather.

    Args:
        method: the weights of a model, or another way to place the outline (`model.methods`).
        frames: the shot.
        shape: at least two keys on different frames.
        progress: called after every span.
        memory: of the model, see `predict_outline`.

    Returns:
        Controls on screen; exact at the artist's keys, same points in the same order.

    Raises:
        PredictionError: fewer than two key frames, or fewer than two points.
    """
    times = shape.key_frames
    if len(times) < 2:
        raise PredictionError(
            f"shape '{shape.name}' has keys on {len(times)} frame(s); set at least two to predict between"
        )
    if shape.points < 2 or (shape.kind == "polygon" and shape.points < 3):
        raise PredictionError(
            f"shape '{shape.name}' has {shape.points} point(s), which make no outline to track"
        )
    every = np.arange(times[0], times[-1] + 1)
    controls = np.stack([shape.at(int(frame)) for frame in every])
    low, high = SHAPE_SAMPLES_PER_SEGMENT
    per_segment = int(np.clip(-(-SHAPE_SAMPLES // shape.points), low, high))
    samples = outline(controls, shape.kind, shape.closed, per_segment)
    key_rows = np.array(times) - times[0]
    place = partial(predict_outline, method, memory=memory) if isinstance(method, RotoModel) else method
    pictures = frames if isinstance(frames, Pictures) else Pictures(frames)
    predicted = place(pictures, times, samples[key_rows], progress, interpolation=samples)
    fitted = controls.copy()
    moved = predicted.points - samples
    # Where nothing moves the artist's own interpolation stands, to the last bit.
    between = np.setdiff1d(np.flatnonzero(moved.any(axis=(1, 2))), key_rows)
    if len(between):
        fitted[between] = fit_controls(
            controls[between],
            moved[between],
            kind=shape.kind,
            closed=shape.closed,
            samples_per_segment=per_segment,
            smooth=smooth_points(controls[key_rows]),
        )
    return ShapePrediction(
        every,
        fitted,
        carried_feather(shape, every, controls, fitted),
        predicted.confidence,
        predicted.next_key,
        predicted.method,
        predicted.key_errors,
    )


def carried_feather(shape: Shape, frames: NDArray[np.int64], before: Points, after: Points) -> Points | None:
    """Feather offsets [T, N, 3, 2], moved as the prediction moved the outline around each point (affine)."""
    if shape.feather is None:
        return None
    offsets = np.stack([np.asarray(shape.feather_at(int(frame))) for frame in frames])
    carried = offsets.copy()
    edges = [outline(c, shape.kind, shape.closed, FEATHER_SAMPLES_PER_SEGMENT) for c in (before, after)]
    trust = np.ones(edges[0].shape[1])
    for row in np.flatnonzero((before != after).any(axis=(1, 2, 3))):
        samples, target, at = (c[row][..., 0] + 1j * c[row][..., 1] for c in (*edges, before[:, :, 1]))
        around = local_motion(samples, target - samples, at, trust)
        moved = around.carry((offsets[row, ..., 0] + 1j * offsets[row, ..., 1]).T).T
        carried[row] = np.stack([moved.real, moved.imag], axis=-1)
    return carried


def refined(outlines: Points, factor: int) -> Points:
    """Outlines [..., M, 2] with ``factor`` samples per edge; every factor-th is an old one. Always a copy."""
    share = (np.arange(factor) / factor)[:, None]
    following = np.roll(outlines, -1, axis=-2)
    fine = outlines[..., :, None, :] * (1 - share) + following[..., :, None, :] * share
    return np.asarray(fine.reshape(*outlines.shape[:-2], -1, 2).copy())


def _doubt_missing(pictures: Pictures, times: list[int], expected: Points) -> None:
    """Frames without a picture are never surer than their neighbours."""
    keys = set(times)
    error = expected.max(axis=0, keepdims=True)
    for row in range(len(expected)):
        frame = times[0] + row
        if frame not in keys and not pictures.has(frame):
            around = expected[max(row - 1, 0) : row + 2]
            expected[row] = np.minimum(around.max(axis=0), error[0]) + MISSING_PICTURE
