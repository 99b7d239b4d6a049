"""A textured disc that moves over a textured background, for tests of what looks at pictures."""

import numpy as np

HEIGHT, WIDTH, POINTS = 110, 150, 24


def textured(shift: tuple[float, float], *, seed: int) -> np.ndarray:
    """A smooth colourful texture, evaluated exactly at a sub-pixel shift, 0..1."""
    rng = np.random.default_rng(seed)
    row, column = np.mgrid[0:HEIGHT, 0:WIDTH] + 0.5
    picture = np.full((HEIGHT, WIDTH, 3), 0.5)
    for _ in range(14):
        frequency = rng.normal(0, 0.28, 2)
        wave = np.sin(
            (column - shift[0]) * frequency[0] + (row - shift[1]) * frequency[1] + rng.uniform(0, 6)
        )
        picture += 0.09 * wave[..., None] * rng.normal(0, 1, 3)
    return picture


def disc(centre: tuple[float, float], radius: float = 22.0) -> np.ndarray:
    angle = np.arange(POINTS) * 2 * np.pi / POINTS
    return np.stack([centre[0] + radius * np.cos(angle), centre[1] + radius * np.sin(angle)], 1)


def disc_shot(count: int, step: tuple[float, float]) -> tuple[list[np.ndarray], np.ndarray]:
    """A textured disc that moves by ``step`` pixels a frame over a still background."""
    row, column = np.mgrid[0:HEIGHT, 0:WIDTH] + 0.5
    background = textured((0, 0), seed=1)
    frames, outlines = [], []
    for index in range(count):
        moved = (index * step[0], index * step[1])
        centre = (55.0 + moved[0], 58.0 + moved[1])
        cover = np.clip(22.5 - np.hypot(column - centre[0], row - centre[1]), 0, 1)[..., None]
        picture = background * (1 - cover) + textured(moved, seed=2) * cover
        frames.append(np.clip(np.rint(picture * 255), 0, 255).astype(np.uint8))
        outlines.append(disc(centre))
    return frames, np.stack(outlines)
