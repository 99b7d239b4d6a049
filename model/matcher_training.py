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
import logging
import os
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from model.device import chosen_device
from model.errors import PredictionError, WeightsError
from model.matcher_loss import pair_loss
from model.matcher_network import Matcher
from model.matcher_pictures import PicturePairs, draw_pairs
from model.matcher_recipe import RECIPES, MatcherTraining, learning_rate
from model.matcher_textures import installed_photographs, texture_bank
from model.weights import save as save_weights

_log = logging.getLogger(__name__)


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


class _Run:
    """Weights, their running average and the optimiser, with their place on disk."""

    def __init__(self, recipe: MatcherTraining, folder: Path, device: torch.device) -> None:
        self.recipe, self.folder, self.device, self.step = recipe, folder, device, 0
        torch.manual_seed(recipe.seed)
        self.matcher = Matcher().to(device)
        self.average = {k: v.detach().clone() for k, v in self.matcher.state_dict().items()}
        self.optimiser = torch.optim.AdamW(
            self.matcher.parameters(), lr=1e-3, weight_decay=1e-4, fused=device.type == "cuda"
        )

    def average_weights(self) -> None:
        decay = min(self.recipe.averaging, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(self.average.values()), list(self.matcher.state_dict().values()), 1 - decay)

    def save(self, photographs: list[str]) -> None:
        """Write weights and state; each file appears whole or not at all."""
        about = {
            "recipe": json.dumps(asdict(self.recipe)),
            "step": str(self.step),
            "photographs": json.dumps(photographs),
            "torch": torch.__version__,
            "device": self.device.type,
        }
        names = [name for name, _ in self.matcher.named_parameters()]
        state = {f"weights.{k}": v for k, v in self.matcher.state_dict().items()}
        state |= {f"average.{k}": v for k, v in self.average.items()}
        for name, moments in zip(names, self.optimiser.state_dict()["state"].values(), strict=False):
            state |= {f"moments.{name}.{k}": v for k, v in moments.items()}
        _save_whole(state, self.folder / "state.safetensors", about)
        shipped = {f"matcher.{k}": v.contiguous().cpu().numpy() for k, v in self.average.items()}
        save_weights(self.folder / "matcher.safetensors", shipped, about)

    def resume(self) -> None:
        """Take up the last checkpoint, if the folder holds one of this recipe."""
        path = self.folder / "state.safetensors"
        if not path.exists():
            return
        with safe_open(str(path), "pt", device=str(self.device)) as file:
            about = file.metadata()
            kept = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
        if json.loads(about["recipe"]) != asdict(self.recipe):
            raise WeightsError(f"{path} holds another recipe: {about['recipe']}; name another folder")
        if about["device"] != self.device.type:
            raise WeightsError(
                f"{path} was begun on {about['device']}, where other pictures are drawn than on {self.device.type}; "
                f"go on with --device {about['device']} or name another folder"
            )
        names = [name for name, _ in self.matcher.named_parameters()]
        self.matcher.load_state_dict({k: kept[f"weights.{k}"] for k in self.average})
        self.average = {k: kept[f"average.{k}"] for k in self.average}
        state = self.optimiser.state_dict()
        fields = ("step", "exp_avg", "exp_avg_sq")
        state["state"] = {i: {f: kept[f"moments.{n}.{f}"] for f in fields} for i, n in enumerate(names)}
        self.optimiser.load_state_dict(state)
        self.step = int(about["step"])


def _save_whole(tensors: dict[str, Tensor], path: Path, about: dict[str, str]) -> None:
    partial = path.with_suffix(".partial")
    save_file({k: v.contiguous() for k, v in tensors.items()}, str(partial), about)
    os.replace(partial, path)  # noqa: PTH105 (atomic over an existing file on every system)


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
    folder.mkdir(parents=True, exist_ok=True)
    photographs = installed_photographs()
    bank = texture_bank(recipe.textures, np.random.default_rng([recipe.seed, 1]), photographs).to(device)
    run = _Run(recipe, folder, device)
    run.resume()
    saved_at, begun = time.monotonic(), time.monotonic()
    shown = torch.zeros((), device=device)
    generator = torch.Generator(device)
    while run.step < recipe.steps:
        generator.manual_seed(recipe.seed * 1_000_003 + run.step)
        pairs = draw_batch(recipe, bank, run.step, generator)
        reach_px = recipe.far_px if run.step >= recipe.turn_step else recipe.near_px
        for group in run.optimiser.param_groups:
            group["lr"] = learning_rate(recipe, run.step)
        loss, error = pair_loss(run.matcher, pairs, generator, reach_px=reach_px)
        run.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(run.matcher.parameters(), 1.0)
        run.optimiser.step()
        run.step += 1
        run.average_weights()
        shown += error
        if run.step % 100 == 0:
            spent = time.monotonic() - begun
            _log.info("step %d error %.2f px, %.0f s in this run", run.step, float(shown) / 100, spent)
            shown.zero_()
        if time.monotonic() - saved_at > checkpoint_every_s:
            run.save(sorted(photographs))
            saved_at = time.monotonic()
        if progress is not None:
            progress(run.step, float(error))
    run.save(sorted(photographs))
    return folder / "matcher.safetensors"


def main() -> None:
    """Command line of the pretraining."""
    parser = argparse.ArgumentParser(description="Pretrain the matcher on layered pictures.")
    parser.add_argument("folder", type=Path, help="takes the weights and what a stopped run goes on from")
    parser.add_argument(
        "--recipe",
        choices=RECIPES,
        default="cpu",
        help="cpu: half an hour of one core; wide: an hour of a card",
    )
    parser.add_argument("--steps", type=int, help="other than the recipe's")
    parser.add_argument("--turn-step", type=int, help="other than the recipe's")
    parser.add_argument("--seed", type=int, default=MatcherTraining.seed, help="of the weights and pictures")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:N or auto")
    parser.add_argument("--threads", type=int, default=1, help="of the processor")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(given.threads)
    try:
        device = chosen_device(given.device)
    except PredictionError as error:
        parser.error(str(error))
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    chosen = RECIPES[given.recipe]
    recipe = replace(
        chosen,
        seed=given.seed,
        steps=given.steps or chosen.steps,
        turn_step=given.turn_step or chosen.turn_step,
    )
    try:
        _log.info("wrote %s", pretrain(recipe, given.folder, device=device))
    except WeightsError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
