"""Finding the edge across an outline: geometry of the band, what the shipped weights find, and their pretraining."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from model.edge_band import band, crossings, enclosed
from model.edge_network import EdgeNetwork
from model.edge_training import EdgeTraining, pretrain
from model.edges import FINE_PX, find_edges
from model.errors import WeightsError
from model.network import RotoModel, matcher_of
from model.outline_tensors import inner_normals
from model.weights import load
from tests.model.moving_disc import disc, disc_shot

TINY = EdgeTraining(steps=4, seed=3, pairs=1, picture_px=64, points=(24,), textures=4, warmup_steps=2)


@pytest.fixture(scope="module")
def shipped() -> EdgeNetwork:
    edges = RotoModel.base().matcher.edges
    assert edges is not None
    return edges


def circle(radius: float) -> torch.Tensor:
    angle = torch.arange(64) * (2 * np.pi / 64)
    return 40 + radius * torch.stack([torch.cos(angle), torch.sin(angle)], -1)[None]


def test_a_band_runs_from_outside_to_inside_and_tells_where_an_outline_crosses_it() -> None:
    truth, estimate = circle(20.0), circle(17.0)
    for outline in (estimate, estimate.flip(1)):
        places = band(outline)
        inside = enclosed(truth, places.flatten(1, 2)).view(places.shape[:3])
        assert not inside[..., :9].any()
        assert inside[..., 10:].all()
        u, within = crossings(truth, outline)
        assert within.all()
        torch.testing.assert_close(u, torch.full_like(u, -3.0), atol=0.05, rtol=0)
    assert not crossings(circle(39.0), estimate)[1].any()  # out of reach


def test_an_edge_over_the_objects_own_other_part_is_no_edge() -> None:
    # One line draws a trunk and then a limb that lies across it and ends 10 px beside it.
    trunk = [(20.0, 20.0), (60.0, 20.0), (60.0, 60.0), (20.0, 60.0)]
    limb = [(20.0, 35.0), (70.0, 35.0), (70.0, 45.0), (20.0, 45.0)]
    truth = torch.tensor([[*trunk, *limb]])
    assert enclosed(truth, torch.tensor([[(55.0, 38.0), (65.0, 38.0)]])).all()
    estimate = torch.tensor([[trunk[0], trunk[1], (60.0, 40.0), trunk[2], trunk[3]]])
    u, within = crossings(truth, estimate)
    assert within[0, 2]
    assert float(u[0, 2]) == pytest.approx(-10.0, abs=1e-4)


def drawn_off(outlines: np.ndarray, offset_px: float) -> np.ndarray:
    """Outlines moved across themselves, outwards where positive."""
    tensor = torch.from_numpy(outlines)
    return (tensor - inner_normals(tensor) * offset_px).numpy()


@pytest.mark.parametrize("drawn_px", [0.0, 2.0])
def test_an_outline_comes_to_rest_where_the_artist_drew_it(shipped: EdgeNetwork, drawn_px: float) -> None:
    frames, truth = disc_shot(5, (3.0, 1.5))
    keys = drawn_off(truth, drawn_px)
    start = drawn_off(keys, -3.0)
    start[[0, -1]] = keys[[0, -1]]
    found = find_edges(shipped, frames, start, np.full(start.shape[:2], 3.0), size_px=FINE_PX)
    np.testing.assert_array_equal(found.points[[0, -1]], keys[[0, -1]])

    def radii(outlines: np.ndarray) -> np.ndarray:
        return np.linalg.norm(outlines - truth.mean(axis=1, keepdims=True), axis=2)[1:-1]

    before, after = (np.abs(radii(outlines) - radii(keys)).mean() for outlines in (start, found.points))
    assert before == pytest.approx(3.0, abs=0.1)
    assert after < 1.2
    assert found.error[1:-1].mean() < 1.0


def test_what_cannot_be_seen_keeps_its_outline_and_its_doubt(shipped: EdgeNetwork) -> None:
    frames, truth = disc_shot(4, (2.0, 0.0))
    start, doubt = truth + 1.0, np.full(truth.shape[:2], 2.0)
    hidden = find_edges(shipped, [frames[0], None, *frames[2:]], start, doubt, size_px=FINE_PX)
    np.testing.assert_array_equal(hidden.points[1], start[1])
    np.testing.assert_array_equal(hidden.error[1], doubt[1])
    assert (hidden.error[2] < 2.0).any()
    blind = find_edges(shipped, [None, *frames[1:3], None], start, doubt, size_px=FINE_PX)
    np.testing.assert_array_equal(blind.points, start)
    away = np.stack([disc((-400.0, 50.0))] * 4)
    np.testing.assert_array_equal(find_edges(shipped, frames, away, doubt, size_px=FINE_PX).points, away)


def test_weights_without_an_edge_network_still_make_a_matcher() -> None:
    tensors = RotoModel.base().to_tensors()
    before = {k: v for k, v in tensors.items() if k.startswith("matcher.") and ".edges." not in k}
    assert matcher_of(before).edges is None


def test_a_stopped_pretraining_goes_on_to_the_same_weights(tmp_path) -> None:
    whole = load(pretrain(TINY, tmp_path / "whole"))

    def stop(step: int, _: float) -> None:
        if step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(TINY, tmp_path / "parts", checkpoint_every_s=0.0, progress=stop)
    parts = load(pretrain(TINY, tmp_path / "parts"))
    assert set(parts.tensors) == {f"matcher.edges.{name}" for name in EdgeNetwork().state_dict()}
    for name, values in whole.tensors.items():
        np.testing.assert_array_equal(values, parts.tensors[name])
    with pytest.raises(WeightsError, match="another recipe"):
        pretrain(replace(TINY, seed=4), tmp_path / "parts")
