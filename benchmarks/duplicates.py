"""How sure a re-delivered shot is found by what it looks like, and how far apart different shots are.

    python -m benchmarks.duplicates CLIPS [--every 4]

CLIPS holds a folder of numbered pictures a clip. Every frame is changed as deliveries are (size, grade, codec, curve,
crop) and looked for among the frames of its own clip; the most alike frames of two different clips tell the margin.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from studio_node.fingerprints import ALIKE_MIN, BITS_MAX, Hashes, frame_hashes

Picture = NDArray[np.uint8]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clips", type=Path)
    parser.add_argument("--every", type=int, default=4, help="look at one frame in so many")
    given = parser.parse_args()
    clips = {
        folder.name: _pictures(folder, given.every)
        for folder in sorted(given.clips.iterdir())
        if folder.is_dir()
    }
    known = {
        name: np.array([frame_hashes(picture) for picture in pictures]) for name, pictures in clips.items()
    }
    nearest = min(int(_apart(a, b).min()) for a, b in itertools.combinations(known.values(), 2))
    print(
        f"{len(clips)} clips; the most alike frames of two different ones are {nearest} bits apart (limit {BITS_MAX})"
    )
    print("change                    frames found   clips found")
    for what, change in CHANGES.items():
        found = {
            name: np.array([_found(change(picture), known[name]) for picture in pictures])
            for name, pictures in clips.items()
        }
        frames = np.concatenate(list(found.values())).mean()
        whole = sum(bool(hits.mean() >= ALIKE_MIN) for hits in found.values())
        print(f"{what:24} {frames:13.0%} {whole:13}", flush=True)


def _pictures(folder: Path, every: int) -> list[Picture]:
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() == ".jpg")[::every]
    return [cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB) for path in paths]


def _apart(one: Hashes, other: Hashes) -> NDArray[np.uint8]:
    return np.bitwise_count(one.reshape(-1, 1) ^ other.reshape(1, -1))


def _found(picture: Picture, known: Hashes) -> bool:
    return bool((_apart(np.array(frame_hashes(picture)), known) <= BITS_MAX).any())


def _smaller(picture: Picture) -> Picture:
    return cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)


def _regraded(picture: Picture) -> Picture:
    return np.clip(picture * np.array([1.2, 1.0, 0.85]) + 8, 0, 255).astype(np.uint8)


def _recompressed(picture: Picture) -> Picture:
    coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 30])[1]
    return cv2.imdecode(coded, cv2.IMREAD_COLOR)


def _curve(code: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Callable[[Picture], Picture]:
    table = np.rint(255 * code(np.arange(256) / 255)).astype(np.uint8)
    return lambda picture: table[picture]


def _crop(part: float, *, from_left: float = 0.5, from_top: float = 0.5) -> Callable[[Picture], Picture]:
    """Take away a part of width and height; so much of it from the left and from the top."""

    def cropped(picture: Picture) -> Picture:
        height, width = picture.shape[:2]
        left, top = round(width * part * from_left), round(height * part * from_top)
        return picture[top : top + round(height * (1 - part)), left : left + round(width * (1 - part))]

    return cropped


CHANGES: dict[str, Callable[[Picture], Picture]] = {
    "half size": _smaller,
    "another grade": _regraded,
    "JPEG 30": _recompressed,
    "gamma 1.6": _curve(lambda code: code**1.6),
    "a log curve": _curve(lambda code: np.log1p(60 * code) / np.log1p(60)),
    "cropped by 2%": _crop(0.02),
    "cropped by 5%": _crop(0.05),
    "cropped by 10%": _crop(0.1),
    "cropped by 15%": _crop(0.15),
    "5% off two sides": _crop(0.05, from_left=1, from_top=1),
    "10% off two sides": _crop(0.1, from_left=1, from_top=1),
}


if __name__ == "__main__":
    main()
