from dataclasses import replace

import numpy as np
import pytest

from model.errors import KeyframeError, ShapeError
from model.keyframes import Keyed
from model.transforms import Transform
from studio_node.desk.document import DeskShape, Document, anchored, controls_over, span_shape, spans_of


@pytest.fixture
def one(round_shape):
    return DeskShape(1, round_shape)


def test_a_new_key_is_exactly_what_was_put_there(one):
    controls = one.shape.at(6) + 3.0
    keyed = one.with_key(6, controls)
    np.testing.assert_array_equal(keyed.shape.at(6), controls)
    assert keyed.shape.key_frames == (1, 6, 11, 21)
    for frame in (1, 11, 21):
        np.testing.assert_array_equal(keyed.shape.at(frame), one.shape.at(frame))


def test_a_key_under_a_transform_is_still_where_it_was_put_on_screen(one):
    turning = Transform(
        pivot=Keyed.constant([10.0, 5.0]),
        translate=Keyed.smooth([1, 21], [[0.0, 0.0], [30.0, -4.0]]),
        rotate_deg=Keyed.smooth([1, 21], [0.0, 40.0]),
        scale=Keyed.constant([1.2, 0.9]),
    )
    under = DeskShape(1, replace(one.shape, transforms=(turning,)))
    wanted = under.shape.at(6) + 2.0
    keyed = under.with_key(6, wanted)
    np.testing.assert_allclose(keyed.shape.at(6), wanted, atol=1e-9)
    assert keyed.shape.transforms == (turning,)


def test_far_keys_keep_their_stored_slopes(one):
    stale = replace(one.shape, slopes_in=one.shape.slopes_in + 0.5, slopes_out=one.shape.slopes_out + 0.5)
    keyed = DeskShape(1, stale).with_key(26, stale.at(21) + 1)
    np.testing.assert_array_equal(keyed.shape.slopes_out[0], stale.slopes_out[0])
    np.testing.assert_array_equal(keyed.shape.slopes_in[1], stale.slopes_in[1])


def test_a_key_between_two_frames_is_replaced_not_doubled(one):
    retimed = DeskShape(1, replace(one.shape, frames=np.array([1.0, 11.4, 21.0])))
    keyed = retimed.with_key(11, one.shape.at(11))
    assert keyed.shape.frames.tolist() == [1.0, 11.0, 21.0]


def test_the_last_key_cannot_be_taken_away(one):
    bare = one.without_key(1).without_key(21)
    with pytest.raises(KeyframeError, match="only one"):
        bare.without_key(11)
    with pytest.raises(KeyframeError, match="no key at frame 5"):
        one.without_key(5)


def test_a_key_moved_in_time_keeps_its_form(one):
    moved = one.with_moved_key(11, 14)
    assert moved.shape.key_frames == (1, 14, 21)
    np.testing.assert_array_equal(moved.shape.at(14), one.shape.at(11))


def test_feather_goes_with_a_new_key(one):
    feather = Keyed.constant(np.full(one.shape.controls.shape[1:], 2.0))
    soft = DeskShape(1, replace(one.shape, feather=feather))
    offsets = np.full(one.shape.controls.shape[1:], 5.0)
    keyed = soft.with_key(6, soft.shape.at(6), feather=offsets)
    np.testing.assert_allclose(keyed.shape.feather_at(6), offsets)


def test_points_of_a_correction_stay_free_until_they_are_placed(one):
    assert one.free_points(6).all()
    assert not one.free_points(11).any()
    corrected = one.with_key(6, one.shape.at(6), placed={2})
    assert corrected.free_points(6).tolist() == [i != 2 for i in range(8)]
    assert not corrected.with_key(6, one.shape.at(6)).free_points(6).any()


def test_an_accepted_frame_is_an_anchor_but_no_key(one):
    taken = one.with_accepted({5: one.shape.at(5) + 1, 11: one.shape.at(5)})
    assert taken.anchors == (1, 5, 11, 21)
    assert taken.shape.key_frames == (1, 11, 21)
    np.testing.assert_array_equal(taken.anchor(11), one.shape.at(11))
    assert taken.without_accepted(1, 21).anchors == (1, 11, 21)


def test_a_correction_of_an_accepted_frame_takes_its_place(one):
    taken = one.with_accepted({5: one.shape.at(5) + 1})
    keyed = taken.with_key(5, one.shape.at(5) + 9)
    assert not keyed.accepted
    np.testing.assert_array_equal(keyed.anchor(5), one.shape.at(5) + 9)


def test_accepted_controls_of_another_shape_are_refused(one):
    with pytest.raises(ShapeError, match="accepted with controls"):
        replace(one, accepted={3: np.zeros((2, 3, 2))})


def test_the_prediction_sees_accepted_frames_as_keys(one):
    taken = one.with_accepted({5: one.shape.at(5) + 1})
    seen = anchored(taken)
    assert seen.key_frames == (1, 5, 11, 21)
    for frame in seen.key_frames:
        np.testing.assert_allclose(seen.at(frame), taken.anchor(frame), atol=1e-12)
    assert anchored(one) is one.shape


def test_a_span_of_a_shape_runs_as_the_shape_does(one):
    span = span_shape(one.shape, 11, 21)
    frames = np.arange(11, 22)
    np.testing.assert_array_equal(controls_over(span, frames), controls_over(one.shape, frames))


def test_neighbouring_frames_make_no_span():
    assert spans_of([1, 2, 5, 6, 9]) == [(2, 5), (6, 9)]


def test_changed_shapes_keep_their_place_and_new_ones_lie_on_top(round_shape):
    document = Document(
        (DeskShape(1, round_shape), DeskShape(2, replace(round_shape, name="b", path="b"))), 3
    )
    hidden = replace(document.shapes[0], shown=False)
    after = document.with_shapes([DeskShape(7, replace(round_shape, name="c", path="c")), hidden])
    assert [one.shape_id for one in after.shapes] == [1, 2, 7]
    assert after.shapes[0] is hidden
    assert after.next_id == 8
    assert [one.shape_id for one in after.ordered([7, 2, 1]).shapes] == [7, 2, 1]
    assert after.free_name("c") == "c2"
    with pytest.raises(ShapeError, match="number 9"):
        after.find(9)
