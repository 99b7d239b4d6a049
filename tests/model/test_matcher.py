"""Matching a span: shapes, coordinates, what is missing, and the disc that it has to follow."""

import numpy as np
import pytest
import torch

from model.errors import PredictionError
from model.matcher import COARSE_PX, FINE_PX, Matcher, match_span
from model.matcher_crops import Crop, crop_scale, outline_size
from model.matcher_network import STRIDES, make_queries, sample_map
from model.matcher_windows import window, window_of_map
from model.network import RotoModel
from model.outline_tensors import inner_normals
from model.weights import base_path, load
from tests.model.moving_disc import POINTS, disc, disc_shot


@pytest.fixture(scope="module")
def untrained() -> Matcher:
    torch.manual_seed(5)
    return Matcher().eval()


@pytest.fixture(scope="module")
def restless() -> Matcher:
    """Random weights that do move the points (a fresh matcher's last layer is zero)."""
    torch.manual_seed(6)
    matcher = Matcher().eval()
    torch.nn.init.normal_(matcher.update.out.weight, std=0.05)
    return matcher


def test_untrained_weights_hand_the_start_back_through_every_crop(untrained: Matcher) -> None:
    frames, truth = disc_shot(5, (2.3, -1.1))
    wobble = np.random.default_rng(0).normal(0, 1.5, truth.shape)
    wobble[[0, -1]] = 0
    found = match_span(untrained, frames, truth + wobble, truth[0], truth[-1])
    np.testing.assert_allclose(found.from_left, truth + wobble, atol=2e-3)
    np.testing.assert_allclose(found.from_right, truth + wobble, atol=2e-3)


@pytest.mark.parametrize("size_px", [COARSE_PX, FINE_PX])
def test_results_have_the_spans_shape_are_finite_and_repeat(restless: Matcher, size_px: float) -> None:
    frames, truth = disc_shot(4, (3.0, 1.0))
    first, second = (
        match_span(restless, frames, truth, truth[0], truth[-1], size_px=size_px) for _ in range(2)
    )
    for name, shape in (("from_left", (4, POINTS, 2)), ("log_scale_right", (4, POINTS))):
        values = getattr(first, name)
        assert values.shape == shape
        assert np.isfinite(values).all()
        assert np.array_equal(values, getattr(second, name))
    assert np.abs(first.from_left - truth).max() > 0.01


def test_a_match_keeps_its_miss_at_the_far_key_for_the_caller_to_judge(untrained: Matcher) -> None:
    frames, truth = disc_shot(5, (0.0, 0.0))
    off = truth + np.array([4.0, 0.0])  # untrained weights leave every match where it starts
    found = match_span(untrained, frames, off, truth[0], truth[-1])
    np.testing.assert_allclose(
        found.from_left[-1] - truth[-1], np.broadcast_to([4.0, 0.0], (POINTS, 2)), atol=2e-3
    )


def test_a_missing_frame_keeps_its_start_and_says_that_it_saw_nothing(restless: Matcher) -> None:
    frames, truth = disc_shot(5, (2.0, 0.0))
    found = match_span(restless, [*frames[:2], None, *frames[3:]], truth, truth[0], truth[-1])
    size = outline_size(truth[0])
    assert (found.log_scale_left[2] > np.log(size)).all()
    assert (found.log_scale_right[2] > np.log(size)).all()
    assert (found.log_scale_left[1] < np.log(size)).all()
    assert np.isfinite(found.from_left).all()


def test_a_missing_key_blinds_its_own_side_only(restless: Matcher) -> None:
    frames, truth = disc_shot(5, (2.0, 0.0))
    found = match_span(restless, [None, *frames[1:]], truth, truth[0], truth[-1])
    size = outline_size(truth[0])
    assert (found.log_scale_left > np.log(size)).all()
    assert (found.log_scale_right[1:] < np.log(size)).all()


def test_an_object_off_the_plate_is_blind_and_one_partly_off_is_unsure_there(restless: Matcher) -> None:
    frames, _ = disc_shot(3, (0.0, 0.0))
    away = np.stack([disc((-400.0, 50.0))] * 3)
    found = match_span(restless, frames, away, away[0], away[-1])
    assert (found.log_scale_left > np.log(outline_size(away[0]))).all()
    np.testing.assert_allclose(found.from_left, away)
    partly = np.stack([disc((-5.0, 50.0))] * 3)
    found = match_span(restless, frames, partly, partly[0], partly[-1])
    outside = partly[0, :, 0] < -10
    assert found.log_scale_left[1][outside].min() > np.log(4.0)
    assert np.isfinite(found.from_left).all()


def test_an_outline_is_matched_alike_alone_and_in_a_batch(restless: Matcher) -> None:
    generator = torch.Generator().manual_seed(3)
    pictures = torch.rand(2, 3, 96, 96, generator=generator)
    outlines = torch.stack([torch.from_numpy(disc((48, 46), r)) for r in (20.0, 30.0)]).float()
    with torch.no_grad():
        maps = restless.encoder(pictures)
        together, scales, _ = restless.refine(make_queries(maps, outlines), maps, outlines + 2)
        for row in (0, 1):
            own = restless.encoder(pictures[row : row + 1])
            part = outlines[row : row + 1]
            alone, alone_scales, _ = restless.refine(make_queries(own, part), own, part + 2)
            torch.testing.assert_close(alone[-1][0], together[-1][row], atol=2e-3, rtol=0)
            torch.testing.assert_close(alone_scales[-1][0], scales[-1][row], atol=2e-3, rtol=0)


def test_with_and_without_gradients_the_same_points_are_found(restless: Matcher) -> None:
    picture = torch.rand(1, 3, 288, 288, generator=torch.Generator().manual_seed(4))
    outline = torch.from_numpy(disc((140, 150), 60.0)).float()[None]
    found = []
    for graded in (True, False):
        with torch.set_grad_enabled(graded):
            maps = restless.encoder(picture)
            points, _, volumes = restless.refine(make_queries(maps, outline), maps, outline + 3)
        found.append(points[-1].detach())
        assert (volumes[0] is None) is not graded
    torch.testing.assert_close(found[0], found[1], atol=2e-3, rtol=0)


def test_windows_are_centred_on_their_place_and_empty_outside() -> None:
    volume = torch.zeros(1, 1, 6 * 9)
    volume[0, 0, 2 * 9 + 5] = 1.0  # row 2, column 5 of a stride-4 map: its centre is at (22, 10)
    middle = window(volume, 9, torch.tensor([[[22.0, 10.0]]]), 4)[0].view(7, 7)
    assert middle[3, 3] == 1
    assert middle.sum() == 1
    half_right = window(volume, 9, torch.tensor([[[24.0, 10.0]]]), 4)[0].view(7, 7)
    assert half_right[3, 2] == 0.5
    assert half_right[3, 3] == 0.5
    assert window(torch.ones(1, 1, 54), 9, torch.tensor([[[-500.0, 9e9]]]), 4)[0].sum() == 0


def test_a_window_read_from_a_volume_equals_one_correlated_on_the_fly() -> None:
    generator = torch.Generator().manual_seed(1)
    level = torch.randn(1, 8, 6, 9, generator=generator)
    features = torch.randn(2, 5, 8, generator=generator)
    places = torch.rand(2, 5, 2, generator=generator) * 50 - 8
    whole = window(features @ level.flatten(2), 9, places, 4)[0]
    torch.testing.assert_close(window_of_map(features, level, places, 4), whole, atol=1e-5, rtol=0)


def test_gradients_of_chained_windows_equal_those_of_separate_ones() -> None:
    generator = torch.Generator().manual_seed(2)
    volume = torch.randn(1, 4, 54, generator=generator, requires_grad=True)
    places = [torch.rand(1, 4, 2, generator=generator) * 40 for _ in range(3)]
    weights = [torch.randn(1, 4, 49, generator=generator) for _ in range(3)]
    handed_on, chained = volume * 1, torch.zeros(())
    for place, weight in zip(places, weights, strict=True):
        cut, handed_on = window(handed_on, 9, place, 4)
        chained = chained + (cut * weight).sum()
    apart = sum((window(volume * 1, 9, p, 4)[0] * w).sum() for p, w in zip(places, weights, strict=True))
    (one,), (other,) = torch.autograd.grad(chained, volume), torch.autograd.grad(apart, volume)
    torch.testing.assert_close(one, other)


def test_features_are_read_at_cell_centres_for_every_stride() -> None:
    for stride in STRIDES:
        level = torch.rand(1, 3, 5, 7)
        place = torch.tensor([[[(4 + 0.5) * stride, (2 + 0.5) * stride]]])
        torch.testing.assert_close(sample_map(level, place, stride)[0, 0], level[0, :, 2, 4])


def test_inner_normals_point_inside_whichever_way_the_outline_runs() -> None:
    outline = torch.from_numpy(disc((30.0, 40.0))).float()[None]
    inward = torch.tensor([30.0, 40.0]) - outline
    for turned in (False, True):
        given, wanted = (outline.flip(1), inward.flip(1)) if turned else (outline, inward)
        assert ((inner_normals(given) * wanted).sum(-1) > 0).all()


@pytest.mark.parametrize(("target_px", "offset"), [(20.0, 0), (60.0, -30), (70.0, 70)])
def test_a_crop_shows_each_plate_position_where_it_says(target_px: float, offset: int) -> None:
    column = np.arange(200) + 0.5
    ramp = np.repeat(np.repeat(column[None, :, None], 120, 0), 3, 2).astype(np.uint8)
    points = disc((80.0 + offset, 60.0))
    size = outline_size(points)
    crop = Crop.around(points, size, crop_scale([points], size, target_px))
    shown = crop.cut(ramp)[0] * 255
    assert shown.shape == (crop.rows, crop.columns)
    assert crop.columns % 16 == 0
    assert crop.rows % 16 == 0
    centres = torch.stack([torch.arange(crop.columns) + 0.5, torch.full((crop.columns,), 8.5)], -1)
    plate_x = crop.outward(centres)[:, 0]
    inside = (plate_x > 2) & (plate_x < 198)
    np.testing.assert_allclose(shown[8].numpy()[inside], plate_x[inside] - 0.5, atol=0.51)
    assert abs(np.mean(shown[8].numpy()[inside] - (plate_x[inside] - 0.5))) < 0.02
    torch.testing.assert_close(torch.from_numpy(crop.outward(crop.inward(points))), torch.from_numpy(points))


def test_a_huge_object_gets_a_crop_within_the_limit() -> None:
    points = disc((2000.0, 1000.0), 1900.0)
    size = outline_size(points)
    crop = Crop.around(points, size, crop_scale([points], size, 170.0))
    assert crop.rows * crop.columns < 1.1 * 160_000


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"frames": 1}, "at least its two keys"),
        ({"right": np.zeros((POINTS + 1, 2))}, "keys have shapes"),
        ({"start": np.zeros((2, POINTS, 2))}, "start has shape"),
        ({"left": np.full((POINTS, 2), np.nan)}, "NaN or infinity"),
    ],
)
def test_what_does_not_fit_is_refused(untrained: Matcher, change: dict, complaint: str) -> None:
    frames, truth = disc_shot(3, (1.0, 0.0))
    given = {"frames": 3, "start": truth, "left": truth[0], "right": truth[-1]} | change
    frames = frames[: given.pop("frames")]
    with pytest.raises(PredictionError, match=complaint):
        match_span(untrained, frames, **given)


def test_trained_weights_follow_a_textured_disc_to_within_a_pixel() -> None:
    if not base_path().exists():
        pytest.skip("no base weights in this checkout")
    matcher = RotoModel.from_tensors(load(base_path()).tensors).matcher
    if matcher is None:
        pytest.skip("the base weights hold no matcher")
    frames, truth = disc_shot(6, (5.3, -3.7))
    time = np.linspace(0, 1, 6)[:, None, None]
    curved = (1 - time) * truth[0] + time * truth[-1] + 6 * (time * (1 - time)) * np.array([3.0, 4.0])
    around = curved
    for size_px in (COARSE_PX, FINE_PX):
        found = match_span(matcher, frames, around, truth[0], truth[-1], size_px=size_px)
        around = 0.5 * (found.from_left + found.from_right)
    assert np.linalg.norm(around - truth, axis=-1)[1:-1].mean() < 0.75
