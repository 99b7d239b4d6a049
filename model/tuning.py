"""Personal fine-tuning: the network goes on learning from an artist's own approved shapes, without any noise.

What comes out has seen private pictures: it is for the one who made it, and `model.weights_note` marks its file so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from model.errors import PredictionError
from model.losses import window_loss
from model.network import EvidenceTensors, Fusion
from model.pretrain import like_lengths, roughened
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
        aside_loss: loss on the windows kept aside, which decides.
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


def tune(
    fusion: Fusion,
    learned: Sequence[Window],
    aside: Sequence[Window],
    *,
    seed: int = 1,
    steps: int = STEPS,
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
        progress: told at every look at the windows kept aside.

    Raises:
        PredictionError: nothing to learn from, or nothing to judge by.
    """
    if not learned or not aside:
        raise PredictionError(
            f"{len(learned)} windows to learn from and {len(aside)} to judge by are not enough to tune; approve more "
            "frames or more shots"
        )
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 2**30])
    student = deepcopy(fusion).train()
    optimiser = torch.optim.AdamW(student.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps, pct_start=0.1)
    lengths = np.array([len(window.weight) for window in learned])
    best_state = deepcopy(student.state_dict())
    curve: list[CurvePoint] = []
    losses: list[float] = []
    for step in range(steps + 1):
        if step % LOOK_EVERY == 0 or step == steps:
            student.eval()
            point = CurvePoint(
                step, steps, float(np.mean(losses)) if losses else None, *_judged(student, aside)
            )
            losses = []
            if all(point.aside_loss < other.aside_loss for other in curve):
                best_state, best = deepcopy(student.state_dict()), point
            curve.append(point)
            if progress is not None:
                progress(point)
            student.train()
        if step == steps:
            break
        batch = [roughened(learned[int(i)], rng) for i in like_lengths(lengths, rng)]
        loss = window_loss(student, batch)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        losses.append(float(loss.detach()))
    student.load_state_dict(best_state)
    return Tuned(student.eval(), tuple(curve), best)


def _judged(fusion: Fusion, windows: Sequence[Window]) -> tuple[float, float]:
    """Mean loss and mean error (percent of the outline's size) over windows."""
    losses, errors = [], []
    with torch.no_grad():
        for window in windows:
            losses.append(float(window_loss(fusion, [window])))
            points = fusion(EvidenceTensors.stack([window.evidence])).points[0].numpy()
            away = np.linalg.norm(points - window.truth, axis=2).mean(axis=1)
            errors.append(float((away * window.weight).sum() / max(float(window.weight.sum()), 1e-6)))
    return float(np.mean(losses)), 100 * float(np.mean(errors))
