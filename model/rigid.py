"""Robust affine motion of a whole outline: what keeps vehicles from wobbling when points are placed one by one."""

from typing import Final

import numpy as np

from model.tracks import Points

ROUNDS: Final = 4
RESIDUAL_FLOOR: Final = 0.002


def rigid_motions(key: Points, targets: Points, trust: Points) -> tuple[Points, Points]:
    """Fit, per frame, the affine motion that carries a key outline onto a target outline, robustly.

    Iteratively reweighted least squares with Cauchy weights.

    Args:
        key: [M, 2] outline at a key.
        targets: [T, M, 2] where other evidence puts its points.
        trust: [T, M] inverse expected error of each target point.

    Returns:
        The key's outline after each motion [T, M, 2], and the typical distance to the target that is left [T].
    """
    frames, samples = targets.shape[:2]
    basis = np.concatenate([key, np.ones((samples, 1))], axis=1)
    weight = trust**2
    moved = targets
    residual = np.zeros((frames, samples))
    for _ in range(ROUNDS):
        weighted = basis[None] * weight[..., None]
        normal = np.einsum("tmi,mj->tij", weighted, basis)
        # A line-like outline leaves the affine open; a little ridge keeps it solvable.
        normal += np.eye(3) * (1e-6 * np.trace(normal, axis1=1, axis2=2))[:, None, None]
        motion = np.linalg.solve(normal, np.einsum("tmi,tmj->tij", weighted, targets))
        moved = basis @ motion
        residual = np.linalg.norm(moved - targets, axis=2)
        width = RESIDUAL_FLOOR + 1.5 * np.median(residual, axis=1, keepdims=True)
        weight = trust**2 / (1 + (residual / width) ** 2)
    typical = np.sqrt((weight * residual**2).sum(axis=1) / weight.sum(axis=1))
    return moved, typical
