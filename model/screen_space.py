"""A shape without its transforms: the same outline on screen, all motion in the points."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from model.errors import ShapeError
from model.keyframes import FloatArray, Keyed
from model.shapes import Shape

KEYS_MAX = 1_000_000  # made where transforms move over a very long time
_STEP = 1e-3  # frames; over which a slope is measured


def on_screen(shape: Shape) -> Shape:
    """The shape in screen space, exact at its own keys and on every whole frame.

    Transforms that move add a key on every whole frame from the first of their keys to the last, marked ``baked``.

    Raises:
        ShapeError: transforms that move over more than ``KEYS_MAX`` frames.
    """
    if not shape.transforms:
        return shape
    moving = np.concatenate([t.key_times for t in shape.transforms])
    times = np.union1d(shape.frames, _whole_frames(moving, shape.path))
    sources = dict(zip(shape.frames.tolist(), shape.key_sources, strict=True))
    sure = None
    if shape.key_confidence is not None:
        known = dict(zip(shape.frames.tolist(), shape.key_confidence.tolist(), strict=True))
        sure = np.array([known.get(t, 1.0) for t in times.tolist()])
    main = _sampled(shape, times, feather=False)
    feather = None
    if shape.feather is not None:
        feather = _sampled(shape, np.union1d(times, shape.feather.frames), feather=True)
    return replace(
        shape,
        frames=main.frames,
        controls=main.values,
        slopes_in=main.slopes_in,
        slopes_out=main.slopes_out,
        feather=feather,
        transforms=(),
        key_sources=tuple(sources.get(t, "baked") for t in times.tolist()),
        key_confidence=sure,
    )


def _whole_frames(moving: FloatArray, path: str) -> FloatArray:
    if not len(moving):
        return moving
    first, last = np.floor(moving.min()), np.ceil(moving.max())
    if last - first > KEYS_MAX:
        raise ShapeError(f"{path} is moved over {last - first:.0f} frames; up to {KEYS_MAX} are written out")
    return np.union1d(moving, np.arange(first, last + 1))


def _sampled(shape: Shape, times: FloatArray, *, feather: bool) -> Keyed:
    """Values and one-sided slopes on screen, by differences of the second order."""

    def at(frames: FloatArray) -> FloatArray:
        parts = (shape.feather_at(f) if feather else shape.at(f) for f in frames)
        return np.stack([p for p in parts if p is not None])

    now = at(times)
    before, earlier = at(times - _STEP), at(times - 2 * _STEP)
    after, later = at(times + _STEP), at(times + 2 * _STEP)
    into = (3 * now - 4 * before + earlier) / (2 * _STEP)
    out = (4 * after - 3 * now - later) / (2 * _STEP)
    into[0], out[-1] = 0.0, 0.0
    return Keyed(times, now, into, out)
