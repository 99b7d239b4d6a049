"""Views of a shot's working images that trackers share: grey, reduced, and the dense flow between neighbours.

Nothing here depends on keys or shapes, so it stays valid while an artist moves them.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from model.errors import PlateError
from model.frames import FrameSource

FLOW_SIDE_MAX: Final = 1024
"""Dense flow is computed on pictures of at most this many pixels on the long side: it carries large motion well
enough, and its cost grows with the area."""
CACHE_BYTES: Final = 384 * 2**20

Image = NDArray[np.uint8]
Flow = NDArray[np.float32]


class Pictures:
    """A frame source with a bounded memory of what was computed from it; the least recently used goes first.

    Dense flow depends on how many threads OpenCV uses; call ``cv2.setNumThreads(1)`` where results must repeat on
    another machine.
    """

    def __init__(self, frames: FrameSource, *, cache_bytes: int = CACHE_BYTES) -> None:
        self.frames = frames
        self.width, self.height = frames.width, frames.height
        self.flow_factor = min(1.0, FLOW_SIDE_MAX / max(self.width, self.height))
        self._bytes_max = cache_bytes
        self._bytes = 0
        self._kept: OrderedDict[tuple[str, int, int], Image | Flow] = OrderedDict()
        self._present: set[int] = set()
        self._missing: set[int] = set()
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._flow.setUseSpatialPropagation(True)

    def has(self, frame: int) -> bool:
        """Whether the frame's picture can be read; False outside the plate, where keys may lie all the same.

        It is read to find out, but only once: that it was there is remembered for longer than the picture.
        """
        if not self.frames.first_frame <= frame <= self.frames.last_frame:
            return False
        return frame in self._present or self._picture(frame) is not None

    def colour(self, frame: int, level: int = 0) -> Image:
        """The picture [h, w, 3] reduced ``level`` times by two (ceil), as `cv2.pyrDown` does."""
        if level:
            return _image(self._keep("colour", frame, level, lambda: self._reduce(frame, level)))
        picture = self._picture(frame)
        if picture is None:
            raise PlateError(f"frame {frame} is missing; ask has() before looking at it")
        return picture

    def grey(self, frame: int) -> Image:
        """The picture in grey [H, W]."""
        return _image(self._keep("grey", frame, 0, lambda: self._desaturate(frame)))

    def flow(self, start: int, end: int) -> Flow:
        """Dense flow [h, w, 2] from one frame to another, at ``flow_factor`` of the picture's size, in its pixels."""
        return np.asarray(self._keep("flow", start, end, lambda: self._compute_flow(start, end)), np.float32)

    def _picture(self, frame: int) -> Image | None:
        """The frame's picture, read from disk once while it stays in memory."""
        key = ("colour", frame, 0)
        if frame not in self._missing and key not in self._kept:
            picture = self.frames.working(frame)
            if picture is None:
                self._missing.add(frame)
            else:
                self._present.add(frame)
                self._remember(key, picture)
        if frame in self._missing:
            return None
        self._kept.move_to_end(key)
        return _image(self._kept[key])

    def _reduce(self, frame: int, level: int) -> Image:
        return _image(cv2.pyrDown(self.colour(frame, level - 1)))

    def _desaturate(self, frame: int) -> Image:
        return _image(cv2.cvtColor(self.colour(frame), cv2.COLOR_RGB2GRAY))

    def _compute_flow(self, start: int, end: int) -> Flow:
        first, second = self.grey(start), self.grey(end)
        if self.flow_factor < 1.0:
            size = (round(self.width * self.flow_factor), round(self.height * self.flow_factor))
            first = _image(cv2.resize(first, size, interpolation=cv2.INTER_AREA))
            second = _image(cv2.resize(second, size, interpolation=cv2.INTER_AREA))
        if min(first.shape) < 24:
            # DIS needs a few patches in each direction; a picture this small says nothing about motion anyway.
            return np.zeros((*first.shape, 2), np.float32)
        # The stubs ask for a first guess; without one DIS starts from nothing, which is what we want.
        return np.asarray(self._flow.calc(first, second, None), np.float32)  # type: ignore[call-overload]

    def _keep(self, kind: str, first: int, second: int, make: Callable[[], Image | Flow]) -> Image | Flow:
        key = (kind, first, second)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        made = make()
        self._remember(key, made)
        return made

    def _remember(self, key: tuple[str, int, int], made: Image | Flow) -> None:
        self._kept[key] = made
        self._bytes += made.nbytes
        while self._bytes > self._bytes_max and len(self._kept) > 1:
            _, dropped = self._kept.popitem(last=False)
            self._bytes -= dropped.nbytes


def _image(made: object) -> Image:
    return np.asarray(made, np.uint8)
