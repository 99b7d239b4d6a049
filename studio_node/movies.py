"""A movie file as numbered pictures, through OpenCV: 8 bits a channel, whatever the codec holds.

The first picture is frame 1, as a compositing program counts, unless somebody says otherwise. Pictures are reached by
decoding forward only: seeking lands beside the frame asked for with some codecs, and nothing would say so.
"""

from __future__ import annotations

import threading
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from model.errors import PlateError

MOVIE_EXTENSIONS = frozenset({".mov", ".mp4", ".m4v", ".mkv", ".avi", ".mxf", ".webm"})
FIRST_FRAME = 1


def is_movie(path: Path) -> bool:
    """Whether a file's name says that it is a movie."""
    return path.suffix.lower() in MOVIE_EXTENSIONS


class Movie:
    """An open movie; may be read from several threads.

    Attributes:
        width: pixels, after the rotation that the file asks for.
        height: pixels.
        pictures: how many the file says it holds.
    """

    def __init__(self, path: Path) -> None:
        """Open a movie and read its first picture.

        Raises:
            PlateError: it cannot be opened, or holds no picture.
        """
        self._path = path
        self._lock = threading.Lock()
        self._capture = self._opened()
        self._next = 0
        self.pictures = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        if self.pictures < 1:
            raise PlateError(
                f"{path.name} does not say how many pictures it holds; write it as numbered pictures"
            )
        self.height, self.width = self.read(0).shape[:2]

    def read(self, index: int) -> NDArray[np.uint8]:
        """Return a picture, uint8 RGB [H, W, 3].

        Args:
            index: 0 for the first.

        Raises:
            PlateError: it cannot be decoded, or the movie ends before it.
        """
        with self._lock:
            if index < self._next:
                self._capture.release()
                self._capture, self._next = self._opened(), 0
            while self._next <= index:
                if not self._capture.grab():
                    raise PlateError(f"{self._path.name} ends or breaks after {self._next} pictures")
                self._next += 1
            good, picture = self._capture.retrieve()
        if not good or picture.ndim != 3:
            raise PlateError(f"picture {index + 1} of {self._path.name} cannot be decoded")
        return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)

    def _opened(self) -> cv2.VideoCapture:
        capture = cv2.VideoCapture(str(self._path), cv2.CAP_FFMPEG)
        if not capture.isOpened():
            raise PlateError(f"{self._path.name} cannot be opened as a movie; it may be cut short")
        return capture
