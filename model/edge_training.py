"""Public pretraining of the edge network: layered pictures in, weights out. No real shot is involved.

    python -m model.edge_training FOLDER --seed 1

Repeatable and resumable as `model.matcher_training` is, on the same pictures: single regions and figures with limbs.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from model.edge_loss import edge_loss
from model.edge_network import EdgeNetwork
from model.matcher_pictures import draw_pairs
from model.pretraining import Pretraining, run_command


@dataclass(frozen=True)
class EdgeTraining:
    """The recipe; equal recipes give equal weights on equal machines.

    Attributes:
        steps: updates in all.
        seed: of the weights, the textures and every batch.
        pairs: picture pairs in a batch.
        picture_px: edge of the pictures.
        points: of the outlines, step by step in turn.
        figured: every so many steps show figures with limbs, the others single regions.
        textures: size of the texture bank.
        learning_rate: at the top, after the warm-up.
        warmup_steps: steps of linear rise; then the rate falls to zero, at first slowly.
        averaging: decay of the running average of the weights, which is what ships.
    """

    steps: int = 5000
    seed: int = 1
    pairs: int = 4
    picture_px: int = 128
    points: tuple[int, ...] = (48, 64, 64, 96)
    figured: int = 3
    textures: int = 600
    learning_rate: float = 1e-3
    warmup_steps: int = 200
    averaging: float = 0.999


def learning_rate(recipe: EdgeTraining, step: int) -> float:
    """Linear rise, then a fall to zero at the last step."""
    rise = min(1.0, (step + 1) / recipe.warmup_steps)
    return float(recipe.learning_rate * rise * (1 - step / recipe.steps) ** 0.7)


def _loss(
    recipe: EdgeTraining, network: EdgeNetwork, bank: Tensor, step: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    pairs = draw_pairs(
        bank,
        generator,
        pairs=recipe.pairs,
        size=recipe.picture_px,
        points=recipe.points[step % len(recipe.points)],
        plate_edges=True,
        figures=step % recipe.figured == 0,
    )
    return edge_loss(network, pairs, generator)


pretrain = Pretraining("edges", "matcher.edges", EdgeNetwork, 2, _loss, learning_rate).run


def main() -> None:
    """Command line of the pretraining."""
    parser = argparse.ArgumentParser(description="Pretrain the edge network on layered pictures.")
    parser.add_argument("--pairs", type=int, default=EdgeTraining.pairs, help="picture pairs in a batch")

    def train(given: argparse.Namespace, device: torch.device) -> Path:
        steps = given.steps or EdgeTraining.steps
        return pretrain(EdgeTraining(steps, given.seed, given.pairs), given.folder, device=device)

    run_command(parser, train)


if __name__ == "__main__":
    main()
