"""Procedural test sets, one for each thing that makes roto hard; every shot differs from every other by its seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import numpy as np

from model.curves import outline
from model.evaluation import EvaluationClip
from model.frames import ArrayFrames
from model.pretrain import seen_share
from model.procedural import make_shot
from model.procedural_settings import ShotSettings
from model.windows import resample_circular
from model.working import to_working

SEED_ROOM: Final = "fedroto hard cases"
RECIPE: Final = "hard-cases/1"
"""Any change of the cases or of how they are seeded needs a new name."""
SAMPLES: Final = 64
FRAMES: Final = 25
USUAL: Final = ShotSettings(
    width=256,
    height=192,
    frames=FRAMES,
    first_frame=0,
    size=(0.4, 0.6),
    occluder_chance=0.0,
    blur_chance=0.0,
    parts_chance=0.0,
    light=0.3,
)
CASES: Final[dict[str, ShotSettings]] = {
    "usual": USUAL,
    "artist's offset": replace(USUAL, offset_px=4.0),
    "motion blur": replace(USUAL, blur_chance=1.0, shutter=0.9, motion=2.0),
    "occluded for a while": replace(USUAL, passing_chance=1.0),
    "out-of-plane turn": replace(USUAL, turning=1.2),
    "fast and non-rigid": replace(USUAL, motion=2.5, deformation=3.0, parts_chance=1.0),
    "leaving the picture": replace(USUAL, leaving=0.7),
    "low texture": replace(USUAL, contrast=0.12),
    "lighting change": replace(USUAL, light=6.0),
    "long gaps": replace(USUAL, frames=65),
}
LONG_GAP: Final = 32
GAP: Final = 12


def case_gap(case: str) -> int:
    """The distance of keys at which a case is measured, frames."""
    return LONG_GAP if case == "long gaps" else GAP


def case_clips(case: str, count: int) -> Iterator[EvaluationClip]:
    """The first clips of a case: one body each, the same whatever the count.

    Args:
        case: a name in `CASES`.
        count: how many.
    """
    for index in range(count):
        rng = np.random.default_rng([*f"{SEED_ROOM} {RECIPE} {case}".encode(), index])
        settings = CASES[case]
        shot = make_shot(rng, replace(settings, contrast=settings.contrast * rng.uniform(0.6, 1.2)))
        samples = resample_circular(outline(shot.truth[0], "bezier", True, 16), SAMPLES)
        yield EvaluationClip(
            f"{case} {index + 1}",
            case,
            ArrayFrames([to_working(plate) for plate in shot.frames]),
            samples,
            visible=seen_share(samples, settings.width, settings.height) > 0.25,
        )
