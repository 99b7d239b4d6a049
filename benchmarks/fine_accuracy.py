"""Fine accuracy where truth is exact: procedural plates at 2K, the artist's own Bezier points, every method.

One JSON line per clip and method: the 95th percentile of the local error (distance of outline samples from the true
outline, px), chatter (second difference in time of the control points' error, px), the share of control points that a
correction has to move (more than 1 px from their truth), and the keys that an artist sets until every frame's outline
is within 1 px on average.
"""

import argparse
import json
import time

import cv2
import numpy as np
import torch

from model.curves import CENTRE, outline
from model.evaluation import EvaluationClip
from model.frames import ArrayFrames
from model.methods import CLASSICAL, method_named
from model.metrics import chatter_px, outline_distances_px
from model.network import RotoModel
from model.pictures import Pictures
from model.played_artist import play_artist
from model.predict import SpanMemory, predict_shape
from model.procedural import make_shot, thinned
from model.procedural_settings import ShotSettings
from model.working import to_working

TOLERANCE_PX = 1.0
SAMPLES_PER_SEGMENT = 8


def settings(frames: int) -> ShotSettings:
    """A usual shot at 2K: a figure of 500 to 700 px, sharp to soft edges, grain, sometimes something in front."""
    return ShotSettings(
        width=2048, height=1152, frames=frames, first_frame=0, size=(0.4, 0.6), parts_chance=0.0
    )


def measure(index: int, frames: int, gap: int, model: RotoModel) -> list[dict[str, object]]:
    """All methods on the body of one clip."""
    shot = make_shot(np.random.default_rng([*b"fedroto fine accuracy", index]), settings(frames))
    truth, shape = shot.truth[0], shot.shapes.shapes[0]
    pictures = Pictures(ArrayFrames([to_working(plate) for plate in shot.frames]), cache_bytes=2**30)
    keys = np.arange(0, frames, gap)
    between = np.setdiff1d(np.arange(keys[-1] + 1), keys)
    edge = outline(truth, "bezier", True, SAMPLES_PER_SEGMENT)
    clip = EvaluationClip(f"fine {index}", "fine", pictures.frames, edge)
    rows = []
    for name, method in {**CLASSICAL, "model": method_named("model", model, memory=SpanMemory())}.items():
        began = time.process_time()
        found = predict_shape(method, pictures, thinned(shape, keys)).controls
        spent = time.process_time() - began
        off = np.linalg.norm(found[between, :, CENTRE] - truth[between, :, CENTRE], axis=-1)
        placed = outline(found, "bezier", True, SAMPLES_PER_SEGMENT)
        local = np.concatenate([outline_distances_px(placed[t], edge[t]) for t in between])
        rows.append(
            {
                "clip": index,
                "method": name,
                "points": shape.points,
                "p95_px": round(float(np.percentile(local, 95)), 3),
                "mean_px": round(float(local.mean()), 3),
                "chatter_px": round(chatter_px(found[:, :, CENTRE], truth[: len(found), :, CENTRE]), 3),
                "moved_share": round(float((off > TOLERANCE_PX).mean()), 3),
                "keys": len(play_artist(clip, method, tolerance_px=TOLERANCE_PX).keys),
                "cpu_s": round(spent, 1),
            }
        )
    return rows


def main() -> None:
    """Print a line per clip and method."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=2)
    parser.add_argument("--frames", type=int, default=13)
    parser.add_argument("--gap", type=int, default=12)
    given = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    model = RotoModel.base()
    for index in range(given.clips):
        for row in measure(index, given.frames, given.gap, model):
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
