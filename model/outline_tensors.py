"""Directions along and across closed outlines, batched: pixels, x right, y down."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def tangents(outlines: Tensor) -> Tensor:
    """Central differences along closed outlines ``[B, N, 2]``: one step's vector, not normalised."""
    return (outlines.roll(-1, 1) - outlines.roll(1, 1)) / 2


def inner_normals(outlines: Tensor) -> Tensor:
    """Unit normals towards the inside, whichever way round the outlines ``[B, N, 2]`` run."""
    along = functional.normalize(tangents(outlines), dim=-1)
    ahead = outlines.roll(-1, 1)
    area = (outlines[..., 0] * ahead[..., 1] - outlines[..., 1] * ahead[..., 0]).sum(1)
    turn = torch.where(area >= 0, 1.0, -1.0)[:, None, None]
    return torch.stack([-along[..., 1], along[..., 0]], -1) * turn
