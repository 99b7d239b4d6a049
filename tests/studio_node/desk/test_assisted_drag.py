import numpy as np
import pytest

from studio_node.desk.assisted_drag import carried, following, moved_handle, transformed

from .conftest import circle

FREE = np.ones(12, bool)


@pytest.fixture
def centres():
    return circle((50, 50), 20, 12)[:, 1]


def test_a_dragged_point_lands_where_it_was_dragged(centres):
    moved = following(centres, np.array([3]), np.array([[5.0, -2.0]]), FREE, closed=True)
    np.testing.assert_array_equal(moved[3], [5.0, -2.0])


def test_neighbours_follow_less_the_farther_they_are_and_the_far_side_hardly_moves(centres):
    moved = following(centres, np.array([0]), np.array([[10.0, 0.0]]), FREE, closed=True)[:, 0]
    assert 10 > moved[1] > moved[2] > moved[3]
    assert moved[1] == pytest.approx(moved[11])
    assert abs(moved[6]) < 0.5


def test_placed_points_stay(centres):
    free = FREE.copy()
    free[1] = False
    moved = following(centres, np.array([0]), np.array([[10.0, 0.0]]), free, closed=True)
    np.testing.assert_array_equal(moved[1], 0)
    assert moved[11, 0] > 1


def test_nothing_follows_where_every_point_is_placed(centres):
    moved = following(centres, np.array([0]), np.array([[10.0, 0.0]]), ~FREE, closed=True)
    assert np.count_nonzero(moved.any(axis=1)) == 1


def test_the_ends_of_an_open_line_are_no_neighbours():
    line = np.stack([np.arange(12.0) * 10, np.zeros(12)], axis=1)
    moved = following(line, np.array([0]), np.array([[0.0, 10.0]]), FREE, closed=False)[:, 1]
    assert moved[1] > 1
    assert abs(moved[11]) < 0.5


def test_points_on_one_spot_break_nothing():
    moved = following(np.zeros((12, 2)), np.array([0]), np.array([[3.0, 0.0]]), FREE, closed=True)
    assert np.isfinite(moved).all()


def test_a_smooth_points_other_tangent_turns_along():
    controls = circle((0, 0), 10)
    to = controls[2, 1] + [7.0, 7.0]
    after = moved_handle(controls, 2, 2, to, exact=False)
    np.testing.assert_array_equal(after[2, 2], [7.0, 7.0])
    cross = after[2, 0, 0] * after[2, 2, 1] - after[2, 0, 1] * after[2, 2, 0]
    assert cross == pytest.approx(0, abs=1e-9)
    assert np.linalg.norm(after[2, 0]) == pytest.approx(np.linalg.norm(controls[2, 0]))
    broken = moved_handle(controls, 2, 2, to, exact=True)
    np.testing.assert_array_equal(broken[2, 0], controls[2, 0])


def test_a_transform_takes_tangents_along_without_the_shift():
    controls = circle((0, 0), 10)
    quarter = np.array([[0.0, -1.0, 100.0], [1.0, 0.0, 7.0]])
    after = transformed(controls, np.arange(8), quarter)
    np.testing.assert_allclose(after[0, 1], [100.0, 17.0], atol=1e-12)
    np.testing.assert_allclose(after[0, 2], [-controls[0, 2, 1], controls[0, 2, 0]], atol=1e-12)


def test_a_correction_fades_to_both_anchors():
    track = np.repeat(circle((0, 0), 10)[None], 11, axis=0)
    changed = track[4] + np.array([[0.0, 0.0], [8.0, 0.0], [0.0, 0.0]])
    after = carried(track, 4, changed, 0, 10)
    shift = (after - track)[:, 0, 1, 0]
    np.testing.assert_allclose(
        shift, [0, 2, 4, 6, 8, 8 * 5 / 6, 8 * 4 / 6, 4, 8 * 2 / 6, 8 / 6, 0], atol=1e-9
    )
    np.testing.assert_array_equal(after[4], changed)


def test_a_correction_turns_with_the_object():
    base = circle((0, 0), 10)
    quarter = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]])
    turned = transformed(base, np.arange(8), quarter)
    track = np.stack([base, base, turned, turned])
    changed = base.copy()
    changed[0, 1] += [6.0, 0.0]
    after = carried(track, 1, changed, None, 3)
    np.testing.assert_allclose(after[2, 0, 1] - turned[0, 1], [0.0, 3.0], atol=1e-9)


def test_beyond_the_last_anchor_the_new_form_is_held():
    track = np.repeat(circle((0, 0), 10)[None], 6, axis=0)
    changed = track[3] + np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 0.0]])
    after = carried(track, 3, changed, 1, None)
    np.testing.assert_allclose((after - track)[:, 0, 1, 0], [0, 0, 2, 4, 4, 4], atol=1e-9)
