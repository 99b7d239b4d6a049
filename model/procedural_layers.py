"""Invents the layers of a shot: figures with their parts, things in front of them, and how they move."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np

from model.frames import Plate
from model.procedural_figures import grown, random_outline
from model.procedural_lens import Array, Lens
from model.procedural_motion import Motion, random_motion, rotation, shifts, wander
from model.procedural_render import Ground, Layer
from model.procedural_settings import ShotSettings
from model.procedural_textures import texture

PASSING_FRAMES: Final = 10.0
"""How long something that passes covers a figure, about."""


@dataclass(frozen=True)
class Stage:
    """What all layers of a shot share: chance, the kind of shot, sub-frame times, the ground and its camera."""

    rng: np.random.Generator
    settings: ShotSettings
    times: Array
    ground: Ground

    @property
    def window(self) -> Array:
        """Width and height, pixels."""
        return np.array([self.settings.width, self.settings.height])

    def texture(self, side: float, contrast: float) -> Plate:
        """A material for something of this many pixels."""
        return texture(
            self.rng, int(np.clip(side, 48, 4096)), contrast=contrast, patterns=self.settings.patterns
        )

    def filmed(self, motion: Motion) -> Motion:
        """The motion under the shot's camera and lens."""
        return replace(motion.followed(self.ground.view), lens=self.ground.lens)


def figure(stage: Stage, index: int) -> Iterator[Layer]:
    """A body and, sometimes, parts that turn about a joint on its outline; parts share a family of materials."""
    rng, settings = stage.rng, stage.settings
    size = rng.uniform(*settings.size) * stage.window.min() / 1.4
    centre = stage.window * rng.uniform(0.3, 0.7, 2)
    blur = rng.choice([0.0, 0.0, 0.0, 0.6, 1.2]) * settings.softness * size / 40
    body = random_motion(
        rng, stage.times, centre=centre, size=size, amount=settings.motion, deformation=settings.deformation
    )
    if settings.leaving:
        body = body.followed(shifts(_way_out(stage, centre, size)))
    rest = random_outline(rng)
    contrast = settings.contrast * rng.uniform(0.3, 1.8)
    material = stage.texture(2.5 * size, contrast)
    if rng.random() < 0.25:  # as in camouflage, or grey on grey: the outline is hard to see
        hidden = cv2.resize(stage.ground.material, material.shape[:2], interpolation=cv2.INTER_AREA)
        material = np.asarray(0.4 * material + 0.6 * hidden, np.float32)
    turn, axis = _turning(stage)

    def layer(shape: Array, motion: Motion, surface: Plate, name: str) -> Layer:
        drawn = grown(shape, settings.offset_px / size)
        return Layer(shape, drawn, stage.filmed(motion), surface, blur, name, turn, axis)

    yield layer(rest, body, material, f"figure{index + 1}")
    if rng.random() >= settings.parts_chance:
        return
    for part in range(int(rng.integers(1, 3))):
        joint = rest[rng.integers(len(rest)), 1]
        swing = rotation(wander(rng, stage.times, 0.15 * settings.motion, beat=bool(rng.random() < 0.5)))
        matrix = np.tile(np.eye(3), (len(stage.times), 1, 1))
        matrix[:, :2, :2] = swing
        matrix[:, :2, 2] = joint - joint @ np.swapaxes(swing, 1, 2)
        limb = random_outline(rng) * rng.uniform(0.25, 0.5) + np.array(
            [[[0, 0]], [[1, 1]], [[0, 0]]]
        ).reshape(1, 3, 2) * (joint * rng.uniform(0.8, 1.3))
        moved = replace(
            body,
            homography=body.homography @ matrix,
            wave_amplitude=0.6 * body.wave_amplitude,
            swing_amplitude=0.6 * body.swing_amplitude,
        )
        own = np.asarray(0.6 * material + 0.4 * stage.texture(2.5 * size, contrast), np.float32)
        yield layer(limb, moved, own, f"figure{index + 1}_part{part + 1}")


def occluder(stage: Stage) -> Layer:
    """Something without a shape that moves on its own way."""
    rng, settings = stage.rng, stage.settings
    size = rng.uniform(0.1, 0.3) * stage.window.min()
    motion = random_motion(
        rng,
        stage.times,
        centre=stage.window * rng.uniform(0.2, 0.8, 2),
        size=size,
        amount=1.5 * settings.motion,
        deformation=0.5,
    )
    material = stage.texture(2.5 * size, settings.contrast)
    rest = random_outline(rng)
    softness = rng.choice([0.0, 1.5]) * settings.softness
    return Layer(rest, rest, stage.filmed(motion), material, softness * size / 40)


def passer(stage: Stage, hidden: Layer) -> Layer:
    """Something that passes right in front of a layer in the middle of the shot, and is away before and after."""
    rng, settings = stage.rng, stage.settings
    track = hidden.motion.controls(np.arange(len(stage.times)), hidden.rest)[:, :, 1]
    extent = float(np.ptp(track, axis=1).max(axis=1).mean())
    size = 0.35 * extent
    direction = rng.uniform(0, 2 * np.pi)
    middle = stage.times.mean() + rng.uniform(-0.1, 0.1) * np.ptp(stage.times)
    away = (stage.times - middle) / PASSING_FRAMES * 1.5 * extent
    path = track.mean(axis=1) + away[:, None] * np.array([np.cos(direction), np.sin(direction)])
    motion = random_motion(rng, stage.times, centre=np.zeros(2), size=size, amount=0.3, deformation=0.3)
    rest = random_outline(rng)
    material = stage.texture(2.5 * size, settings.contrast)
    return Layer(rest, rest, replace(motion.followed(shifts(path)), lens=hidden.motion.lens), material)


def lens(rng: np.random.Generator, settings: ShotSettings) -> Lens:
    """A lens of the shot's kind; a perfect one draws nothing from the source of chance."""
    middle = np.array([settings.width, settings.height]) / 2
    reach = float(np.hypot(*middle))
    if not settings.lens:
        return Lens(middle, reach)
    bend = settings.lens * rng.uniform(-0.04, 0.12)
    return Lens(middle, reach, float(bend), float(min(settings.lens * rng.uniform(0, 0.5), 0.9)))


def _way_out(stage: Stage, centre: Array, size: float) -> Array:
    """Shifts [F, 2] that take a figure from its place past the picture's edge, faster and faster."""
    direction = stage.rng.uniform(0, 2 * np.pi)
    line = np.array([np.cos(direction), np.sin(direction)])
    room = np.where(line > 0, stage.window - centre, -centre)
    distance = (room / np.where(line == 0, np.inf, line)).min() + 1.5 * size
    progress = (stage.times - stage.times[0]) / max(float(np.ptp(stage.times)), 1.0)
    return np.asarray(stage.settings.leaving * distance * (progress**1.5)[:, None] * line)


def _turning(stage: Stage) -> tuple[Array | None, Array | None]:
    if not stage.settings.turning:
        return None, None
    direction = stage.rng.uniform(0, 2 * np.pi)
    progress = (stage.times - stage.times.mean()) / max(float(np.ptp(stage.times)), 1.0)
    turn = stage.settings.turning * stage.rng.choice([-1.0, 1.0]) * progress
    return turn, np.array([np.cos(direction), np.sin(direction)])
