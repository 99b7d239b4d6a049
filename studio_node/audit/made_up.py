"""Made-up data of the audit: public, drawn from nobody's shots. Its seeds reach no noise and no sampling."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from federation.plan import PrivacyConstants
from model.evidence import SpanEvidence, evidence_shapes
from model.network import Fusion
from model.windows import Window
from studio_node.private_training import TrainingSettings

WINDOW_FRAMES, WINDOW_SAMPLES = 3, 16


def window(seed: int, *, scale: float = 1.0) -> Window:
    """A window of plausible random numbers; ``scale`` enlarges its truth, which makes an outlier."""
    rng = np.random.default_rng(seed)
    shapes = evidence_shapes(WINDOW_FRAMES, WINDOW_SAMPLES)
    arrays = {name: rng.random(shape, dtype=np.float32) for name, shape in shapes.items()}
    arrays["available"] = np.ones_like(arrays["available"])
    arrays["context"] = arrays["context"] + 5.0
    truth = np.float32(scale) * rng.random((WINDOW_FRAMES, WINDOW_SAMPLES, 2), dtype=np.float32)
    return Window(SpanEvidence(**arrays), truth, np.ones(WINDOW_FRAMES, np.float32))


def fusion(seed: int) -> Fusion:
    """The default network with weights such that every layer gets a gradient (an untrained head starts at zero)."""
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        network = Fusion()
        for parameter in network.parameters():
            parameter.add_(torch.from_numpy(0.05 * rng.standard_normal(tuple(parameter.shape))).float())
    return network


class Probe(nn.Module):
    """A network that is nothing but its weights, in two tensors; a window is the gradient that it will give."""

    def __init__(self, weights: int) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.zeros(weights // 2))
        self.second = nn.Parameter(torch.zeros(weights - weights // 2))

    @property
    def flat(self) -> torch.Tensor:
        """All weights in one row."""
        return torch.cat([self.first, self.second])


def probe_loss(probe: Probe, windows: Sequence[torch.Tensor]) -> torch.Tensor:
    """Mean over windows of the inner product of weights and window: its gradient is the windows' mean."""
    return (torch.stack(list(windows)) @ probe.flat).mean()


def plain_settings(privacy: PrivacyConstants) -> TrainingSettings:
    """Settings under which a step moves the weights by exactly what is released: rate and denominator 1."""
    return TrainingSettings(privacy, update_denominator=1.0, learning_rate=1.0)


def set_every_seed(seed: int) -> None:
    """Set all generators that a program may seed, so that noise which hangs on one of them repeats itself."""
    torch.manual_seed(seed)
    np.random.seed(seed)  # the legacy generator is the one that a program can seed globally
    random.seed(seed)
