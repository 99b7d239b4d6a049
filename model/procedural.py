"""Procedural shots: pictures from numbers alone, with Bezier shapes whose truth is exact at every frame.

A shot is a stack of flat layers: a background under a moving camera, figures of one or several parts (each with its
own shape), and occluders. Public data for pretraining, the release benchmark, the demo and tests.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from model.curves import outline
from model.errors import ShapeError
from model.frames import Plate
from model.procedural_figures import random_outline
from model.procedural_motion import Array, Motion, camera, random_motion, rotation, wander
from model.procedural_textures import texture
from model.rasteriser import coverage_patch
from model.shapes import Shape, ShapeSet

SHUTTER: Final = (-0.2, 0.0, 0.2)
"""Sub-frame times of a motion-blurred picture; the shape is that of the middle one."""
EDGE_SAMPLES: Final = 12
MAP_STEP: Final = 4
"""The map from picture to texture is computed at every fourth pixel and interpolated between."""


@dataclass(frozen=True)
class ShotSettings:
    """What kind of shot to invent; the knobs by which one studio's shots can differ from another's.

    Attributes:
        width, height: display window, pixels.
        frames: how many.
        first_frame: plate number of the first.
        figures: figures with shapes, each of one to three parts.
        size: a figure's size (square root of its area) as a share of the picture's short side, from and to.
        motion: speed of figures and camera, 1 is usual.
        deformation: bending of figures, 1 is usual, 0 rigid.
        contrast: of textures, 1 is usual.
        occluder_chance, blur_chance, parts_chance: 0..1.
        grain: standard deviation at mid grey, scene-linear.
    """

    width: int = 160
    height: int = 160
    frames: int = 25
    first_frame: int = 1001
    figures: int = 1
    size: tuple[float, float] = (0.25, 0.55)
    motion: float = 1.0
    deformation: float = 1.0
    contrast: float = 1.0
    occluder_chance: float = 0.3
    blur_chance: float = 0.25
    parts_chance: float = 0.35
    grain: float = 0.01

    def __post_init__(self) -> None:
        if min(self.width, self.height) < 32 or self.frames < 1 or self.figures < 0:
            raise ShapeError(
                f"a procedural shot of {self.width}x{self.height}, {self.frames} frames and {self.figures} figures "
                "cannot be made; use at least 32x32 pixels and one frame"
            )


@dataclass(frozen=True)
class ProceduralShot:
    """A finished shot.

    Attributes:
        frames: scene-linear plates [H, W, 3] float32, values above 1 where something glints.
        first_frame: plate number of the first.
        shapes: one per figure part, with a key on every frame.
        truth: per shape, its Bezier controls [T, N, 3, 2] in plate pixels.
    """

    frames: list[Plate]
    first_frame: int
    shapes: ShapeSet
    truth: tuple[Array, ...]


@dataclass(frozen=True)
class _Layer:
    """A flat thing with an outline: its rest controls, its motion at sub-frames, its material."""

    rest: Array
    motion: Motion
    material: Plate
    blur_px: float = 0.0
    name: str = ""


def make_shot(rng: np.random.Generator, settings: ShotSettings) -> ProceduralShot:
    """Invent a shot.

    Args:
        rng: the only source of chance: the same generator state gives the same shot.
        settings: its kind.
    """
    blurred = rng.random() < settings.blur_chance
    offsets = SHUTTER if blurred else (0.0,)
    times = (np.arange(settings.frames)[:, None] + np.array(offsets)).ravel()
    view = camera(rng, times, width=settings.width, height=settings.height, amount=settings.motion)
    ground = texture(rng, max(settings.width, settings.height), contrast=settings.contrast)
    layers = [
        part
        for index in range(settings.figures)
        for part in _figure(rng, settings, times, view, ground, index)
    ]
    if rng.random() < settings.occluder_chance:
        layers.insert(int(rng.integers(1, len(layers) + 1)), _occluder(rng, settings, times, view))
    light = _light(rng, settings)
    sensor = _grain(rng, settings)
    frames = []
    for frame in range(settings.frames):
        rows = range(frame * len(offsets), (frame + 1) * len(offsets))
        exposed = sum(_draw(layers, ground, view, row, settings) for row in rows) / len(offsets)
        frames.append(sensor(rng, light(frame, np.asarray(exposed, np.float32))))
    middle = np.arange(settings.frames) * len(offsets) + len(offsets) // 2
    named = [layer for layer in layers if layer.name]
    truth = tuple(
        np.stack([layer.motion.controls(int(row), layer.rest) for row in middle]) for layer in named
    )
    numbers = settings.first_frame + np.arange(settings.frames)
    shapes = tuple(Shape.from_keys(layer.name, numbers, t) for layer, t in zip(named, truth, strict=True))
    last = settings.first_frame + settings.frames - 1
    roto = ShapeSet(shapes, settings.width, settings.height, settings.first_frame, last)
    return ProceduralShot(frames, settings.first_frame, roto, truth)


def _figure(
    rng: np.random.Generator, settings: ShotSettings, times: Array, view: Array, ground: Plate, index: int
) -> Iterator[_Layer]:
    """A body and, sometimes, parts that turn about a joint on its outline; parts share a family of materials."""
    window = np.array([settings.width, settings.height])
    size = rng.uniform(*settings.size) * window.min() / 1.4
    centre = window * rng.uniform(0.3, 0.7, 2)
    blur = rng.choice([0.0, 0.0, 0.0, 0.6, 1.2]) * size / 40
    body = random_motion(
        rng, times, centre=centre, size=size, amount=settings.motion, deformation=settings.deformation
    )
    rest = random_outline(rng)
    contrast = settings.contrast * rng.uniform(0.3, 1.8)
    side = int(np.clip(2.5 * size, 48, 4096))
    material = texture(rng, side, contrast=contrast)
    if rng.random() < 0.25:  # as in camouflage, or grey on grey: the outline is hard to see
        hidden = cv2.resize(ground, (side, side), interpolation=cv2.INTER_AREA)
        material = np.asarray(0.4 * material + 0.6 * hidden, np.float32)
    yield _Layer(rest, body.followed(view), material, blur, f"figure{index + 1}")
    if rng.random() >= settings.parts_chance:
        return
    for part in range(int(rng.integers(1, 3))):
        joint = rest[rng.integers(len(rest)), 1]
        turn = rotation(wander(rng, times, 0.15 * settings.motion, beat=bool(rng.random() < 0.5)))
        matrix = np.tile(np.eye(3), (len(times), 1, 1))
        matrix[:, :2, :2] = turn
        matrix[:, :2, 2] = joint - joint @ np.swapaxes(turn, 1, 2)
        limb = random_outline(rng) * rng.uniform(0.25, 0.5) + np.array(
            [[[0, 0]], [[1, 1]], [[0, 0]]]
        ).reshape(1, 3, 2) * (joint * rng.uniform(0.8, 1.3))
        moved = Motion(
            body.homography @ matrix,
            body.wave,
            body.phase,
            0.6 * body.wave_amplitude,
            body.swing,
            body.radius,
            0.6 * body.swing_amplitude,
        )
        own = 0.6 * material + 0.4 * texture(rng, side, contrast=contrast)
        yield _Layer(limb, moved.followed(view), own, blur, f"figure{index + 1}_part{part + 1}")


def _occluder(rng: np.random.Generator, settings: ShotSettings, times: Array, view: Array) -> _Layer:
    window = np.array([settings.width, settings.height])
    size = rng.uniform(0.1, 0.3) * window.min()
    motion = random_motion(
        rng,
        times,
        centre=window * rng.uniform(0.2, 0.8, 2),
        size=size,
        amount=1.5 * settings.motion,
        deformation=0.5,
    )
    material = texture(rng, int(np.clip(2.5 * size, 48, 4096)), contrast=settings.contrast)
    return _Layer(random_outline(rng), motion.followed(view), material, rng.choice([0.0, 1.5]) * size / 40)


def _draw(layers: list[_Layer], ground: Plate, view: Array, row: int, settings: ShotSettings) -> Plate:
    """One sub-frame: the ground under the camera, then the layers from back to front."""
    width, height = settings.width, settings.height
    scale = ground.shape[0] / max(width, height)
    to_texture = np.diag([scale, scale, 1.0]) @ np.linalg.inv(view[row])
    places = _grid(0, 0, width, height)
    moved = np.concatenate([places, np.ones((*places.shape[:2], 1))], axis=2) @ to_texture.T
    picture = _textured(ground, moved[..., :2] / moved[..., 2:], width, height)
    for layer in layers:
        _paint(picture, layer, row)
    return picture


def _paint(picture: Plate, layer: _Layer, row: int) -> None:
    """Paint one layer over the picture, in place."""
    height, width = picture.shape[:2]
    edge = outline(layer.motion.controls(row, layer.rest), "bezier", True, EDGE_SAMPLES)
    margin = int(np.ceil(3 * layer.blur_px))
    left, top, matte = coverage_patch(edge, height, width)
    if matte.size == 0:
        return
    if margin:
        x0, y0 = max(left - margin, 0), max(top - margin, 0)
        x1 = min(left + matte.shape[1] + margin, width)
        y1 = min(top + matte.shape[0] + margin, height)
        wide = np.zeros((y1 - y0, x1 - x0), np.float32)
        wide[top - y0 : top - y0 + matte.shape[0], left - x0 : left - x0 + matte.shape[1]] = matte
        matte = np.asarray(cv2.GaussianBlur(wide, (0, 0), layer.blur_px), np.float32)
        left, top = x0, y0
    rows, columns = matte.shape
    grid = _grid(left, top, columns, rows)
    rest = layer.motion.to_rest(row, grid.reshape(-1, 2)).reshape(grid.shape)
    side = layer.material.shape[0]
    colour = _textured(layer.material, (rest / 3.6 + 0.5) * side, columns, rows)
    if margin:
        colour = np.asarray(cv2.GaussianBlur(colour, (0, 0), layer.blur_px), np.float32)
    patch = picture[top : top + rows, left : left + columns]
    patch += matte[..., None] * (colour - patch)


def _grid(left: int, top: int, columns: int, rows: int) -> Array:
    """Plate positions [r, c, 2] of a coarse grid that covers a rectangle, for `_textured`."""
    x = left + (np.arange(-1, columns // MAP_STEP + 2) + 0.5) * MAP_STEP
    y = top + (np.arange(-1, rows // MAP_STEP + 2) + 0.5) * MAP_STEP
    return np.stack(np.meshgrid(x, y), axis=2)


def _textured(material: Plate, places: Array, columns: int, rows: int) -> Plate:
    """Read a texture at the places of a coarse grid, interpolated to every pixel."""
    size = (places.shape[1] * MAP_STEP, places.shape[0] * MAP_STEP)
    fine = cv2.resize(places.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    fine = fine[MAP_STEP : MAP_STEP + rows, MAP_STEP : MAP_STEP + columns] - 0.5
    read = cv2.remap(material, fine[..., 0], fine[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(read, np.float32)


class _Light:
    """Exposure that drifts and a soft gradient that wanders over the picture."""

    def __init__(self, gain: Array, slope: Array, width: int, height: int) -> None:
        self.gain, self.slope = gain.astype(np.float32), slope.astype(np.float32)
        self.x = np.linspace(-1, 1, width, dtype=np.float32)[None, :, None]
        self.y = np.linspace(-1, 1, height, dtype=np.float32)[:, None, None]

    def __call__(self, frame: int, picture: Plate) -> Plate:
        shade = np.maximum(1 + self.slope[frame, 0] * self.x + self.slope[frame, 1] * self.y, 0.2)
        return np.asarray(picture * (self.gain[frame] * shade), np.float32)


def _light(rng: np.random.Generator, settings: ShotSettings) -> _Light:
    times = np.arange(settings.frames, dtype=np.float64)
    strength = rng.choice([0.0, 0.3, 1.0])
    gain = rng.uniform(0.5, 1.5) * np.exp(wander(rng, times, 0.12 * strength))
    slope = np.stack([wander(rng, times, 0.15 * strength) for _ in range(2)], axis=1)
    return _Light(gain, slope, settings.width, settings.height)


class _Grain:
    """Film grain: tiles made once, shifted at random for every frame; stronger in the light, as photons are."""

    def __init__(self, tiles: Plate, strength: float) -> None:
        self.tiles, self.strength = tiles, strength

    def __call__(self, rng: np.random.Generator, picture: Plate) -> Plate:
        height, width = picture.shape[:2]
        down, right = (
            rng.integers(0, self.tiles.shape[0] - height + 1),
            rng.integers(0, self.tiles.shape[1] - width + 1),
        )
        tile = self.tiles[down : down + height, right : right + width]
        return np.asarray(picture + self.strength * tile * np.sqrt(picture / 0.18 + 0.1), np.float32)


def _grain(rng: np.random.Generator, settings: ShotSettings) -> _Grain:
    shape = (settings.height + 64, settings.width + 64, 3)
    tiles = rng.standard_normal(shape, np.float32)
    return _Grain(tiles, settings.grain * float(rng.uniform(0.2, 1.5)))


def thinned(shape: Shape, key_frames: NDArray[np.int64]) -> Shape:
    """The same shape with keys on the given frames only, as an artist would hand it over for prediction."""
    controls = np.stack([shape.at(int(frame)) for frame in key_frames])
    return Shape.from_keys(shape.name, key_frames, controls, kind=shape.kind, closed=shape.closed)
