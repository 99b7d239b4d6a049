"""Private training: Poisson-sampled shots, one clipped gradient a shot, noise, a constant denominator.

The unit is the shot. Per step every shot is included independently; an included shot gives the gradient of its mean
loss over ``windows_per_shot`` of its windows, clipped jointly over all weights; the sum gets Gaussian noise and is
divided by a public constant. An empty batch is noised like any other.

A shot's clipped gradient depends on that shot, on public constants and on what was released with noise before, and on
nothing else: shots are never batched together, and a shot that cannot be read or whose gradient is not finite
contributes zero, which depends on that shot alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from opacus.optimizers import DPOptimizer
from torch import nn

from federation.errors import IngestError, LedgerError, PlanError
from federation.messages import PackedUpdate, PackedWeights
from federation.plan import STEPS_MAX, PrivacyConstants, UpdateBounds
from studio_node.noise import draw_indices, gaussian, poisson_sample, random_round

GRID_BITS = 30
"""A shot's gradient is cut to whole steps of about 2^-30 of the clipping norm; sums of them stay far below 2^53."""
ROUNDINGS_MAX = 8
WindowT = TypeVar("WindowT")
ModuleT = TypeVar("ModuleT", bound=nn.Module)


@dataclass(frozen=True)
class TrainingSettings:
    """The public constants of one round of private training, all from the signed plan.

    Attributes:
        privacy: sampling, clipping, noise and steps.
        update_denominator: what the noised sum of gradients is divided by (the size tier's).
        learning_rate: of plain SGD.
        research: allow no noise; for simulations and benchmarks, never for a studio node.
    """

    privacy: PrivacyConstants
    update_denominator: float
    learning_rate: float
    research: bool = False

    def __post_init__(self) -> None:
        if self.privacy.noise_multiplier <= 0 and not self.research:
            raise PlanError(
                "private training needs noise; an unnoised run is research mode and stays in simulations"
            )


class CsprngOptimizer(DPOptimizer):  # type: ignore[misc] # opacus ships no types
    """Opacus' DPOptimizer on whole steps of a grid, with noise from the operating system's CSPRNG.

    Clipped gradients are cut to whole steps towards zero, which makes none longer; sums and noise are whole steps too
    and exact in float64. So what is released is a function of whole numbers that have a discrete Gaussian's noise: no
    floating-point rounding stands between the analysis and the code.
    """

    @property
    def grid(self) -> float:
        """One step: a power of two, about a billionth of the clipping norm."""
        return float(2.0 ** (math.floor(math.log2(self.max_grad_norm)) - GRID_BITS))

    def clip_and_accumulate(self) -> None:
        """Add every shot's clipped gradient, in whole steps, to ``p.summed_grad`` (float64, on the CPU)."""
        rows = [p.grad_sample.detach().to("cpu", torch.float64).flatten(start_dim=1) for p in self.params]
        norms = torch.stack([row.square().sum(dim=1) for row in rows]).sum(dim=0).sqrt()
        limit = self.max_grad_norm * (1 - 2.0**-40)  # float64 rounding carries nothing over the norm itself
        factors = torch.where(norms > limit, limit / norms, torch.ones_like(norms))
        for parameter, row in zip(self.params, rows, strict=True):
            steps = torch.trunc(row * factors[:, None] / self.grid).sum(dim=0)
            summed = (steps * self.grid).view_as(parameter)
            parameter.summed_grad = (
                summed if parameter.summed_grad is None else parameter.summed_grad + summed
            )

    def add_noise(self) -> None:
        """Set every ``p.grad`` to its summed clipped gradient plus noise."""
        standard_deviation = self.noise_multiplier * self.max_grad_norm
        for parameter in self.params:
            drawn = gaussian(parameter.numel(), standard_deviation, self.grid)
            noised = parameter.summed_grad + torch.from_numpy(drawn).view_as(parameter)
            parameter.grad = noised.to(device=parameter.device, dtype=parameter.dtype)


class PrivateTrainer(Generic[ModuleT, WindowT]):
    """Trains a module in place on shots, one noised step at a time."""

    def __init__(
        self,
        module: ModuleT,
        loss: Callable[[ModuleT, Sequence[WindowT]], torch.Tensor],
        settings: TrainingSettings,
        *,
        warn: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Prepare.

        Args:
            module: with the round's base weights; its parameters that require gradients are trained.
            loss: mean loss over windows; must depend on its arguments alone.
            settings: the public constants.
            warn: told, for the studio's own log, of shots that contribute nothing.
        """
        self.module = module
        self._loss = loss
        self._settings = settings
        self._warn = warn
        self._parameters = [p for p in module.parameters() if p.requires_grad]
        privacy = settings.privacy
        self._optimizer = CsprngOptimizer(
            torch.optim.SGD(self._parameters, lr=settings.learning_rate),
            noise_multiplier=privacy.noise_multiplier,
            max_grad_norm=privacy.max_grad_norm,
            # "mean" over a constant: the batch that was actually drawn is secret and divides nothing.
            expected_batch_size=settings.update_denominator,
            loss_reduction="mean",
        )

    def train(self, shots: Sequence[Callable[[], Sequence[WindowT]]]) -> None:
        """Run all steps of a round.

        Args:
            shots: for each shot a function that opens its windows; called anew whenever the shot is included.
        """
        for _ in range(self._settings.privacy.steps_per_round):
            self.step(shots)

    def step(self, shots: Sequence[Callable[[], Sequence[WindowT]]]) -> None:
        """Run one noised step."""
        self._optimizer.zero_grad(set_to_none=True)
        for index in poisson_sample(len(shots), self._settings.privacy.sample_rate):
            self._accumulate([gradient[None] for gradient in self.shot_gradient(shots[index])])
        # A closing turn with no shot in it ends the batch, so that an empty batch takes the same way.
        self._accumulate([p.new_zeros((0, *p.shape)) for p in self._parameters], last=True)
        self._optimizer.zero_grad(set_to_none=True)

    def shot_gradient(self, open_shot: Callable[[], Sequence[WindowT]]) -> list[torch.Tensor]:
        """Return one shot's gradient, not yet clipped: of its mean loss over randomly drawn windows.

        Zero where the shot cannot be read, where anything about it ends in an error, or its gradient is not finite:
        whether a round is answered must not hang on one shot.

        Raises:
            LedgerError: the shot was not charged; that is no matter of its data.
        """
        try:
            found = self._gradient(open_shot())
        except LedgerError:
            raise
        except Exception as error:
            self._warn(f"a shot contributes nothing: {type(error).__name__}: {error}")
            return [torch.zeros_like(p) for p in self._parameters]
        if not all(bool(torch.isfinite(gradient).all()) for gradient in found):
            self._warn("a shot contributes nothing: its gradient is not finite")
            return [torch.zeros_like(p) for p in self._parameters]
        return found

    def _gradient(self, windows: Sequence[WindowT]) -> list[torch.Tensor]:
        if not len(windows):
            raise IngestError("its pack holds no window")
        drawn = draw_indices(len(windows), self._settings.privacy.windows_per_shot)
        value = self._loss(self.module, [windows[i] for i in drawn])
        gradients = torch.autograd.grad(value, self._parameters, allow_unused=True)
        return [
            torch.zeros_like(p) if g is None else g for p, g in zip(self._parameters, gradients, strict=True)
        ]

    def _accumulate(self, grad_samples: list[torch.Tensor], *, last: bool = False) -> None:
        for parameter, grad_sample in zip(self._parameters, grad_samples, strict=True):
            parameter.grad_sample = grad_sample  # type: ignore[attr-defined] # Opacus' own attribute
        self._optimizer.signal_skip_step(do_skip=not last)
        self._optimizer.step()
        if not last:
            self._optimizer.zero_grad(set_to_none=True)


def bounded_update(trained: PackedWeights, base: PackedWeights, bounds: UpdateBounds) -> PackedUpdate:
    """Return the difference of weights as it may leave: within the norm bound and on the public grid.

    Post-processing of noised values: it costs no privacy. An update beyond the bound is scaled down, then rounded to
    the grid; where rounding would carry it over the bound again, towards zero. Whole steps of one byte are rounded at
    random, so that what the coarse grid takes from one value is given by another.

    Args:
        trained: float32 [P].
        base: float32 [P].
        bounds: of the plan.

    Returns:
        float32 [P], every value a multiple of ``bounds.grid``, or int8 [P], the whole steps; Euclidean norm at most
        ``bounds.norm_max``. NaN or infinity where training diverged; the egress door refuses it.
    """
    update = trained.astype(np.float64) - base.astype(np.float64)
    norm = float(np.linalg.norm(update))
    if not math.isfinite(norm):
        return update.astype(np.float32)
    if norm > bounds.norm_max:
        update *= bounds.norm_max / norm
    if bounds.value_bits == 8:
        return _whole_steps(
            np.clip(update / bounds.grid, -STEPS_MAX, STEPS_MAX), bounds.norm_max / bounds.grid
        )
    rounded = _on_grid(update, bounds.grid, np.rint)
    if float(np.linalg.norm(rounded.astype(np.float64))) > bounds.norm_max:
        return _on_grid(update * (1 - 2.0**-20), bounds.grid, np.trunc)
    return rounded


def _whole_steps(steps: NDArray[np.float64], norm_max: float) -> NDArray[np.int8]:
    """Round steps at random, scaled down by what that would carry them over the norm; at last towards zero."""
    for _ in range(ROUNDINGS_MAX):
        rounded = random_round(steps)
        norm = float(np.linalg.norm(rounded))
        if norm <= norm_max:
            return rounded.astype(np.int8)
        steps = steps * (norm_max / norm * (1 - 2.0**-10))
    return np.trunc(steps).astype(np.int8)


def _on_grid(
    update: NDArray[np.float64], grid: float, to_whole: Callable[[NDArray[np.float64]], Any]
) -> PackedWeights:
    on_grid: NDArray[np.float64] = (
        to_whole(update / grid) * grid + 0.0
    )  # no negative zero: one value, one pattern
    return on_grid.astype(np.float32)
