"""Invented motion: how a flat figure at rest comes to lie in the plate at each frame, and back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.procedural_lens import PERFECT, Array, Lens

NEWTON_STEPS: Final = 20
NEWTON_END: Final = 1e-10
Rows = int | NDArray[np.int64]


@dataclass(frozen=True)
class Motion:
    """Maps a figure's rest plane (about -1..1) to plate pixels at F frames, sub-frames included.

    Defined from the plate to the rest plane, since that is what rendering needs: the lens taken out, a homography back
    to the bent figure, then the bend taken out. The way there solves the bend by Newton's method.

    Attributes:
        homography: [F, 3, 3] bent figure to the plate of a perfect lens.
        wave: [W, 2] spatial frequency and [W] phase of each bending wave, with [F, W, 2] amplitudes.
        swing: [S, 2] centre and [S] radius of each swinging part, with [F, S, 2] amplitudes.
        lens: what the plate was taken through.
    """

    homography: Array
    wave: Array
    phase: Array
    wave_amplitude: Array
    swing: Array
    radius: Array
    swing_amplitude: Array
    lens: Lens = PERFECT

    def bend(self, rows: Rows, points: Array) -> Array:
        """Displacement [..., n, 2] that bending adds at points of the bent figure, at one row or at each of R rows."""
        waves = np.sin(points @ self.wave.T + self.phase) @ self.wave_amplitude[rows]
        if not len(self.swing):
            return np.asarray(waves)
        return np.asarray(waves + self._nearness(points) @ self.swing_amplitude[rows])

    def to_rest(self, row: int, plate: Array) -> Array:
        """Rest positions [n, 2] of plate positions [n, 2]."""
        bent = projected(np.linalg.inv(self.homography[row]), self.lens.straightened(plate))
        return np.asarray(bent - self.bend(row, bent))

    def to_plate(self, rows: Rows, rest: Array) -> Array:
        """Plate positions [..., n, 2] of rest positions [n, 2], at one row or at each of R rows."""
        return self.lens.seen(projected(self.homography[rows], self._bent(rows, rest)[0]))

    def controls(self, rows: Rows, rest: Array) -> Array:
        """Carry Bezier controls [N, 3, 2]: centres by the map, tangents by its derivative, so smooth stays smooth.

        Returns:
            [..., N, 3, 2] plate pixels, at one row or at each of R rows.
        """
        bent, slope = self._bent(rows, rest[:, 1])
        matrix = self.homography[rows]
        there = bent @ np.swapaxes(matrix, -1, -2)[..., :2, :] + matrix[..., None, :, 2]
        straight = there[..., :2] / there[..., 2:]
        flat, horizon = matrix[..., None, :2, :2], matrix[..., None, 2:, :2]
        tilt = (flat - straight[..., :, None] * horizon) / there[..., 2:, None]
        lens = self.lens.slope(straight)
        moved = rest[:, ::2] @ np.swapaxes(lens @ tilt @ np.linalg.inv(slope), -1, -2)
        return np.stack([moved[..., 0, :], self.lens.seen(straight), moved[..., 1, :]], axis=-2)

    def followed(self, homography: Array) -> Motion:
        """The same figure carried further by [F, 3, 3], plate to plate (a camera, or a parent part)."""
        return replace(self, homography=homography @ self.homography)

    def _nearness(self, points: Array) -> Array:
        apart = ((points[..., None, :] - self.swing) ** 2).sum(axis=-1)
        return np.asarray(np.exp(-apart / (2 * self.radius**2)))

    def _bent(self, rows: Rows, rest: Array) -> tuple[Array, Array]:
        """Bent positions [..., n, 2] of rest positions, and there the slope [..., n, 2, 2] from bent to rest."""
        bent = np.broadcast_to(rest, (*np.shape(rows), *rest.shape))
        for _ in range(NEWTON_STEPS):
            step = bent - self.bend(rows, bent) - rest
            slope = np.eye(2) - self._bend_slope(rows, bent)
            bent = bent - np.linalg.solve(slope, step[..., None])[..., 0]
            if np.abs(step).max() < NEWTON_END:
                break
        return bent, slope

    def _bend_slope(self, rows: Rows, points: Array) -> Array:
        """Derivative [..., n, 2, 2] of ``bend`` by the point."""
        rate = np.cos(points @ self.wave.T + self.phase)[..., None] * self.wave
        slope = np.swapaxes(self.wave_amplitude[rows], -1, -2)[..., None, :, :] @ rate
        if not len(self.swing):
            return np.asarray(slope)
        fall = -self._nearness(points)[..., None] * (points[..., None, :] - self.swing)
        fall = fall / self.radius[:, None] ** 2
        return np.asarray(slope + np.swapaxes(self.swing_amplitude[rows], -1, -2)[..., None, :, :] @ fall)


def random_motion(
    rng: np.random.Generator,
    times: Array,
    *,
    centre: Array,
    size: float,
    amount: float,
    deformation: float,
) -> Motion:
    """Invent a motion: drift, turn, zoom, shear and a little perspective, waves and swinging parts.

    Args:
        rng: chooses everything.
        times: [F] frame times (sub-frames allowed), frames.
        centre: [2] where the figure is on average, plate pixels.
        size: length in plate pixels of the rest plane's unit.
        amount: 1 is the usual speed.
        deformation: 1 is the usual bending, 0 rigid.
    """
    pace = amount * rng.choice([0.25, 0.6, 1.0, 1.6])
    shift = size * np.stack([wander(rng, times, 0.30 * pace), wander(rng, times, 0.15 * pace)], axis=1)
    turn = rng.uniform(-np.pi, np.pi) + wander(rng, times, 0.08 * pace)
    zoom = np.exp(wander(rng, times, 0.05 * pace))
    squeeze = np.exp(wander(rng, times, 0.05 * pace))
    shear = wander(rng, times, 0.04 * pace)
    linear = (size * zoom)[:, None, None] * rotation(turn) @ _matrix(squeeze, shear, 0 * shear, 1 / squeeze)
    homography = np.zeros((len(times), 3, 3))
    homography[:, :2, :2] = linear
    homography[:, :2, 2] = centre + shift
    homography[:, 2, 0], homography[:, 2, 1] = (wander(rng, times, 0.02 * pace) for _ in range(2))
    homography[:, 2, 2] = 1.0
    bending = deformation * pace * rng.choice([0.15, 0.5, 1.0, 1.5])
    waves, swings = int(rng.integers(2, 5)), int(rng.integers(0, 4))
    direction = rng.uniform(0, 2 * np.pi, waves)
    length = rng.uniform(1.2, 4.5, waves)
    heights = np.stack([[wander(rng, times, 0.025 * bending) for _ in range(2)] for _ in range(waves)])
    parts, strength = max(swings, 1), 0.08 * bending if swings else 0.0
    beats = np.stack([[wander(rng, times, strength, beat=True) for _ in range(2)] for _ in range(parts)])
    # The bend must stay a contraction: wave number times amplitude well below 1.
    limit = 0.4 / (np.abs(heights).max(axis=2).sum(axis=1) @ length + 1e-9)
    around = rng.uniform(0, 2 * np.pi, parts)
    radius = rng.uniform(0.3, 0.7, parts)
    swing_limit = 0.35 / (np.abs(beats).max(axis=2).sum(axis=1) / radius + 1e-9).sum()
    return Motion(
        homography=homography,
        wave=np.stack([np.cos(direction), np.sin(direction)], axis=1) * length[:, None],
        phase=rng.uniform(0, 2 * np.pi, waves),
        wave_amplitude=np.moveaxis(heights, 2, 0) * min(1.0, limit),
        swing=np.stack([np.cos(around), np.sin(around)], axis=1) * rng.uniform(0.6, 1.2, (len(around), 1)),
        radius=radius,
        swing_amplitude=np.moveaxis(beats, 2, 0) * min(1.0, swing_limit),
    )


def wander(rng: np.random.Generator, times: Array, amplitude: float, *, beat: bool = False) -> Array:
    """A smooth random path [F]: drift and slow waves, or a steady beat as of steps."""
    if beat:
        period = rng.uniform(6, 28)
        return np.asarray(
            amplitude * rng.normal() * np.sin(2 * np.pi * times / period + rng.uniform(0, 2 * np.pi))
        )
    path = rng.normal() * (times - times.mean()) / 24.0
    for period in rng.uniform(16, 90, 3):
        path = path + rng.normal() * np.sqrt(period / 90) * np.sin(
            2 * np.pi * times / period + rng.uniform(0, 6.3)
        )
    for period in rng.uniform(6, 20, 2):  # nothing alive moves as smoothly as its mean
        path = path + 0.12 * rng.normal() * np.sin(2 * np.pi * times / period + rng.uniform(0, 6.3))
    return np.asarray(amplitude * path)


def camera(rng: np.random.Generator, times: Array, *, width: int, height: int, amount: float) -> Array:
    """A camera's pan, roll, zoom and shake as plate-to-plate homographies [F, 3, 3]."""
    pace = amount * rng.choice([0.0, 0.3, 1.0, 1.8])
    size = max(width, height)
    shake = rng.choice([0.0, 0.002]) * size * rng.normal(0, 1, (len(times), 2))
    shift = 0.05 * size * np.stack([wander(rng, times, pace), 0.4 * wander(rng, times, pace)], axis=1) + shake
    linear = np.exp(wander(rng, times, 0.02 * pace))[:, None, None] * rotation(
        wander(rng, times, 0.015 * pace)
    )
    middle = np.array([width / 2, height / 2])
    matrices = np.tile(np.eye(3), (len(times), 1, 1))
    matrices[:, :2, :2] = linear
    matrices[:, :2, 2] = middle + shift - linear @ middle
    return matrices


def shifts(path: Array) -> Array:
    """Homographies [F, 3, 3] that shift by a path [F, 2]."""
    matrices = np.tile(np.eye(3), (len(path), 1, 1))
    matrices[:, :2, 2] = path
    return matrices


def rotation(angle: Array) -> Array:
    """Rotations [F, 2, 2]."""
    return _matrix(np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle))


def _matrix(a: Array, b: Array, c: Array, d: Array) -> Array:
    return np.stack([np.stack([a, b], -1), np.stack([c, d], -1)], -2)


def projected(homography: Array, points: Array) -> Array:
    """Points [..., n, 2] through homographies [..., 3, 3]."""
    moved = points @ np.swapaxes(homography[..., :2], -1, -2) + homography[..., None, :, 2]
    return np.asarray(moved[..., :2] / moved[..., 2:])
