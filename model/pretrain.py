"""Public pretraining: base weights from procedural shots alone, the same for the same seed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final, Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from model.curves import outline
from model.evidence import CANDIDATES, Float32, column
from model.frames import ArrayFrames
from model.losses import window_loss
from model.matcher import Matcher
from model.network import Fusion, RotoModel
from model.procedural import ProceduralShot, make_shot
from model.procedural_settings import ShotSettings
from model.threads import one_thread
from model.training_work import TrainingState, TrainingWork
from model.weights import pack, save
from model.windows import WINDOW_POINTS, Window, cut_windows, resample_circular
from model.working import to_working

SEED_ROOM: Final = "fedroto pretraining"
"""Mixed into every seed here; the public benchmark mixes in another word, so their shots never coincide."""
SHOT_FRAMES: Final = 29
WINDOWS_PER_SHAPE: Final = 3
BATCH: Final = 8
CHECKPOINT_STEPS: Final = 50
CURVE_PARTS: Final = 40
LEARNING_RATE: Final = 2e-3
WEIGHT_DECAY: Final = 1e-2
CAUTION: Final = 3.0
"""Without it the network learns from invented, smooth motion to trust interpolation, and loses on real plates what
the hand blend had."""
MATCHES: Final = [column("match_left"), column("match_right")]
Progress = Callable[[str, int, int], None]
"""Called with the stage ("shots" or "steps"), how many are done and how many there are."""
Spread = Callable[[Callable[[int], list[Window]], Iterable[int]], Iterable[list[Window]]]


@dataclass(frozen=True)
class PretrainReport:
    """What a pretraining made.

    Attributes:
        shots, windows, steps: counts.
        loss: mean over the last tenth of the steps.
        curve: mean loss over each of up to `CURVE_PARTS` equal parts of the steps, in order.
    """

    shots: int
    windows: int
    steps: int
    loss: float
    curve: tuple[float, ...]


def pretrain(
    out_path: Path,
    seed: int,
    *,
    steps: int = 200,
    shots: int = 20,
    matcher: Matcher | Literal["shipped"] | None = "shipped",
    work: Path | None = None,
    progress: Progress | None = None,
    spread: Spread = map,
) -> PretrainReport:
    """Make the base weights: a fusion network from nothing, on top of a frozen matcher.

    The matcher has its own, longer pretraining (``python -m model.matcher_training``). About 4 CPU-seconds per shot
    (1.5 without a matcher) and 0.1 per step.

    Args:
        out_path: the safetensors file to write.
        seed: chooses shots, first weights and order; the same seed gives the same weights.
        steps: optimiser steps.
        shots: procedural shots.
        matcher: the frozen matcher whose candidates the network learns to weigh, stored in the file too; the one
            that ships with the package unless another, or none, is given.
        work: folder that keeps what was done, so that a pretraining that was stopped goes on to the same weights; it
            is emptied at the end. None keeps nothing.
        progress: told after every shot and every step.
        spread: makes the windows of each shot; like `map`, but it may share the work between processes.

    Raises:
        WeightsError: the folder holds another pretraining.
    """
    if matcher == "shipped":
        matcher = RotoModel.base().matcher
    note = {"kind": "base", "seed": str(seed), "shots": str(shots), "steps": str(steps), "data": "procedural"}
    kept = None if work is None else TrainingWork(work, _recipe(note, matcher))
    held = {} if kept is None else {i: w for i in range(shots) if (w := kept.windows(f"{i:04d}")) is not None}
    fresh = iter(spread(partial(training_windows, seed, matcher), (i for i in range(shots) if i not in held)))
    windows: list[Window] = []
    for index in range(shots):
        made = held.get(index)
        if made is None:
            made = next(fresh)
            if kept is not None:
                kept.keep_windows(f"{index:04d}", made)
        windows.extend(made)
        if progress is not None:
            progress("shots", index + 1, shots)
    fusion, losses = train(windows, seed, steps=steps, work=kept, progress=progress)
    save(out_path, RotoModel(fusion, matcher).to_tensors(), note)
    if kept is not None:
        kept.finish()
    parts = np.array_split(np.array(losses), min(CURVE_PARTS, steps))
    last = float(np.mean(losses[-max(1, steps // 10) :]))
    return PretrainReport(shots, len(windows), steps, last, tuple(float(part.mean()) for part in parts))


@one_thread()
def training_windows(seed: int, matcher: Matcher | None, index: int) -> list[Window]:
    """The windows of one pretraining shot, the same however many there are and on however many cores."""
    rng = np.random.default_rng([*SEED_ROOM.encode(), seed, index])
    shot = make_shot(rng, random_settings(rng))
    return shot_windows(shot, rng, matcher=matcher)


def _recipe(note: Mapping[str, str], matcher: Matcher | None) -> str:
    digest = None if matcher is None else hashlib.sha256(pack(matcher).tobytes()).hexdigest()[:16]
    return json.dumps({**note, "matcher": digest, "torch": torch.__version__}, sort_keys=True)


def random_settings(rng: np.random.Generator) -> ShotSettings:
    """A kind of shot; figures of 100 to 220 pixels: on smaller ones trackers are noisier than on real plates."""
    return ShotSettings(
        width=int(rng.integers(352, 449)),
        height=int(rng.integers(264, 337)),
        frames=SHOT_FRAMES,
        figures=int(rng.choice([1, 2], p=[0.85, 0.15])),
        size=(0.4, 0.7),
        motion=float(rng.choice([0.5, 1.0, 1.6])),
        deformation=float(rng.choice([0.3, 1.0, 2.5, 4.0])),
        contrast=float(rng.uniform(0.5, 1.3)),
        grain=float(rng.choice([0.002, 0.01, 0.03])),
    )


def shot_windows(
    shot: ProceduralShot,
    rng: np.random.Generator,
    *,
    matcher: Matcher | None = None,
    per_shape: int = WINDOWS_PER_SHAPE,
) -> list[Window]:
    """Cut windows out of every shape of a shot, seen through a codec and drawn by an unsteady hand."""
    quality = int(rng.integers(40, 98)) if rng.random() < 0.5 else None
    pictures = ArrayFrames(
        [_through_codec(to_working(f), quality) for f in shot.frames], first_frame=shot.first_frame
    )
    windows: list[Window] = []
    for truth in shot.truth:
        samples = resample_circular(outline(truth, "bezier", True, 16), WINDOW_POINTS)
        drawn = unsteady_hand(rng, samples)
        visible = seen_share(samples, pictures.width, pictures.height) > 0.25
        windows.extend(
            cut_windows(
                pictures, drawn, visible.astype(np.float32), matcher=matcher, rng=rng, count=per_shape
            )
        )
    return windows


def unsteady_hand(rng: np.random.Generator, samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """Move outlines [T, M, 2] as an artist or a computed outline does: a little off, and slipping along the contour."""
    frames, count = samples.shape[:2]
    size = np.sqrt(np.ptp(samples, axis=1).prod(axis=1)).mean()
    off = rng.choice([0.0, 0.001, 0.002]) * size
    slip = rng.choice([0.0, 0.002, 0.004]) * size
    line = np.roll(samples, -1, axis=1) - np.roll(samples, 1, axis=1)
    line /= np.linalg.norm(line, axis=-1, keepdims=True) + 1e-9
    across = np.stack([-line[..., 1], line[..., 0]], axis=-1)
    noise = rng.standard_normal((2, frames, count))
    for _ in range(3):
        noise = (np.roll(noise, 1, 2) + noise + np.roll(noise, -1, 2)) / np.sqrt(3)
    noise /= noise.std() + 1e-9
    return np.asarray(samples + off * noise[0, ..., None] * across + slip * noise[1, ..., None] * line)


def seen_share(samples: NDArray[np.float64], width: int, height: int) -> NDArray[np.float64]:
    """Share [T] of an outline's samples that lie in the picture."""
    inside = (samples >= 0).all(axis=-1) & (samples[..., 0] <= width) & (samples[..., 1] <= height)
    return np.asarray(inside.mean(axis=1))


@one_thread()
def train(
    windows: list[Window],
    seed: int,
    *,
    steps: int,
    work: TrainingWork | None = None,
    progress: Progress | None = None,
) -> tuple[Fusion, list[float]]:
    """Train a fresh fusion network on windows: AdamW, one-cycle, candidates left out at random.

    Returns:
        The network and the loss of every step.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng([*SEED_ROOM.encode(), seed, 2**31])
    state = TrainingState(Fusion().train(), rng, rate=LEARNING_RATE, decay=WEIGHT_DECAY, steps=steps)
    if work is not None:
        work.resume(state)
    lengths = np.array([len(window.weight) for window in windows])
    while len(state.losses) < steps:
        batch = [roughened(windows[int(i)], rng) for i in like_lengths(lengths, rng)]
        state.learn(window_loss(state.fusion, batch, caution=CAUTION))
        done = len(state.losses)
        if work is not None and done % CHECKPOINT_STEPS == 0:
            work.keep_state(state)
        if progress is not None:
            progress("steps", done, steps)
    return state.fusion.eval(), state.losses


def like_lengths(lengths: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Choose a batch of spans of like length, so that little of it is padding: indices into ``lengths``."""
    count = len(lengths)
    near = np.argsort(np.abs(lengths - lengths[rng.integers(count)]) + rng.uniform(0, 2, count))
    return np.asarray(rng.choice(near[: 8 * BATCH], min(BATCH, count), replace=False))


def reversed_window(window: Window) -> Window:
    """The same window with its outline drawn the other way round."""
    flipped: dict[str, Float32] = {}
    for name, array in window.to_tensors().items():
        axis = {"miss": 0, "time": None, "available": None, "context": None, "weight": None}.get(name, 1)
        flipped[name] = array if axis is None else np.ascontiguousarray(np.flip(array, axis))
    return Window.from_tensors(flipped)


def roughened(window: Window, rng: np.random.Generator) -> Window:
    """A window as another plate might have given it: contrast, the matcher's modesty and the trackers at hand vary.

    Procedural textures have their own contrast and the matcher knows their kind too well; a network that relies on
    either loses on real plates.
    """
    window = reversed_window(window) if rng.random() < 0.5 else window
    evidence = window.evidence
    appearance = np.clip(evidence.appearance * np.exp(0.4 * rng.standard_normal()), 0, 1).astype(np.float32)
    log_scale = evidence.log_scale.copy()
    log_scale[:, :, MATCHES] += np.float32(0.3 * rng.standard_normal())
    available: Float32 = evidence.available.copy()
    if rng.random() < 0.5:
        family = str(rng.choice(["lk", "dis", "planar", "match", "rigid"], p=[0.15, 0.15, 0.25, 0.2, 0.25]))
        available[:, [name.startswith(family) for name in CANDIDATES]] = 0.0
    return replace(
        window, evidence=replace(evidence, appearance=appearance, log_scale=log_scale, available=available)
    )


def _through_codec(image: NDArray[np.uint8], quality: int | None) -> NDArray[np.uint8]:
    if quality is None:
        return image
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
