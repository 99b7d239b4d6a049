"""How fast procedural clips are made: one process and two."""

import argparse
import json
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import cv2
import numpy as np

from model.procedural import make_shot
from model.procedural_settings import ShotSettings


def clip(settings: ShotSettings, index: int) -> int:
    """Make one clip and drop it."""
    cv2.setNumThreads(1)
    return len(make_shot(np.random.default_rng([7, index]), settings).frames)


def clips_a_second(settings: ShotSettings, workers: int, clips: int) -> tuple[float, float]:
    """Clips a second of wall time, and of this process's CPU time (one worker) or NaN."""
    make = partial(clip, settings)
    if workers == 1:
        wall, cpu = time.perf_counter(), time.process_time()
        for index in range(clips):
            make(index)
        return clips / (time.perf_counter() - wall), clips / (time.process_time() - cpu)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        list(pool.map(make, range(workers)))  # imports are done
        wall = time.perf_counter()
        list(pool.map(make, range(clips), chunksize=4))
        return clips / (time.perf_counter() - wall), float("nan")


def main() -> None:
    """Print one JSON line per run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--side", type=int, default=160)
    parser.add_argument("--frames", type=int, default=25)
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()
    settings = ShotSettings(width=given.side, height=given.side, frames=given.frames)
    for run in range(given.runs):
        for workers in (1, 2):
            wall, cpu = clips_a_second(settings, workers, given.clips)
            print(
                json.dumps(
                    {
                        "run": run,
                        "workers": workers,
                        "clips_per_s": round(wall, 2),
                        "clips_per_cpu_s": round(cpu, 2),
                    }
                ),
                flush=True,
            )


if __name__ == "__main__":
    main()
