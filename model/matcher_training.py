"""Public pretraining of the matcher: layered pictures in, weights out. No real shot is involved.

    python -m model.matcher_training FOLDER --seed 1
    python -m model.matcher_training FOLDER --seed 1 --recipe wide --device cuda

Every step draws its own pictures from (seed, step), so a run is repeatable and goes on from its last
checkpoint exactly where it stopped. Photographs of an installed scikit-image are used as textures (those
in the public domain or CC0 only); without it all textures are drawn, and the metadata say so.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from model.matcher_loss import pair_loss
from model.matcher_network import Matcher
from model.matcher_pictures import PicturePairs, draw_pairs
from model.matcher_recipe import RECIPES, MatcherTraining, learning_rate
from model.matcher_textures import installed_photographs, texture_bank
from model.pretraining_run import PretrainingRun, Task, run_command


def draw_batch(recipe: MatcherTraining, bank: Tensor, step: int, generator: torch.Generator) -> PicturePairs:
    """The pictures of a step, drawn where the generator lives."""
    points, scale = ((48, 1.0), (64, 1.0), (96, recipe.large_scale))[step % 3]
    size = round(recipe.picture_px * scale)
    pairs = max(1, round(recipe.pairs / scale**2))
    limbed = round(pairs * recipe.figures)
    parts = [
        draw_pairs(
            bank,
            generator,
            pairs=count,
            size=size,
            points=points,
            plate_edges=step >= recipe.turn_step,
            figures=figures,
        )
        for count, figures in ((pairs - limbed, False), (limbed, True))
        if count
    ]
    return parts[0] if len(parts) == 1 else PicturePairs.joined(parts)


def pretrain(
    recipe: MatcherTraining,
    folder: Path,
    *,
    device: torch.device | None = None,
    checkpoint_every_s: float = 180.0,
    progress: Callable[[int, float], None] | None = None,
) -> Path:
    """Train a matcher, or go on with the run that ``folder`` holds.

    Args:
        recipe: what to train.
        folder: takes ``matcher.safetensors`` (the averaged weights, to ship) and ``state.safetensors``.
        device: where to train and draw the pictures; None is the processor. Each draws pictures of its own.
        checkpoint_every_s: seconds between checkpoints.
        progress: told the steps done and the last batch's mean error in pixels, after every step.

    Returns:
        The path of the averaged weights.

    Raises:
        WeightsError: the folder holds a run of another recipe, or of another kind of device.
    """
    device = device or torch.device("cpu")
    photographs = installed_photographs()
    bank = texture_bank(recipe.textures, np.random.default_rng([recipe.seed, 1]), photographs).to(device)
    torch.manual_seed(recipe.seed)
    matcher = Matcher().to(device)

    def loss(step: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        pairs = draw_batch(recipe, bank, step, generator)
        reach_px = recipe.far_px if step >= recipe.turn_step else recipe.near_px
        return pair_loss(matcher, pairs, generator, reach_px=reach_px)

    task = Task(loss, partial(learning_rate, recipe), {"photographs": json.dumps(sorted(photographs))})
    run = PretrainingRun(matcher, "matcher", "matcher", recipe, folder)
    return run.to_end(task, checkpoint_every_s=checkpoint_every_s, progress=progress)


def main() -> None:
    """Command line of the pretraining."""
    parser = argparse.ArgumentParser(description="Pretrain the matcher on layered pictures.")
    parser.add_argument(
        "--recipe",
        choices=RECIPES,
        default="cpu",
        help="cpu: half an hour of one core; wide: an hour of a card",
    )
    parser.add_argument("--turn-step", type=int, help="other than the recipe's")

    def train(given: argparse.Namespace, device: torch.device) -> Path:
        chosen = RECIPES[given.recipe]
        recipe = replace(
            chosen,
            seed=given.seed,
            steps=given.steps or chosen.steps,
            turn_step=given.turn_step or chosen.turn_step,
        )
        return pretrain(recipe, given.folder, device=device)

    run_command(parser, train)


if __name__ == "__main__":
    main()
