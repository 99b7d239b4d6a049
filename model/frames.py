"""Where the pictures of a shot come from, seen from the model: one working image per frame, on demand."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from model.errors import PlateError

Plate = NDArray[np.float32]
"""A scene-linear plate [H, W, 3]."""


class FrameSource(Protocol):
    """The frames of one shot, read when they are asked for.

    ``first_frame`` and ``last_frame`` are inclusive plate frame numbers; ``width`` and ``height`` are the display
    window in pixels.
    """

    @property
    def first_frame(self) -> int:
        """First plate frame, inclusive."""
        ...

    @property
    def last_frame(self) -> int:
        """Last plate frame, inclusive."""
        ...

    @property
    def width(self) -> int:
        """Width of the display window in pixels."""
        ...

    @property
    def height(self) -> int:
        """Height of the display window in pixels."""
        ...

    def working(self, frame: int) -> NDArray[np.uint8] | None:
        """The working image [H, W, 3] (RGB, display-like) of a plate frame; None where it is missing on disk."""
        ...


class ArrayFrames:
    """A frame source over arrays that are in memory already; None entries are frames that are missing."""

    def __init__(self, frames: Sequence[NDArray[np.uint8] | None], *, first_frame: int = 0) -> None:
        shapes = {frame.shape for frame in frames if frame is not None}
        if len(shapes) != 1:
            raise PlateError(
                f"frames have {len(shapes)} different sizes {sorted(shapes)[:3]}; give at least one frame and one "
                "size per shot"
            )
        shape = shapes.pop()
        if len(shape) != 3 or shape[2] != 3:
            raise PlateError(f"working images have shape {shape}; they must be [height, width, 3] RGB")
        for index, frame in enumerate(frames):
            if frame is not None and frame.dtype != np.uint8:
                raise PlateError(
                    f"frame {first_frame + index} is {frame.dtype}, not uint8; convert scene-linear plates with "
                    "model.working.to_working first"
                )
        self._frames = list(frames)
        self.first_frame = first_frame
        self.last_frame = first_frame + len(self._frames) - 1
        self.height, self.width = int(shape[0]), int(shape[1])

    def working(self, frame: int) -> NDArray[np.uint8] | None:
        """The working image of a plate frame, or None where it is missing.

        Raises:
            PlateError: the frame lies outside the shot.
        """
        if not self.first_frame <= frame <= self.last_frame:
            raise PlateError(
                f"frame {frame} is outside the plate {self.first_frame}-{self.last_frame}; ask for a frame of the shot"
            )
        return self._frames[frame - self.first_frame]
