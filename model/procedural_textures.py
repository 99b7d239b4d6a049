"""Textures from numbers alone: noise, mosaics, stripes and spots, scene-linear, with highlights above 1."""

import cv2
import numpy as np

from model.frames import Plate

OCTAVES = 5


def texture(
    rng: np.random.Generator,
    side: int,
    *,
    contrast: float = 1.0,
    patterns: tuple[float, float, float, float] = (0.45, 0.25, 0.15, 0.15),
) -> Plate:
    """A random material.

    Args:
        rng: chooses everything.
        side: pixels of the square picture.
        contrast: 0 is flat colour, 1 the usual range.
        patterns: chances of noise, mosaics, stripes and spots.

    Returns:
        [side, side, 3] scene-linear float32, not negative, a few highlights above 1.
    """
    pattern = [_noise, _mosaic, _stripes, _spots][rng.choice(4, p=patterns)]
    mixed = 0.65 * pattern(rng, side) + 0.35 * _noise(rng, side)
    fine = _noise(rng, side, coarsest=max(8, side // 16))
    palette = rng.uniform(0.04, 0.9, (3, 3)).astype(np.float32)
    palette[1] = palette[0] + contrast * (palette[1] - palette[0])
    palette[2] = palette[0] + contrast * (palette[2] - palette[0])
    value = mixed[..., None]
    colour = palette[0] * (1 - value) + palette[1] * value
    share = (0.6 * fine * _noise(rng, side))[..., None]
    colour = colour * (1 - share) + palette[2] * share
    colour *= (1 + 0.35 * contrast * (fine - 0.5))[..., None]
    if rng.random() < 0.2:
        glint = np.clip((fine - 0.92) / 0.08, 0, 1) ** 2
        colour = colour + (rng.uniform(0.5, 4) * contrast * glint)[..., None]
    return np.asarray(np.maximum(colour, 0) ** 1.6, np.float32)


def _noise(rng: np.random.Generator, side: int, coarsest: int = 2) -> Plate:
    """Octaves of smooth noise, stretched to 0..1."""
    total = np.zeros((side, side), np.float32)
    cells, weight, fall = coarsest, 1.0, rng.uniform(0.45, 0.8)
    for _ in range(OCTAVES):
        if cells > side:
            break
        grid = rng.random((cells + 2, cells + 2), np.float32)
        total += weight * cv2.resize(grid, (side, side), interpolation=cv2.INTER_CUBIC)
        cells, weight = cells * int(rng.integers(2, 4)), weight * fall
    low, high = np.percentile(total[::4, ::4], [2, 98])
    return np.asarray(np.clip((total - low) / (high - low + 1e-6), 0, 1), np.float32)


def _mosaic(rng: np.random.Generator, side: int) -> Plate:
    """Random flat polygons over each other, as clothes, panels and windows are."""
    picture = np.full((side, side), rng.random(), np.float32)
    for _ in range(int(rng.integers(8, 60))):
        corners = rng.uniform(0, side, 2) + rng.normal(
            0, side * rng.uniform(0.03, 0.2), (int(rng.integers(3, 7)), 2)
        )
        cv2.fillPoly(picture, [cv2.convexHull(corners.astype(np.int32))], float(rng.random()))
    return picture


def _stripes(rng: np.random.Generator, side: int) -> Plate:
    """Bent stripes."""
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / side
    turn, count = rng.uniform(0, np.pi), rng.uniform(4, 25)
    phase = (x * np.cos(turn) + y * np.sin(turn)) * count + 2 * _noise(rng, side)
    return np.asarray(0.5 + 0.5 * np.tanh(3 * np.sin(2 * np.pi * phase)), np.float32)


def _spots(rng: np.random.Generator, side: int) -> Plate:
    """Round spots of many sizes on a soft ground."""
    picture = 0.5 * _noise(rng, side)
    for _ in range(int(rng.integers(20, 150))):
        centre = rng.integers(0, side, 2)
        radius = max(1, int(side * rng.uniform(0.005, 0.05)))
        cv2.circle(picture, (int(centre[0]), int(centre[1])), radius, float(rng.random()), -1, cv2.LINE_AA)
    return picture
