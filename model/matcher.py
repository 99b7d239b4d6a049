"""Matching an outline from both keys of a span into every frame between, with learned features.

Every frame is matched directly with both keys around a start that the caller has, so matches do not drift. How far a
match reaches and how exact it is depends on how large the object is shown: coarse first, then fine around what the
coarse one led to (Source: measured in benchmarks/model/matcher.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.device import bfloat16_is_fast
from model.errors import PredictionError
from model.matcher_crops import Crop, Frame, Points, crop_scale, span_size
from model.matcher_network import Matcher, Queries, make_queries

__all__ = ["MatchResult", "Matcher", "match_span"]

COARSE_PX = 76.0
FINE_PX = 120.0
# Scale, in parts of sqrt(area), of a match that saw nothing: so wide that a blend ignores it.
_BLIND = 2.0

Maps = tuple[Tensor, ...]


@dataclass(frozen=True)
class MatchResult:
    """Where both keys' outlines were found, for all ``T`` frames of the span, both keys included.

    Attributes:
        from_left: ``[T, M, 2]``, plate pixels, the left key's outline found in each frame, not closed: its
            distance from the artist's outline at the right key, ``from_left[-1]``, tells how well it matches.
        from_right: the same from the right key.
        log_scale_left: ``[T, M]``, natural log of the expected error scale in plate pixels (Laplace; the
            mean error is about twice the scale); large where there was nothing to see.
        log_scale_right: the same from the right key.
    """

    from_left: Points
    from_right: Points
    log_scale_left: NDArray[np.float32]
    log_scale_right: NDArray[np.float32]


@torch.no_grad()
def match_span(
    matcher: Matcher,
    frames: Sequence[Frame],
    start: Points,
    left: Points,
    right: Points,
    *,
    size_px: float = FINE_PX,
) -> MatchResult:
    """Match the outlines of both keys into every frame of a span.

    Args:
        matcher: with trained weights.
        frames: the span's ``T`` working images, uint8 ``[H, W, 3]`` RGB, both keys included; None where a
            frame is missing.
        start: ``[T, M, 2]``, plate pixels, where the outline is thought to be; matches are sought around it.
        left: ``[M, 2]``, the outline at the first frame, plate pixels.
        right: ``[M, 2]``, the same points at the last.
        size_px: square root of the object's area in the pictures that the matcher sees.

    Returns:
        Matches for all frames. The caller puts the keys themselves at the span's ends.

    Raises:
        PredictionError: arrays do not fit each other, or hold NaN or infinity.
    """
    _require(frames, start, left, right)
    return _Span(matcher.eval(), frames, left, right).direct(start, size_px)


class _Span:
    """One span at work: its pictures, its keys and the matcher."""

    def __init__(self, matcher: Matcher, frames: Sequence[Frame], left: Points, right: Points) -> None:
        self.matcher, self.frames, self.keys = matcher, frames, (left, right)
        self.size = span_size(left, right)
        self.device = next(matcher.parameters()).device

    def inward(self, crop: Crop, points: Points) -> Tensor:
        """Plate pixels ``[M, 2]`` as a batch of one, crop pixels, where the matcher is."""
        return crop.inward(points)[None].to(self.device)

    def view(self, index: int, crop: Crop) -> Maps | None:
        """Feature maps of a frame's crop; None where the frame is missing or the crop is off the plate."""
        picture = crop.shown(self.frames[index])
        if picture is None:
            return None
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bfloat16_is_fast(self.device)):
            maps: Maps = self.matcher.encoder(picture.to(self.device))
        return maps

    def direct(self, start: Points, size_px: float) -> MatchResult:
        """Match every frame with both keys around ``start [T, M, 2]``."""
        scale = crop_scale([*start, *self.keys], self.size, size_px)
        queries = self._key_queries(scale)
        found = np.repeat(start[None], 2, axis=0)
        log_scale = np.full((2, *start.shape[:2]), math.log(_BLIND * self.size), np.float32)
        for index in range(len(self.frames)):
            crop = Crop.around(start[index], self.size, scale)
            maps = self.view(index, crop)
            sides = [side for side in (0, 1) if queries[side] is not None]
            if maps is None or not sides:
                continue
            both = _together([queries[side] for side in sides])
            begin = self.inward(crop, start[index]).expand(len(sides), -1, -1)
            points, log_scales, _ = self.matcher.refine(both, maps, begin)
            for row, side in enumerate(sides):
                found[side, index] = crop.outward(points[-1][row])
                wide = np.exp(log_scales[-1][row].cpu().numpy()) / crop.scale.mean()
                wide = wide + self._unseen(index, found[side, index], side)
                log_scale[side, index] = np.log(wide)
        return MatchResult(found[0], found[1], log_scale[0], log_scale[1])

    def _key_queries(self, scale: float) -> list[Queries | None]:
        queries: list[Queries | None] = []
        for side, index in ((0, 0), (1, len(self.frames) - 1)):
            crop = Crop.around(self.keys[side], self.size, scale)
            maps = self.view(index, crop)
            outline = self.inward(crop, self.keys[side])
            queries.append(None if maps is None else make_queries(maps, outline))
        return queries

    def _unseen(self, index: int, found: Points, side: int) -> Points:
        """Error added, plate pixels ``[M]``, because the key's point or the match lies off the plate."""
        frame = self.frames[index]
        if frame is None:
            return np.zeros(len(found))
        limit = np.array([frame.shape[1], frame.shape[0]], np.float64)
        beyond = [np.maximum(np.maximum(-p, p - limit), 0).max(-1) for p in (found, self.keys[side])]
        return np.asarray(0.5 * np.maximum(*beyond))


def _together(queries: list[Queries | None]) -> Queries:
    there = [q for q in queries if q is not None]
    levels = zip(*(q.features for q in there), strict=True)
    return Queries(torch.cat([q.outline for q in there]), tuple(torch.cat(level) for level in levels))


def _require(frames: Sequence[Frame], start: Points, left: Points, right: Points) -> None:
    if len(frames) < 2:
        raise PredictionError(f"a span has {len(frames)} frames; it needs at least its two keys")
    sizes = {frame.shape for frame in frames if frame is not None}
    if len(sizes) > 1:
        raise PredictionError(f"the span's frames differ in size: {sorted(sizes)}; give one size")
    if left.ndim != 2 or left.shape != right.shape or left.shape[1] != 2 or len(left) < 3:
        raise PredictionError(f"keys have shapes {left.shape} and {right.shape}; both must be [M, 2], M >= 3")
    if start.shape != (len(frames), *left.shape):
        raise PredictionError(f"start has shape {start.shape}, expected {(len(frames), *left.shape)}")
    if not all(np.isfinite(a).all() for a in (left, right, start)):
        raise PredictionError("keys or start hold NaN or infinity; leave out what could not be tracked")
