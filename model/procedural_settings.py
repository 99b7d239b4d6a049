"""What kind of shot to invent: the knobs by which one studio's shots differ from another's."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from model.errors import ShapeError


@dataclass(frozen=True)
class ShotSettings:
    """What kind of shot to invent.

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
        shutter: time that a motion-blurred picture is exposed, frames; its shape is that of the middle.
        softness: of edges, 1 is usual (most are sharp), 0 all sharp.
        lens: distortion and vignetting, 0 none, 1 a wide lens.
        light: change of exposure and shading, 1 is usual.
        turning: angle by which surfaces slide under their outlines over the shot, as on a round body, radians.
        leaving: how far the figures travel towards and beyond the picture's edge; at 1 they end outside.
        passing_chance: 0..1, of something that passes in front of each figure in the middle of the shot.
        offset_px: distance by which the artist draws outside (above 0) or inside the figure's edge, always the same.
        tint: red, green and blue of the light.
        patterns: shares of noise, mosaics, stripes and spots among the textures, adding up to 1.
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
    shutter: float = 0.4
    softness: float = 1.0
    lens: float = 0.0
    light: float = 1.0
    turning: float = 0.0
    leaving: float = 0.0
    passing_chance: float = 0.0
    offset_px: float = 0.0
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    patterns: tuple[float, float, float, float] = (0.45, 0.25, 0.15, 0.15)

    def __post_init__(self) -> None:
        if min(self.width, self.height) < 32 or self.frames < 1 or self.figures < 0:
            raise ShapeError(
                f"a procedural shot of {self.width}x{self.height}, {self.frames} frames and {self.figures} figures "
                "cannot be made; use at least 32x32 pixels and one frame"
            )
        chances = (self.occluder_chance, self.blur_chance, self.parts_chance, self.passing_chance)
        if not all(0 <= chance <= 1 for chance in chances):
            raise ShapeError(
                f"chances {chances} of occluders, blur, parts and passing must lie between 0 and 1"
            )
        amounts = (self.motion, self.deformation, self.contrast, self.grain, self.shutter, self.softness)
        if min(*amounts, self.light, *self.tint, *self.patterns) < 0 or not 0 <= self.lens <= 2:
            raise ShapeError("amounts of a procedural shot cannot be below 0, nor a lens above 2")
        if not np.isclose(sum(self.patterns), 1):
            raise ShapeError(f"shares of patterns {self.patterns} add up to {sum(self.patterns):g}, not to 1")


def studio_settings(number: int, usual: ShotSettings | None = None) -> ShotSettings:
    """The kind of shots that an invented studio works on: always the same for its number, unlike any other's.

    Its stocks and lenses, the speed and softness of what it films, its textures, light and drawing habits differ.

    Args:
        number: of the studio, 0 or more.
        usual: what all studios have in common (size, frames); None for the defaults.
    """
    if number < 0:
        raise ShapeError(f"there is no studio {number}; number them from 0")
    rng = np.random.default_rng([*b"fedroto invented studio", number])
    return replace(
        usual or ShotSettings(),
        figures=int(rng.choice([1, 1, 2])),
        motion=float(rng.choice([0.4, 1.0, 1.8])),
        deformation=float(rng.choice([0.0, 0.6, 1.5, 3.0])),
        contrast=float(rng.uniform(0.3, 1.4)),
        occluder_chance=float(rng.choice([0.0, 0.3, 0.8])),
        blur_chance=float(rng.choice([0.0, 0.3, 0.9])),
        parts_chance=float(rng.choice([0.1, 0.5, 0.9])),
        grain=float(np.exp(rng.uniform(np.log(0.002), np.log(0.04)))),
        shutter=float(rng.choice([0.25, 0.5, 0.9])),
        softness=float(rng.choice([0.0, 1.0, 2.0])),
        lens=float(rng.choice([0.0, 0.4, 1.0])),
        light=float(rng.choice([0.3, 1.0, 2.5])),
        turning=float(rng.choice([0.0, 0.0, 0.5])),
        offset_px=float(rng.choice([0.0, 0.0, 0.8, -0.8])),
        tint=tuple(np.exp(rng.normal(0, 0.15, 3)).tolist()),
        patterns=tuple(rng.dirichlet([1.5, 1.0, 0.7, 0.7]).tolist()),
    )
