"""What is known about one span (the frames between two neighbouring keys) before the network speaks."""

from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.errors import ShapeError

CANDIDATES: Final = (
    "smooth",
    "linear",
    "lk_left",
    "lk_right",
    "dis_left",
    "dis_right",
    "planar_left",
    "planar_right",
    "match_left",
    "match_right",
    "rigid_left",
    "rigid_right",
    "path",
)
"""Ways to place a point, in the order of every array's candidate axis C.

``left`` starts from the span's first key, ``right`` from its last. Tracks are closed: their miss at the other key has
been taken out linearly in time; a match is not, since it does not drift. ``rigid`` is a robust affine motion of a key
outline onto the blend of the others. ``path`` is the most likely way through all steps that trackers saw and all places
where matches found the outline; it already holds what the others know, but for the planar and rigid ones.
"""
LEFT: Final = tuple(i for i, name in enumerate(CANDIDATES) if name.endswith("_left"))
RIGHT: Final = tuple(i for i, name in enumerate(CANDIDATES) if name.endswith("_right"))
PATH: Final = CANDIDATES.index("path")

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class SpanEvidence:
    """Candidates and their reliability for the in-between frames of one span.

    Lengths are in units of the outline's size (square root of its area, mean of both keys) and positions are relative
    to the keys' common centre, so that the numbers mean the same at 160 pixels and at 4K. T in-between frames, M
    outline samples, C candidates; all float32.

    Attributes:
        time: [T] position in the span, 0 at the left key, 1 at the right key, both excluded.
        points: [T, M, C, 2] candidate positions; 0 where a candidate is not available.
        log_scale: [T, M, C] log of the error expected of a candidate by rule of thumb.
        drift: [T, M, C] forward-backward disagreement gathered by a track since its key.
        appearance: [T, M, C, 2] difference between the picture just inside the outline at the candidate and at the
            left and right key, 0..1.
        available: [T, C] 1 where the candidate exists, 0 where it must be ignored.
        miss: [M, C] distance by which the track missed the other key before it was closed.
        keys: [2, M, 2] the outline at the left and right key.
        context: [2] number of frames between the keys; the outline's size in pixels.
    """

    time: Float32
    points: Float32
    log_scale: Float32
    drift: Float32
    appearance: Float32
    available: Float32
    miss: Float32
    keys: Float32
    context: Float32

    def __post_init__(self) -> None:
        if self.points.ndim != 4:
            raise ShapeError(f"candidate points have shape {self.points.shape}; they must be [T, M, C, 2]")
        frames, samples, candidates, _ = self.points.shape
        expected = evidence_shapes(frames, samples)
        if candidates != len(CANDIDATES):
            raise ShapeError(
                f"there are {candidates} candidates, expected {len(CANDIDATES)}: {', '.join(CANDIDATES)}"
            )
        for field in fields(self):
            array = getattr(self, field.name)
            if field.name in expected and array.shape != expected[field.name]:
                raise ShapeError(
                    f"evidence '{field.name}' has shape {array.shape}, expected {expected[field.name]} for "
                    f"{frames} frames and {samples} samples"
                )
            if array.dtype != np.float32 or not np.isfinite(array).all():
                raise ShapeError(f"evidence '{field.name}' must be finite float32, it is {array.dtype}")


def column(name: str) -> int:
    """Index of a candidate on the axis C."""
    return CANDIDATES.index(name)


def evidence_shapes(frames: int, samples: int) -> dict[str, tuple[int, ...]]:
    """The shape of every array of a `SpanEvidence` with the given counts of in-between frames and samples."""
    candidates = len(CANDIDATES)
    return {
        "time": (frames,),
        "points": (frames, samples, candidates, 2),
        "log_scale": (frames, samples, candidates),
        "drift": (frames, samples, candidates),
        "appearance": (frames, samples, candidates, 2),
        "available": (frames, candidates),
        "miss": (samples, candidates),
        "keys": (2, samples, 2),
        "context": (2,),
    }
