"""A pretraining of a public network: its weights, their running average and the optimiser, with their place on disk."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from model.errors import WeightsError
from model.weights import save as save_weights

_log = logging.getLogger(__name__)
_LOGGED_STEPS = 100


class Recipe(Protocol):
    """What a pretraining does; a dataclass. Equal recipes give equal weights on equal machines."""

    @property
    def steps(self) -> int:
        """Updates in all."""

    @property
    def seed(self) -> int:
        """Of the weights and every batch."""

    @property
    def textures(self) -> int:
        """Size of the texture bank."""

    @property
    def averaging(self) -> float:
        """Decay of the running average of the weights, which is what ships."""


class PretrainingRun:
    """Weights, their running average and the optimiser.

    Args:
        network: freshly initialised, on its device.
        name: of its weights: ``<name>.safetensors`` holds them as ``<prefix>.*``.
        prefix: of the tensors' names.
        recipe: a dataclass.
        folder: takes the weights and ``state.safetensors``.
        about: written into the files' metadata too.
    """

    def __init__(
        self, network: nn.Module, name: str, prefix: str, recipe: Recipe, folder: Path, about: dict[str, str]
    ) -> None:
        self.network, self.name, self.prefix, self.about = network, name, prefix, about
        self.recipe, self.folder, self.step = recipe, folder, 0
        self.device = next(network.parameters()).device
        self.average = {k: v.detach().clone() for k, v in network.state_dict().items()}
        self.optimiser = torch.optim.AdamW(
            network.parameters(), lr=1e-3, weight_decay=1e-4, fused=self.device.type == "cuda"
        )

    def to_end(
        self,
        loss_of: Callable[[int, torch.Generator], tuple[Tensor, Tensor]],
        rate: Callable[[int], float],
        *,
        checkpoint_every_s: float,
        progress: Callable[[int, float], None] | None,
    ) -> Path:
        """Train, or go on with what the folder holds, to the last step; see `model.pretraining.Pretraining.run`.

        Args:
            loss_of: the loss at a step, with the batch's mean error in pixels; all chance comes from the generator.
            rate: the learning rate at a step.
            checkpoint_every_s: seconds between checkpoints.
            progress: told of every step.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._resume()
        saved_at = begun = time.monotonic()
        shown = torch.zeros((), device=self.device)
        generator = torch.Generator(self.device)
        while self.step < self.recipe.steps:
            generator.manual_seed(self.recipe.seed * 1_000_003 + self.step)
            for group in self.optimiser.param_groups:
                group["lr"] = rate(self.step)
            loss, error = loss_of(self.step, generator)
            self.optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            self.optimiser.step()
            self.step += 1
            self._average_weights()
            shown += error
            if self.step % _LOGGED_STEPS == 0:
                spent = time.monotonic() - begun
                mean = float(shown) / _LOGGED_STEPS
                _log.info("step %d error %.2f px, %.0f s in this run", self.step, mean, spent)
                shown.zero_()
            if time.monotonic() - saved_at > checkpoint_every_s:
                self._save()
                saved_at = time.monotonic()
            if progress is not None:
                progress(self.step, float(error))
        self._save()
        return self._weights_file

    @property
    def _recipe_text(self) -> str:
        return json.dumps(asdict(self.recipe))  # type: ignore[call-overload]

    @property
    def _weights_file(self) -> Path:
        return self.folder / f"{self.name}.safetensors"

    def _average_weights(self) -> None:
        decay = min(self.recipe.averaging, (1 + self.step) / (10 + self.step))
        now = list(self.network.state_dict().values())
        torch._foreach_lerp_(list(self.average.values()), now, 1 - decay)

    def _save(self) -> None:
        """Write weights and state; each file appears whole or not at all."""
        about = {
            "recipe": self._recipe_text,
            "step": str(self.step),
            "torch": torch.__version__,
            "device": self.device.type,
            **self.about,
        }
        names = [name for name, _ in self.network.named_parameters()]
        state = {f"weights.{k}": v for k, v in self.network.state_dict().items()}
        state |= {f"average.{k}": v for k, v in self.average.items()}
        for name, moments in zip(names, self.optimiser.state_dict()["state"].values(), strict=False):
            state |= {f"moments.{name}.{k}": v for k, v in moments.items()}
        _save_whole(state, self.folder / "state.safetensors", about)
        shipped = {f"{self.prefix}.{k}": v.contiguous().cpu().numpy() for k, v in self.average.items()}
        save_weights(self._weights_file, shipped, about)

    def _resume(self) -> None:
        """Take up the last checkpoint, if the folder holds one of this recipe."""
        path = self.folder / "state.safetensors"
        if not path.exists():
            return
        with safe_open(str(path), "pt", device=str(self.device)) as file:
            about = file.metadata()
            kept = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
        if about["recipe"] != self._recipe_text:
            raise WeightsError(f"{path} holds another recipe: {about['recipe']}; name another folder")
        if about["device"] != self.device.type:
            raise WeightsError(
                f"{path} was begun on {about['device']}, where other pictures are drawn than on {self.device.type}; "
                f"go on with --device {about['device']} or name another folder"
            )
        names = [name for name, _ in self.network.named_parameters()]
        self.network.load_state_dict({k: kept[f"weights.{k}"] for k in self.average})
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
