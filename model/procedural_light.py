"""What happens to the light before it becomes a plate: exposure, shading, the lens's corners, grain."""

from __future__ import annotations

import numpy as np

from model.frames import Plate
from model.procedural_lens import Array, Lens
from model.procedural_motion import wander
from model.procedural_settings import ShotSettings

WHITE = (1.0, 1.0, 1.0)


class Light:
    """Exposure that drifts and a soft gradient that wanders over the picture."""

    def __init__(self, gain: Array, slope: Array, settings: ShotSettings, lens: Lens) -> None:
        self.gain, self.slope = gain.astype(np.float32), slope.astype(np.float32)
        width, height = settings.width, settings.height
        self.x = np.linspace(-1, 1, width, dtype=np.float32)[None, :, None]
        self.y = np.linspace(-1, 1, height, dtype=np.float32)[:, None, None]
        self.tint = np.float32(1) if settings.tint == WHITE else np.array(settings.tint, np.float32)
        self.corners = lens.light(width, height) if lens.vignette else np.float32(1)

    @classmethod
    def invented(cls, rng: np.random.Generator, settings: ShotSettings, lens: Lens) -> Light:
        """Steady, drifting or restless."""
        times = np.arange(settings.frames, dtype=np.float64)
        strength = settings.light * rng.choice([0.0, 0.3, 1.0])
        gain = rng.uniform(0.5, 1.5) * np.exp(wander(rng, times, 0.12 * strength))
        slope = np.stack([wander(rng, times, 0.15 * strength) for _ in range(2)], axis=1)
        return cls(gain, slope, settings, lens)

    def __call__(self, frame: int, picture: Plate) -> Plate:
        """The picture [H, W, 3] as it is lit at a frame."""
        shade = np.maximum(1 + self.slope[frame, 0] * self.x + self.slope[frame, 1] * self.y, 0.2)
        return np.asarray(picture * (self.gain[frame] * shade * self.corners * self.tint), np.float32)


class Grain:
    """Film grain: tiles made once, shifted at random for every frame; stronger in the light, as photons are."""

    def __init__(self, tiles: Plate, strength: float) -> None:
        self.tiles, self.strength = tiles, strength

    @classmethod
    def invented(cls, rng: np.random.Generator, settings: ShotSettings) -> Grain:
        """Fine or coarse."""
        shape = (settings.height + 64, settings.width + 64, 3)
        tiles = rng.standard_normal(shape, np.float32)
        return cls(tiles, settings.grain * float(rng.uniform(0.2, 1.5)))

    def __call__(self, rng: np.random.Generator, picture: Plate) -> Plate:
        """The picture [H, W, 3] with this frame's grain."""
        height, width = picture.shape[:2]
        down, right = (
            rng.integers(0, self.tiles.shape[0] - height + 1),
            rng.integers(0, self.tiles.shape[1] - width + 1),
        )
        tile = self.tiles[down : down + height, right : right + width]
        noisy = picture * np.float32(1 / 0.18)
        noisy += np.float32(0.1)
        np.sqrt(noisy, out=noisy)
        noisy *= tile
        noisy *= np.float32(self.strength)
        noisy += picture
        return noisy
