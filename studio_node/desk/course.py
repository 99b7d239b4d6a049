"""A shape's course over the whole shot: what is drawn at every frame, and how sure it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.confidence import expected_error, row_most_worth_a_key
from model.keyframes import FloatArray
from model.predict import ShapePrediction
from studio_node.desk.assisted_drag import carried
from studio_node.desk.document import DeskShape, anchored, controls_over, spans_of

UNSURE: Final = 0.0
"""Confidence shown where nothing has been predicted yet."""


class FrameState(IntEnum):
    """What a frame of a course is; the numbers are part of the page's protocol."""

    HELD = 0  # outside the keys: the nearest one is held
    PENDING = 1  # between anchors, not predicted since the last change
    PREDICTED = 2
    ACCEPTED = 3
    KEY = 4
    ROUGH = 5  # predicted from every few pictures only, until all have been read


@dataclass(frozen=True, eq=False)
class Course:
    """Every frame of one shape.

    Attributes:
        first: plate frame of row 0.
        controls: [T, N, 3, 2] on screen, px.
        feather: [T, N, 3, 2] offsets on screen, px; None where the shape has none.
        confidence: [T] 0..1; 1 at anchors and outside them.
        states: [T] a ``FrameState`` each.
    """

    first: int
    controls: FloatArray
    feather: FloatArray | None
    confidence: FloatArray
    states: NDArray[np.uint8]

    def row(self, frame: int) -> int:
        """The row of a plate frame, the nearest one outside."""
        return min(max(frame - self.first, 0), len(self.states) - 1)

    @property
    def suggested_key(self) -> int | None:
        """The predicted frame most worth a key, or None where all are keyed or accepted."""
        known = ~np.isin(self.states, (FrameState.PREDICTED, FrameState.ROUGH))
        row = row_most_worth_a_key(expected_error(self.confidence), known)
        return None if row is None else self.first + row


Results = Callable[[DeskShape, int, int], tuple[ShapePrediction, bool] | None]
"""The prediction of a span of a shape and whether it is final, or None where it is not there yet."""
SHOWN_BEFORE: Final = (
    FrameState.PREDICTED,
    FrameState.ROUGH,
    FrameState.PENDING,
    FrameState.KEY,
    FrameState.ACCEPTED,
)


def course_of(
    one: DeskShape, frames: NDArray[np.int64], results: Results, former: Course | None = None
) -> Course:
    """Put a shape's course together from its anchors and what has been predicted.

    Args:
        one: the shape.
        frames: [T] the plate's frames, consecutive.
        results: predictions by span.
        former: what was drawn so far, over the same frames; shown until a prediction comes.
    """
    first, shape = int(frames[0]), anchored(one)
    shown = controls_over(shape, frames)
    feather = None if shape.feather is None else _feather_over(one, frames)
    anchors = one.anchors
    states = np.full(len(frames), FrameState.HELD, np.uint8)
    states[(frames > anchors[0]) & (frames < anchors[-1])] = FrameState.PENDING
    confidence = np.where(states == FrameState.HELD, 1.0, UNSURE)
    usable = former is not None and former.controls.shape == shown.shape
    for left, right in spans_of(anchors):
        low, high = np.searchsorted(frames, [left + 1, right])
        rows = slice(low, high)
        found = results(one, left, right)
        if found is not None:
            result, final = found
            own = (
                slice(int(frames[low]) - left, int(frames[low]) - left + high - low)
                if high > low
                else slice(0)
            )
            shown[rows], confidence[rows] = result.controls[own], result.confidence[own]
            if feather is not None and result.feather is not None:
                feather[rows] = result.feather[own]
            states[rows] = FrameState.PREDICTED if final else FrameState.ROUGH
        elif usable and former is not None:
            known = np.isin(former.states[rows], SHOWN_BEFORE)
            shown[rows][known] = former.controls[rows][known]
            predicted = np.isin(former.states[rows][known], (FrameState.PREDICTED, FrameState.ROUGH))
            confidence[rows][known] = np.where(predicted, former.confidence[rows][known], UNSURE)
    for frame in anchors:
        if first <= frame <= first + len(frames) - 1:
            shown[frame - first] = one.anchor(frame)
            states[frame - first] = FrameState.KEY if frame in one.shape.key_frames else FrameState.ACCEPTED
            confidence[frame - first] = 1.0
    return Course(first, shown, feather, confidence, states)


def previewed(course: Course, one: DeskShape, frame: int, controls: FloatArray) -> Course:
    """The course at once after one frame was changed by hand, before any new prediction."""
    row = frame - course.first
    left, right = neighbours(one, frame, course)
    after = replace(
        course,
        controls=carried(course.controls, row, controls, left, right),
        states=course.states.copy(),
        confidence=course.confidence.copy(),
    )
    after.states[row], after.confidence[row] = FrameState.KEY, 1.0
    return after


def neighbours(one: DeskShape, frame: int, course: Course) -> tuple[int | None, int | None]:
    """Rows of the anchors before and after a frame; None where there is none."""
    before = [anchor for anchor in one.anchors if anchor < frame]
    behind = [anchor for anchor in one.anchors if anchor > frame]
    return (
        max(before[-1] - course.first, 0) if before else None,
        min(behind[0] - course.first, len(course.states) - 1) if behind else None,
    )


def _feather_over(one: DeskShape, frames: NDArray[np.int64]) -> FloatArray:
    return np.stack([np.asarray(one.shape.feather_at(float(frame))) for frame in frames])
