"""A studio's own tracker (TAPIR, CoTracker, SAM 2, one of its own) as a candidate for prediction: docs/own-tracker.md.

A tracker is one function. It may have been trained on private plates, so it serves prediction inside the studio and
nothing else: no module that cuts packs, trains or sends may import this one (import-linter holds that).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import ArrayLike

from model.errors import PredictionError
from model.pictures import Image, Pictures
from model.tracks import Points, Track
from studio_node.hooks import load_hook

ENTRY_POINTS = "fedroto.trackers"
OwnTracker = Callable[[Sequence[Image], Points], ArrayLike]
"""Carries an outline [M, 2] (plate pixels, the first pixel's centre at 0.5, 0.5) through F pictures [H, W, 3] (RGB, 8
bit): returns [F, M, 2], one outline for each picture, the first as given."""


class SpanPictures(Sequence[Image]):
    """The pictures of a span, in the order of tracking, read when they are asked for."""

    def __init__(self, pictures: Pictures, order: list[int]) -> None:
        self._pictures, self._order = pictures, order

    def __len__(self) -> int:
        return len(self._order)

    @overload
    def __getitem__(self, index: int) -> Image: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Image]: ...
    def __getitem__(self, index: int | slice) -> Image | Sequence[Image]:
        if isinstance(index, slice):
            return SpanPictures(self._pictures, self._order[index])
        return self._pictures.colour(self._order[index])


@dataclass(frozen=True)
class TrackerChain:
    """A studio's tracker as ``model.tracks`` runs trackers: from each key to the other, where its miss is measured."""

    name: str
    track: OwnTracker

    def __call__(self, pictures: Pictures, order: list[int], start: Points) -> Track:
        """Carry an outline along frames whose pictures exist.

        Raises:
            PredictionError: the tracker failed, or returned something else than outlines.
        """
        try:
            found = np.array(self.track(SpanPictures(pictures, order), start.copy()), np.float64)
        except Exception as error:
            raise PredictionError(
                f"the tracker '{self.name}' failed on frames {order[0]} to {order[-1]}: "
                f"{type(error).__name__}: {error}"
            ) from error
        wanted = (len(order), *start.shape)
        if found.shape != wanted or not np.isfinite(found).all():
            raise PredictionError(
                f"the tracker '{self.name}' returned {found.shape}, wanted finite {wanted}: an outline per picture"
            )
        found[0] = start
        return Track(found, np.zeros(wanted[:2]))


def load_tracker(name: str) -> TrackerChain:
    """Find a tracker by its entry point's name (group ``fedroto.trackers``) or as ``module:function``.

    Raises:
        IngestError: there is none, or it cannot be imported.
    """
    return TrackerChain(name, load_hook(name, ENTRY_POINTS, "tracker"))
