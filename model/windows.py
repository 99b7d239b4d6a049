"""Training windows: one span of one shape with its keys withheld, as arrays that depend on that shot alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.candidates import span_evidence
from model.errors import ShapeError
from model.evidence import Float32, SpanEvidence
from model.frames import FrameSource
from model.matcher import Matcher
from model.pictures import Pictures

WINDOW_POINTS: Final = 64
"""Outline samples of every window: one size, so that windows can be batched and their bytes are known."""
GAPS: Final = (4, 24)
"""Shortest and longest distance between the keys of a window, in frames (inclusive)."""


@dataclass(frozen=True)
class Window:
    """The evidence of one span, the truth that the artist approved there, and what each frame counts.

    Everything is computed from one shot's plate, one of its shapes and public functions (classical trackers, the
    frozen public matcher), never from other shots: a shot's gradient must depend on nothing else that is private.

    Attributes:
        evidence: the candidates, made from the two withheld span ends alone.
        truth: [T, M, 2] the approved outline, in the evidence's units.
        weight: [T] 0 where the shape was not alive or visible, else 1.
    """

    evidence: SpanEvidence
    truth: Float32
    weight: Float32

    def __post_init__(self) -> None:
        frames, samples = self.evidence.points.shape[:2]
        if self.truth.shape != (frames, samples, 2) or self.weight.shape != (frames,):
            raise ShapeError(
                f"a window's truth {self.truth.shape} and weight {self.weight.shape} must be "
                f"{(frames, samples, 2)} and {(frames,)}"
            )
        for name, array in (("truth", self.truth), ("weight", self.weight)):
            if array.dtype != np.float32 or not np.isfinite(array).all():
                raise ShapeError(f"a window's {name} must be finite float32, it is {array.dtype}")
        if (self.weight < 0).any():
            raise ShapeError(f"a window's weights must not be negative, the smallest is {self.weight.min()}")

    def to_tensors(self) -> dict[str, Float32]:
        """The window as named float32 arrays, the form in which packs store it."""
        arrays: dict[str, Float32] = {f.name: getattr(self.evidence, f.name) for f in fields(SpanEvidence)}
        return arrays | {"truth": self.truth, "weight": self.weight}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Float32]) -> Window:
        """The window that `to_tensors` wrote.

        Raises:
            ShapeError: names, shapes or types are not those of a window.
        """
        names = {f.name for f in fields(SpanEvidence)} | {"truth", "weight"}
        if set(tensors) != names:
            wrong = sorted(set(tensors) ^ names)
            raise ShapeError(f"a window's arrays do not match: {', '.join(wrong[:5])} missing or unknown")
        evidence = SpanEvidence(**{f.name: tensors[f.name] for f in fields(SpanEvidence)})
        return cls(evidence, tensors["truth"], tensors["weight"])


def cut_windows(
    frames: FrameSource,
    truth: NDArray[np.float64],
    weight: NDArray[np.float32],
    *,
    matcher: Matcher | None,
    rng: np.random.Generator,
    count: int,
    gaps: tuple[int, int] = GAPS,
) -> list[Window]:
    """Cut training windows out of one approved shape: choose two frames as keys, ask for those between.

    Args:
        frames: the shot's pictures.
        truth: [T, M, 2] approved outline in plate pixels at ``frames.first_frame`` and on; any M.
        weight: [T] 0 outside lifetime or visibility, else what the frame counts. Keys are only taken where it is
            above 0.
        matcher: the frozen public matcher, or None to leave its candidates out.
        rng: chooses the spans; a pack's cutting is repeatable with it.
        count: how many windows at most; fewer where the lifetime is too short or pictures of keys are missing.
        gaps: shortest and longest distance between the two keys, inclusive.

    Returns:
        Windows of `WINDOW_POINTS` samples; empty if the shape lives shorter than the shortest gap.
    """
    samples = resample_circular(truth, WINDOW_POINTS)
    pictures = Pictures(frames)
    windows: list[Window] = []
    for left, right in choose_spans(weight > 0, rng, count=count, gaps=gaps):
        first = frames.first_frame
        between = np.arange(left + 1, right)
        evidence, frame_of_reference = span_evidence(
            pictures, first + left, first + right, samples[[left, right]], matcher=matcher
        )
        normalised = np.asarray(
            (samples[between] - frame_of_reference.origin) / frame_of_reference.size, np.float32
        )
        windows.append(Window(evidence, normalised, np.asarray(weight[between], np.float32)))
    return windows


def choose_spans(
    alive: NDArray[np.bool_], rng: np.random.Generator, *, count: int, gaps: tuple[int, int]
) -> list[tuple[int, int]]:
    """Choose up to ``count`` spans (left, right) whose ends are alive, gaps spread evenly in their logarithm."""
    indices = np.flatnonzero(alive)
    if len(indices) < 2 or indices[-1] - indices[0] < gaps[0]:
        return []
    spans: list[tuple[int, int]] = []
    for _ in range(8 * count):
        if len(spans) == count:
            break
        longest = min(gaps[1], int(indices[-1] - indices[0]))
        gap = round(np.exp(rng.uniform(np.log(gaps[0]), np.log(longest + 0.49))))
        left = int(rng.integers(indices[0], indices[-1] - gap + 1))
        if alive[left] and alive[left + gap]:
            spans.append((left, left + gap))
    return spans


def resample_circular(outline: NDArray[np.float64], samples: int) -> NDArray[np.float64]:
    """Bring closed outlines [..., M, 2] to another number of samples, keeping sample 0 and the order."""
    count = outline.shape[-2]
    if count == samples:
        return outline
    position = np.arange(samples) * (count / samples)
    low = np.floor(position).astype(int)
    share = (position - low)[:, None]
    mixed = outline[..., low % count, :] * (1 - share) + outline[..., (low + 1) % count, :] * share
    return np.asarray(mixed, np.float64)


def sequence_bytes(windows: Sequence[Window]) -> int:
    """Bytes of the windows' arrays, for a pack's size limit."""
    return sum(array.nbytes for window in windows for array in window.to_tensors().values())
