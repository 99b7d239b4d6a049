"""The most likely path: exact where everything agrees, and led by what can be trusted where it does not."""

import numpy as np
import pytest

from model.path import Places, Steps, likely_path

FRAMES, SAMPLES = 9, 12


@pytest.fixture
def course():
    """[T + 2, M, 2] a wavy way, keys included."""
    time = np.linspace(0, 1, FRAMES + 2)[:, None]
    phase = np.linspace(0, 2 * np.pi, SAMPLES, endpoint=False)[None]
    return np.stack([time + 0.1 * np.sin(6 * time + phase), np.cos(phase) + 0.2 * time**2], axis=-1)


def straight(course):
    time = np.linspace(0, 1, FRAMES + 2)[1:-1, None, None]
    return (1 - time) * course[0] + time * course[-1]


def even(scale, rows):
    return np.full((rows, SAMPLES), scale)


def path_of(course, steps, places=()):
    return likely_path(course[[0, -1]], straight(course), steps, places)


def test_true_steps_give_the_true_path(course):
    path, deviation = path_of(course, [Steps.of_track(course, even(0.002, FRAMES + 1))])
    assert np.allclose(path, course[1:-1], atol=1e-6)
    assert deviation.shape == (FRAMES, SAMPLES)


def test_a_stumble_is_mended_where_the_tracker_doubts_itself(course):
    track, scale = course.copy(), even(0.002, FRAMES + 1)
    track[5:] += 0.2
    scale[4] = 0.2
    path, _ = path_of(course, [Steps.of_track(track, scale)])
    assert np.abs(path - course[1:-1]).max() < 0.02
    closed = track - np.linspace(0, 1, FRAMES + 2)[:, None, None] * 0.2
    assert np.abs(closed - course).max() > 0.09


def test_places_hold_a_drifting_track(course):
    drift = 0.1 * np.sin(np.linspace(0, np.pi, FRAMES + 2))[:, None, None]
    steps = [Steps.of_track(course + drift, even(0.01, FRAMES + 1))]
    alone, _ = path_of(course, steps)
    held, _ = path_of(course, steps, [Places(course[1:-1], even(0.01, FRAMES))])
    assert np.abs(held - course[1:-1]).max() < 0.35 * np.abs(alone - course[1:-1]).max()


def test_a_match_that_every_step_contradicts_is_left_aside(course):
    found = course[1:-1].copy()
    found[4] += 0.5
    path, _ = path_of(
        course,
        [Steps.of_track(course, even(0.002, FRAMES + 1))],
        [Places(found, even(0.02, FRAMES))],
    )
    assert np.abs(path - course[1:-1]).max() < 0.01


def test_absent_places_change_nothing_and_uncertainty_grows_away_from_the_keys(course):
    steps = [Steps.of_track(course, even(0.002, FRAMES + 1))]
    without, deviation = path_of(course, steps)
    absent = Places(np.zeros((FRAMES, SAMPLES, 2)), even(np.inf, FRAMES))
    assert np.array_equal(path_of(course, steps, [absent])[0], without)
    middle = FRAMES // 2
    assert (np.diff(deviation[: middle + 1], axis=0) > 0).all()
    assert (np.diff(deviation[middle:], axis=0) < 0).all()


def test_one_frame_between_two_keys(course):
    short = course[:3]
    path, _ = likely_path(short[[0, -1]], short[1:2] + 0.1, [Steps.of_track(short, even(0.002, 2))], [])
    assert np.allclose(path, short[1:2], atol=1e-6)
