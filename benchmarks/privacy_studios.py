"""The three studios of the trade-off benchmark: made-up shots of kinds that pretraining never saw, cut and kept.

Each studio has its own kind: strong blur and speed; outlines that the artist always draws outside of the edge; surfaces
that turn under their outlines. Pretraining knows none of the three. One window a shot, so that many shots are cheap.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Final

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

from model.losses import window_loss
from model.network import EvidenceTensors, Fusion, RotoModel
from model.pretrain import shot_windows
from model.procedural import ProceduralShot, make_shot
from model.procedural_settings import ShotSettings
from model.weights import base_path, load
from model.windows import Window

POOL, HELD_OUT = 1000, 64
"""Shots of a studio that are trained on, at most, and that are measured on."""
TOGETHER: Final = 8
"""Shots in one file of the scratch folder: what a stopped run loses at most."""
TOLERANCE: Final = 1.0
"""Miss across the contour, % of the outline's size, up to which a frame counts as needing no key."""
SIZE: Final = {"width": 160, "height": 120, "frames": 13, "size": (0.4, 0.6), "parts_chance": 0.0}
STUDIOS: Final = {
    "swift": ShotSettings(**SIZE, motion=2.4, blur_chance=1.0, shutter=0.9),
    "outside": ShotSettings(**SIZE, offset_px=3.0, contrast=0.4, grain=0.05),
    "turning": ShotSettings(**SIZE, turning=1.0, deformation=3.0),
}
Shots = list[list[Window]]


@dataclass(frozen=True)
class Measured:
    """One held-out shot: training loss, mean miss across the contour (% of the outline's size), % of frames within."""

    loss: float
    across: float
    within: float


def base_model(work: Path) -> tuple[RotoModel, str]:
    """The base weights of this scratch folder and their SHA-256: those that shipped when it was first used."""
    kept = work / "base.safetensors"
    if not kept.exists():
        work.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(base_path(), kept)
    return RotoModel.from_tensors(load(kept).tensors), hashlib.sha256(kept.read_bytes()).hexdigest()


def made_up(seed: int, studio: str, number: int) -> tuple[ProceduralShot, np.random.Generator]:
    """A studio's shot, and the generator from which its windows are cut."""
    rng = np.random.default_rng([*b"fedroto privacy", seed, list(STUDIOS).index(studio), number])
    return make_shot(rng, STUDIOS[studio]), rng


@dataclass(frozen=True)
class ShotsFile:
    """Some of a studio's shots in a scratch folder, cut into windows once."""

    work: Path
    seed: int
    studio: str
    first: int

    @property
    def path(self) -> Path:
        """Where they are kept."""
        return self.work / f"windows-{self.seed}-{self.studio}-{self.first:04d}.safetensors"

    def make(self) -> None:
        """Draw the shots and cut their windows, unless that was done."""
        if self.path.exists():
            return
        model, _ = base_model(self.work)
        tensors: dict[str, np.ndarray] = {}
        for number in range(self.first, self.first + TOGETHER):
            shot, rng = made_up(self.seed, self.studio, number)
            for index, window in enumerate(shot_windows(shot, rng, matcher=model.matcher, per_shape=1)):
                named = window.to_tensors().items()
                tensors |= {f"{number}/{index}/{name}": array for name, array in named}
        partial = self.path.with_suffix(f".{os.getpid()}.partial")
        save_file(tensors, partial)
        partial.rename(self.path)

    def read(self) -> Shots:
        """The shots, each the list of its windows."""
        grouped: dict[int, dict[int, dict[str, np.ndarray]]] = {}
        for name, array in load_file(self.path).items():
            number, index, kind = name.split("/")
            grouped.setdefault(int(number), {}).setdefault(int(index), {})[kind] = array
        return [[Window.from_tensors(one[i]) for i in sorted(one)] for _, one in sorted(grouped.items())]


def shots_files(work: Path, seed: int, pool: int) -> list[ShotsFile]:
    """The files of a seed, studio by studio in turn, so that studios grow alike; ``pool`` in whole `TOGETHER`s."""
    firsts = range(0, HELD_OUT + pool, TOGETHER)
    return [ShotsFile(work, seed, studio, first) for first in firsts for studio in STUDIOS]


def studio_shots(work: Path, seed: int) -> dict[str, tuple[Shots, Shots]]:
    """(Held out, trained on) shots of every studio: as many as have been made for all of them."""
    whole = takewhile(lambda file: file.path.exists(), shots_files(work, seed, POOL))
    made: dict[str, Shots] = {studio: [] for studio in STUDIOS}
    for file in whole:
        made[file.studio] += file.read()
    count = min(len(shots) for shots in made.values())
    return {studio: (shots[:HELD_OUT], shots[HELD_OUT:count]) for studio, shots in made.items()}


def across_miss(points: np.ndarray, truth: np.ndarray) -> float:
    """Mean distance across the contour between matching points [T, M, 2]."""
    tangent = np.roll(truth, -1, axis=1) - np.roll(truth, 1, axis=1)
    tangent = tangent / (np.linalg.norm(tangent, axis=-1, keepdims=True) + 1e-6)
    miss = points - truth
    return float(np.abs(miss[..., 1] * tangent[..., 0] - miss[..., 0] * tangent[..., 1]).mean())


def measured(fusion: Fusion, shots: Shots) -> list[Measured]:
    """Measure a network shot by shot."""
    found = []
    with torch.no_grad():
        for windows in shots:
            misses = []
            for window in windows:
                points = fusion(EvidenceTensors.stack([window.evidence])).points[0].numpy()
                frames = zip(points, window.truth, strict=True)
                misses.append([100 * across_miss(p[None], t[None]) for p, t in frames])
            every = np.concatenate(misses)
            across = float(np.mean([np.mean(row) for row in misses]))
            within = 100 * float((every <= TOLERANCE).mean())
            found.append(Measured(float(window_loss(fusion, windows)), across, within))
    return found
