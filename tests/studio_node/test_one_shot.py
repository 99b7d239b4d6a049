"""The sentence that the guarantee rests on, from files to gradients: one shot's change moves no other shot's."""

import numpy as np
import pytest
import torch

from federation.model_spec import frozen_digest
from federation.plan import LedgerHead, PrivacyConstants
from model.losses import window_loss
from model.weights import load
from studio_node import private_training
from studio_node.audit import made_up
from studio_node.catalogue import Catalogue
from studio_node.ingest import ingest
from studio_node.ledger import Reservation
from studio_node.packs import PackReader
from studio_node.pictures import write_exr
from studio_node.private_training import PrivateTrainer
from studio_node.shot_windows import CutRecipe

PRIVACY = PrivacyConstants(
    sample_rate=1.0, windows_per_shot=2, max_grad_norm=0.1, noise_multiplier=1.0, steps_per_round=1
)


@pytest.fixture
def contributions(tmp_path, small_weights, monkeypatch):
    """Ingest what lies in a folder into a new home and return every shot's clipped gradient, by the real code."""
    monkeypatch.setattr(
        private_training, "draw_indices", lambda count, size: [i % count for i in range(size)]
    )

    def contributions(source) -> dict[str, np.ndarray]:
        home = tmp_path / f"home{len(list(tmp_path.iterdir()))}"
        home.mkdir()
        ingest(home, [source], "kelp", recipe=CutRecipe(windows=2, gaps=(2, 6)), weights=small_weights)
        charge = Reservation(LedgerHead(sequence=1, hash="a" * 64), ["kelp"])
        digest = frozen_digest(load(small_weights).tensors)
        with Catalogue.open(home) as catalogue:
            packs = catalogue.packs()
        return {
            pack.shot_id: clipped(PackReader.open(pack.path, charge, show="kelp", frozen_digest=digest))
            for pack in packs
        }

    return contributions


def clipped(pack: PackReader) -> np.ndarray:
    """One shot's part of the sum, as the real optimiser clips it."""
    trainer = PrivateTrainer(made_up.fusion(1), window_loss, made_up.plain_settings(PRIVACY))
    trainer._accumulate([gradient[None] for gradient in trainer.shot_gradient(lambda: pack)])
    return torch.cat([p.summed_grad.ravel() for p in trainer._parameters]).numpy()


def test_changing_or_removing_one_shots_files_moves_no_other_shots_clipped_gradient(show, contributions):
    changed, other = show
    before = contributions(changed.folder.parent)
    assert set(before) == {changed.name, other.name}
    assert all(np.linalg.norm(gradient) == pytest.approx(0.1, rel=1e-4) for gradient in before.values())
    for frame in range(1001, 1010):
        write_exr(
            changed.folder / f"plate.{frame}.exr", np.full((56, 72, 3), 0.01 * (frame - 1000), np.float32)
        )
    after = contributions(changed.folder.parent)
    assert np.abs(after[changed.name] - before[changed.name]).max() > 1e-4
    np.testing.assert_array_equal(after[other.name], before[other.name])
    for file in changed.folder.iterdir():
        file.unlink()
    alone = contributions(changed.folder.parent)
    np.testing.assert_array_equal(alone[other.name], before[other.name])
