"""Public pretraining of the matcher: layered pictures in, weights out. No real shot is involved.

    python -m model.matcher_training FOLDER --seed 1

Every step draws its own pictures from (seed, step), so a run is repeatable and goes on from its last
checkpoint exactly where it stopped. Photographs of an installed scikit-image are used as textures (those
in the public domain or CC0 only); without it all textures are drawn, and the metadata say so.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from model.errors import WeightsError
from model.matcher_network import INNER_OFFSETS_PX, STRIDES, Matcher, carried_offsets, make_queries
from model.matcher_pictures import PicturePairs, draw_pairs
from model.matcher_textures import installed_photographs, texture_bank
from model.matcher_windows import window
from model.weights import save as save_weights

_log = logging.getLogger(__name__)


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
    textures: int = 600
    learning_rate: float = 8e-4
    warmup_steps: int = 200
    averaging: float = 0.998


def learning_rate(recipe: MatcherTraining, step: int) -> float:
    """Linear rise, part of a cosine, then linearly to zero."""
    if step < recipe.warmup_steps:
        return recipe.learning_rate * (step + 1) / recipe.warmup_steps
    planned = min(step, recipe.turn_step)
    done = (planned - recipe.warmup_steps) / max(1, recipe.cosine_steps - recipe.warmup_steps)
    rate = recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, done))))
    left = (recipe.steps - step) / max(1, recipe.steps - recipe.turn_step)
    return rate * min(1.0, left)


def draw_start(pairs: PicturePairs, generator: torch.Generator, *, reach_px: float) -> Tensor:
    """Where the search begins: the truth with a smooth error, or in 30% the first outline.

    The error's size is log-uniform from half a pixel to ``reach_px``.
    """
    batch, points = pairs.known.shape
    angle = torch.arange(points) * (2 * math.pi / points)
    harmonic = torch.arange(4)
    phase = torch.rand(batch, 2, 4, 1, generator=generator) * 2 * math.pi
    height = torch.randn(batch, 2, 4, 1, generator=generator) / (1.0 + harmonic[:, None])
    error = (height * torch.cos(harmonic[:, None] * angle + phase)).sum(2).transpose(1, 2)
    error = error / error.norm(dim=-1).mean(1).clamp(min=1e-3)[:, None, None]
    size = torch.exp(torch.rand(batch, 1, 1, generator=generator) * math.log(reach_px / 0.5) + math.log(0.5))
    held = torch.rand(batch, 1, 1, generator=generator) < 0.3
    return torch.where(held, pairs.outline_first, pairs.outline_second + error * size)


def _feature_loss(
    volumes: list[Tensor | None], maps: tuple[Tensor, ...], pairs: PicturePairs, jitter: Tensor
) -> Tensor:
    """Cross-entropy of the true place within a window whose centre is off by a few cells."""
    places = carried_offsets(pairs.outline_first, pairs.outline_second)
    offsets = places.shape[1] // pairs.known.shape[1]
    # Under a sliding skin only the edge itself has a true partner.
    weight = pairs.seen[..., None].repeat(1, 1, offsets)
    weight[..., 1:] = weight[..., 1:] * (~pairs.sliding).float()[:, None, None]
    weight = weight.flatten(1)
    total = weight.new_zeros(())
    for volume, level, stride in zip(volumes, maps, STRIDES, strict=True):
        if volume is None:
            continue
        seen = window(volume, level.shape[-1], places + jitter * stride, stride)[0] * 12.0
        row, column = (3 - jitter[..., 1]).unsqueeze(-1), (3 - jitter[..., 0]).unsqueeze(-1)
        cells = torch.arange(7)
        target = (1 - (cells - row).abs()).clamp(min=0)[..., :, None] * (1 - (cells - column).abs()).clamp(
            min=0
        )[..., None, :]
        likely = functional.log_softmax(seen, -1)
        total = total - ((target.flatten(2) * likely).sum(-1) * weight).sum() / weight.sum().clamp(min=1)
    return total / len(volumes)


def pair_loss(
    matcher: Matcher, pairs: PicturePairs, generator: torch.Generator, *, reach_px: float
) -> tuple[Tensor, Tensor]:
    """The training loss of a batch, and the mean point error of the last iteration in pixels."""
    start = draw_start(pairs, generator, reach_px=reach_px)
    batch, points = pairs.known.shape
    with torch.autocast("cpu", torch.bfloat16):
        maps = matcher.encoder(torch.cat([pairs.first, pairs.second]))
    first, second = (tuple(level[part] for level in maps) for part in (slice(batch), slice(batch, None)))
    estimates, log_scales, volumes = matcher.refine(make_queries(first, pairs.outline_first), second, start)
    weight = pairs.known / pairs.known.sum().clamp(min=1)
    total = start.new_zeros(())
    for estimate, log_scale, share in zip(estimates, log_scales, (0.4, 0.7, 1.0), strict=True):
        error = ((estimate - pairs.outline_second).square().sum(-1) + 1e-4).sqrt()
        robust = 2 * torch.log1p(error / 2)
        likelihood = error * torch.exp(-log_scale) + 2 * log_scale
        total = total + share * ((robust + 0.25 * likelihood) * weight).sum()
    jitter = torch.rand(batch, points * len(INNER_OFFSETS_PX), 2, generator=generator) * 5 - 2.5
    total = total + 0.15 * _feature_loss(volumes, second, pairs, jitter)
    last = ((estimates[-1] - pairs.outline_second).norm(dim=-1) * weight).sum()
    return total, last.detach()


class _Run:
    """Weights, their running average and the optimiser, with their place on disk."""

    def __init__(self, recipe: MatcherTraining, folder: Path) -> None:
        self.recipe, self.folder, self.step = recipe, folder, 0
        torch.manual_seed(recipe.seed)
        self.matcher = Matcher()
        self.average = {k: v.detach().clone() for k, v in self.matcher.state_dict().items()}
        self.optimiser = torch.optim.AdamW(self.matcher.parameters(), lr=1e-3, weight_decay=1e-4)

    def average_weights(self) -> None:
        decay = min(self.recipe.averaging, (1 + self.step) / (10 + self.step))
        for name, value in self.matcher.state_dict().items():
            self.average[name].lerp_(value, 1 - decay)

    def save(self, photographs: list[str]) -> None:
        """Write weights and state; each file appears whole or not at all."""
        about = {
            "recipe": json.dumps(asdict(self.recipe)),
            "step": str(self.step),
            "photographs": json.dumps(photographs),
            "torch": torch.__version__,
        }
        names = [name for name, _ in self.matcher.named_parameters()]
        state = {f"weights.{k}": v for k, v in self.matcher.state_dict().items()}
        state |= {f"average.{k}": v for k, v in self.average.items()}
        for name, moments in zip(names, self.optimiser.state_dict()["state"].values(), strict=False):
            state |= {f"moments.{name}.{k}": v for k, v in moments.items()}
        _save_whole(state, self.folder / "state.safetensors", about)
        shipped = {f"matcher.{k}": v.contiguous().numpy() for k, v in self.average.items()}
        save_weights(self.folder / "matcher.safetensors", shipped, about)

    def resume(self) -> None:
        """Take up the last checkpoint, if the folder holds one of this recipe."""
        path = self.folder / "state.safetensors"
        if not path.exists():
            return
        with safe_open(str(path), "pt") as file:
            about = file.metadata()
            kept = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
        if json.loads(about["recipe"]) != asdict(self.recipe):
            raise WeightsError(f"{path} holds another recipe: {about['recipe']}; name another folder")
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
    checkpoint_every_s: float = 180.0,
    progress: Callable[[int, float], None] | None = None,
) -> Path:
    """Train a matcher, or go on with the run that ``folder`` holds.

    Args:
        recipe: what to train.
        folder: takes ``matcher.safetensors`` (the averaged weights, to ship) and ``state.safetensors``.
        checkpoint_every_s: seconds between checkpoints.
        progress: told the steps done and the last batch's mean error in pixels, after every step.

    Returns:
        The path of the averaged weights.

    Raises:
        WeightsError: the folder holds a run of another recipe.
    """
    folder.mkdir(parents=True, exist_ok=True)
    photographs = installed_photographs()
    bank = texture_bank(recipe.textures, np.random.default_rng([recipe.seed, 1]), photographs)
    run = _Run(recipe, folder)
    run.resume()
    saved_at, shown, begun = time.monotonic(), 0.0, time.process_time()
    while run.step < recipe.steps:
        generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + run.step)
        points = (48, 64, 96)[run.step % 3]
        far = run.step >= recipe.turn_step
        pairs = draw_pairs(
            bank, generator, pairs=recipe.pairs, size=recipe.picture_px, points=points, plate_edges=far
        )
        reach_px = recipe.far_px if far else recipe.near_px
        for group in run.optimiser.param_groups:
            group["lr"] = learning_rate(recipe, run.step)
        loss, error = pair_loss(run.matcher, pairs, generator, reach_px=reach_px)
        run.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(run.matcher.parameters(), 1.0)
        run.optimiser.step()
        run.step += 1
        run.average_weights()
        shown += float(error)
        if run.step % 100 == 0:
            spent = time.process_time() - begun
            _log.info("step %d error %.2f px, %.0f CPU-s in this run", run.step, shown / 100, spent)
            shown = 0.0
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
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=MatcherTraining.steps)
    parser.add_argument("--turn-step", type=int, default=MatcherTraining.turn_step)
    parser.add_argument("--seed", type=int, default=MatcherTraining.seed)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(given.threads)
    recipe = MatcherTraining(steps=given.steps, turn_step=given.turn_step, seed=given.seed)
    pretrain(recipe, given.folder)


if __name__ == "__main__":
    main()
