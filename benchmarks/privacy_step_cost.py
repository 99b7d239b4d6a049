"""What a private step costs over a non-private one: the default network, 32 shots of K windows, in one run.

    python benchmarks/privacy_step_cost.py

The private step clips each shot's gradient and adds noise (the real trainer, every shot included). The non-private one
is what one would write without privacy on the same machine: the gradient of the mean loss over the same windows, in
microbatches of one shot and of eight (all 32 at once need gigabytes). Steps alternate; medians and quartiles of the
ratios of neighbouring pairs are reported. CPU seconds of this process, so that a busy machine changes little.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from federation.plan import PrivacyConstants
from model.losses import window_loss
from model.network import RotoModel
from model.procedural import make_shot
from model.procedural_settings import ShotSettings
from model.windows import Window, cut_windows
from studio_node.private_training import PrivateTrainer, TrainingSettings


def made_up_shot(seed: int, windows: int) -> list[Window]:
    """Windows of a procedural shot, of the size that packs hold."""
    from model.curves import outline
    from model.frames import ArrayFrames
    from model.working import to_working

    shot = make_shot(np.random.default_rng(seed), ShotSettings(width=96, height=96, frames=25))
    frames = ArrayFrames([to_working(frame) for frame in shot.frames], first_frame=shot.first_frame)
    truth = outline(shot.truth[0], "bezier", True, 16)
    rng = np.random.default_rng(seed)
    cut = cut_windows(frames, truth, np.ones(25, np.float32), matcher=None, rng=rng, count=windows)
    return [cut[index % len(cut)] for index in range(windows)]


def main() -> None:
    """Time and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shots", type=int, default=32)
    parser.add_argument("--windows", type=int, default=8, help="K, windows per shot")
    parser.add_argument("--distinct", type=int, default=4, help="shots that are made; the rest repeat them")
    parser.add_argument("--repeats", type=int, default=6)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    made = [made_up_shot(seed, arguments.windows) for seed in range(arguments.distinct)]
    shots = [made[index % len(made)] for index in range(arguments.shots)]
    steps = {
        "private": private_step(shots, arguments.windows),
        "per shot": plain_step([[*shot] for shot in shots]),
        "eight shots": plain_step(
            [[window for shot in shots[i : i + 8] for window in shot] for i in range(0, len(shots), 8)]
        ),
    }
    for step in steps.values():
        step()
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(arguments.repeats):
        for name, step in steps.items():
            started = time.process_time()
            step()
            seconds[name].append(time.process_time() - started)
    private = np.array(seconds["private"])
    result = {
        "cpu": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "shots": arguments.shots,
        "windows": arguments.windows,
        "seconds": {name: round(float(np.median(values)), 3) for name, values in seconds.items()},
        "ratio": {
            name: [
                round(float(q), 3) for q in np.quantile(private / np.array(seconds[name]), [0.25, 0.5, 0.75])
            ]
            for name in ("per shot", "eight shots")
        },
    }
    print(json.dumps(result))


def private_step(shots: list[list[Window]], windows: int) -> Callable[[], None]:
    """The real trainer's step with every shot included."""
    fusion = RotoModel.base().fusion.train().requires_grad_(True)
    constants = PrivacyConstants(
        sample_rate=1.0, windows_per_shot=windows, max_grad_norm=1.0, noise_multiplier=2.0, steps_per_round=1
    )
    trainer = PrivateTrainer(fusion, window_loss, TrainingSettings(constants, len(shots), 1e-3))
    opened = [lambda shot=shot: shot for shot in shots]
    return lambda: trainer.step(opened)


def plain_step(batches: list[list[Window]]) -> Callable[[], None]:
    """Plain SGD on the mean loss, one batch after the other."""
    fusion = RotoModel.base().fusion.train().requires_grad_(True)
    optimizer = torch.optim.SGD(fusion.parameters(), lr=1e-3)

    def step() -> None:
        optimizer.zero_grad()
        for batch in batches:
            (window_loss(fusion, batch) / len(batches)).backward()
        optimizer.step()

    return step


if __name__ == "__main__":
    main()
