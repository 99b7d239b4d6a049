"""Invented evidence and pictures for tests of the network and the prediction."""

import numpy as np
import pytest
import torch

from model.evidence import SpanEvidence, evidence_shapes
from model.windows import Window


def make_evidence(rng, frames=5, samples=64, absent=()):
    """Evidence around a circle that moves; ``absent`` candidates are not available."""
    shapes = evidence_shapes(frames, samples)
    angle = 2 * np.pi * np.arange(samples) / samples
    circle = 0.56 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    time = np.arange(1, frames + 1) / (frames + 1)
    points = circle[None, :, None] + 0.02 * rng.standard_normal(shapes["points"])
    available = np.ones(shapes["available"])
    available[:, list(absent)] = 0
    arrays = {
        "time": time,
        "points": points,
        "log_scale": rng.uniform(-5, -2, shapes["log_scale"]),
        "drift": 0.1 * rng.random(shapes["drift"]),
        "appearance": 0.2 * rng.random(shapes["appearance"]),
        "available": available,
        "miss": 0.05 * rng.random(shapes["miss"]),
        "keys": np.stack([circle - 0.05, circle + 0.05]),
        "context": np.array([frames + 1, 80.0]),
    }
    return SpanEvidence(**{name: array.astype(np.float32) for name, array in arrays.items()})


def make_window(rng, frames=5, samples=64):
    """A window around such evidence; every frame counts."""
    evidence = make_evidence(rng, frames, samples)
    truth = evidence.points.mean(axis=2) + np.float32(0.01) * rng.standard_normal((frames, samples, 2))
    return Window(evidence, truth.astype(np.float32), np.ones(frames, np.float32))


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Tiny tensors gain nothing from threads, and several test processes on few cores lose much."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def evidence_of():
    """Makes evidence: ``evidence_of(rng, frames, samples, absent)``."""
    return make_evidence


@pytest.fixture
def window_of():
    """Makes a window: ``window_of(rng, frames, samples)``."""
    return make_window


def moving_disc(frames=9, samples=48, step=(2.0, 1.0), size=96):
    """Pictures of a textured disc on a textured ground, and its outline [T, M, 2] in plate pixels."""
    rng = np.random.default_rng(5)
    ground = 0.1 * _blurred(rng.integers(0, 255, (size, size, 3))) + 40
    skin = _blurred(rng.integers(0, 255, (size, size, 3)))
    angle = 2 * np.pi * np.arange(samples) / samples
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1) * 18
    y, x = np.mgrid[0:size, 0:size] + 0.5
    pictures, outlines = [], []
    for t in range(frames):
        centre = np.array([36.0, 40.0]) + np.multiply(step, t)
        shifted = np.roll(skin, np.round(np.multiply(step, t)).astype(int)[::-1], axis=(0, 1))
        inside = ((x - centre[0]) ** 2 + (y - centre[1]) ** 2 < 18**2)[..., None]
        pictures.append(np.where(inside, shifted, ground).astype(np.uint8))
        outlines.append(circle + centre)
    return pictures, np.stack(outlines)


def _blurred(noise):
    noise = noise.astype(float)
    for _ in range(6):
        for axis in (0, 1):
            noise = (np.roll(noise, 1, axis) + 2 * noise + np.roll(noise, -1, axis)) / 4
    return np.clip((noise - noise.mean()) / noise.std() * 50 + 127, 0, 255)


@pytest.fixture(scope="session")
def disc():
    """A textured disc that moves by whole pixels: (pictures, outline [T, M, 2])."""
    return moving_disc()
