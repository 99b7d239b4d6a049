"""Lying studios against every aggregation rule, on the real fusion network and procedural shots.

From the project's root::

    python -m benchmarks.federation_attacks SCRATCH --seed 1 > attacks.jsonl
    python -m benchmarks.federation_attacks SCRATCH --upload

Rows of the coarsest attacks also say whether the public benchmark after the round would roll it back
(``aggregator.round_check``).

Every update passes the coordinator's own validation first and is aggregated by its own rules; liars know the rule, the
bounds and all honest updates, and lie as far as the norm bound allows. Shots, liars and Poisson sampling follow from
``--seed``; the noise is the product's and comes from the operating system.

Honest limits: one round, so it shows what a liar breaks and not what honest studios gain; gradients are taken once, at
the shipped base weights, and not anew in each step (over four rounds that falsifies the honest result, see ``--exact``,
which takes them anew); all shots are drawn from one small pool of procedural ones, so honest studios agree more than
real ones.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import NormalDist
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import safetensors.numpy
import torch

from aggregator.aggregation import Contribution, apply_mean
from aggregator.learning_rate import LEAST
from aggregator.public_measure import PublicMeasure
from aggregator.robust_rules import aggregate
from aggregator.round_check import RoundCheck
from aggregator.validation import Expectation, inspect_update
from benchmarks.federation_defaults import KINDS, Score, base_fusion, scores, summary
from federation.config import PlanDefaults
from federation.model_spec import base_model_spec
from federation.plan import STUDIOS_MIN, LedgerHead, UpdateBounds, byte_grid
from federation.update_steps import values_of
from model.losses import window_loss
from model.network import Fusion, RotoModel
from model.pretrain import shot_windows
from model.procedural import make_shot
from model.weights import base_path, load, unpack
from model.windows import Window
from studio_node.noise import gaussian
from studio_node.private_training import bounded_update

SHOTS, HELD_OUT, SHOTS_PER_STUDIO, WINDOWS, FRAMES = 8, 3, 8, 2, 13
"""Of each kind in the pool, of each kind held out, of each studio, per shape, per shot."""
ROUNDS, PLAN = 1, PlanDefaults()
STEPS, SAMPLE_RATE, CLIP, DENOMINATOR = PLAN.steps_per_round, PLAN.sample_rate, PLAN.max_grad_norm, 25.0
LEARNING_RATE, NOISE, BOUNDS = (
    LEAST,
    PLAN.noise_multiplier,
    UpdateBounds(norm_max=PLAN.norm_max, grid=PLAN.grid),
)
"""The plan's defaults, and the rate and denominator of tier s."""
BATCH_WITHOUT_NOISE = SAMPLE_RATE * SHOTS_PER_STUDIO
SIZES = ((3, 1), (5, 1), (10, 3), (30, 10))  # studios, liars
TARGET_KIND, SHIFT = "swift", 0.1  # the backdoor: outlines of this kind off by a tenth of their size
Vector = npt.NDArray[np.float32]
HEAD = LedgerHead(sequence=1, hash="0" * 64)


def main() -> None:
    """Run the matrix and print it, one JSON object a line as it comes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path, help="scratch folder; shots are made once and kept")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--exact", action="store_true", help="only: the mean with gradients taken in each round"
    )
    parser.add_argument(
        "--upload", action="store_true", help="only: values of one byte against float32, honest studios"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    started = time.process_time()
    matrix = Matrix(arguments.work, arguments.seed)
    print(json.dumps({"seed": arguments.seed, "base": matrix.measure(matrix.base)}), flush=True)
    if arguments.upload:
        rows = matrix.upload()
    elif arguments.exact:
        rows = map(matrix.exact, (3, 10))
    else:
        rows = matrix.rows()
    for row in rows:
        print(json.dumps(row | {"cpu_s": round(time.process_time() - started)}), flush=True)


class Matrix:
    """The material and the runs."""

    def __init__(self, work: Path, seed: int) -> None:
        self.rng = np.random.default_rng([seed, 5])
        self.fusion, self.base = base_fusion()
        shots = {kind: _shots(work, kind, seed) for kind in KINDS}
        self.pool = [windows for made in shots.values() for windows in made[HELD_OUT:]]
        self.held_out = {kind: made[:HELD_OUT] for kind, made in shots.items()}
        self.gradients = _clipped_gradients(self.fusion, self.base, self.pool)
        self.backdoor = self._backdoor(shots[TARGET_KIND][HELD_OUT:])
        tensors = load(base_path()).tensors
        self.check = RoundCheck(
            PublicMeasure(work, base_model_spec(tensors), lambda: tensors, lambda line: None)
        )

    def upload(self, repeats: int = 5) -> Iterator[dict[str, Any]]:
        """The same honest movements sent as float32 and as one byte a value: bytes, and what the mean is worth."""
        byte = UpdateBounds(
            norm_max=BOUNDS.norm_max, grid=byte_grid(BOUNDS.norm_max, self.base.size), value_bits=8
        )
        zero = np.zeros(self.base.size, np.float32)
        for studios, _ in SIZES:
            for noisy in (False, True):
                for _ in range(repeats):
                    deal = [
                        self.rng.choice(len(self.pool), SHOTS_PER_STUDIO, replace=False)
                        for _ in range(studios)
                    ]
                    moved = [self._moved(shots, self.gradients, noisy).astype(np.float32) for shots in deal]
                    row: dict[str, Any] = {"studios": studios, "noise": noisy}
                    for name, bounds in (("float32", BOUNDS), ("byte", byte)):
                        sent = [bounded_update(one, zero, bounds) for one in moved]
                        mean = np.mean([values_of(one, bounds) for one in sent], axis=0)
                        row[name] = self.measure(apply_mean(self.base, mean)) | {"bytes": sent[0].nbytes}
                    yield row

    def rows(self) -> Iterator[dict[str, Any]]:
        """Every combination, one row each."""
        for studios, liars in SIZES:
            deal = [self.rng.choice(len(self.pool), SHOTS_PER_STUDIO, replace=False) for _ in range(studios)]
            for noisy in (False, True):
                rounds = [
                    [self._honest(shots, self.gradients, noisy) for shots in deal] for _ in range(ROUNDS)
                ]
                for name, attack in ATTACKS.items():
                    lied = [
                        _with_liars(self, updates, 0 if name == "none" else liars, attack)
                        for updates in rounds
                    ]
                    for rule, least in STUDIOS_MIN.items():
                        if studios < least or (name in DROPPED and rule != "norm_clipped_mean"):
                            continue
                        row = {
                            "studios": studios,
                            "liars": liars,
                            "noise": noisy,
                            "attack": name,
                            "rule": rule,
                        }
                        yield row | self._run(lied, rule, checked=name in CHECKED)

    def exact(self, studios: int) -> dict[str, Any]:
        """The mean without liars or noise over four rounds: gradients taken anew in each against those of the base."""
        deal = [self.rng.choice(len(self.pool), SHOTS_PER_STUDIO, replace=False) for _ in range(studios)]
        weights = {"at the base": self.base, "anew": self.base}
        for _ in range(4):
            for name in weights:
                at = self.base if name == "at the base" else weights[name]
                used = sorted({int(shot) for shots in deal for shot in shots})
                found = dict(
                    zip(used, _clipped_gradients(self.fusion, at, [self.pool[i] for i in used]), strict=True)
                )
                updates = [self._honest(shots, found, False) for shots in deal]
                weights[name] = apply_mean(weights[name], np.mean(np.array(updates, np.float64), axis=0))
        return {"studios": studios} | {name: self.measure(one) for name, one in weights.items()}

    def measure(self, weights: Vector) -> dict[str, float]:
        """Loss and miss across the contour on held-out shots: all kinds, and the backdoor's alone."""
        unpack(self.fusion, weights)
        found: dict[str, list[Score]] = {
            kind: scores(self.fusion, shots) for kind, shots in self.held_out.items()
        }
        clean = [score for kind, some in found.items() if kind != TARGET_KIND for score in some]
        return summary(clean) | {"target": summary(found[TARGET_KIND])["across"]}

    def _run(self, rounds: Sequence[Sequence[Vector]], rule: Any, *, checked: bool) -> dict[str, Any]:
        weights, dropped = self.base, 0
        expected = Expectation("0" * 64, self.base.size, BOUNDS)
        for updates in rounds:
            good = [u for u in updates if inspect_update(u, "0" * 64, HEAD, expected) is None]
            dropped += len(updates) - len(good)
            given = [Contribution(f"s{i:02d}", 1, 1.0, lambda u=u: u) for i, u in enumerate(good)]
            if len(given) < STUDIOS_MIN[rule]:
                return {"dropped": dropped, "degraded": True}
            moved = aggregate(rule, given, parameters=self.base.size, norm_max=BOUNDS.norm_max)
            weights = apply_mean(weights, moved)
        found = {"dropped": dropped} | self.measure(weights)
        if checked:
            found["rolled_back"] = self.check.judge(self.base, self.base, weights).rolled_back
        return found

    def _honest(self, shots: Sequence[int], gradients: Any, noisy: bool) -> Vector:
        """One round's update of a studio."""
        return _bounded(self._moved(shots, gradients, noisy))

    def _moved(self, shots: Sequence[int], gradients: Any, noisy: bool) -> npt.NDArray[np.float64]:
        """One round's movement; without noise the sum is divided by the batch that is drawn on average."""
        moved = np.zeros(self.base.size)
        for _ in range(STEPS):
            drawn = [int(shot) for shot in shots if self.rng.random() < SAMPLE_RATE]
            summed = sum((gradients[shot] for shot in drawn), np.zeros(self.base.size))
            # A few shots stand for a tier s studio's hundred, whose sum is that many times as long.
            summed = summed * (DENOMINATOR / BATCH_WITHOUT_NOISE)
            moved -= LEARNING_RATE * summed / DENOMINATOR
        if noisy:  # all steps' noise in one draw
            drawn_noise = gaussian(self.base.size, NOISE * CLIP * math.sqrt(STEPS), BOUNDS.grid)
            moved -= LEARNING_RATE * drawn_noise / DENOMINATOR
        return moved

    def _backdoor(self, shots: Sequence[Sequence[Window]]) -> Vector:
        """The update that pulls outlines of one kind off their place and leaves the others where they are."""
        wrong = [[_shifted(window) for window in windows] for windows in shots]
        pull = np.mean(_clipped_gradients(self.fusion, self.base, wrong), axis=0)
        keep = np.mean(self.gradients, axis=0)
        keep = keep / np.linalg.norm(keep)
        return _bounded(-(pull - (pull @ keep) * keep) * 1e9)


def _shots(work: Path, kind: str, seed: int) -> list[list[Window]]:
    """Windows of each shot of a kind; made once."""
    matcher, found = None, []
    for index in range(HELD_OUT + SHOTS):
        file = work / f"{kind}-{seed}-{index:03d}.safetensors"
        if not file.exists():
            matcher = matcher or RotoModel.base().matcher
            rng = np.random.default_rng([seed, sorted(KINDS).index(kind), index])
            shot = make_shot(rng, replace(KINDS[kind], frames=FRAMES))
            windows = shot_windows(shot, rng, matcher=matcher, per_shape=WINDOWS)[:WINDOWS]
            tensors = {
                f"{row}.{n}": a for row, window in enumerate(windows) for n, a in window.to_tensors().items()
            }
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(safetensors.numpy.save({n: np.ascontiguousarray(a) for n, a in tensors.items()}))
        tensors = safetensors.numpy.load_file(file)
        rows = sorted({name.split(".")[0] for name in tensors}, key=int)
        found.append(
            [
                Window.from_tensors(
                    {n.split(".", 1)[1]: a for n, a in tensors.items() if n.startswith(f"{row}.")}
                )
                for row in rows
            ]
        )
    return found


def _clipped_gradients(fusion: Fusion, weights: Vector, shots: Sequence[Sequence[Window]]) -> list[Any]:
    """Each shot's gradient at these weights, clipped."""
    unpack(fusion, weights)
    parameters, found = list(fusion.parameters()), []
    for windows in shots:
        raw = torch.autograd.grad(window_loss(fusion, windows), parameters)
        gradient = torch.cat([g.ravel() for g in raw]).numpy().astype(np.float64)
        found.append(gradient * min(1.0, CLIP / max(float(np.linalg.norm(gradient)), 1e-12)))
    return found


def _shifted(window: Window) -> Window:
    truth = (window.truth + np.float32([SHIFT, 0])).astype(np.float32)
    return Window(window.evidence, truth, window.weight)


def _bounded(moved: Any) -> Vector:
    base = np.zeros(moved.size, np.float32)
    length = float(np.linalg.norm(moved))
    wide = moved * min(1.0, 0.999 * BOUNDS.norm_max / length) if length else moved
    return bounded_update(wide.astype(np.float32), base, BOUNDS)


def _with_liars(matrix: Matrix, honest: Sequence[Vector], liars: int, attack: Attack) -> list[Vector]:
    """The round's updates with the last studios lying, all in the same way."""
    true = np.array(honest[: len(honest) - liars], np.float64)
    return [
        *honest[: len(honest) - liars],
        *(attack(matrix, true, liars, own) for own in honest[len(true) :]),
    ]


Attack = Callable[[Matrix, npt.NDArray[np.float64], int, Vector], Vector]


def _sign_flip(matrix: Matrix, true: npt.NDArray[np.float64], liars: int, own: Vector) -> Vector:
    return _bounded(-true.mean(axis=0) * 1e9)


def _inner_product(matrix: Matrix, true: npt.NDArray[np.float64], liars: int, own: Vector) -> Vector:
    """Xie, Koyejo, Gupta, Fall of Empires (UAI 2019): just enough of the negative mean to turn the mean around."""
    return _bounded(-true.mean(axis=0) * (1.5 * len(true) / liars))


def _a_little(matrix: Matrix, true: npt.NDArray[np.float64], liars: int, own: Vector) -> Vector:
    """Baruch, Baruch, Goldberg, A Little Is Enough (NeurIPS 2019): as far as the honest spread hides."""
    studios = len(true) + liars
    needed = studios // 2 + 1 - liars
    share = min(max((len(true) - needed) / len(true), 0.51), 0.99)
    return _bounded(true.mean(axis=0) - NormalDist().inv_cdf(share) * true.std(axis=0))


def _noise_rider(matrix: Matrix, true: npt.NDArray[np.float64], liars: int, own: Vector) -> Vector:
    drawn = matrix.rng.standard_normal(true.shape[1])
    return _bounded(drawn * (float(np.linalg.norm(own)) / math.sqrt(drawn.size)))


ATTACKS: dict[str, Attack] = {
    "none": lambda matrix, true, liars, own: own,
    "NaN": lambda matrix, true, liars, own: np.full_like(own, np.nan),
    "infinite": lambda matrix, true, liars, own: np.full_like(own, np.inf),
    "times 1e6": lambda matrix, true, liars, own: own * np.float32(2.0**20),
    "sign flip": _sign_flip,
    "inner product": _inner_product,
    "a little is enough": _a_little,
    "free rider, zeros": lambda matrix, true, liars, own: np.zeros_like(own),
    "free rider, noise": _noise_rider,
    "backdoor": lambda matrix, true, liars, own: matrix.backdoor,
}


DROPPED = frozenset({"NaN", "infinite", "times 1e6"})
"""Never reach a rule: one run each shows it."""
CHECKED = frozenset({"none", "sign flip", "backdoor"})
"""Attacks whose weights the public benchmark is asked about, which takes seconds each."""


if __name__ == "__main__":
    main()
