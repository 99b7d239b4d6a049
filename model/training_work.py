"""What a training leaves on disk while it runs, so that it can be stopped at any moment and go on.

``shot-NAME-000.safetensors``: windows of a shot, which take nearly all the time. ``state.safetensors``: network,
optimiser, source of chance and the losses so far. Each file appears whole or not at all; the folder belongs to one
recipe.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from model.errors import WeightsError
from model.evidence import Float32
from model.network import Fusion
from model.weights import load, save
from model.windows import Window

MOMENTS = ("step", "exp_avg", "exp_avg_sq")
WINDOWS_PER_FILE = 32
"""Their arrays and bytes stay below what `load` takes."""


class TrainingState:
    """A fusion network in training: weights, optimiser, learning rate, source of chance, losses."""

    def __init__(
        self, fusion: Fusion, rng: np.random.Generator, *, rate: float, decay: float, steps: int
    ) -> None:
        self.fusion, self.rng, self.steps = fusion, rng, steps
        self.optimiser = torch.optim.AdamW(fusion.parameters(), lr=rate, weight_decay=decay)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser, rate, total_steps=steps, pct_start=0.1
        )
        self.losses: list[float] = []

    def learn(self, loss: torch.Tensor) -> None:
        """Take one step down a loss."""
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.fusion.parameters(), 1.0)
        self.optimiser.step()
        self.schedule.step()
        self.losses.append(float(loss.detach()))

    def to_tensors(self) -> dict[str, Float32]:
        """Weights and moments as named float32 arrays."""
        arrays = {f"weights.{k}": v.detach().numpy() for k, v in self.fusion.state_dict().items()}
        for index, moments in self.optimiser.state_dict()["state"].items():
            arrays |= {f"moments.{index}.{k}": np.asarray(moments[k].numpy(), np.float32) for k in MOMENTS}
        return arrays

    def restore(self, tensors: Mapping[str, Float32], note: Mapping[str, str]) -> None:
        """Take up what `to_tensors` gave and ``note`` (losses, source of chance, schedule) was written with."""
        kept = {name: torch.from_numpy(array.copy()) for name, array in tensors.items()}
        self.fusion.load_state_dict({k: kept[f"weights.{k}"] for k in self.fusion.state_dict()})
        state = self.optimiser.state_dict()
        count = len(state["param_groups"][0]["params"])
        begun = [i for i in range(count) if f"moments.{i}.step" in kept]  # none before the first step
        state["state"] = {i: {k: kept[f"moments.{i}.{k}"] for k in MOMENTS} for i in begun}
        state["param_groups"] = json.loads(note["groups"])
        self.optimiser.load_state_dict(state)
        self.schedule.load_state_dict(json.loads(note["schedule"]))
        self.losses = json.loads(note["losses"])
        self.rng.bit_generator.state = json.loads(note["rng"])

    def note(self) -> dict[str, str]:
        """All of the state that is no tensor, as text."""
        schedule = {k: v for k, v in self.schedule.state_dict().items() if k != "_schedule_phases"}
        values = {
            "groups": self.optimiser.state_dict()["param_groups"],
            "schedule": schedule,
            "losses": self.losses,
            "rng": self.rng.bit_generator.state,
        }
        return {name: json.dumps(value) for name, value in values.items()}


@dataclass(frozen=True)
class TrainingWork:
    """The folder of one training.

    Attributes:
        folder: made where it is missing.
        recipe: what makes it this training and no other.

    Raises:
        WeightsError: at birth, where the folder holds another training.
    """

    folder: Path
    recipe: str

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        kept = self.folder / "recipe.json"
        if not kept.exists():
            kept.write_text(self.recipe)
        elif kept.read_text() != self.recipe:
            raise WeightsError(
                f"{self.folder} holds another training ({kept.read_text()}); name another folder or remove it"
            )

    def windows(self, shot: str) -> list[Window] | None:
        """The windows of a shot, or None where they have not all been made yet."""
        windows: list[Window] = []
        for part in itertools.count():
            path = self._shot(shot, part)
            if not path.is_file():
                return None
            found = load(path)
            for index in range(int(found.metadata["windows"])):
                start = f"{index}."
                own = {n.removeprefix(start): a for n, a in found.tensors.items() if n.startswith(start)}
                windows.append(Window.from_tensors(own))
            if found.metadata["last"] == "yes":
                break
        return windows

    def keep_windows(self, shot: str, windows: list[Window]) -> None:
        """Write the windows of a shot."""
        last = max(len(windows) - 1, 0) // WINDOWS_PER_FILE
        for part in range(last + 1):
            own = windows[part * WINDOWS_PER_FILE : (part + 1) * WINDOWS_PER_FILE]
            arrays = {
                f"{index}.{name}": array
                for index, window in enumerate(own)
                for name, array in window.to_tensors().items()
            }
            note = {"windows": str(len(own)), "last": "yes" if part == last else "no"}
            save(self._shot(shot, part), arrays, note)

    def resume(self, state: TrainingState) -> None:
        """Take up the training where it was when it was last written, if it was."""
        if self._state.is_file():
            found = load(self._state)
            state.restore(found.tensors, found.metadata)

    def keep_state(self, state: TrainingState) -> None:
        """Write the training as it stands."""
        save(self._state, state.to_tensors(), state.note())

    def finish(self) -> None:
        """Remove what is not needed any more once the weights are written."""
        discard(self.folder)

    @property
    def _state(self) -> Path:
        return self.folder / "state.safetensors"

    def _shot(self, shot: str, part: int) -> Path:
        return self.folder / f"shot-{shot}-{part:03d}.safetensors"


def discard(folder: Path) -> None:
    """Remove what a training left in a folder, and the folder where nothing else is in it."""
    for path in [*folder.glob("shot-*.safetensors"), folder / "state.safetensors", folder / "recipe.json"]:
        path.unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()
