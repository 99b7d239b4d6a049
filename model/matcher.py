"""Matching an outline from both keys of a span into every frame between, with learned features.

The scheme (Source: measured in benchmarks/model/matcher.md): a chain from frame to frame from both keys,
closed on the far key; its mean with the caller's tracks is the start for a direct match of every frame
with both keys, first coarse (the object is 76 px large), then fine (170 px). Direct matches do not drift,
coarse ones reach far, fine ones are exact.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.errors import PredictionError
from model.matcher_crops import Crop, Points, crop_scale, outline_size
from model.matcher_network import Matcher, Queries, make_queries

__all__ = ["MatchResult", "Matcher", "match_span"]

COARSE_PX = 76.0
FINE_PX = 170.0
CHEAP_PX = 120.0
# A fine pass that magnifies less than this over the coarse one is not worth its time.
_FINER_LEAST = 1.25
# Scale, in parts of sqrt(area), of a match that saw nothing: so wide that a blend ignores it.
_BLIND = 2.0

Frame = NDArray[np.uint8] | None
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

    def blended(self) -> Points:
        """Both matches weighted by predicted precision and by nearness in time, ``[T, M, 2]``."""
        time = np.linspace(0.0, 1.0, len(self.from_left))[:, None]
        advantage = 2.0 * (self.log_scale_right.astype(np.float64) - self.log_scale_left)
        prior = np.log(1.0 - time + 0.02) - np.log(time + 0.02)
        left = 1.0 / (1.0 + np.exp(-np.clip(advantage + prior, -60, 60)))[..., None]
        return np.asarray(left * self.from_left + (1 - left) * self.from_right)


@torch.no_grad()
def match_span(
    matcher: Matcher,
    frames: Sequence[Frame],
    start: Points | None,
    left: Points,
    right: Points,
    *,
    mode: Literal["full", "cheap"] = "full",
) -> MatchResult:
    """Match the outlines of both keys into every frame of a span.

    Args:
        matcher: with trained weights.
        frames: the span's ``T`` working images, uint8 ``[H, W, 3]`` RGB, both keys included; None where a
            frame is missing.
        start: ``[T, M, 2]``, plate pixels, where another tracker (best: LK closed) sees the outline; the
            cheap mode needs it, the full mode works without.
        left: ``[M, 2]``, the outline at the first frame, plate pixels.
        right: ``[M, 2]``, the same points at the last.
        mode: "full" as above; "cheap" is one direct match of every frame at 120 px from ``start``.

    Returns:
        Matches for all frames. The caller puts the keys themselves at the span's ends.

    Raises:
        PredictionError: arrays do not fit each other, or hold NaN or infinity.
    """
    _require(frames, start, left, right)
    span = _Span(matcher.eval(), frames, left, right)
    if mode == "cheap":
        if start is None:
            raise PredictionError(
                "the cheap mode searches around given tracks; pass start, or use mode 'full'"
            )
        return span.direct(start, span.scale(list(start), CHEAP_PX))
    guide = _linear(left, right, len(frames)) if start is None else start
    whole = np.concatenate([guide.reshape(-1, 2), left, right])
    coarse = span.scale([whole], COARSE_PX)
    crop = Crop.around(whole, span.size, coarse)
    views = [span.view(index, crop) for index in range(len(frames))]
    chain = span.closed_chain(guide, crop, views)
    found = span.direct(chain if start is None else 0.5 * (chain + start), coarse, (crop, views))
    better = found.blended()
    fine = span.scale(list(better), FINE_PX)
    return span.direct(better, fine) if fine >= _FINER_LEAST * coarse else found


class _Span:
    """One span at work: its pictures, its keys and the matcher."""

    def __init__(self, matcher: Matcher, frames: Sequence[Frame], left: Points, right: Points) -> None:
        self.matcher, self.frames, self.keys = matcher, frames, (left, right)
        self.size = math.sqrt(outline_size(left) * outline_size(right))
        self.device = next(matcher.parameters()).device

    def inward(self, crop: Crop, points: Points) -> Tensor:
        """Plate pixels ``[M, 2]`` as a batch of one, crop pixels, where the matcher is."""
        return crop.inward(points)[None].to(self.device)

    def scale(self, groups: list[Points], target_px: float) -> float:
        return crop_scale([*groups, *self.keys], self.size, target_px)

    def view(self, index: int, crop: Crop) -> Maps | None:
        """Feature maps of a frame's crop; None where the frame is missing or the crop is off the plate."""
        frame = self.frames[index]
        if frame is None or not crop.meets(*frame.shape[:2]):
            return None
        picture = crop.cut(frame)[None].to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=_bfloat16_is_fast(self.device)):
            maps: Maps = self.matcher.encoder(picture)
        return maps

    def closed_chain(self, guide: Points, crop: Crop, views: list[Maps | None]) -> Points:
        """Track from frame to frame from both keys; spread each miss over time; blend by nearness."""
        count = len(views)
        time = np.linspace(0.0, 1.0, count)[:, None, None]
        forward = self._chain(range(count), self.keys[0], guide, crop, views)
        backward = self._chain(range(count - 1, -1, -1), self.keys[1], guide, crop, views)
        forward = forward + time * (self.keys[1] - forward[-1])
        backward = backward + (1 - time) * (self.keys[0] - backward[0])
        return np.asarray((1 - time) * forward + time * backward)

    def _chain(
        self, order: range, key: Points, guide: Points, crop: Crop, views: list[Maps | None]
    ) -> Points:
        """Positions from ``key`` at the first frame of ``order``; the guide's motion where nothing is seen."""
        track: Points = guide + (key - guide[order[0]])
        seen: tuple[int, Maps] | None = None
        for index in order:
            maps = views[index]
            if maps is None:
                continue
            if seen is not None:
                last, last_maps = seen
                guess = track[last] + guide[index] - guide[last]
                queries = make_queries(last_maps, self.inward(crop, track[last]))
                points, _ = self._refined(queries, maps, self.inward(crop, guess))
                track[index] = crop.outward(points[0])
                after = [later for later in order if (later - index) * order.step > 0]
                track[after] = guide[after] + (track[index] - guide[index])
            seen = (index, maps)
        return track

    def direct(
        self, start: Points, scale: float, shared: tuple[Crop, list[Maps | None]] | None = None
    ) -> MatchResult:
        """Match every frame with both keys around ``start [T, M, 2]``; ``shared`` holds encodings at hand."""
        count = len(self.frames)
        queries = self._key_queries(scale, shared)
        found = np.repeat(start[None], 2, axis=0)
        log_scale = np.full((2, *start.shape[:2]), math.log(_BLIND * self.size), np.float32)
        for index in range(count):
            crop = shared[0] if shared else Crop.around(start[index], self.size, scale)
            maps = shared[1][index] if shared else self.view(index, crop)
            sides = [side for side in (0, 1) if queries[side] is not None]
            if maps is None or not sides:
                continue
            both = _together([queries[side] for side in sides])
            begin = self.inward(crop, start[index]).expand(len(sides), -1, -1)
            points, scales = self._refined(both, maps, begin)
            for row, side in enumerate(sides):
                found[side, index] = crop.outward(points[row])
                wide = np.exp(scales[row].cpu().numpy()) / crop.scale.mean()
                wide = wide + self._unseen(index, found[side, index], side)
                log_scale[side, index] = np.log(wide)
        return MatchResult(found[0], found[1], log_scale[0], log_scale[1])

    def _key_queries(
        self, scale: float, shared: tuple[Crop, list[Maps | None]] | None
    ) -> list[Queries | None]:
        queries: list[Queries | None] = []
        for side, index in ((0, 0), (1, len(self.frames) - 1)):
            crop = shared[0] if shared else Crop.around(self.keys[side], self.size, scale)
            maps = shared[1][index] if shared else self.view(index, crop)
            outline = self.inward(crop, self.keys[side])
            queries.append(None if maps is None else make_queries(maps, outline))
        return queries

    def _refined(self, queries: Queries, maps: Maps, begin: Tensor) -> tuple[Tensor, Tensor]:
        points, log_scales, _ = self.matcher.refine(queries, maps, begin)
        return points[-1], log_scales[-1]

    def _unseen(self, index: int, found: Points, side: int) -> Points:
        """Error added, plate pixels ``[M]``, because the key's point or the match lies off the plate."""
        frame = self.frames[index]
        if frame is None:
            return np.zeros(len(found))
        limit = np.array([frame.shape[1], frame.shape[0]], np.float64)
        beyond = [np.maximum(np.maximum(-p, p - limit), 0).max(-1) for p in (found, self.keys[side])]
        return np.asarray(0.5 * np.maximum(*beyond))


def _bfloat16_is_fast(device: torch.device) -> bool:
    """Whether the encoder may work in bfloat16: a fifth less time in all, scores equal to .0002 IoU."""
    if device.type != "cpu":
        return device.type == "cuda"
    able: dict[str, object] = getattr(
        torch.cpu, "get_capabilities", dict
    )()  # not in the oldest torch that we allow
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def _together(queries: list[Queries | None]) -> Queries:
    there = [q for q in queries if q is not None]
    levels = zip(*(q.features for q in there), strict=True)
    return Queries(torch.cat([q.outline for q in there]), tuple(torch.cat(level) for level in levels))


def _linear(left: Points, right: Points, count: int) -> Points:
    time = np.linspace(0.0, 1.0, count)[:, None, None]
    return np.asarray((1 - time) * left + time * right)


def _require(frames: Sequence[Frame], start: Points | None, left: Points, right: Points) -> None:
    if len(frames) < 2:
        raise PredictionError(f"a span has {len(frames)} frames; it needs at least its two keys")
    sizes = {frame.shape for frame in frames if frame is not None}
    if len(sizes) > 1:
        raise PredictionError(f"the span's frames differ in size: {sorted(sizes)}; give one size")
    if left.ndim != 2 or left.shape != right.shape or left.shape[1] != 2 or len(left) < 3:
        raise PredictionError(f"keys have shapes {left.shape} and {right.shape}; both must be [M, 2], M >= 3")
    if start is not None and start.shape != (len(frames), *left.shape):
        raise PredictionError(f"start has shape {start.shape}, expected {(len(frames), *left.shape)}")
    if not all(np.isfinite(a).all() for a in (left, right, *(() if start is None else (start,)))):
        raise PredictionError("keys or start hold NaN or infinity; leave out what could not be tracked")
