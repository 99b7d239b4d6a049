"""Keyframe interpolation the way Nuke does it: cubic Hermite from *stored* slopes.

Nuke computes a key's slopes when the key is made and stores them; when the artist later moves the key the
slopes stay as they were. What the artist sees is therefore what the stored slopes say, so nothing here
recomputes a slope that was read. ``default_slopes`` is the rule by which Nuke makes them.

Source: decoded from real scripts; exact to 1e-7 on a four-key sample (docs/formats.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from model.errors import KeyframeError

FloatArray = NDArray[np.float64]


def frozen_array(values: ArrayLike) -> FloatArray:
    """Copy ``values`` into a float64 array that cannot be written to."""
    array = np.array(values, dtype=np.float64)
    array.setflags(write=False)
    return array


@dataclass(frozen=True, eq=False)
class Keyed:
    """Values at key times, with the slopes that lead in and out of each key.

    Attributes:
        frames: key times in plate frames, strictly increasing, [K]; K >= 1.
        values: the value at each key, [K, ...]; any trailing shape.
        slopes_in: slope on the left of each key, value units per frame, same shape as ``values``.
        slopes_out: slope on the right of each key, same units and shape.

    Raises:
        KeyframeError: at birth, for keys out of order, shapes that differ or values that are not finite.
    """

    frames: FloatArray
    values: FloatArray
    slopes_in: FloatArray
    slopes_out: FloatArray

    def __post_init__(self) -> None:
        for name in ("frames", "values", "slopes_in", "slopes_out"):
            object.__setattr__(self, name, frozen_array(getattr(self, name)))
        check_key_times(self.frames)
        if self.values.shape[:1] != self.frames.shape:
            raise KeyframeError(
                f"{len(self.frames)} key times but values of shape {self.values.shape}; "
                "give one value block per key time"
            )
        for name in ("slopes_in", "slopes_out"):
            if getattr(self, name).shape != self.values.shape:
                raise KeyframeError(
                    f"{name} has shape {getattr(self, name).shape}, values {self.values.shape}; "
                    "give one slope per value"
                )
        if not all(np.isfinite(a).all() for a in (self.values, self.slopes_in, self.slopes_out)):
            raise KeyframeError("a key value or slope is not finite; remove or redraw that key")

    @classmethod
    def constant(cls, value: ArrayLike, frame: float = 0.0) -> Keyed:
        """One key, flat on both sides: ``value`` at every frame."""
        values = np.asarray(value, dtype=np.float64)[None]
        return cls(np.array([frame]), values, np.zeros_like(values), np.zeros_like(values))

    @classmethod
    def smooth(cls, frames: ArrayLike, values: ArrayLike) -> Keyed:
        """Keys with the slopes Nuke would give them (``default_slopes``)."""
        slopes_in, slopes_out = default_slopes(frames, values)
        return cls(np.asarray(frames), np.asarray(values), slopes_in, slopes_out)

    @property
    def is_constant(self) -> bool:
        """True where every frame has the same value."""
        flat = len(self.frames) == 1 or not (self.slopes_in[1:].any() or self.slopes_out[:-1].any())
        return bool(flat and (self.values == self.values[:1]).all())

    def scaled(self, factor: float | FloatArray) -> Keyed:
        """The curve times a factor that broadcasts over its values."""
        return Keyed(self.frames, self.values * factor, self.slopes_in * factor, self.slopes_out * factor)

    def at(self, frame: float) -> FloatArray:
        """The value at ``frame``: cubic Hermite between keys, held before the first and after the last."""
        value: FloatArray = self.sample([frame])[0]
        return value

    def sample(self, frames: ArrayLike) -> FloatArray:
        """Values at several frames, [T, ...], see ``at``."""
        return evaluate(self.frames, self.values, self.slopes_in, self.slopes_out, frames)[0]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Keyed):
            return NotImplemented
        pairs = ((getattr(self, n), getattr(other, n)) for n in self.__dataclass_fields__)
        return all(np.array_equal(a, b) for a, b in pairs)

    __hash__ = None  # type: ignore[assignment]  # equal by content, and arrays do not hash


def check_key_times(frames: FloatArray) -> None:
    """Raise KeyframeError unless ``frames`` is a non-empty, finite, strictly increasing list of times."""
    if frames.ndim != 1 or len(frames) == 0:
        raise KeyframeError(f"key times have shape {frames.shape}; give at least one time, in one list")
    if not np.isfinite(frames).all():
        raise KeyframeError("a key time is not finite; remove that key")
    wrong = np.flatnonzero(np.diff(frames) <= 0)
    if len(wrong):
        i = int(wrong[0])
        raise KeyframeError(
            f"key times {frames[i]:g} and {frames[i + 1]:g} are not increasing; sort the keys"
        )


def evaluate(
    frames: FloatArray,
    values: FloatArray,
    slopes_in: FloatArray,
    slopes_out: FloatArray,
    at_frames: ArrayLike,
) -> tuple[FloatArray, FloatArray]:
    """Cubic Hermite values and slopes at ``at_frames``.

    Args:
        frames: key times [K], strictly increasing.
        values: [K, ...].
        slopes_in: left slopes, per frame, [K, ...].
        slopes_out: right slopes, per frame, [K, ...].
        at_frames: times to evaluate [T]; outside the keys the end values are held.

    Returns:
        The values [T, ...] and their derivatives per frame [T, ...] (0 where the value is held).
    """
    at = np.asarray(at_frames, dtype=np.float64)
    if len(frames) == 1:
        held = np.repeat(values, len(at), axis=0)
        return held, np.zeros_like(held)
    left = np.clip(np.searchsorted(frames, at, side="right") - 1, 0, len(frames) - 2)
    trailing = (-1,) + (1,) * (values.ndim - 1)
    span = (frames[left + 1] - frames[left]).reshape(trailing)
    u = np.clip((at - frames[left]).reshape(trailing) / span, 0.0, 1.0)
    v0, v1 = values[left], values[left + 1]
    m0, m1 = slopes_out[left] * span, slopes_in[left + 1] * span
    # At a key (u = 0 or 1) its own value comes back to the last bit.
    rise = v1 - v0
    c2, c3 = 3 * rise - 2 * m0 - m1, m0 + m1 - 2 * rise
    value = np.where(u < 1.0, v0 + u * (m0 + u * (c2 + u * c3)), v1)
    inside = ((at > frames[0]) & (at < frames[-1])).reshape(trailing)
    slope = np.where(inside, (m0 + u * (2 * c2 + u * 3 * c3)) / span, 0.0)
    return value, slope


def default_slopes(frames: ArrayLike, values: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """The slopes that Nuke gives to new keys.

    Inside: the finite difference over both neighbours, but 0 at a local extremum (and where a
    neighbour is level), so a curve never overshoots its own extremes. At the ends: the natural end
    ``1.5 * rise - 0.5 * slope_of_the_neighbour``. Two keys give a straight line, one key is flat.

    Args:
        frames: key times [K], strictly increasing.
        values: [K, ...].

    Returns:
        ``(slopes_in, slopes_out)``, each [K, ...], value units per frame. The slope before the first
        and after the last key is 0, as Nuke writes it.

    Raises:
        KeyframeError: key times that are not strictly increasing, or not one per value.

    Source: see the module docstring.
    """
    times, keyed = np.asarray(frames, dtype=np.float64), np.asarray(values, dtype=np.float64)
    check_key_times(times)
    if keyed.shape[:1] != times.shape:
        raise KeyframeError(f"{len(times)} key times but values of shape {keyed.shape}")
    slopes = np.zeros_like(keyed)
    if len(times) >= 2:
        gaps = np.diff(times).reshape((-1,) + (1,) * (keyed.ndim - 1))
        rises = np.diff(keyed, axis=0)
        central = (rises[:-1] + rises[1:]) / (gaps[:-1] + gaps[1:])
        slopes[1:-1] = np.where(rises[:-1] * rises[1:] > 0, central, 0.0)
        secants = rises / gaps
        if len(times) == 2:
            slopes[:] = secants
        else:
            slopes[0] = 1.5 * secants[0] - 0.5 * slopes[1]
            slopes[-1] = 1.5 * secants[-1] - 0.5 * slopes[-2]
    slopes_in, slopes_out = slopes.copy(), slopes.copy()
    slopes_in[0] = 0.0
    slopes_out[-1] = 0.0
    return slopes_in, slopes_out


def insert_keys(keyed: Keyed, frames: ArrayLike) -> Keyed:
    """Add key times without changing the curve anywhere.

    Between two keys the cubic is split where the new key falls: same polynomial, so both the value and
    the slope of the new key are those of the curve. Outside the keys the curve is held, so the new key is
    flat and the old end key's outer slope, which the curve does not show, becomes 0.

    Args:
        keyed: the curve.
        frames: times to add; those that exist already stay as they are.
    """
    new = np.setdiff1d(np.asarray(frames, dtype=np.float64), keyed.frames)
    if len(new) == 0:
        return keyed
    values, slopes = evaluate(keyed.frames, keyed.values, keyed.slopes_in, keyed.slopes_out, new)
    slopes_in, slopes_out = keyed.slopes_in.copy(), keyed.slopes_out.copy()
    if new[0] < keyed.frames[0]:
        slopes_in[0] = 0.0
    if new[-1] > keyed.frames[-1]:
        slopes_out[-1] = 0.0
    times = np.concatenate([keyed.frames, new])
    order = np.argsort(times)

    def merged(old: FloatArray, added: FloatArray) -> FloatArray:
        return np.concatenate([old, added])[order]

    return Keyed(
        times[order], merged(keyed.values, values), merged(slopes_in, slopes), merged(slopes_out, slopes)
    )


def stack(curves: Sequence[Keyed], shape: tuple[int, ...]) -> Keyed:
    """Several scalar curves as one block over the union of their key times; each keeps its course.

    Args:
        curves: scalar curves (values of shape [K]), in C order of ``shape``.
        shape: the trailing shape of the result.
    """
    times = np.unique(np.concatenate([c.frames for c in curves]))
    full = [insert_keys(c, times) for c in curves]

    def block(name: str) -> FloatArray:
        columns = np.stack([getattr(c, name) for c in full], axis=1)
        return columns.reshape((len(times), *shape))

    return Keyed(times, block("values"), block("slopes_in"), block("slopes_out"))


def product(one: Keyed, other: Keyed) -> Keyed:
    """Two scalar curves multiplied: exact at every key of either and, where one is constant, everywhere."""
    both = stack([one, other], (2,))
    (a, b), into, out = both.values.T, both.slopes_in.T, both.slopes_out.T
    return Keyed(both.frames, a * b, into[0] * b + a * into[1], out[0] * b + a * out[1])
