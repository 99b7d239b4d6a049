"""The product's prediction in the form that the real-clip evaluation calls.

From the project's root, with the evaluation scripts and the clips at hand::

    PYTHONPATH=. python EVAL/eval_baselines.py CLIPS --predictor benchmarks.real_clips:predict --gaps 5,10,20

``FEDROTO_WEIGHTS`` names another weights file than the shipped base.
"""

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from model.frames import ArrayFrames
from model.network import RotoModel
from model.pictures import Pictures
from model.predict import SpanMemory, predict_outline
from model.weights import base_path, load

CACHE_BYTES = 2 * 2**30


class _Clip:
    """The caches of the clip asked for last; it holds the frames, so that their identity cannot be reused."""

    def __init__(self, frames: Sequence[NDArray[np.uint8]]) -> None:
        self.frames = frames
        colour = [np.ascontiguousarray(frame[..., ::-1]) for frame in frames]
        self.pictures = Pictures(ArrayFrames(colour), cache_bytes=CACHE_BYTES)
        self.memory = SpanMemory(spans_max=1024)


_clip: _Clip | None = None


@lru_cache(maxsize=1)
def model() -> RotoModel:
    """The model under test."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    return RotoModel.from_tensors(load(Path(os.environ.get("FEDROTO_WEIGHTS") or base_path())).tensors)


def clip_of(frames: Sequence[NDArray[np.uint8]]) -> _Clip:
    """The caches of these frames; the same list again means the same clip."""
    global _clip
    kept = _clip
    if kept is None or [id(frame) for frame in kept.frames] != [id(frame) for frame in frames]:
        kept = _clip = _Clip(list(frames))
    return kept


def predict(
    frames: Sequence[NDArray[np.uint8]], keys: NDArray[np.int64], key_points: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Predict all frames of a clip.

    Args:
        frames: BGR, the whole clip.
        keys: indices of the keys; the first and last frame are keys.
        key_points: [K, N, 2], pixel CENTRES at integers, unlike everywhere else in the product.

    Returns:
        [T, N, 2] in the same convention.
    """
    clip = clip_of(frames)
    found = predict_outline(model(), clip.pictures, keys, np.asarray(key_points) + 0.5, memory=clip.memory)
    return found.points - 0.5
