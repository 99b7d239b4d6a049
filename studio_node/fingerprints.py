"""What a plate looks like, in twice 63 bits a frame: finds the same shot delivered twice under two names.

Source: the DCT hash of C. Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions" (2010): a small
picture's lowest frequencies against their median. It survives another size, codec, grade or exposure; a second hash, of
the middle of the picture, lets it survive a crop too. Fingerprints say "look at these two", never "these are the same":
a person decides.
"""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from model.frames import FrameSource

Hashes = NDArray[np.uint64]
SIDE = 32
SAMPLES_A_CELL = 8
"""Of a large picture only so many rows and columns a cell are looked at: a sixth of the time, the same hash."""
FREQUENCIES = 8
VIEWS = (1.0, 0.9)
"""Parts of width and height, about the middle, that are hashed; with both, a crop of 15% is still found (measured)."""
NOTHING = np.uint64(0)
"""The hash of a frame that is missing, or has too little in it to be told from others (a fade, a blank wall)."""
NO_HASHES = np.zeros((0, len(VIEWS)), np.uint64)
"""Of a plate that was not looked at."""
CONTRAST_MIN = 4.0
"""Standard deviation of the small picture, 0 to 255, below which nothing is hashed."""
BITS_MAX = 10
"""Most bits in which two frames that are the same differ; the most alike of unrelated ones were 16 apart (measured)."""
PROBES = 8
"""Frames of a shot that are looked up among all frames of all others."""
ALIKE_MIN = 0.6
"""Part of the probes that must be found in another shot for the two to be shown to a person."""


def plate_hashes(frames: FrameSource) -> Hashes:
    """Read every frame of a plate and return its hashes [T, views]; ``NOTHING`` where there is none."""
    return np.array(
        [frame_hashes(frames.working(frame)) for frame in range(frames.first_frame, frames.last_frame + 1)],
        np.uint64,
    )


def frame_hashes(working: NDArray[np.uint8] | None) -> list[np.uint64]:
    """Hash each view of a working image; ``NOTHING`` where there is none."""
    if working is None:
        return [NOTHING] * len(VIEWS)
    step = max(1, min(working.shape[:2]) // (SAMPLES_A_CELL * SIDE))
    sparse = np.ascontiguousarray(working[::step, ::step])
    return [_hash(_middle(sparse, part)) for part in VIEWS]


def _middle(picture: NDArray[np.uint8], part: float) -> NDArray[np.uint8]:
    """The middle of a picture, ``part`` of its width and height."""
    top, left = (round(side * (1 - part) / 2) for side in picture.shape[:2])
    return picture[top : picture.shape[0] - top, left : picture.shape[1] - left]


def _hash(picture: NDArray[np.uint8]) -> np.uint64:
    small = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
    if grey.std() < CONTRAST_MIN:
        return NOTHING
    frequencies = cv2.dct(grey)[:FREQUENCIES, :FREQUENCIES].ravel()[1:]
    bits = frequencies > np.median(frequencies)
    return np.uint64(int.from_bytes(np.packbits(bits).tobytes()))


class FingerprintIndex:
    """All frames of all shots that are known, to ask which shots a new one looks like."""

    def __init__(self, known: Iterable[tuple[str, Hashes]]) -> None:
        self._shots: list[str] = []
        self._parts: list[Hashes] = []
        self._owners: list[NDArray[np.int32]] = []
        for shot, hashes in known:
            self.add(shot, hashes)

    def add(self, shot: str, hashes: Hashes) -> None:
        """Take in a shot; a shot that is known already is taken in again, for what it looks like now."""
        self._parts.append(hashes.ravel())
        self._owners.append(np.full(hashes.size, len(self._shots), np.int32))
        self._shots.append(shot)

    def like(self, shot: str, hashes: Hashes) -> dict[str, float]:
        """Return the shots other than ``shot`` that look like it, with the part of its probes found in each.

        Args:
            shot: whose hashes they are.
            hashes: of its frames, [T, views]; any view of a frame may be found in any of another.
        """
        telling = hashes[(hashes != NOTHING).any(axis=1)]
        if not len(telling) or not self._parts:
            return {}
        probes = telling[np.unique(np.linspace(0, len(telling) - 1, PROBES).round().astype(int))]
        self._parts, self._owners = [np.concatenate(self._parts)], [np.concatenate(self._owners)]
        every, owners = self._parts[0], self._owners[0]
        found = np.zeros(len(self._shots))
        for probe in probes:
            views = [np.bitwise_count(every ^ view) <= BITS_MAX for view in probe if view != NOTHING]
            near = np.logical_or.reduce(views) & (every != NOTHING)
            found[np.unique(owners[near])] += 1 / len(probes)
        alike: dict[str, float] = {}
        for index in np.flatnonzero(found >= ALIKE_MIN):
            other = self._shots[index]
            if other != shot:
                alike[other] = max(alike.get(other, 0.0), float(found[index]))
        return alike
