"""The fusion network: starts as the hand blend, mixes nothing between spans, cares for no order or place."""

import dataclasses

import numpy as np
import pytest
import torch

from model.evidence import CANDIDATES, column
from model.losses import window_loss
from model.network import EvidenceTensors, Fusion, RotoModel, blend_candidates
from model.windows import Window


@pytest.fixture
def fusion():
    """A network that is not at its start, so that every part of it counts."""
    torch.manual_seed(3)
    made = Fusion().eval()
    for parameter in made.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return made


def run(fusion, *spans):
    with torch.no_grad():
        return fusion(EvidenceTensors.stack(spans))


def test_an_untrained_network_returns_the_hand_blend(evidence_of):
    tensors = EvidenceTensors.stack([evidence_of(np.random.default_rng(0))])
    with torch.no_grad():
        out, blend = Fusion()(tensors), blend_candidates(tensors)
    assert torch.allclose(out.points, blend.points, atol=1e-6)
    assert torch.allclose(out.log_scale, blend.log_scale, atol=1e-5)


def test_the_hand_blend_is_the_inverse_variance_mean(evidence_of):
    only = (column("lk_left"), column("lk_right"))
    spans = evidence_of(np.random.default_rng(0), absent=set(range(len(CANDIDATES))) - set(only))
    blend = blend_candidates(EvidenceTensors.stack([spans])).points[0].numpy()
    time = spans.time[:, None]
    left, right = (
        (share / np.exp(2 * spans.log_scale[..., c])) for share, c in ((1 - time, only[0]), (time, only[1]))
    )
    expected = left[..., None] * spans.points[:, :, only[0]] + right[..., None] * spans.points[:, :, only[1]]
    assert np.allclose(blend, expected / (left + right)[..., None], atol=1e-5)


def test_spans_of_a_batch_do_not_see_each_other(fusion, evidence_of):
    rng = np.random.default_rng(1)
    spans = [evidence_of(rng, frames) for frames in (3, 7, 5)]
    together = run(fusion, *spans)
    for row, span in enumerate(spans):
        alone, length = run(fusion, span), len(span.time)
        assert torch.allclose(together.points[row, :length], alone.points[0], atol=1e-6)
        assert torch.allclose(together.log_scale[row, :length], alone.log_scale[0], atol=1e-5)


def test_frames_of_a_span_do_not_see_each_other(fusion, evidence_of):
    span = evidence_of(np.random.default_rng(2), 6)
    timed = {
        n: getattr(span, n)[2:3] for n in ("time", "points", "log_scale", "drift", "appearance", "available")
    }
    one = run(fusion, dataclasses.replace(span, **timed))
    assert torch.allclose(one.points[0, 0], run(fusion, span).points[0, 2], atol=1e-6)


@pytest.mark.parametrize("shift", [1, 17, 63])
def test_starting_the_contour_elsewhere_changes_nothing_else(fusion, evidence_of, shift):
    span = evidence_of(np.random.default_rng(3))
    axis = {"points": 1, "log_scale": 1, "drift": 1, "appearance": 1, "miss": 0, "keys": 1}
    turned = dataclasses.replace(span, **{n: np.roll(getattr(span, n), shift, a) for n, a in axis.items()})
    expected = torch.roll(run(fusion, span).points, shift, dims=2)
    assert torch.allclose(run(fusion, turned).points, expected, atol=1e-5)


def test_a_turned_and_shifted_scene_gives_a_turned_and_shifted_outline(fusion, evidence_of):
    span = evidence_of(np.random.default_rng(4))
    angle = 0.7
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]], np.float32)
    shift = np.array([0.3, -0.2], np.float32)
    moved = dataclasses.replace(span, points=span.points @ turn.T + shift, keys=span.keys @ turn.T + shift)
    expected = run(fusion, span).points.numpy() @ turn.T + shift
    assert np.allclose(run(fusion, moved).points.numpy(), expected, atol=2e-5)


def test_inside_is_inside_however_the_outline_is_drawn(evidence_of):
    span = evidence_of(np.random.default_rng(12))
    axis = {"points": 1, "log_scale": 1, "drift": 1, "appearance": 1, "miss": 0, "keys": 1}
    turned = dataclasses.replace(span, **{n: np.flip(getattr(span, n), a).copy() for n, a in axis.items()})
    plain, other = (blend_candidates(EvidenceTensors.stack([s])) for s in (span, turned))
    assert torch.allclose(plain.tangent, torch.flip(other.tangent, dims=[2]), atol=1e-5)
    outward = plain.points - plain.points.mean(dim=2, keepdim=True)
    across = plain.tangent[..., 0] * outward[..., 1] - plain.tangent[..., 1] * outward[..., 0]
    assert abs(torch.sign(across).mean()) > 0.9


def test_what_an_absent_candidate_says_is_ignored(fusion, evidence_of):
    gone = (column("match_left"), column("dis_right"))
    span = evidence_of(np.random.default_rng(5), absent=gone)
    noisy = {n: getattr(span, n).copy() for n in ("points", "log_scale", "drift", "appearance")}
    for name, array in noisy.items():
        array[:, :, list(gone)] += 3.0 if name != "log_scale" else -1.0
    other = run(fusion, dataclasses.replace(span, **noisy))
    assert torch.allclose(other.points, run(fusion, span).points, atol=1e-6)


def test_the_result_repeats_exactly(fusion, evidence_of):
    span = evidence_of(np.random.default_rng(6))
    assert torch.equal(run(fusion, span).points, run(fusion, span).points)


def test_the_loss_is_the_mean_of_its_windows(fusion, window_of):
    rng = np.random.default_rng(7)
    windows = [window_of(rng, frames) for frames in (3, 6, 4)]
    each = [window_loss(fusion, [window]).item() for window in windows]
    assert window_loss(fusion, windows).item() == pytest.approx(np.mean(each), rel=1e-5)


def test_gradients_of_a_batch_are_the_mean_of_one_by_one(fusion, window_of):
    rng = np.random.default_rng(8)
    windows = [window_of(rng, frames) for frames in (2, 5)]
    parameters = list(fusion.parameters())
    together = torch.autograd.grad(window_loss(fusion, windows), parameters)
    single = [torch.autograd.grad(window_loss(fusion, [w]), parameters) for w in windows]
    for whole, one, other in zip(together, *single, strict=True):
        assert torch.allclose(whole, (one + other) / 2, atol=1e-5)


def test_gradients_of_the_shipped_network_are_those_of_each_window_alone(window_of):
    """Window by window against one backward pass over a padded batch, on the weights that studios train from."""
    fusion = RotoModel.base().fusion.requires_grad_(True)
    rng = np.random.default_rng(14)
    windows = [window_of(rng, frames) for frames in (2, 7, 4)]
    parameters = list(fusion.parameters())
    alone = [torch.autograd.grad(window_loss(fusion, [w]), parameters) for w in windows]
    for index in range(len(windows)):
        rest = [w for i, w in enumerate(windows) if i != index]
        without = torch.autograd.grad(window_loss(fusion, rest), parameters)
        together = torch.autograd.grad(window_loss(fusion, windows), parameters)
        for whole, others, one in zip(together, without, alone[index], strict=True):
            left = len(windows) * whole - len(rest) * others
            assert (left - one).norm() <= 1e-3 * one.norm() + 1e-5


def test_nothing_in_the_shipped_networks_mixes_the_rows_of_a_batch():
    base = RotoModel.base()
    kinds = {type(module) for network in (base.fusion, base.matcher) for module in network.modules()}
    assert not any(issubclass(kind, torch.nn.modules.batchnorm._NormBase) for kind in kinds)
    assert not any(issubclass(kind, torch.nn.modules.dropout._DropoutNd) for kind in kinds)
    buffers = [name for network in (base.fusion, base.matcher) for name, _ in network.named_buffers()]
    assert not [name for name in buffers if "running" in name]


def test_dead_frames_count_nothing(fusion, window_of):
    window = window_of(np.random.default_rng(9), 5)
    weight = np.array([1, 1, 0, 0, 1], np.float32)
    wrong = window.truth.copy()
    wrong[2:4] += 5
    whole, alive, spoiled = (
        window_loss(fusion, [Window(window.evidence, truth, weights)]).item()
        for truth, weights in ((window.truth, window.weight), (window.truth, weight), (wrong, weight))
    )
    assert alive != pytest.approx(whole)
    assert spoiled == alive


def test_a_window_without_any_living_frame_costs_nothing_and_teaches_nothing(fusion, window_of):
    window = window_of(np.random.default_rng(10), 4)
    dead = Window(window.evidence, window.truth, np.zeros(4, np.float32))
    loss = window_loss(fusion, [dead])
    assert loss.item() == 0
    assert all(not g.any() for g in torch.autograd.grad(loss, list(fusion.parameters())))


def test_the_truth_costs_least(fusion, window_of):
    window = window_of(np.random.default_rng(11), 4)
    exact = run(fusion, window.evidence).points[0].numpy()
    at_truth = Window(window.evidence, exact, window.weight)
    near = Window(window.evidence, exact + np.float32(0.01), window.weight)
    far = Window(window.evidence, exact + np.float32(0.1), window.weight)
    costs = [window_loss(fusion, [w]).item() for w in (at_truth, near, far)]
    assert costs == sorted(costs)
    assert costs[0] < costs[1] < costs[2]


def test_leaving_the_hand_blend_has_a_price_only_where_asked(fusion, window_of):
    window = window_of(np.random.default_rng(13), 4)
    free, priced = (window_loss(fusion, [window], caution=c).item() for c in (0.0, 1.0))
    assert priced > free
    at_start = [window_loss(Fusion(), [window], caution=c).item() for c in (0.0, 1.0)]
    assert at_start[0] == pytest.approx(at_start[1])
