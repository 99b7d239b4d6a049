"""The plate of one shot as a source of working images, read frame by frame, whatever is broken about it.

A frame that is missing, damaged or of another size than the plate is reported once and counts as missing: trackers and
the network then go on without picture evidence there. Where more than a few frames have another size, nobody can say
which the shapes were drawn on, and that is an error: shapes live in the pixels of one display window.

**Exposure.** Scene-linear plates are brought to working images with one exposure for the whole shot, computed from
at most ``EXPOSURE_FRAMES`` evenly spaced readable frames of this shot and of nothing else: a shot's training windows
may depend on that shot only (the privacy unit), and an exposure per frame would make the picture flicker.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.errors import PlateError
from model.working import to_working
from studio_node.movies import FIRST_FRAME, Movie
from studio_node.pictures import Develop, PictureHeader, Sample, read_header, read_pixels, set_read_threads
from studio_node.plate_colour import require_colour_space, scene_linear
from studio_node.sequences import FileSequence, describe_frames, find_sequence

EXPOSURE_FRAMES = 5
MIDDLE_GREY = 0.18
EXPOSURE_MAX = 12.0
"""Most stops, up or down, that a plate is brought to middle grey by."""
CACHE_BYTES = 256 * 2**20
STRAYS_MAX = 0.25
"""Largest part of a plate's frames that may be of another size or kind than the others."""


@dataclass(frozen=True)
class FrameProblem:
    """A frame that cannot be used, and why."""

    frame: int
    reason: str

    def __str__(self) -> str:
        return f"frame {self.frame}: {self.reason}"


@dataclass(frozen=True, order=True)
class _Kind:
    """What the pictures of one plate have in common."""

    width: int
    height: int
    linear: bool

    @classmethod
    def of(cls, header: PictureHeader) -> _Kind:
        return cls(header.width, header.height, header.linear)

    @classmethod
    def of_movie(cls, movie: Movie) -> _Kind:
        return cls(movie.width, movie.height, linear=False)

    def __str__(self) -> str:
        return f"{self.width}x{self.height} {'float' if self.linear else 'integer'}"


class PlateSequence:
    """The frames of one shot on disk; a ``model.frames.FrameSource``.

    Attributes:
        files: the files behind it.
        width: of the display window, pixels; the same on every frame.
        height: of the display window, pixels.
        linear: True where the pictures are scene-linear light: float files, or a colour space was declared.
        colour_space: what was declared, or None.
    """

    def __init__(
        self,
        files: FileSequence,
        *,
        colour_space: str | None = None,
        cache_bytes: int = CACHE_BYTES,
        read_threads: int = 1,
    ) -> None:
        """Read the headers of all files.

        Args:
            files: the plate's files.
            colour_space: what the files hold, a name of the OCIO configuration; they are then brought to scene-linear
                light. None: float files are scene-linear already, integer ones are looked at as they are.
            cache_bytes: most bytes of working images that are kept; at least one image always is.
            read_threads: threads that one read may use in this process (workers of a pool want 1).

        Raises:
            PlateError: no file is readable, sizes or kinds differ on many frames (says on which), or the colour space
                is not known.
        """
        set_read_threads(read_threads)
        if colour_space is not None:
            require_colour_space(colour_space)
        self.files = files
        self.colour_space = colour_space
        self._problems: dict[int, str] = {frame: "there is no file" for frame in files.missing}
        self._movie = None if files.movie_start is None else Movie(files.files[files.first_frame])
        self._kind = self._common_kind() if self._movie is None else _Kind.of_movie(self._movie)
        self.width, self.height = self._kind.width, self._kind.height
        self.linear = self._kind.linear or colour_space is not None
        self._cache: OrderedDict[int, NDArray[np.uint8]] = OrderedDict()
        self._cache_bytes = cache_bytes
        self._cache_frames = max(1, cache_bytes // (3 * self.width * self.height))
        self._measured: dict[int, NDArray[Any]] = {}
        self._exposure: float | None = None
        self._lock = threading.RLock()

    @classmethod
    def open(
        cls,
        plate: str | Path,
        *,
        first_frame: int | None = None,
        last_frame: int | None = None,
        movie_start: int = FIRST_FRAME,
        **options: Any,
    ) -> PlateSequence:
        """Open the plate that a pattern, folder or file stands for (see ``find_sequence``).

        Raises:
            PlateError: as ``find_sequence`` and the constructor.
        """
        files = find_sequence(plate, first_frame=first_frame, last_frame=last_frame, movie_start=movie_start)
        return cls(files, **options)

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

        Integer files (PNG, JPEG, DPX) and movies pass through as 8 bits; scene-linear pictures are log-compressed at
        the shot's exposure, which keeps what is brighter than 1.

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
        develop = partial(to_working, exposure=exposure) if self.linear else None
        measured = self._measured.pop(frame, None)
        image = self._pixels(frame, develop) if measured is None or develop is None else develop(measured)
        if image is None:
            return None
        image.setflags(write=False)  # shared by everybody who asks for the frame
        with self._lock:
            self._cache[frame] = image
            while len(self._cache) > self._cache_frames:
                self._cache.popitem(last=False)
            return image

    def _pixels(self, frame: int, develop: Develop | None = None) -> NDArray[Any] | None:
        """Read a frame [H, W, 3]: scene-linear light, float16 or (by way of a colour space) float32; or uint8.

        Scene-linear light is developed while it is read where that is asked for.
        """
        if frame in self._problems:
            return None
        try:
            if self.colour_space is None:
                return self._read(frame, develop)
            light = np.maximum(scene_linear(self._read(frame), self.colour_space), 0.0)
            return light if develop is None else develop(light)
        except PlateError as error:
            self._problems[frame] = str(error)
            return None

    def _read(self, frame: int, develop: Develop | None = None) -> NDArray[Any]:
        if self._movie is not None and self.files.movie_start is not None:
            pixels: NDArray[Any] = self._movie.read(frame - self.files.movie_start)
            return pixels if self.colour_space is None else pixels.astype(np.float32) / 255
        native: Sample = "float16" if self._kind.linear else "uint8"
        header, pixels = read_pixels(
            self.files.files[frame],
            sample=native if self.colour_space is None else "float32",
            develop=develop,
        )
        if _Kind.of(header) != self._kind:
            raise PlateError("the file changed while it was read")
        return pixels

    def _common_kind(self) -> _Kind:
        """Find out what nearly all frames are; the others count as missing."""
        kinds: dict[_Kind, list[int]] = {}
        for frame, path in sorted(self.files.files.items()):
            try:
                kinds.setdefault(_Kind.of(read_header(path)), []).append(frame)
            except PlateError as error:
                self._problems[frame] = str(error)
        if not kinds:
            first = self.files.first_frame
            raise PlateError(
                f"no frame of {self.files.pattern} can be read; frame {first}: {self._problems[first]}"
            )
        common = max(kinds, key=lambda kind: len(kinds[kind]))
        strays = {frame: kind for kind, frames in kinds.items() if kind != common for frame in frames}
        if len(strays) > STRAYS_MAX * sum(map(len, kinds.values())):
            listed = "; ".join(
                f"{kind} on {describe_frames(frames)}" for kind, frames in sorted(kinds.items())
            )
            raise PlateError(
                f"{self.files.pattern} mixes pictures: {listed}; give one plate of one resolution"
            )
        for frame, kind in strays.items():
            self._problems[frame] = f"it is {kind}, the plate is {common}"
        return common

    def _measure_exposure(self) -> float:
        readable = [frame for frame in sorted(self.files.files) if frame not in self._problems]
        picks = np.unique(np.linspace(0, len(readable) - 1, EXPOSURE_FRAMES).round().astype(int))
        medians = []
        for pick in picks:
            pixels = self._pixels(readable[pick])
            if pixels is None:
                continue
            sparse = np.maximum(pixels[::4, ::4].astype(np.float32), 0.0)
            luminance = sparse @ np.array([0.2126, 0.7152, 0.0722], np.float32)
            lit = luminance[luminance > 0]
            if lit.size:
                medians.append(float(np.median(lit)))
            if len(picks) * pixels.nbytes <= self._cache_bytes:
                self._measured[readable[pick]] = (
                    pixels  # whoever looks at the whole plate need not read it twice
                )
        if not medians:
            return 0.0
        return float(np.clip(np.log2(MIDDLE_GREY / np.median(medians)), -EXPOSURE_MAX, EXPOSURE_MAX))
