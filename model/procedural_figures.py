"""Invented figures: Bezier outlines as an artist draws them, smooth and corner points mixed."""

import numpy as np
from numpy.typing import NDArray

POINTS = (12, 30)


def random_outline(rng: np.random.Generator, *, points: tuple[int, int] = POINTS) -> NDArray[np.float64]:
    """A closed Bezier outline around the origin of the rest plane, with an area of about one to two units.

    Returns:
        Controls [N, 3, 2]; about one point in six is a corner.
    """
    count = int(rng.integers(points[0], points[1] + 1))
    angle = 2 * np.pi * (np.arange(count) + rng.uniform(-0.3, 0.3, count)) / count
    radius = np.full(count, rng.uniform(0.6, 0.8))
    for harmonic in range(1, int(rng.integers(3, 8))):
        radius += (
            rng.normal() * 0.10 / np.sqrt(harmonic) * np.cos(harmonic * angle + rng.uniform(0, 2 * np.pi))
        )
    for _ in range(int(rng.integers(0, 5))):  # heads, arms, legs
        apart = np.angle(np.exp(1j * (angle - rng.uniform(0, 2 * np.pi))))
        radius += rng.uniform(0.2, 0.9) * np.exp(-(apart**2) / (2 * rng.uniform(0.12, 0.3) ** 2))
    radius = np.clip(radius, 0.3, 1.8)
    stretch = np.diag(np.exp(rng.uniform(-0.35, 0.35) * np.array([1, -1])))
    places = np.stack([np.cos(angle), np.sin(angle)], axis=1) * radius[:, None] @ stretch
    forward, backward = np.roll(places, -1, axis=0) - places, places - np.roll(places, 1, axis=0)
    lengths = [np.linalg.norm(step, axis=1, keepdims=True) for step in (backward, forward)]
    line = forward + backward
    line /= np.linalg.norm(line, axis=1, keepdims=True) + 1e-9
    tangents = [-0.33 * lengths[0] * line, 0.33 * lengths[1] * line]
    corner = rng.random(count) < 0.17
    tangents[0][corner] = -0.3 * backward[corner]
    tangents[1][corner] = 0.3 * forward[corner]
    return np.stack([tangents[0], places, tangents[1]], axis=1)


def grown(controls: NDArray[np.float64], distance: float) -> NDArray[np.float64]:
    """A closed outline [N, 3, 2] moved outwards by a distance, as an artist does who keeps off the edge."""
    if not distance:
        return controls
    places = controls[:, 1]
    before, after = np.roll(places, 1, axis=0), np.roll(places, -1, axis=0)
    following = np.roll(places, -1, axis=0)
    turns_right = np.sum(places[:, 0] * following[:, 1] - places[:, 1] * following[:, 0]) > 0
    normals = np.zeros_like(places)
    for step in (places - before, after - places):
        unit = step / (np.linalg.norm(step, axis=1, keepdims=True) + 1e-12)
        normals += np.stack([unit[:, 1], -unit[:, 0]], axis=1)
    normals /= np.maximum(
        (normals**2).sum(axis=1, keepdims=True) / 2, 0.25
    )  # a corner moves further than a straight
    moved = places + (distance if turns_right else -distance) * normals
    out = controls.copy()
    out[:, 1] = moved
    for side, old, new in (
        (0, places - before, moved - np.roll(moved, 1, axis=0)),
        (2, after - places, np.roll(moved, -1, axis=0) - moved),
    ):
        ratio = np.linalg.norm(new, axis=1) / np.maximum(np.linalg.norm(old, axis=1), 1e-12)
        out[:, side] *= ratio[:, None]
    return out
