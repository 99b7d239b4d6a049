"""Procedural shots: pictures from numbers alone, with Bezier shapes whose truth is exact at every frame.

A shot is a stack of flat layers: a background under a moving camera, figures of one or several parts (each with its
own shape), and occluders. Public data for pretraining, the release benchmark, the demo and tests.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.frames import Plate
from model.procedural_layers import Stage, figure, lens, occluder, passer
from model.procedural_lens import Array
from model.procedural_light import Grain, Light
from model.procedural_motion import camera
from model.procedural_render import Ground, Layer, paint
from model.procedural_settings import ShotSettings
from model.procedural_textures import texture
from model.shapes import Shape, ShapeSet


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


def make_shot(rng: np.random.Generator, settings: ShotSettings) -> ProceduralShot:
    """Invent a shot.

    Args:
        rng: the only source of chance: the same generator state gives the same shot.
        settings: its kind.
    """
    offsets = sub_frames(settings.shutter) if rng.random() < settings.blur_chance else np.zeros(1)
    times = (np.arange(settings.frames)[:, None] + offsets).ravel()
    width, height = settings.width, settings.height
    view = camera(rng, times, width=width, height=height, amount=settings.motion)
    material = texture(rng, max(width, height), contrast=settings.contrast, patterns=settings.patterns)
    seen_through = lens(rng, settings)
    stage = Stage(rng, settings, times, Ground(material, view, seen_through))
    layers = [part for index in range(settings.figures) for part in figure(stage, index)]
    named = list(layers)
    if rng.random() < settings.occluder_chance:
        layers.insert(int(rng.integers(1, len(layers) + 1)), occluder(stage))
    if settings.passing_chance:
        bodies = [layer for layer in named if "_" not in layer.name]
        layers += [passer(stage, body) for body in bodies if rng.random() < settings.passing_chance]
    light, grain = Light.invented(rng, settings, seen_through), Grain.invented(rng, settings)
    edges = [layer.edges(len(times)) for layer in layers]
    frames = []
    for frame in range(settings.frames):
        rows = range(frame * len(offsets), (frame + 1) * len(offsets))
        exposed = sum(_exposed(stage, layers, edges, row) for row in rows) / len(offsets)
        frames.append(grain(rng, light(frame, np.asarray(exposed, np.float32))))
    middle = np.arange(settings.frames) * len(offsets) + len(offsets) // 2
    truth = tuple(layer.motion.controls(middle, layer.drawn) for layer in named)
    numbers = settings.first_frame + np.arange(settings.frames)
    shapes = tuple(Shape.from_keys(layer.name, numbers, t) for layer, t in zip(named, truth, strict=True))
    last = settings.first_frame + settings.frames - 1
    roto = ShapeSet(shapes, width, height, settings.first_frame, last)
    return ProceduralShot(frames, settings.first_frame, roto, truth)


def sub_frames(shutter: float) -> Array:
    """Times around a frame's middle at which a motion-blurred picture is drawn: more for a longer shutter."""
    count = 3 + 2 * round(max(shutter - 0.4, 0) / 0.2)
    return np.linspace(-shutter / 2, shutter / 2, count)


def thinned(shape: Shape, key_frames: NDArray[np.int64]) -> Shape:
    """The same shape with keys on the given frames only, as an artist would hand it over for prediction."""
    controls = np.stack([shape.at(int(frame)) for frame in key_frames])
    return Shape.from_keys(shape.name, key_frames, controls, kind=shape.kind, closed=shape.closed)


def _exposed(stage: Stage, layers: list[Layer], edges: list[Array], row: int) -> Plate:
    """One sub-frame: the ground under the camera, then the layers from back to front."""
    picture = stage.ground.drawn(row, stage.settings.width, stage.settings.height)
    for layer, edge in zip(layers, edges, strict=True):
        paint(picture, layer, row, edge[row])
    return picture
