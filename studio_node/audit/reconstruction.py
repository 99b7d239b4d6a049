"""Level 3: what an attacker can rebuild of a shot from one step's release, before noise and after it.

What is attacked: the outline that an artist approved, on every in-between frame of one window of a procedural plate,
through the real fusion network with the shipped weights. (The pictures themselves are no input of the trained network:
it sees candidate positions and a few numbers per point, which this attack is given.) The attacker has all advantages:
it knows the weights, every input but the outline, that this shot alone was in the step, and the norm before clipping;
and of several strengths of regularisation the one that happens to come closest to the truth is taken.

How: the gradient over the weights is the network's Jacobian times the loss's gradient over its outputs. The first is
known, so the second follows by linear least squares; and from it, in closed form, where the outline must have lain.
Without noise this rebuilds the outline to a twentieth of a pixel. It is one attack, not the strongest possible one:
what holds against all of them is the guarantee, not this picture.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from federation.plan import PrivacyConstants
from model.curves import outline
from model.frames import ArrayFrames
from model.losses import ALONG, KNEE, window_loss
from model.network import EvidenceTensors, Fusion, RotoModel
from model.procedural import make_shot
from model.procedural_settings import ShotSettings
from model.windows import Window, cut_windows
from model.working import to_working
from studio_node.audit.made_up import plain_settings
from studio_node.private_training import PrivateTrainer

SEED = 3
PLATE = ShotSettings(
    width=160, height=160, motion=3.0, deformation=3.0, occluder_chance=0.0, blur_chance=0.0, parts_chance=0.0
)
NOISE_SHARES = (1e-3, 0.03, 1.0)
"""Noise of the attacked releases, as shares of the plan's."""
DRAWS = 6
REACH_MAX = 0.2
"""Farthest that a rebuilt point may lie from the network's own prediction, in outline sizes."""
_RIDGES = (1e-16, 1e-13, 1e-10, 1e-6, 1e-3, 1.0, 1e2, 1e4)
_REFINEMENTS = 60
_LIKELIHOOD = 0.25
"""Weight of the likelihood in ``model.losses.frame_losses``."""

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Rebuilt:
    """What the attack made of one kind of release.

    Attributes:
        name: of the release.
        noise_multiplier: with which it was made.
        error_px: mean distance of the rebuilt points from the approved ones, mean over the draws, plate pixels.
        likeness: correlation of the rebuilt deviation from the network's prediction with the true one, mean over the
            draws: 1 is known exactly, 0 nothing.
        points: [M, 2] the middle frame's outline of the first draw, plate pixels.
    """

    name: str
    noise_multiplier: float
    error_px: float
    likeness: float
    points: Points


@dataclass(frozen=True)
class Reconstruction:
    """The attack's outcome.

    Attributes:
        plate: working image [H, W, 3] of the middle frame.
        approved: [M, 2] the true outline there, plate pixels.
        predicted: [M, 2] what the public network says without any private information.
        guess_error_px: mean distance between the two over all frames.
        releases: from no noise to the plan's, then a release that the shot was not part of.
        gradient_norm: before clipping.
    """

    plate: NDArray[np.uint8]
    approved: Points
    predicted: Points
    guess_error_px: float
    releases: tuple[Rebuilt, ...]
    gradient_norm: float


def attack_made_up_shot(
    privacy: PrivacyConstants, *, draws: int = DRAWS, gap: int = 4, network: Fusion | None = None
) -> Reconstruction:
    """Rebuild an outline of a procedural plate from releases of one real step.

    Args:
        privacy: whose ``max_grad_norm`` and ``noise_multiplier`` are claimed.
        draws: noised releases of each kind.
        gap: frames between the window's keys.
        network: attacked; default: the shipped one.
    """
    fusion = (RotoModel.base().fusion if network is None else network).requires_grad_(True)
    settings = dataclasses.replace(PLATE, frames=gap + 1)
    shot = make_shot(np.random.default_rng(SEED), settings)
    pictures = [to_working(frame) for frame in shot.frames]
    truth_px = outline(shot.truth[0], "bezier", True, 16)
    window = cut_windows(
        ArrayFrames(pictures, first_frame=shot.first_frame),
        truth_px,
        np.ones(gap + 1, np.float32),
        matcher=None,
        rng=np.random.default_rng(SEED),
        count=1,
        gaps=(gap, gap),
    )[0]
    attack = Attack(fusion, window)
    trainer = PrivateTrainer(fusion, window_loss, plain_settings(_one_step(privacy, 1.0)))
    clean = np.concatenate([g.double().numpy().ravel() for g in trainer.shot_gradient(lambda: [window])])
    norm = float(np.linalg.norm(clean))
    scale = max(1.0, norm / privacy.max_grad_norm)
    kinds = [("no noise", 0.0, [clean / scale])]
    for share in NOISE_SHARES:
        kinds.append(
            (
                "the plan's noise" if share == 1 else f"{share:g} of the plan's noise",
                share,
                _releases(fusion, privacy, share, [window], draws),
            )
        )
    kinds.append(("the plan's noise, shot not in it", 1.0, _releases(fusion, privacy, 1.0, [], draws)))
    middle = (gap - 1) // 2
    place = _Place.of(window, truth_px[1:-1])
    rebuilt = []
    for name, share, releases in kinds:
        found = [attack.rebuild(release * scale) for release in releases]
        rebuilt.append(
            Rebuilt(
                name,
                share * privacy.noise_multiplier,
                float(np.mean([attack.error(points) for points in found])) * place.size,
                float(np.mean([attack.likeness(points) for points in found])),
                place.to_plate(found[0][middle]),
            )
        )
    return Reconstruction(
        pictures[1 + middle],
        place.to_plate(np.asarray(window.truth[middle], np.float64)),
        place.to_plate(attack.predicted[middle]),
        attack.error(attack.predicted) * place.size,
        tuple(rebuilt),
        norm,
    )


class Attack:
    """Linear inversion of one window's gradient; everything in float64 and in outline sizes."""

    def __init__(self, fusion: Fusion, window: Window) -> None:
        network = copy.deepcopy(fusion).double()
        stacked = EvidenceTensors.stack([window.evidence])
        evidence = {f.name: getattr(stacked, f.name).double() for f in dataclasses.fields(stacked)}
        output = network(EvidenceTensors(**evidence))
        self._truth = window.truth.astype(np.float64)
        self._log_scale = output.log_scale.detach().numpy()[0]
        self.predicted: Points = output.points.detach().numpy()[0]
        self._jacobian = _jacobian(
            torch.cat([output.points.flatten(), output.log_scale.flatten()]), list(network.parameters())
        )
        self._strengths, self._directions = np.linalg.eigh(self._jacobian @ self._jacobian.T)

    def rebuild(self, release: NDArray[np.float64]) -> Points:
        """Rebuild the outline [T, M, 2] from a release [P], scaled back to the gradient's own norm."""
        seen = self._directions.T @ (self._jacobian @ release)
        candidates = [
            self._outline(self._directions @ (seen / (np.maximum(self._strengths, 0) + ridge)))
            for ridge in _RIDGES
        ]
        return min(candidates, key=self.error)  # in the attacker's favour: it would have to guess

    def error(self, points: Points) -> float:
        """Mean distance from the approved outline."""
        return float(np.linalg.norm(points - self._truth, axis=-1).mean())

    def likeness(self, points: Points) -> float:
        """Correlation of the rebuilt deviation from the prediction with the true one; 0 where there is none."""
        found, true = ((self.predicted - one).ravel() for one in (points, self._truth))
        if found.std() == 0:
            return 0.0
        return float(np.corrcoef(found, true)[0, 1])

    def _outline(self, gradient: NDArray[np.float64]) -> Points:
        """Invert the loss: from its gradient over the outputs to the outline that caused it."""
        frames, samples = self._log_scale.shape
        count = frames * samples
        by_points = gradient[: 2 * count].reshape(frames, samples, 2) * count
        by_scale = gradient[2 * count :].reshape(frames, samples) * count
        distance = np.clip((1 - by_scale / _LIKELIHOOD) * np.exp(self._log_scale), 0, REACH_MAX)
        pull = by_points * ((KNEE + distance) * np.sqrt(distance**2 + 1e-8))[..., None]
        points = self.predicted
        for _ in range(
            _REFINEMENTS
        ):  # the loss weighs by the outline's own direction, which is being rebuilt
            along = np.roll(points, -1, axis=1) - np.roll(points, 1, axis=1)
            along = along / (np.linalg.norm(along, axis=-1, keepdims=True) + 1e-6)
            normal = np.stack([-along[..., 1], along[..., 0]], axis=-1)
            miss = (pull * normal).sum(-1, keepdims=True) * normal
            miss = miss + (pull * along).sum(-1, keepdims=True) / ALONG**2 * along
            length = np.linalg.norm(miss, axis=-1, keepdims=True)
            points = self.predicted - miss * np.minimum(1, REACH_MAX / np.maximum(length, 1e-12))
        return points


@dataclass(frozen=True)
class _Place:
    """Where a window's units lie on the plate."""

    origin: NDArray[np.float64]
    size: float

    @classmethod
    def of(cls, window: Window, truth_px: Points) -> _Place:
        size = float(window.evidence.context[1])
        centre = truth_px.mean((0, 1)) - size * window.truth.astype(np.float64).mean((0, 1))
        return cls(centre, size)

    def to_plate(self, points: Points) -> Points:
        return points * self.size + self.origin


def _releases(
    fusion: Fusion, privacy: PrivacyConstants, share: float, windows: Sequence[Window], draws: int
) -> list[NDArray[np.float64]]:
    """Run real steps from the same weights; each returns what it moved them by."""
    released = []
    for _ in range(draws):
        network = copy.deepcopy(fusion)
        trainer = PrivateTrainer(network, window_loss, plain_settings(_one_step(privacy, share)))
        trainer.train([lambda: windows] if windows else [])
        moved = zip(fusion.parameters(), network.parameters(), strict=True)
        released.append(np.concatenate([(a - b).detach().double().numpy().ravel() for a, b in moved]))
    return released


def _one_step(privacy: PrivacyConstants, share: float) -> PrivacyConstants:
    changes = {"sample_rate": 1.0, "steps_per_round": 1, "windows_per_shot": 1}
    return privacy.model_copy(update=changes | {"noise_multiplier": share * privacy.noise_multiplier})


def _jacobian(outputs: torch.Tensor, parameters: Sequence[torch.Tensor]) -> NDArray[np.float64]:
    """Return d outputs / d weights, [outputs, weights]."""
    rows = np.empty((outputs.numel(), sum(p.numel() for p in parameters)))
    for row, output in enumerate(outputs):
        gradients = torch.autograd.grad(output, parameters, retain_graph=True)
        rows[row] = np.concatenate([g.numpy().ravel() for g in gradients])
    return rows
