import ast
import math
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from studio_node import noise
from studio_node.noise import draw_indices, gaussian, poisson_sample

ROOT = Path(__file__).parents[2]
COUNT = 400_000
GRID = 2.0**-20


def test_noise_has_the_standard_deviation_asked_for():
    drawn = gaussian(COUNT, 1.5, GRID)
    error = 1.5 / math.sqrt(2 * COUNT)  # of an estimated standard deviation
    assert drawn.std() == pytest.approx(1.5, abs=5 * error)
    assert drawn.mean() == pytest.approx(0, abs=5 * 1.5 / math.sqrt(COUNT))
    assert drawn.dtype == np.float64


def test_noise_is_gaussian_in_its_middle_and_its_tails():
    drawn = gaussian(COUNT, 2.0, GRID) / 2.0
    assert stats.kstest(drawn, "norm").pvalue > 1e-6
    for at in (2.0, 3.0, 4.0):
        beyond = int((np.abs(drawn) > at).sum())
        expected = COUNT * 2 * stats.norm.sf(at)
        assert abs(beyond - expected) < 6 * math.sqrt(expected) + 3


@pytest.mark.parametrize("deviation", [0.3, 1.0, 2.7, 40.0])
def test_noise_on_a_coarse_grid_has_the_discrete_gaussians_probabilities(deviation):
    # few steps to a deviation, so that every single value's probability can be counted
    counts = Counter(np.rint(gaussian(COUNT, deviation / 8, 0.125) / 0.125).astype(int).tolist())
    support = np.arange(-400, 401)
    density = np.exp(-(support**2) / (2 * deviation**2))
    expected = COUNT * density / density.sum()
    often = expected > 20
    seen = np.array([counts[int(value)] for value in support[often]])
    excess = float(((seen - expected[often]) ** 2 / expected[often]).sum())
    assert stats.chi2.sf(excess, int(often.sum()) - 1) > 1e-7
    assert COUNT - seen.sum() <= expected[~often].sum() + 6 * math.sqrt(expected[~often].sum() + 1)


def test_every_value_is_a_whole_step_and_no_bit_below_it_varies():
    drawn = gaussian(10_000, 3.1, GRID)
    assert np.array_equal(np.rint(drawn / GRID) * GRID, drawn)
    # sums with whole steps are exact: nothing of a value can be told from how it was rounded
    assert np.array_equal((drawn + 0.75) - 0.75, drawn)
    with pytest.raises(ValueError, match="power of two"):
        gaussian(5, 1.0, 0.3)


def test_values_are_independent_of_each_other():
    drawn = gaussian(COUNT, 1.0, GRID)
    half = COUNT // 2
    for first, second in ((drawn[:-1], drawn[1:]), (drawn[:half], drawn[half:])):
        assert abs(np.corrcoef(first, second)[0, 1]) < 6 / math.sqrt(half)
        assert abs(np.corrcoef(first**2, second**2)[0, 1]) < 6 / math.sqrt(half)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7])
def test_any_count_is_drawn(count):
    assert gaussian(count, 1.0, GRID).shape == (count,)


def test_a_deviation_of_zero_draws_zeros_and_nonsense_is_refused():
    assert not gaussian(5, 0.0, GRID).any()
    for bad in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="standard_deviation"):
            gaussian(5, bad, GRID)


def _seed_everything() -> None:
    torch.manual_seed(7)
    np.random.seed(7)
    random.seed(7)


def test_no_seed_reaches_noise_or_sampling():
    runs = []
    for _ in range(2):
        _seed_everything()
        runs.append((gaussian(64, 1.0, GRID), poisson_sample(200, 0.5), draw_indices(1000, 20)))
    assert not np.array_equal(runs[0][0], runs[1][0])
    assert not np.intersect1d(runs[0][0], runs[1][0]).size
    assert runs[0][1] != runs[1][1]
    assert runs[0][2] != runs[1][2]


def test_every_random_byte_comes_from_the_operating_system(monkeypatch):
    asked = []
    urandom = noise.os.urandom

    def watched(count: int) -> bytes:
        asked.append(count)
        return urandom(count)

    monkeypatch.setattr(noise.os, "urandom", watched)
    gaussian(10, 1.0, GRID)
    assert sum(asked) >= 10 * 4 * 8  # of each value: where it lies, twice whether it stays, and its sign
    asked.clear()
    poisson_sample(7, 0.5)
    draw_indices(7, 3)
    assert sum(asked) >= 10 * 8


def test_other_sources_of_randomness_are_not_even_imported_on_the_private_path():
    sources = {
        "randn",
        "rand",
        "randint",
        "normal",
        "normal_",
        "manual_seed",
        "Generator",
        "default_rng",
        "randperm",
    }
    for name in ("noise", "private_training", "roto_training", "local_round"):
        tree = ast.parse((ROOT / "studio_node" / f"{name}.py").read_text())
        used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        used |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        imported = {
            alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
        }
        imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not used & sources, name
        assert not imported & {"random", "numpy.random", "secrets"}, name


@pytest.mark.parametrize("rate", [0.01, 0.25, 0.9])
def test_each_item_is_included_at_the_sample_rate(rate):
    items, rounds = 200, 500
    included = Counter(index for _ in range(rounds) for index in poisson_sample(items, rate))
    total = sum(included.values())
    assert abs(total - items * rounds * rate) < 6 * math.sqrt(items * rounds * rate * (1 - rate))
    spread = [included[i] for i in range(items)]  # each item alone, too
    assert stats.chisquare(spread).pvalue > 1e-6
    assert set(included) <= set(range(items))


def test_batch_sizes_vary_as_independent_inclusion_makes_them_vary():
    sizes = np.array([len(poisson_sample(100, 0.3)) for _ in range(2000)])
    assert sizes.var() == pytest.approx(100 * 0.3 * 0.7, rel=0.2)


def test_the_extreme_rates_are_exact():
    assert poisson_sample(50, 1.0) == list(range(50))
    assert poisson_sample(50, 0.0) == []
    assert poisson_sample(0, 0.5) == []
    with pytest.raises(ValueError, match="sample_rate"):
        poisson_sample(5, 1.5)


def test_windows_are_drawn_without_repetition_while_there_are_enough():
    for _ in range(50):
        drawn = draw_indices(8, 5)
        assert len(set(drawn)) == 5
        assert set(drawn) <= set(range(8))
    assert sorted(draw_indices(5, 5)) == [0, 1, 2, 3, 4]
    assert len(draw_indices(2, 9)) == 9
    assert set(draw_indices(1, 4)) == {0}
    with pytest.raises(ValueError, match="nothing to draw"):
        draw_indices(0, 1)


def test_every_window_is_drawn_equally_often():
    counts = Counter(index for _ in range(3000) for index in draw_indices(6, 2))
    assert stats.chisquare([counts[i] for i in range(6)]).pvalue > 1e-6
    pairs = Counter(tuple(draw_indices(3, 2)) for _ in range(3000))
    assert stats.chisquare(list(pairs.values())).pvalue > 1e-6
    assert len(pairs) == 6
