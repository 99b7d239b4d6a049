"""The pretraining: exact truth in the pictures, repeatable runs, and runs that go on where they stopped."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from torch.nn import functional

from model.errors import WeightsError
from model.matcher import Matcher
from model.matcher_figures import draw_figure
from model.matcher_loss import draw_start, pair_loss
from model.matcher_motion import Dice
from model.matcher_pictures import draw_pairs
from model.matcher_recipe import WIDE_RECIPE, MatcherTraining, learning_rate
from model.matcher_textures import texture_bank
from model.matcher_training import draw_batch, pretrain
from model.outline_tensors import inner_normals
from model.weights import TensorSpec, load

TINY = MatcherTraining(steps=4, seed=3, pairs=1, picture_px=64, textures=4, warmup_steps=2, turn_step=3)

# Means of the pictures, outlines and what is seen, as first drawn; a change here makes the shipped recipe another.
DRAWN_BEFORE = (0.4822892, 0.5075667, 30.5560754, 30.3322899, 0.734375)


@pytest.fixture(scope="module")
def bank() -> torch.Tensor:
    return texture_bank(16, np.random.default_rng(1), {})


def test_equal_generators_draw_equal_pairs_and_others_do_not(bank: torch.Tensor) -> None:
    first, again, other = (
        draw_pairs(bank, torch.Generator().manual_seed(seed), pairs=2, size=48, points=16)
        for seed in (4, 4, 5)
    )
    assert torch.equal(first.second, again.second)
    assert torch.equal(first.outline_second, again.outline_second)
    assert not torch.equal(first.second, other.second)


def test_pictures_of_single_regions_are_those_that_the_shipped_matcher_was_trained_on() -> None:
    plain = torch.arange(4 * 3 * 224 * 224, dtype=torch.int64).view(4, 3, 224, 224) * 7919 % 251
    pairs = draw_pairs(
        plain.to(torch.uint8), torch.Generator().manual_seed(5), pairs=2, size=64, points=32, plate_edges=True
    )
    drawn = [pairs.first, pairs.second, pairs.outline_first, pairs.outline_second, pairs.seen]
    means = torch.stack([values.double().mean() for values in drawn])
    torch.testing.assert_close(means, torch.tensor(DRAWN_BEFORE, dtype=torch.float64), atol=1e-5, rtol=0)


@pytest.mark.parametrize("figures", [False, True])
def test_the_object_looks_alike_along_its_true_outline_and_not_beside_it(
    bank: torch.Tensor, *, figures: bool
) -> None:
    pairs = draw_pairs(bank, torch.Generator().manual_seed(7), pairs=24, size=96, points=48, figures=figures)
    near = (~pairs.sliding).float()[:, None] * pairs.seen

    def colours(pictures: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        grid = (places / 96 * 2 - 1)[:, :, None]
        return functional.grid_sample(pictures, grid, align_corners=False)[..., 0]

    def difference(shift: float) -> float:
        inside_first = pairs.outline_first + 2 * inner_normals(pairs.outline_first)
        inside_second = pairs.outline_second + (2 - shift) * inner_normals(pairs.outline_second)
        gap = (colours(pairs.first, inside_first) - colours(pairs.second, inside_second)).abs().mean(1)
        return float((gap * near).sum() / near.sum())

    assert difference(0.0) < 0.6 * difference(8.0)


def test_the_outline_of_a_figure_is_its_silhouette_and_moves_with_its_limbs() -> None:
    dice = Dice(torch.Generator().manual_seed(3))
    batch = 16
    figure = draw_figure(dice, torch.full((batch, 2), 60.0), torch.full((batch,), 40.0), torch.ones(batch))
    outline, owner, exact = figure.outline(dice, 64)
    assert exact.float().mean() > 0.95
    inside = figure.depths(outline, 0).amax(1)
    assert inside[exact].abs().max() < 0.5
    assert (owner < 10).any(1).float().mean() > 0.8  # some points belong to limbs
    moved = figure.carried(outline, owner, 0, 1)
    own = figure.depths(moved, 1).gather(1, owner[:, None])[:, 0]
    assert own[exact].abs().max() < 0.5
    back = figure.carried(moved, owner, 1, 0)
    torch.testing.assert_close(back, outline, atol=1e-3, rtol=0)
    far = (moved - outline).norm(dim=-1)
    assert far[owner == 10].max() == 0
    assert far[owner < 10].max() > 20
    assert 0 < figure.covered(moved, owner, 1).float().mean() < 0.3
    seen = figure.surface(moved, 1)
    assert (seen.matte[exact] > 0.2).all()


def test_a_batch_holds_figures_and_larger_pictures_as_its_recipe_says(bank: torch.Tensor) -> None:
    recipe = replace(WIDE_RECIPE, pairs=4, picture_px=64)
    drawn = [draw_batch(recipe, bank, step, torch.Generator().manual_seed(step)) for step in range(3)]
    assert [pairs.first.shape[0] for pairs in drawn] == [4, 4, 2]
    assert [pairs.first.shape[-1] for pairs in drawn] == [64, 64, 96]
    assert [pairs.known.shape[1] for pairs in drawn] == [48, 64, 96]
    hidden = torch.cat([((pairs.known > 0) & (pairs.known < 1)).any(1) for pairs in drawn])
    assert all((pairs.seen <= pairs.known).all() for pairs in drawn)
    assert hidden.sum() <= 5  # only figures hide parts of themselves


def test_pictures_are_in_range_and_nearly_all_truth_is_known(bank: torch.Tensor) -> None:
    pairs = draw_pairs(bank, torch.Generator().manual_seed(8), pairs=24, size=64, points=32)
    assert pairs.first.min() >= 0
    assert pairs.first.max() <= 1
    assert pairs.known.mean() > 0.8
    assert (pairs.seen <= pairs.known).all()
    assert pairs.seen.mean() > 0.4


def test_pictures_may_end_at_a_plates_edge_where_nothing_is_seen(bank: torch.Tensor) -> None:
    whole, ended = (
        draw_pairs(bank, torch.Generator().manual_seed(8), pairs=24, size=64, points=32, plate_edges=edges)
        for edges in (False, True)
    )
    assert torch.equal(whole.outline_second, ended.outline_second)
    changed = (whole.first != ended.first).flatten(1).any(1)
    assert 2 <= int(changed.sum()) <= 14
    repeated = (ended.first[..., 1:] == ended.first[..., :-1]).all(2).all(1).any(1)
    stacked = (ended.first[..., 1:, :] == ended.first[..., :-1, :]).all(3).all(1).any(1)
    assert torch.equal(changed, repeated | stacked)
    assert (ended.seen.sum(1) < whole.seen.sum(1))[changed].float().mean() > 0.5


def test_starts_are_off_by_up_to_a_dozen_pixels_or_hold_the_first_outline(bank: torch.Tensor) -> None:
    generator = torch.Generator().manual_seed(9)
    pairs = draw_pairs(bank, generator, pairs=40, size=64, points=32)
    start = draw_start(pairs, generator, reach_px=12.0)
    held = (start == pairs.outline_first).flatten(1).all(1)
    error = (start - pairs.outline_second).norm(dim=-1).mean(1)[~held]
    assert 4 <= int(held.sum()) <= 22
    assert error.min() > 0.4
    assert error.max() < 12.5


def test_the_learning_rate_rises_then_falls_to_zero() -> None:
    recipe = MatcherTraining(steps=1000, warmup_steps=100, turn_step=500, cosine_steps=2000)
    rates = [learning_rate(recipe, step) for step in range(1000)]
    assert np.argmax(rates) in (99, 100)
    assert rates[-1] < 3e-3 * max(rates)
    assert rates[0] < 0.02 * max(rates)


def test_every_weight_gets_a_gradient_from_a_batch(bank: torch.Tensor) -> None:
    torch.manual_seed(2)
    matcher = Matcher()
    torch.nn.init.normal_(matcher.update.out.weight, std=0.02)
    generator = torch.Generator().manual_seed(1)
    loss, _ = pair_loss(
        matcher, draw_pairs(bank, generator, pairs=2, size=64, points=16), generator, reach_px=12.0
    )
    loss.backward()
    silent = [name for name, p in matcher.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert silent == []


def test_a_run_that_was_cut_off_ends_as_one_that_was_not(tmp_path: Path) -> None:
    class CutOff(Exception):
        pass

    def cut(step: int, error: float) -> None:
        if step == 2:
            raise CutOff

    whole = load(pretrain(TINY, tmp_path / "whole"))
    with pytest.raises(CutOff):
        pretrain(TINY, tmp_path / "cut", checkpoint_every_s=-1.0, progress=cut)
    halfway = load(tmp_path / "cut" / "matcher.safetensors")
    resumed = load(pretrain(TINY, tmp_path / "cut"))
    assert resumed.metadata["step"] == "4"
    TensorSpec.of(Matcher()).require({name.removeprefix("matcher."): v for name, v in whole.tensors.items()})
    for name, values in whole.tensors.items():
        assert np.array_equal(values, resumed.tensors[name]), name
    assert any(not np.array_equal(v, halfway.tensors[k]) for k, v in whole.tensors.items())


def test_a_folder_with_another_recipe_or_device_is_refused(tmp_path: Path) -> None:
    recipe = MatcherTraining(steps=1, pairs=1, picture_px=64, textures=4)
    pretrain(recipe, tmp_path)
    with pytest.raises(WeightsError, match="another recipe"):
        pretrain(replace(recipe, seed=2), tmp_path)
    state = tmp_path / "state.safetensors"
    with safe_open(str(state), "np") as file:
        begun_elsewhere = file.metadata() | {"device": "cuda"}
    save_file(load_file(state), state, begun_elsewhere)
    with pytest.raises(WeightsError, match="begun on cuda"):
        pretrain(recipe, tmp_path)
