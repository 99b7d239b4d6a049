"""Finding the artist's edge across predicted outlines, frame by frame, from what both keys show inside and outside.

A match says where a point of the object went; the edge says where the outline passes between object and surroundings,
whatever became of the points: a limb that slid, a silhouette that changed. So it mends places only across the outline.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from model.device import bfloat16_is_fast
from model.edge_band import shifts
from model.edge_network import EdgeNetwork
from model.matcher_crops import Crop, Frame, Points, crop_scale, span_size
from model.outline_tensors import inner_normals

COARSE_PX: Final = 60.0
FINE_PX: Final = 120.0
LARGE_PX: Final = 220.0
"""Square root of the object's area in the pictures that the network sees: far first, then exact; the last one is for
objects that are as large on the plate, since magnified pictures tell nothing more."""
_SURE_PX: Final = 0.3
"""An outline is never held to be nearer to the edge than this beforehand, picture pixels."""


@dataclass(frozen=True)
class Edges:
    """Outlines with their points moved across them onto the edge.

    Attributes:
        points: ``[T, M, 2]``, plate pixels, the keys' own at both ends.
        error: ``[T, M]``, plate pixels: standard deviation of the edge's place, all that was known before included.
    """

    points: Points
    error: Points


@torch.no_grad()
def find_edges(
    network: EdgeNetwork, frames: Sequence[Frame], outlines: Points, expected: Points, *, size_px: float
) -> Edges:
    """Move the outlines between two keys onto the edge that the keys show.

    Args:
        network: with trained weights.
        frames: the span's ``T`` working images, uint8 ``[H, W, 3]`` RGB, both keys included; a frame that is None
            keeps its outline.
        outlines: ``[T, M, 2]``, plate pixels: the keys at both ends, between them what is predicted so far.
        expected: ``[T, M]``, plate pixels, how far that may be off across the outline.
        size_px: square root of the object's area in the pictures that the network sees.
    """
    points, error = outlines.copy(), expected.copy()
    size = span_size(outlines[0], outlines[-1])
    scale = crop_scale(list(outlines), size, size_px)
    places = shifts(next(network.parameters()).device)

    def across(row: int) -> tuple[Tensor, Crop] | None:
        crop = Crop.around(outlines[row], size, scale)
        picture = crop.shown(frames[row])
        if picture is None:
            return None
        with torch.autocast(places.device.type, torch.bfloat16, enabled=bfloat16_is_fast(places.device)):
            maps = network.maps(picture.to(places.device))
        return network.across(maps, crop.inward(outlines[row])[None].to(places.device)), crop

    keys = [(row, shown[0]) for row in (0, len(frames) - 1) if (shown := across(row)) is not None]
    for row in range(1, len(frames) - 1):
        shown = across(row)
        if shown is None or not keys:
            continue
        seen, crop = shown
        # The nearer key knows better: shares as of a linear blend over time.
        share = seen.new_tensor([1 - abs(row - key) / (len(frames) - 1) for key, _ in keys])[:, None, None]
        inside = network(torch.cat([key for _, key in keys]), seen.expand(len(keys), -1, -1, -1))
        inside = (inside * share / share.sum()).sum(0, keepdim=True)
        prior = np.maximum(expected[row] * crop.scale.mean(), _SURE_PX)
        prior_px = torch.from_numpy(prior.astype(np.float32)).to(places.device)[:, None]
        likely = torch.softmax(network.edge_log_odds(inside)[0] - 0.5 * (places / prior_px) ** 2, -1)
        shift = (likely * places).sum(-1)
        spread = ((likely * places**2).sum(-1) - shift**2).clamp(min=0).sqrt()
        start = crop.inward(outlines[row])[None].to(places.device)
        points[row] = crop.outward((start + inner_normals(start) * shift[:, None])[0])
        error[row] = spread.cpu().numpy() / crop.scale.mean()
    return Edges(points, error)
