"""JPEG proxies of the plate for the page, made behind the artist's back and kept in the desk's own folder only.

The page shows proxies; predictions always see the plate itself. A proxy's name holds its source's time and size
and its colour space, so a plate that was rendered again or is read otherwise is never shown as it was.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from federation.durable import make_private_dir, write_atomic
from model.errors import PlateError
from studio_node.desk.background import step_back
from studio_node.plates import PlateSequence

PROXY_SIDE_MAX: Final = 2048
"""Plates wider or higher than this are shown reduced while they play, and whole when the picture stands still."""
QUALITY: Final = 90
QUALITY_WHOLE: Final = 95
NEAR: Final = 4
"""Frames on either side of the artist's that come before all others."""


class Proxies:
    """The proxies of one plate, and the thread that makes them from where the artist looks outwards."""

    def __init__(
        self, plate: PlateSequence, folder: Path, needed: Callable[[], Iterable[int]] = lambda: ()
    ) -> None:
        """Begin with what the folder holds already.

        Args:
            plate: where the pictures come from.
            folder: private folder for the files.
            needed: frames that the prediction will ask for next: read here, they are in memory when it does.

        Raises:
            FedrotoError: the disk refused.
        """
        make_private_dir(folder)
        self._plate, self._folder, self._needed = plate, folder, needed
        longest = max(plate.width, plate.height)
        self.factor = min(1.0, PROXY_SIDE_MAX / longest)
        self._focus = plate.first_frame
        self._made: set[int] = set()
        self._missing: set[int] = set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="desk-proxies", daemon=True)

    def start(self) -> None:
        """Begin to make proxies."""
        self._thread.start()

    def stop(self) -> None:
        """Stop after the frame in hand."""
        self._stopping.set()
        self._thread.join(30.0)

    def look_at(self, frame: int) -> None:
        """Make proxies around this frame first."""
        self._focus = frame

    @property
    def done(self) -> int:
        """How many frames have a proxy or turned out to be missing."""
        return len(self._made) + len(self._missing)

    def jpeg(self, frame: int, *, whole: bool = False) -> bytes | None:
        """The proxy of a frame, made now if it is not there; None where the plate has no picture.

        Args:
            frame: a plate frame.
            whole: at the plate's own size and finer quality.

        Raises:
            PlateError: the frame lies outside the plate.
        """
        if not self._plate.first_frame <= frame <= self._plate.last_frame:
            raise PlateError(
                f"frame {frame} is outside the plate {self._plate.first_frame}-{self._plate.last_frame}"
            )
        source = self._plate.files.files.get(frame)
        if source is None:
            self._missing.add(frame)
            return None
        path = self._folder / self._name(source, frame, whole=whole)
        if path.exists():
            if not whole:
                self._made.add(frame)
            return path.read_bytes()
        picture = self._plate.working(frame)
        if picture is None:
            self._missing.add(frame)
            return None
        data = _encoded(picture, 1.0 if whole else self.factor, QUALITY_WHOLE if whole else QUALITY)
        write_atomic(path, data, 0o600)
        if not whole:
            self._made.add(frame)
        return data

    def _name(self, source: Path, frame: int, *, whole: bool) -> str:
        facts = source.stat()
        identity = f"{source.resolve()}|{facts.st_mtime_ns}|{facts.st_size}|{self._plate.colour_space}"
        return f"{frame}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}{'-whole' if whole else ''}.jpg"

    def _work(self) -> None:
        step_back()
        while not self._stopping.is_set():
            frame = self._next()
            if frame is None:
                self._stopping.wait(1.0)
                continue
            try:
                self.jpeg(frame)
            except Exception:  # one bad frame must not end the others; asked for by name it tells why
                self._missing.add(frame)

    def _next(self) -> int | None:
        frames = range(self._plate.first_frame, self._plate.last_frame + 1)
        known = self._made | self._missing
        nearest = min((f for f in frames if f not in known), key=lambda f: abs(f - self._focus), default=None)
        if nearest is None or abs(nearest - self._focus) <= NEAR:
            return nearest
        return next((f for f in self._needed() if f in frames and f not in known), nearest)


def _encoded(picture: NDArray[np.uint8], factor: float, quality: int) -> bytes:
    if factor < 1.0:
        size = (round(picture.shape[1] * factor), round(picture.shape[0] * factor))
        picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    done, data = cv2.imencode(
        ".jpg", np.ascontiguousarray(picture[:, :, ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    if not done:
        raise PlateError("the picture cannot be written as a JPEG proxy")
    return data.tobytes()
