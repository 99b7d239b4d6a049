"""The plate of one shot as a source of working images, read frame by frame, whatever is broken about it.

A frame that is missing or damaged is reported once and counts as missing: trackers and the network then go on without
picture evidence there. Frames of different sizes are an error: shapes live in the pixels of one display window.

**Exposure.** Scene-linear plates are brought to working images with one exposure for the whole shot, computed from
at most ``EXPOSURE_FRAMES`` evenly spaced readable frames of this shot and of nothing else: a shot's training windows
may depend on that shot only (the privacy unit), and an exposure per frame would make the picture flicker.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.errors import PlateError
from model.working import to_working
from studio_node.pictures import PictureHeader, read_header, read_pixels, set_read_threads
from studio_node.sequences import FileSequence, describe_frames, find_sequence

EXPOSURE_FRAMES = 5
MIDDLE_GREY = 0.18
EXPOSURE_MAX = 12.0
"""Most stops, up or down, that a plate is brought to middle grey by."""
CACHE_BYTES = 256 * 2**20


@dataclass(frozen=True)
class FrameProblem:
    """A frame that cannot be used, and why."""

    frame: int
    reason: str

    def __str__(self) -> str:
        return f"frame {self.frame}: {self.reason}"


class PlateSequence:
    """The frames of one shot on disk; a ``model.frames.FrameSource``.

    Attributes:
        files: the files behind it.
        width: of the display window, pixels; the same on every frame.
        height: of the display window, pixels.
        linear: True where the files hold scene-linear light.
    """

    def __init__(self, files: FileSequence, *, cache_bytes: int = CACHE_BYTES, read_threads: int = 1) -> None:
        """Read the headers of all files.

        Args:
            files: the plate's files.
            cache_bytes: most bytes of working images that are kept; at least one image always is.
            read_threads: threads that one read may use in this process (workers of a pool want 1).

        Raises:
            PlateError: no file is readable, or sizes or kinds differ (says on which frames).
        """
        set_read_threads(read_threads)
        self.files = files
        self._problems: dict[int, str] = {frame: "there is no file" for frame in files.missing}
        header = self._one_header()
        self.width, self.height, self.linear = header.width, header.height, header.linear
        self._cache: OrderedDict[int, NDArray[np.uint8]] = OrderedDict()
        self._cache_frames = max(1, cache_bytes // (3 * self.width * self.height))
        self._exposure: float | None = None
        self._lock = threading.RLock()

    @classmethod
    def open(
        cls,
        plate: str | Path,
        *,
        first_frame: int | None = None,
        last_frame: int | None = None,
        **options: Any,
    ) -> PlateSequence:
        """Open the plate that a pattern, folder or file stands for (see ``find_sequence``).

        Raises:
            PlateError: as ``find_sequence`` and the constructor.
        """
        return cls(find_sequence(plate, first_frame=first_frame, last_frame=last_frame), **options)

    @property
    def first_frame(self) -> int:
        """First plate frame, inclusive."""
        return self.files.first_frame

    @property
    def last_frame(self) -> int:
        """Last plate frame, inclusive."""
        return self.files.last_frame

    @property
    def problems(self) -> tuple[FrameProblem, ...]:
        """Every frame known to be missing or damaged so far; damaged pixels show only once a frame has been read."""
        return tuple(FrameProblem(frame, reason) for frame, reason in sorted(self._problems.items()))

    @property
    def exposure(self) -> float:
        """Stops that bring the shot's median luminance to middle grey; 0 for plates that are not scene-linear."""
        with self._lock:
            if self._exposure is None:
                self._exposure = self._measure_exposure() if self.linear else 0.0
            return self._exposure

    def working(self, frame: int) -> NDArray[np.uint8] | None:
        """Return the working image of a frame.

        Integer files (PNG, JPEG, DPX) pass through as 8 bits; scene-linear ones are log-compressed at the shot's
        exposure.

        Returns:
            uint8 [H, W, 3], read-only; None where the frame is missing or damaged (see ``problems``).

        Raises:
            PlateError: the frame lies outside the plate.
        """
        if not self.first_frame <= frame <= self.last_frame:
            raise PlateError(
                f"frame {frame} is outside the plate {self.first_frame}-{self.last_frame}; ask for a frame of the shot"
            )
        with self._lock:
            if frame in self._cache:
                self._cache.move_to_end(frame)
                return self._cache[frame]
            exposure = self.exposure
        # Not under the lock: the desk reads for its page and for its prediction on two threads at once.
        pixels = self._pixels(frame)
        if pixels is None:
            return None
        image = to_working(pixels, exposure) if self.linear else pixels
        image.setflags(write=False)  # shared by everybody who asks for the frame
        with self._lock:
            self._cache[frame] = image
            while len(self._cache) > self._cache_frames:
                self._cache.popitem(last=False)
            return image

    def _pixels(self, frame: int) -> NDArray[Any] | None:
        if frame in self._problems:
            return None
        try:
            header, pixels = read_pixels(self.files.files[frame])
        except PlateError as error:
            self._problems[frame] = str(error)
            return None
        if (header.width, header.height, header.linear) != (self.width, self.height, self.linear):
            self._problems[frame] = "the file changed while it was read"
            return None
        return pixels

    def _one_header(self) -> PictureHeader:
        kinds: dict[tuple[int, int, bool], list[int]] = {}
        header = None
        for frame, path in sorted(self.files.files.items()):
            try:
                found = read_header(path)
            except PlateError as error:
                self._problems[frame] = str(error)
                continue
            header = header or found
            kinds.setdefault((found.width, found.height, found.linear), []).append(frame)
        if header is None:
            first = min(self.files.files)
            raise PlateError(
                f"no frame of {self.files.pattern} can be read; frame {first}: {self._problems[first]}"
            )
        if len(kinds) > 1:
            listed = "; ".join(
                f"{width}x{height} {'float' if linear else 'integer'} on {describe_frames(frames)}"
                for (width, height, linear), frames in sorted(kinds.items())
            )
            raise PlateError(
                f"{self.files.pattern} mixes pictures: {listed}; give one plate of one resolution"
            )
        return header

    def _measure_exposure(self) -> float:
        readable = [frame for frame in sorted(self.files.files) if frame not in self._problems]
        picks = np.unique(np.linspace(0, len(readable) - 1, EXPOSURE_FRAMES).round().astype(int))
        medians = []
        for pick in picks:
            pixels = self._pixels(readable[pick])
            if pixels is None:
                continue
            luminance = pixels[::4, ::4] @ np.array([0.2126, 0.7152, 0.0722], np.float32)
            lit = luminance[luminance > 0]
            if lit.size:
                medians.append(float(np.median(lit)))
        if not medians:
            return 0.0
        return float(np.clip(np.log2(MIDDLE_GREY / np.median(medians)), -EXPOSURE_MAX, EXPOSURE_MAX))
