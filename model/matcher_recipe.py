"""What a pretraining of the matcher does: how long, on which pictures, at which learning rate."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class MatcherTraining:
    """The recipe; equal recipes give equal weights on equal machines.

    Attributes:
        steps: updates in all.
        turn_step: until here starts are near and the learning rate follows a cosine planned for
            ``cosine_steps``; from here starts reach far, some pictures end at a plate's edge, and the
            learning rate falls linearly to zero at ``steps``.
        cosine_steps: see ``turn_step``.
        near_px, far_px: the largest error of a start before and after the turn.
        seed: of the weights, the textures and every batch.
        pairs: picture pairs in a batch.
        picture_px: edge of the pictures.
        large_scale: how much larger every third batch's pictures are; there are fewer of them then.
        figures: share of each batch that shows figures with limbs.
        textures: size of the texture bank.
        learning_rate: at the top, after the warm-up.
        warmup_steps: steps of linear rise.
        averaging: decay of the running average of the weights, which is what ships.
    """

    steps: int = 7001
    turn_step: int = 4701
    cosine_steps: int = 12000
    near_px: float = 12.0
    far_px: float = 24.0
    seed: int = 1
    pairs: int = 4
    picture_px: int = 128
    large_scale: float = 1.0
    figures: float = 0.0
    textures: int = 600
    learning_rate: float = 8e-4
    warmup_steps: int = 200
    averaging: float = 0.998


CPU_RECIPE = MatcherTraining()
WIDE_RECIPE = MatcherTraining(
    steps=20_000,
    turn_step=3_000,
    cosine_steps=100_000,
    pairs=64,
    large_scale=1.5,
    figures=0.5,
    textures=1200,
    learning_rate=1.2e-3,
    warmup_steps=300,
    averaging=0.999,
)
RECIPES = {"cpu": CPU_RECIPE, "wide": WIDE_RECIPE}


def learning_rate(recipe: MatcherTraining, step: int) -> float:
    """Linear rise, part of a cosine, then linearly to zero."""
    if step < recipe.warmup_steps:
        return recipe.learning_rate * (step + 1) / recipe.warmup_steps
    planned = min(step, recipe.turn_step)
    done = (planned - recipe.warmup_steps) / max(1, recipe.cosine_steps - recipe.warmup_steps)
    rate = recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, done))))
    left = (recipe.steps - step) / max(1, recipe.steps - recipe.turn_step)
    return rate * min(1.0, left)
