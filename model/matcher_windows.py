"""Windows of correlation around places in a feature map: what an estimate sees of its neighbourhood.

The centre of cell i of a stride-k map is at (i + .5) k pixels; windows are bilinear between cells.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

WINDOW = 7


class _Gather(torch.autograd.Function):
    """``volume.gather(2, index)`` that hands the volume on to the next reader.

    Several windows are read from one volume. Autograd would fill and add one volume-sized gradient for
    each of them, a third of a training step; passed from reader to reader there is one for all.
    """

    @staticmethod
    def forward(ctx: Any, volume: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(index)
        ctx.shape = volume.shape
        return volume.gather(2, index), volume.view_as(volume)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, None]:
        of_values, of_volume = grads
        (index,) = ctx.saved_tensors
        if of_values is None:
            return of_volume, None
        if of_volume is None:
            of_volume = of_values.new_zeros(ctx.shape)
        return of_volume.scatter_add_(2, index, of_values), None


def window(volume: Tensor, width: int, places: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """Cut a 7 by 7 window, one cell apart, out of each query's correlation with a whole map.

    In training every volume must be read in a chain: the next reader takes the volume returned here.

    Args:
        volume: ``[B, Q, H * W]``.
        width: ``W``.
        places: ``[B, Q, 2]``, pixels: where each window is centred.
        stride: of the map.

    Returns:
        ``[B, Q, 49]``, row by row, bilinear, zero outside the map; and the volume for its next reader.
    """
    index, inside, part = _neighbours(places, stride, volume.shape[-1] // width, width)
    values, volume = _Gather.apply(volume, index.flatten(2))  # type: ignore[no-untyped-call]
    return _interpolated(values.view(inside.shape) * inside, part), volume


def window_of_map(features: Tensor, level: Tensor, places: Tensor, stride: int) -> Tensor:
    """The same windows correlated on the fly: less work than a volume where no gradient is needed.

    Args:
        features: queries ``[B, Q, C]``.
        level: the map ``[B, C, H, W]``, or ``[1, C, H, W]`` where all queries look at one picture.
        places: ``[B, Q, 2]``, pixels.
        stride: of the map.

    Returns:
        ``[B, Q, 49]`` as `window`.
    """
    pictures, channels, height, width = level.shape
    index, inside, part = _neighbours(places, stride, height, width)
    cells = level.permute(0, 2, 3, 1).reshape(pictures, height * width, channels)
    values = []
    # One outline at a time: the blocks stay small enough for the allocator to keep their pages.
    for row, wanted in enumerate(index.flatten(2)):
        around = cells[row % pictures].index_select(0, wanted.flatten()).view(*wanted.shape, channels)
        values.append((around * features[row, :, None]).sum(-1))
    return _interpolated(torch.stack(values).view(inside.shape) * inside, part)


def _neighbours(places: Tensor, stride: int, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Indices of the 8 by 8 cells around each place, which of them exist, and the places' fractions."""
    cell = places / stride - 0.5
    corner = cell.floor()
    part = (cell - corner)[..., None, None, :]
    reach = torch.arange(WINDOW + 1, device=places.device) - WINDOW // 2
    limit = 4 * max(height, width)
    columns = corner[..., :1].clamp(-limit, limit).long() + reach
    rows = corner[..., 1:].clamp(-limit, limit).long() + reach
    inside_columns, inside_rows = (columns >= 0) & (columns < width), (rows >= 0) & (rows < height)
    index = rows.clamp(0, height - 1)[..., :, None] * width + columns.clamp(0, width - 1)[..., None, :]
    return index, inside_rows[..., :, None] & inside_columns[..., None, :], part


def _interpolated(values: Tensor, part: Tensor) -> Tensor:
    """8 by 8 values ``[B, Q, 8, 8]`` to 7 by 7 in between, flattened."""
    across = values[..., :-1] + (values[..., 1:] - values[..., :-1]) * part[..., 0]
    return (across[..., :-1, :] + (across[..., 1:, :] - across[..., :-1, :]) * part[..., 1]).flatten(2)
