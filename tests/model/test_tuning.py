"""Fine-tuning: it learns what the windows teach, is judged on others, and leaves the network it began with alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from model.errors import PredictionError
from model.evidence import column
from model.network import EvidenceTensors, Fusion
from model.training_work import TrainingWork
from model.tuning import tune


@pytest.fixture
def windows(window_of):
    """Windows whose truth is always what one of the trackers says."""
    made = [window_of(np.random.default_rng(seed)) for seed in range(6)]
    return [
        replace(one, truth=np.ascontiguousarray(one.evidence.points[:, :, column("planar_left")]))
        for one in made
    ]


def blended(window, fusion):
    """The window as it would be if the untrained network were right."""
    with torch.no_grad():
        points = fusion(EvidenceTensors.stack([window.evidence])).points[0].numpy()
    return replace(window, truth=points)


def states_equal(one, two):
    return all(
        torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True)
    )


def test_it_learns_and_is_kept_where_it_did_best_on_windows_kept_aside(windows):
    fusion = Fusion().eval()
    before = Fusion().eval()
    before.load_state_dict(fusion.state_dict())
    told = []
    tuned = tune(fusion, windows[:4], windows[4:], steps=160, progress=told.append)
    assert tuned.improved
    assert tuned.curve == tuple(told)
    assert [point.step for point in told] == list(range(0, 161, 20))
    assert tuned.best.aside_error < 0.8 * told[0].aside_error
    nearer = [point for point in told if point.aside_error <= told[0].aside_error]
    assert tuned.best.aside_loss == min(point.aside_loss for point in nearer)
    assert states_equal(fusion, before)


def test_where_it_only_makes_things_worse_the_first_weights_are_kept(windows):
    fusion = Fusion().eval()
    tuned = tune(fusion, windows[:4], [blended(window, fusion) for window in windows[4:]], steps=40)
    assert not tuned.improved
    assert states_equal(tuned.fusion, fusion)


def test_weights_that_place_the_outline_worse_are_not_kept_however_little_they_lose(windows):
    """Most points lie far off on the other side: the robust loss lets them go, their distance grows."""
    fusion, rng, odd = Fusion().eval(), np.random.default_rng(0), []
    for window in windows:
        near, far = window.truth, blended(window, fusion).truth
        away = rng.random(near.shape[:2]) < 0.65
        odd.append(replace(window, truth=np.where(away[..., None], far - 10 * (near - far), near)))
    tuned = tune(fusion, odd[:4], odd[4:], steps=60)
    first = tuned.curve[0]
    assert min(tuned.curve, key=lambda point: point.aside_loss).aside_error > first.aside_error
    assert tuned.best.aside_error <= first.aside_error


def test_a_tuning_that_was_stopped_goes_on_to_the_same_weights(windows, tmp_path):
    fusion = Fusion().eval()
    whole = tune(fusion, windows[:4], windows[4:], steps=24)
    for stopped_at in (0, 20):

        def stop(point, at=stopped_at):
            if point.step == at:
                raise KeyboardInterrupt

        work = TrainingWork(tmp_path / f"work-{stopped_at}", "this one")
        with pytest.raises(KeyboardInterrupt):
            tune(fusion, windows[:4], windows[4:], steps=24, work=work, progress=stop)
        resumed = tune(fusion, windows[:4], windows[4:], steps=24, work=work)
        assert resumed.curve == whole.curve
        assert states_equal(resumed.fusion, whole.fusion)


def test_nothing_to_judge_by_is_refused(windows):
    with pytest.raises(PredictionError, match="0 to judge by"):
        tune(Fusion(), windows, [])
