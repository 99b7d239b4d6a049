"""Public pretraining of the edge network: layered pictures in, weights out. No real shot is involved.

    python -m model.edge_training FOLDER --seed 1

Repeatable and resumable as `model.matcher_training` is, on the same pictures: single regions and figures with limbs.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from model.edge_loss import edge_loss
from model.edge_network import EdgeNetwork
from model.matcher_pictures import draw_pairs
from model.matcher_textures import installed_photographs, texture_bank
from model.pretraining_run import PretrainingRun, Task, run_command


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


def pretrain(
    recipe: EdgeTraining,
    folder: Path,
    *,
    device: torch.device | None = None,
    checkpoint_every_s: float = 180.0,
    progress: Callable[[int, float], None] | None = None,
) -> Path:
    """Train an edge network, or go on with the run that ``folder`` holds.

    Args:
        recipe: what to train.
        folder: takes ``edges.safetensors`` (the averaged weights, to ship) and ``state.safetensors``.
        device: where to train and draw the pictures; None is the processor.
        checkpoint_every_s: seconds between checkpoints.
        progress: told the steps done and the last batch's mean error in pixels, after every step.

    Returns:
        The path of the averaged weights.

    Raises:
        WeightsError: the folder holds a run of another recipe, or of another kind of device.
    """
    device = device or torch.device("cpu")
    photographs = installed_photographs()
    bank = texture_bank(recipe.textures, np.random.default_rng([recipe.seed, 2]), photographs).to(device)
    torch.manual_seed(recipe.seed)
    network = EdgeNetwork().to(device)

    def loss(step: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
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

    task = Task(loss, partial(learning_rate, recipe), {"photographs": json.dumps(sorted(photographs))})
    run = PretrainingRun(network, "edges", "matcher.edges", recipe, folder)
    return run.to_end(task, checkpoint_every_s=checkpoint_every_s, progress=progress)


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
