"""An archive of any size as real files: numbered plates and Nuke scripts with as many keys as a studio's have.

The proportions are those of a studio with 650,000 shapes and 125 million keyframes: 192 keys a shape. Plates are small
JPEG pictures of textures that no two shots share, so that ingest's search for duplicates has as much to do as it would.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from model.formats import nuke
from model.shapes import Shape, ShapeSet
from studio_node.pictures import write_exr, write_jpg

KEYS_A_SHAPE = 192
SHAPES_A_SHOT = 50
POINTS = 12
FIRST_FRAME = 1001
WIDTH, HEIGHT = 480, 270


def write_archive(folder: Path, keyframes: int, *, seed: int, workers: int) -> int:
    """Write shots until there are ``keyframes`` keyframes; return how many shots."""
    shots = max(1, round(keyframes / (KEYS_A_SHAPE * SHAPES_A_SHOT)))
    with ProcessPoolExecutor(workers) as pool:
        list(pool.map(partial(_write_shot, folder, seed), range(shots)))
    return shots


def write_hd_plate(folder: Path, frames: int, *, seed: int) -> None:
    """Write a grainy HD plate as half-float EXR, zip."""
    folder.mkdir(parents=True)
    for number, picture in enumerate(_pictures(np.random.default_rng(seed), frames, 1920, 1080)):
        linear = (picture.astype(np.float32) / 255) ** 2.2 * 4
        write_exr(folder / f"plate.{FIRST_FRAME + number}.exr", linear)


def _write_shot(root: Path, seed: int, index: int) -> None:
    rng = np.random.default_rng([seed, index])
    folder = root / f"sh{index:05d}"
    folder.mkdir(parents=True)
    for number, picture in enumerate(_pictures(rng, KEYS_A_SHAPE, WIDTH, HEIGHT)):
        write_jpg(folder / f"plate.{FIRST_FRAME + number}.jpg", picture, quality=85)
    shapes = tuple(_shape(rng, f"shape{number:02d}") for number in range(SHAPES_A_SHOT))
    drawn = ShapeSet(shapes, WIDTH, HEIGHT, FIRST_FRAME, FIRST_FRAME + KEYS_A_SHAPE - 1)
    (folder / "shapes.nk").write_bytes(nuke.dumps(drawn, "Roto1"))


def _pictures(rng: np.random.Generator, frames: int, width: int, height: int) -> Iterator[np.ndarray]:
    """Yield pictures that pan over a texture, with grain."""
    layers = [rng.random((side, side, 3), dtype=np.float32) for side in (4, 12, 48)]
    large = (width + frames, height + frames)
    texture = sum(cv2.resize(layer, large, interpolation=cv2.INTER_CUBIC) for layer in layers) / len(layers)
    grain = rng.normal(0, 4, (height, width, 3)).astype(np.float32)
    for frame in range(frames):
        view = texture[frame : frame + height, frame : frame + width] * 255
        yield np.clip(view + np.roll(grain, 7 * frame, axis=1), 0, 255).astype(np.uint8)


def _shape(rng: np.random.Generator, name: str) -> Shape:
    angle = np.linspace(0, 2 * np.pi, POINTS, endpoint=False)
    centre = (WIDTH / 2, HEIGHT / 2)
    outline = np.stack([60 * np.cos(angle), 45 * np.sin(angle)], axis=1) + centre
    drift = np.cumsum(rng.normal(0, 0.7, (KEYS_A_SHAPE, 1, 2)), axis=0)
    controls = np.zeros((KEYS_A_SHAPE, POINTS, 3, 2))
    controls[:, :, 1] = outline + drift + rng.normal(0, 0.2, (KEYS_A_SHAPE, POINTS, 2))
    controls[:, :, 0] = rng.normal(0, 6, (POINTS, 2))
    controls[:, :, 2] = -controls[:, :, 0]
    return Shape.from_keys(name, FIRST_FRAME + np.arange(KEYS_A_SHAPE), controls)
