"""What training minimises: robust displacement and the likelihood of the predicted error scale."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor

from model.network import EvidenceTensors, Fusion, FusionOutput
from model.windows import Window

ALONG: Final = 0.5
"""How much a slip along the contour counts against one across it: the matte only sees the latter, but points that
slide pull the artist's tangents with them."""
KNEE: Final = 0.01
"""Error, in outline sizes, around which the displacement loss turns from linear to logarithmic."""


def window_loss(fusion: Fusion, windows: Sequence[Window], *, caution: float = 0.0) -> Tensor:
    """Mean loss over windows, each the weighted mean over its frames and samples.

    Used per shot by the private training loop: it depends on the given windows and the network alone.

    Args:
        fusion: the network; gradients flow into it.
        windows: at least one window, all with the same number of samples.
        caution: price of leaving the hand blend (`FusionOutput.departure`). Public pretraining pays it, since invented
            plates are no guide to which tracker to trust on real ones.

    Returns:
        A scalar. A window whose weights are all 0 counts as 0.
    """
    evidence = EvidenceTensors.stack([window.evidence for window in windows])
    frames, samples = evidence.points.shape[1:3]
    truth = torch.zeros(len(windows), frames, samples, 2)
    weight = torch.zeros(len(windows), frames)
    for row, window in enumerate(windows):
        length = window.weight.shape[0]
        truth[row, :length] = torch.from_numpy(window.truth)
        weight[row, :length] = torch.from_numpy(window.weight)
    output = fusion(evidence)
    per_frame = frame_losses(output, truth)
    if caution:
        per_frame = per_frame + caution * output.departure.mean(dim=2)
    return ((per_frame * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1e-6)).mean()


@torch.no_grad()
def window_error(fusion: Fusion, window: Window) -> float:
    """Mean distance of a window's predicted points from the approved ones, in outline sizes; its weights count.

    A window whose weights are all 0 has no error.
    """
    points = fusion(EvidenceTensors.stack([window.evidence])).points[0].numpy()
    away = np.linalg.norm(points - window.truth, axis=2).mean(axis=1)
    return float((away * window.weight).sum() / max(float(window.weight.sum()), 1e-6))


def frame_losses(output: FusionOutput, truth: Tensor) -> Tensor:
    """Loss [B, T] of a prediction against the truth [B, T, M, 2].

    Robust displacement ``log(1 + distance / KNEE)`` plus the negative log likelihood of a Laplace distribution whose
    scale the network predicts; the network's own error is taken as given there, so that it cannot trade place for
    confidence.
    """
    miss = output.points - truth
    along = torch.roll(truth, -1, dims=2) - torch.roll(truth, 1, dims=2)
    tangent = along / (along.norm(dim=-1, keepdim=True) + 1e-6)
    tangential = (miss * tangent).sum(dim=-1)
    across = miss[..., 1] * tangent[..., 0] - miss[..., 0] * tangent[..., 1]
    distance = torch.sqrt(across**2 + (ALONG * tangential) ** 2 + 1e-8)
    displacement = torch.log1p(distance / KNEE)
    likelihood = distance.detach() * torch.exp(-output.log_scale) + output.log_scale
    return (displacement + 0.25 * likelihood).mean(dim=2)
