"""The pretraining of a public network on layered pictures: what is trained, and its command line."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from model.device import chosen_device
from model.errors import PredictionError, WeightsError
from model.matcher_textures import installed_photographs, texture_bank
from model.pretraining_run import PretrainingRun, Recipe

_log = logging.getLogger(__name__)
OfRecipe = TypeVar("OfRecipe", bound=Recipe)
OfNetwork = TypeVar("OfNetwork", bound=nn.Module)


@dataclass(frozen=True)
class Pretraining(Generic[OfRecipe, OfNetwork]):
    """How a network is pretrained.

    Attributes:
        name: of its weights: ``<name>.safetensors``.
        prefix: of the tensors' names in it.
        network: makes it, freshly initialised.
        texture_room: mixed into the seed of its textures, so that networks do not share them.
        loss: of the recipe, the network and the texture bank at a step, with the batch's mean error in pixels; all
            chance comes from the generator.
        rate: the recipe's learning rate at a step.
    """

    name: str
    prefix: str
    network: Callable[[], OfNetwork]
    texture_room: int
    loss: Callable[[OfRecipe, OfNetwork, Tensor, int, torch.Generator], tuple[Tensor, Tensor]]
    rate: Callable[[OfRecipe, int], float]

    def run(
        self,
        recipe: OfRecipe,
        folder: Path,
        *,
        device: torch.device | None = None,
        checkpoint_every_s: float = 180.0,
        progress: Callable[[int, float], None] | None = None,
    ) -> Path:
        """Train, or go on with the run that ``folder`` holds.

        Args:
            recipe: what to train.
            folder: takes the averaged weights, to ship, and ``state.safetensors``.
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
        rng = np.random.default_rng([recipe.seed, self.texture_room])
        bank = texture_bank(recipe.textures, rng, photographs).to(device)
        torch.manual_seed(recipe.seed)
        network = self.network().to(device)
        about = {"photographs": json.dumps(sorted(photographs))}
        run = PretrainingRun(network, self.name, self.prefix, recipe, folder, about)
        return run.to_end(
            partial(self.loss, recipe, network, bank),
            partial(self.rate, recipe),
            checkpoint_every_s=checkpoint_every_s,
            progress=progress,
        )


def run_command(
    parser: argparse.ArgumentParser, train: Callable[[argparse.Namespace, torch.device], Path]
) -> None:
    """Run a pretraining from the command line: common options, progress to the log, errors without a traceback.

    Args:
        parser: with the options of this pretraining alone.
        train: from the options and the device to the path of the weights.
    """
    parser.add_argument("folder", type=Path, help="takes the weights and what a stopped run goes on from")
    parser.add_argument("--steps", type=int, help="other than the recipe's")
    parser.add_argument("--seed", type=int, default=1, help="of the weights and pictures")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:N or auto")
    parser.add_argument("--threads", type=int, default=1, help="of the processor")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(given.threads)
    try:
        device = chosen_device(given.device)
        if device.type == "cuda":
            torch.set_float32_matmul_precision("high")
        _log.info("wrote %s", train(given, device))
    except (PredictionError, WeightsError) as error:
        parser.error(str(error))
