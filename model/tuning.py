"""Personal fine-tuning: the network goes on learning from an artist's own approved shapes, without any noise.

What comes out has seen private pictures: it is for the one who made it, and `model.weights_note` marks its file so.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
import torch

from model.errors import PredictionError
from model.evidence import Float32
from model.losses import window_error, window_loss
from model.network import Fusion
from model.pretrain import like_lengths, roughened
from model.training_work import TrainingState, TrainingWork
from model.windows import Window

STEPS: Final = 300
LEARNING_RATE: Final = 5e-4
WEIGHT_DECAY: Final = 1e-2
LOOK_EVERY: Final = 20
"""Steps between two looks at the windows kept aside."""
Progress = Callable[["CurvePoint"], None]


@dataclass(frozen=True)
class CurvePoint:
    """Where a tuning stands.

    Attributes:
        step: optimiser steps done.
        steps: in all.
        learned_loss: mean loss over the steps since the point before; None before the first.
        aside_loss: loss on the windows kept aside. The least decides, among the points that are no farther off.
        aside_error: mean distance to the approved outline there, percent of its size.
    """

    step: int
    steps: int
    learned_loss: float | None
    aside_loss: float
    aside_error: float


@dataclass(frozen=True)
class Tuned:
    """What a tuning came to.

    Attributes:
        fusion: the network where it did best on the windows kept aside; the one it began with if it never did better.
        curve: from step 0 to the last.
        best: the point of the curve that ``fusion`` is from.
    """

    fusion: Fusion
    curve: tuple[CurvePoint, ...]
    best: CurvePoint

    @property
    def improved(self) -> bool:
        """Whether any step did better than the weights it began with."""
        return self.best.step > 0


class _Tuning(TrainingState):
    """A network in tuning, and where it did best so far."""

    def __init__(self, fusion: Fusion, seed: int, steps: int) -> None:
        rng = np.random.default_rng([seed, 2**30])
        super().__init__(deepcopy(fusion).train(), rng, rate=LEARNING_RATE, decay=WEIGHT_DECAY, steps=steps)
        self.best_state = self.fusion.state_dict()
        self.curve: list[CurvePoint] = []

    @property
    def best(self) -> CurvePoint:
        """The point of the least loss.

        The loss also counts how well the network knows its own error. An artist sees the outline first: weights that
        place it worse than those it began with are never the best, however well they know it.
        """
        no_farther = (point for point in self.curve if point.aside_error <= self.curve[0].aside_error)
        return min(no_farther, key=lambda point: point.aside_loss)

    @property
    def due(self) -> bool:
        """Whether it is time to look at the windows kept aside."""
        step = len(self.losses)
        looked = bool(self.curve) and self.curve[-1].step == step
        return not looked and (step % LOOK_EVERY == 0 or step == self.steps)

    def look(self, aside: Sequence[Window]) -> CurvePoint:
        """Judge the network on the windows kept aside; it is kept where it is the best yet."""
        since = self.losses[self.curve[-1].step :] if self.curve else []
        loss = float(np.mean(since)) if since else None
        point = CurvePoint(len(self.losses), self.steps, loss, *_judged(self.fusion.eval(), aside))
        self.fusion.train()
        self.curve.append(point)
        if self.best is point:
            self.best_state = deepcopy(self.fusion.state_dict())
        return point

    def to_tensors(self) -> dict[str, Float32]:
        """Weights, moments and the best weights yet."""
        return super().to_tensors() | {f"best.{k}": v.numpy() for k, v in self.best_state.items()}

    def restore(self, tensors: Mapping[str, Float32], note: Mapping[str, str]) -> None:
        """Take up what `to_tensors` and `note` gave."""
        super().restore(tensors, note)
        self.best_state = {k: torch.from_numpy(tensors[f"best.{k}"].copy()) for k in self.best_state}
        self.curve = [CurvePoint(**point) for point in json.loads(note["curve"])]

    def note(self) -> dict[str, str]:
        """All of the state that is no tensor, as text."""
        return super().note() | {"curve": json.dumps([asdict(point) for point in self.curve])}

    def done(self) -> Tuned:
        """What it came to, once it has been looked at."""
        self.fusion.load_state_dict(self.best_state)
        return Tuned(self.fusion.eval(), tuple(self.curve), self.best)


def tune(
    fusion: Fusion,
    learned: Sequence[Window],
    aside: Sequence[Window],
    *,
    seed: int = 1,
    steps: int = STEPS,
    work: TrainingWork | None = None,
    progress: Progress | None = None,
) -> Tuned:
    """Fine-tune a network on windows, and keep it where it did best on others.

    Args:
        fusion: the network to begin with; it is left as it is.
        learned: windows to learn from.
        aside: windows that are only looked at. They must not overlap with the others in time, or the choice of the
            best step flatters itself.
        seed: order and roughening; the same seed gives the same weights on the same machine.
        steps: optimiser steps.
        work: keeps where the tuning stands, so that one that was stopped goes on to the same weights.
        progress: told at every look at the windows kept aside.

    Raises:
        PredictionError: nothing to learn from, or nothing to judge by.
    """
    if not learned or not aside:
        raise PredictionError(
            f"{len(learned)} windows to learn from and {len(aside)} to judge by are not enough to tune; approve more "
            "frames or more shots"
        )
    state = _Tuning(fusion, seed, steps)
    if work is not None:
        work.resume(state)
    lengths = np.array([len(window.weight) for window in learned])
    while True:
        if state.due:
            point = state.look(aside)
            if work is not None:
                work.keep_state(state)
            if progress is not None:
                progress(point)
        if len(state.losses) == steps:
            return state.done()
        batch = [roughened(learned[int(i)], state.rng) for i in like_lengths(lengths, state.rng)]
        state.learn(window_loss(state.fusion, batch))


def _judged(fusion: Fusion, windows: Sequence[Window]) -> tuple[float, float]:
    """Mean loss and mean error (percent of the outline's size) over windows."""
    losses, errors = [], []
    with torch.no_grad():
        for window in windows:
            losses.append(float(window_loss(fusion, [window])))
            errors.append(window_error(fusion, window))
    return float(np.mean(losses)), 100 * float(np.mean(errors))
