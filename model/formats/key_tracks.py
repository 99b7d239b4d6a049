"""Keys that are linear, held or catmullrom, as other programs have them, as curves with slopes, and back.

Ours are cubics between keys, so a hold is written as the value kept until a moment before the next key
(``HOLD_GAP``); it reads back as a hold. Those programs have no keys with our slopes: where a curve is of none of the
three kinds, a linear key stands on every whole frame, which is exact on whole frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from model.errors import ShapeError
from model.keyframes import FloatArray, Keyed
from model.shapes import Shape

Interpolation = Literal["linear", "hold", "catmullrom"]
HOLD_GAP = 1 / 32  # frames, before the key that ends a hold
TOLERANCE = 1e-4  # px, or parts of an opacity: closer than this counts as the same curve
KEYS_MAX = 1_000_000  # of one curve written
SPAN_MAX = 1_000_000  # frames over which something that moves is written out


@dataclass(frozen=True)
class Track:
    """Keys, each with the way it leads to the next.

    Attributes:
        frames: whole or not, increasing [K].
        values: [K, ...].
        interpolations: how each key leads to the next, K of them.
    """

    frames: FloatArray
    values: FloatArray
    interpolations: tuple[Interpolation, ...]

    def keyed(self) -> Keyed:
        """The track as a curve.

        Raises:
            KeyframeError: keys out of order or not finite.
        """
        frames, values = list(self.frames), list(self.values)
        smooth = catmullrom_slopes(self.frames, self.values)
        into, out = [np.zeros_like(v) for v in values], [np.zeros_like(v) for v in values]
        extra: list[tuple[float, FloatArray]] = []
        for i, kind in enumerate(self.interpolations[:-1]):
            span, rise = frames[i + 1] - frames[i], values[i + 1] - values[i]
            if kind == "hold" and span > HOLD_GAP:
                extra.append((frames[i + 1] - HOLD_GAP, values[i]))
                into[i + 1] = rise / HOLD_GAP
            elif kind == "catmullrom":
                out[i], into[i + 1] = smooth[i], smooth[i + 1]
            else:
                out[i] = into[i + 1] = rise / span if span else rise
        for time, value in extra:
            at = int(np.searchsorted(frames, time))
            frames.insert(at, time)
            values.insert(at, value)
            into.insert(at, np.zeros_like(value))
            out.insert(at, into[at + 1])
        return Keyed(np.array(frames), np.array(values), np.array(into), np.array(out))


def catmullrom_slopes(frames: FloatArray, values: FloatArray) -> FloatArray:
    """Finite differences over both neighbours; over the one there is at the ends."""
    slopes = np.zeros_like(values)
    if len(frames) < 2:
        return slopes
    with np.errstate(divide="ignore", invalid="ignore"):  # two keys at one time are refused later
        spans = (frames[2:] - frames[:-2]).reshape((-1,) + (1,) * (values.ndim - 1))
        slopes[1:-1] = (values[2:] - values[:-2]) / spans
        slopes[0] = (values[1] - values[0]) / (frames[1] - frames[0])
        slopes[-1] = (values[-1] - values[-2]) / (frames[-1] - frames[-2])
    return slopes


def track_of(curve: Keyed, *, catmullrom: bool = False) -> Track:
    """A curve as keys on whole frames.

    Args:
        curve: to be written; keys between whole frames are replaced by keys on the frames around them.
        catmullrom: allow keys of that kind, for curves that were read from them.

    Raises:
        ShapeError: a curve that would take more than ``KEYS_MAX`` keys.
    """
    real = ~_ends_a_hold(curve)
    held = np.append(_ends_a_hold(curve)[1:], False)[real]
    keys = Keyed(*(a[real] for a in (curve.frames, curve.values, curve.slopes_in, curve.slopes_out)))
    smooth = catmullrom_slopes(keys.frames, keys.values) if catmullrom else None
    frames: list[float] = []
    kinds: list[Interpolation] = []
    for i, frame in enumerate(keys.frames.tolist()):
        whole = frame == round(frame)
        kind = "linear" if i + 1 == len(keys.frames) else _kind(keys, i, bool(held[i]), smooth)
        if whole and (not frames or frame > frames[-1]):
            frames.append(frame)
            kinds.append(kind or "linear")
        end = keys.frames[i + 1] if i + 1 < len(keys.frames) else frame
        if kind is None or not whole or end != round(end):
            between = _whole_between(frame, float(end))
            if len(between) + len(frames) > KEYS_MAX:
                raise ShapeError(f"a curve would take more than {KEYS_MAX} keys; shorten it")
            more = [f for f in between if not frames or f > frames[-1]]
            frames += more
            kinds += ["linear"] * len(more)
    if not frames:  # one key, between two frames
        frames, kinds = [float(round(keys.frames[0]))], ["linear"]
    times = np.array(frames)
    return Track(times, curve.sample(times), tuple(kinds))


def _whole_between(start: float, end: float) -> list[float]:
    """Whole frames around a segment's ends and strictly within it."""
    if end - start > KEYS_MAX:
        raise ShapeError(f"two keys are {end - start:.0f} frames apart; up to {KEYS_MAX} are written out")
    return [float(f) for f in range(int(np.floor(start)), int(np.ceil(end)) + 1) if f != start and f != end]


def _ends_a_hold(curve: Keyed) -> np.ndarray:
    """Which keys only stand there to end a hold: value of the key before, flat, and the next key at once."""
    frames, values = curve.frames, curve.values
    ends = np.zeros(len(frames), dtype=np.bool_)
    for i in range(1, len(frames) - 1):
        flat = not (curve.slopes_out[i - 1].any() or curve.slopes_in[i].any())
        ends[i] = frames[i + 1] - frames[i] <= HOLD_GAP and flat and np.array_equal(values[i], values[i - 1])
    return ends


def _kind(keys: Keyed, i: int, held: bool, smooth: FloatArray | None) -> Interpolation | None:
    """How segment ``i`` can be written without keys inside it, or None."""
    span, rise = keys.frames[i + 1] - keys.frames[i], keys.values[i + 1] - keys.values[i]
    if held:
        return "hold"
    out, into = keys.slopes_out[i], keys.slopes_in[i + 1]
    if np.abs(np.stack([out, into]) * span - rise).max() <= TOLERANCE:
        return "linear"
    if (
        smooth is not None
        and np.abs(np.stack([out - smooth[i], into - smooth[i + 1]]) * span).max() <= TOLERANCE
    ):
        return "catmullrom"
    return None


def opacity_track(shape: Shape) -> Track:
    """Opacity 0..100, 0 where the shape does not live."""
    percent = track_of(shape.opacity.scaled(100.0))
    life = shape.lifetime
    turns = [] if life.first is None else [life.first - 1, life.first]
    turns += [] if life.last is None else [life.last, life.last + 1]
    turns += [] if life.visibility is None else life.visibility.frames.tolist()
    if not turns:
        return percent
    moving = [] if shape.opacity.is_constant else percent.frames.tolist()
    first, last = int(np.floor(min(turns + moving))), int(np.ceil(max(turns + moving)))
    if last - first > SPAN_MAX:
        raise ShapeError(
            f"{shape.path} lives and dies over {last - first} frames; up to {SPAN_MAX} are written out"
        )
    times = np.arange(first, last + 1, dtype=np.float64)
    values = shape.opacity.sample(times) * 100 * np.array([shape.is_alive(t) for t in times])
    changes = np.append(True, np.diff(values) != 0)
    return Track(times[changes], values[changes], all_of("hold", int(changes.sum())))


def all_of(kind: Interpolation, count: int) -> tuple[Interpolation, ...]:
    """So many keys of one kind."""
    return (kind,) * count
