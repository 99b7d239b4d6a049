"""Textures for the matcher's synthetic pictures: free photographs where installed, and drawn ones.

Only photographs in the public domain or under CC0 are used, so that weights trained on them may
ship. They lie inside the scikit-image package; the product does not need it, only a pretraining that
wants photographs does. Without it every texture is drawn.
"""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

TEXTURE_SIZE_PX = 224

# Licences as stated in skimage.data's docstrings (listed in benchmarks/model/matcher.md). Samples without
# a clear dedication (moon, page, coins, text, immunohistochemistry, the Middlebury stereo pair) stay out.
FREE_PHOTOGRAPHS = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "cell.png",
    "chelsea.png",
    "clock_motion.png",
    "coffee.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "retina.jpg",
    "rocket.jpg",
)

_log = logging.getLogger(__name__)


def installed_photographs() -> dict[str, NDArray[np.uint8]]:
    """Read the free photographs that are installed on this machine.

    Returns:
        File name to RGB picture, uint8 ``[H, W, 3]``; empty where scikit-image is not installed.
    """
    found = importlib.util.find_spec("skimage")
    if found is None or found.origin is None:
        _log.warning("scikit-image is not installed: all textures will be drawn, none photographed")
        return {}
    folder = Path(found.origin).parent / "data"
    photographs = {}
    for name in FREE_PHOTOGRAPHS:
        picture = cv2.imread(str(folder / name), cv2.IMREAD_COLOR)
        if picture is None:
            _log.warning("the photograph %s is not in the installed scikit-image; going on without it", name)
            continue
        photographs[name] = np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)
    return photographs


def texture_bank(
    count: int, rng: np.random.Generator, photographs: dict[str, NDArray[np.uint8]]
) -> torch.Tensor:
    """Make the textures that pictures are painted with.

    Args:
        count: number of textures.
        rng: source of every choice; the same state gives the same bank.
        photographs: pictures to cut half of the textures from; may be empty.

    Returns:
        uint8 ``[count, 3, 224, 224]``, RGB.
    """
    bank = np.empty((count, TEXTURE_SIZE_PX, TEXTURE_SIZE_PX, 3), np.uint8)
    names = sorted(photographs)
    drawn = (_fractal_noise, _dead_leaves, _dead_leaves, _stripes, _gradient, _fractal_noise)
    for index in range(count):
        if names and index % 2 == 0:
            bank[index] = _photograph_crop(photographs[names[(index // 2) % len(names)]], rng)
        elif index > 8 and rng.random() < 0.25:
            bank[index] = _collage(bank[rng.integers(index)], bank[rng.integers(index)], rng)
        else:
            bank[index] = drawn[rng.integers(len(drawn))](rng)
    return torch.from_numpy(bank).permute(0, 3, 1, 2).contiguous()


def _as_bytes(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)


def _resized(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    shrinking = picture.shape[0] > TEXTURE_SIZE_PX
    interpolation = cv2.INTER_AREA if shrinking else cv2.INTER_CUBIC
    size = (TEXTURE_SIZE_PX, TEXTURE_SIZE_PX)
    return np.asarray(cv2.resize(picture, size, interpolation=interpolation), np.uint8)


def _photograph_crop(photograph: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    height, width = photograph.shape[:2]
    side = int(rng.uniform(110, min(height, width)))
    top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
    crop = _resized(photograph[top : top + side, left : left + side])
    crop = np.rot90(crop, int(rng.integers(4)))
    return np.ascontiguousarray(crop[:, ::-1] if rng.random() < 0.5 else crop)


def _fractal_noise(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Noise with a power-law spectrum; the exponent decides between sand and clouds."""
    frequency = np.fft.fftfreq(TEXTURE_SIZE_PX)
    radius = np.hypot(frequency[:, None], frequency[None, :] * rng.uniform(0.5, 2.0))
    radius[0, 0] = 1.0
    amplitude = radius ** -rng.uniform(0.4, 1.8)
    amplitude[0, 0] = 0.0
    planes = []
    for _ in range(3):
        spectrum = np.fft.fft2(rng.standard_normal((TEXTURE_SIZE_PX, TEXTURE_SIZE_PX))) * amplitude
        plane = np.fft.ifft2(spectrum).real
        planes.append(plane / (plane.std() + 1e-9))
    mixing = np.eye(3) * rng.uniform(0.0, 0.6) + rng.uniform(0.2, 1.0, (3, 1)) * np.array([1.0, 0.0, 0.0])
    noise = np.stack(planes, -1) @ mixing.T
    return _as_bytes(rng.uniform(50, 200, 3) + noise * rng.uniform(10, 50))


def _dead_leaves(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Overlapping discs, boxes and polygons of all sizes: the edge statistics of photographs."""
    canvas = np.empty((TEXTURE_SIZE_PX, TEXTURE_SIZE_PX, 3), np.uint8)
    base = rng.uniform(30, 220, 3)
    spread = rng.uniform(15, 90)
    canvas[:] = _as_bytes(base)
    for radius in np.sort(rng.uniform(3, rng.uniform(15, 60), 220) ** 1.0)[::-1]:
        colour = [float(c) for c in np.clip(base + rng.normal(0, spread, 3), 0, 255)]
        centre = rng.uniform(-10, TEXTURE_SIZE_PX + 10, 2)
        corners = int(rng.choice([3, 4, 5, 24]))
        angle = rng.uniform(0, 2 * np.pi) + np.arange(corners) * 2 * np.pi / corners
        reach = radius * rng.uniform(0.6, 1.3, corners if corners < 24 else 1)
        outline = centre + np.stack([np.cos(angle), np.sin(angle)], 1) * np.reshape(reach, (-1, 1))
        cv2.fillPoly(canvas, [np.rint(outline * 16).astype(np.int32)], colour, cv2.LINE_AA, 4)
    grain = rng.normal(0, rng.uniform(0, 8), canvas.shape)
    return _as_bytes(canvas + grain)


def _stripes(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Stripes, checks and spots: repeating patterns on which a matcher has to stay honest."""
    row, column = np.mgrid[0:TEXTURE_SIZE_PX, 0:TEXTURE_SIZE_PX].astype(np.float64)
    angle = rng.uniform(0, np.pi)
    along = column * np.cos(angle) + row * np.sin(angle)
    across = row * np.cos(angle) - column * np.sin(angle)
    wave = np.sin(along * 2 * np.pi / rng.uniform(6, 50) + rng.normal(0, 1.5) * np.sin(across / 20))
    if rng.random() < 0.5:
        wave = wave * np.sin(across * 2 * np.pi / rng.uniform(6, 50))
    sharpness = rng.uniform(1, 6)
    blend = 0.5 + 0.5 * np.tanh(sharpness * wave)[..., None]
    first, second = rng.uniform(20, 235, 3), rng.uniform(20, 235, 3)
    return _as_bytes(first * blend + second * (1 - blend) + rng.normal(0, 4, (*wave.shape, 3)))


def _gradient(rng: np.random.Generator) -> NDArray[np.uint8]:
    """An almost plain surface: on it only the outline and the shading tell anything."""
    corners = rng.uniform(30, 225, 3) + rng.normal(0, rng.uniform(2, 40), (3, 3, 3))
    plane = cv2.resize(corners.astype(np.float32), (TEXTURE_SIZE_PX, TEXTURE_SIZE_PX))
    return _as_bytes(plane + rng.normal(0, rng.uniform(0, 4), plane.shape))


def _collage(
    first: NDArray[np.uint8], second: NDArray[np.uint8], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Two textures divided by the level line of a smooth random field."""
    cells = int(rng.integers(3, 9))
    field = cv2.resize(
        rng.standard_normal((cells, cells)).astype(np.float32),
        (TEXTURE_SIZE_PX, TEXTURE_SIZE_PX),
        interpolation=cv2.INTER_CUBIC,
    )
    blend = np.clip(field * 8 + 0.5, 0, 1)[..., None]
    return _as_bytes(first * blend + second * (1 - blend))
