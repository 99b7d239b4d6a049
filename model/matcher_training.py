"""Public pretraining of the matcher: layered pictures in, weights out. No real shot is involved.

    python -m model.matcher_training FOLDER --seed 1
    python -m model.matcher_training FOLDER --seed 1 --recipe wide --device cuda

Every step draws its own pictures from (seed, step), so a run is repeatable and goes on from its last
checkpoint exactly where it stopped. Photographs of an installed scikit-image are used as textures (those
in the public domain or CC0 only); without it all textures are drawn, and the metadata say so.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from model.matcher_loss import pair_loss
from model.matcher_network import Matcher
from model.matcher_pictures import PicturePairs, draw_pairs
from model.matcher_recipe import RECIPES, MatcherTraining, learning_rate
from model.pretraining import Pretraining, run_command


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


def _loss(
    recipe: MatcherTraining, matcher: Matcher, bank: Tensor, step: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    pairs = draw_batch(recipe, bank, step, generator)
    reach_px = recipe.far_px if step >= recipe.turn_step else recipe.near_px
    return pair_loss(matcher, pairs, generator, reach_px=reach_px)


pretrain = Pretraining("matcher", "matcher", Matcher, 1, _loss, learning_rate).run


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
