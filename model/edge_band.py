"""The band along an outline: places across it from outside to inside, and where another outline crosses it.

Coordinates are picture pixels, x right, y down; ``u`` counts pixels along the inner normal, 0 on the outline.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from model.outline_tensors import inner_normals

REACH: Final = 12
"""How far the band reaches to either side, pixels."""
ACROSS: Final = 2 * REACH + 1
"""Places across the band, a pixel apart."""
_CLEAR: Final = 0.5
"""Pixels before and after a crossing at which outside and inside are told apart."""
_CROSSINGS: Final = 4
"""Crossings looked at, from the band's middle on."""


def band(outlines: Tensor) -> Tensor:
    """Places ``[B, N, ACROSS, 2]`` across closed outlines ``[B, N, 2]``."""
    depth = torch.arange(-REACH, REACH + 1, device=outlines.device, dtype=outlines.dtype)
    return outlines[:, :, None] + inner_normals(outlines)[:, :, None] * depth[:, None]


def shifts(device: torch.device) -> Tensor:
    """The edge's possible places ``[ACROSS - 1]``: ``u`` halfway between neighbouring places of the band."""
    return torch.arange(ACROSS - 1, dtype=torch.float32, device=device) - REACH + 0.5


def enclosed(outlines: Tensor, places: Tensor) -> Tensor:
    """Whether ``places [B, P, 2]`` lie inside closed outlines ``[B, N, 2]``, where one overlaps itself too."""
    ahead = outlines.roll(-1, 1)
    x, y = places[..., 0:1], places[..., 1:2]
    (x0, y0), (x1, y1) = outlines[:, None].unbind(-1), ahead[:, None].unbind(-1)
    rise = torch.where((y1 - y0).abs() < 1e-9, 1e-9, y1 - y0)
    hit = ((y0 > y) != (y1 > y)) & (x < (x1 - x0) * (y - y0) / rise + x0)
    return torch.where(hit, torch.sign(rise), 0.0).sum(-1) != 0


def crossings(truth: Tensor, outlines: Tensor) -> tuple[Tensor, Tensor]:
    """Where the band of ``outlines [B, N, 2]`` enters the true outline ``[B, M, 2]``, nearest to its middle.

    Returns:
        ``u [B, N]``, 0 where it enters nowhere within reach, and whether it does.
    """
    normal, place = inner_normals(outlines)[:, :, None], outlines[:, :, None]
    begin = truth[:, None]
    edge = truth.roll(-1, 1)[:, None] - begin
    steep = _cross(normal, edge)
    steep = torch.where(steep.abs() < 1e-9, 1e-9, steep)
    u = _cross(begin - place, edge) / steep
    along = _cross(begin - place, normal) / steep
    hit = (along >= 0) & (along < 1) & (u.abs() < REACH - _CLEAR)
    u = torch.where(hit, u, float(ACROSS))
    index = u.abs().argsort(-1)[..., :_CROSSINGS]
    nearest = u.gather(-1, index)
    before, after = (
        enclosed(truth, (place + normal * (nearest + step)[..., None]).flatten(1, 2)).view(nearest.shape)
        for step in (-_CLEAR, _CLEAR)
    )
    # An edge over another part of the same object is no edge of its silhouette.
    distance, chosen = torch.where(~before & after, nearest.abs(), float(ACROSS)).min(-1)
    within = distance < REACH
    return torch.where(within, nearest.gather(-1, chosen[..., None])[..., 0], 0.0), within


def _cross(one: Tensor, other: Tensor) -> Tensor:
    return one[..., 0] * other[..., 1] - one[..., 1] * other[..., 0]
