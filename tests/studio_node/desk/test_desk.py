"""The desk without a server: messages in, messages out, with the real predictor on small pictures."""

import time
from dataclasses import replace

import cv2
import numpy as np
import pytest

from model.frames import ArrayFrames
from model.network import Fusion, RotoModel
from model.pictures import Pictures
from model.shapes import Shape
from studio_node.desk.course import FrameState
from studio_node.desk.desk import _ACTIONS, Desk
from studio_node.desk.document import DeskShape, Document
from studio_node.desk.edits import EDITS
from studio_node.desk.messages import Shot
from studio_node.desk.predictor import Predictor
from studio_node.desk.session import Session, edit_of
from studio_node.desk.store import DeskStore
from studio_node.desk.wire import decode

from .conftest import circle

SHOT = Shot("sh", 96, 72, 1, 25, 24.0, False, ())


class Page:
    """A page's side of the desk."""

    def __init__(self, desk):
        self.desk, self.said = desk, []

    def ask(self, op, numbers=(), **head):
        replies, news = self.desk.handle({"op": op, **head}, np.array(numbers, float).ravel())
        self.said = [decode(message)[0] for message in replies + news]
        return [decode(message) for message in replies + news]

    def refused(self, op, numbers=(), **head):
        self.ask(op, numbers, **head)
        assert [said["op"] for said in self.said] == ["refused"]
        return self.said[0]["text"]

    def one(self, shape_id=1):
        return self.desk.session.document.find(shape_id)

    def course(self, shape_id=1):
        return self.desk.courses[shape_id]

    def predicted(self, shape_id=1, seconds=20):
        """Wait until everything is predicted, and take it in."""
        end = time.monotonic() + seconds
        while self.desk._predictor.left:
            assert time.monotonic() < end, "the predictor did not come to an end"
            time.sleep(0.01)
        self.desk.predicted(shape_id)
        return self.course(shape_id)


@pytest.fixture
def frames():
    rng = np.random.default_rng(3)
    ground = cv2.GaussianBlur(rng.integers(0, 255, (72, 160, 3)).astype(np.float32), (0, 0), 2)
    pictures = [np.ascontiguousarray(ground[:, 2 * i : 2 * i + 96]).astype(np.uint8) for i in range(25)]
    return ArrayFrames(pictures, first_frame=1)


@pytest.fixture
def page(tmp_path, frames, round_shape):
    store = DeskStore(tmp_path / "w", width=96, height=72)
    session = Session(Document((DeskShape(1, round_shape),), 2))
    store.begin(session, {"plate": "p", "shapes": "", "sha256": ""})
    predictor = Predictor(RotoModel(Fusion()), Pictures(frames))
    desk = Desk(SHOT, session, store, predictor)
    predictor.start()
    yield Page(desk)
    predictor.stop()
    store.close()


def drag(page, frame, point, to, *, drop=True, gesture=1, part=1, **more):
    head = {"parts": [{"shape": 1, "points": [point]}], "frame": frame, "part": part, "gesture": gesture}
    return page.ask("drag", to, **head, drop=drop, id=1, **more)


def move(page, shape_id, matrix, frame, gesture, **more):
    head = {"parts": [{"shape": shape_id, "points": None}], "frame": frame, "gesture": gesture}
    return page.ask("transform", matrix, **head, drop=True, id=1, **more)


def test_a_shape_is_predicted_between_its_keys_and_held_outside(page):
    course = page.predicted()
    assert [course.states[frame - 1] for frame in (1, 11, 21)] == [FrameState.KEY] * 3
    assert set(course.states[1:10]) == {FrameState.PREDICTED}
    assert set(course.states[21:]) == {FrameState.HELD}
    np.testing.assert_array_equal(course.controls[10], page.one().shape.at(11))
    np.testing.assert_array_equal(course.controls[24], page.one().shape.at(21))
    assert 1 < course.suggested_key < 21


def test_a_drag_is_answered_at_once_with_the_whole_range_and_commits_on_drop(page):
    before = page.predicted()
    to = before.controls[5, 0, 1] + [6.0, -4.0]
    ((head, numbers),) = drag(page, 6, 0, to, drop=False)
    assert (head["op"], head["preview"], head["reply"]) == ("course", True, 1)
    shown = numbers[: 25 * 8 * 6].reshape(25, 8, 3, 2)
    np.testing.assert_allclose(shown[5, 0, 1], to, atol=1e-3)
    assert page.one().shape.key_frames == (1, 11, 21)
    np.testing.assert_allclose(shown[0], before.controls[0], atol=1e-4)
    assert np.linalg.norm(shown[3, 0, 1] - before.controls[3, 0, 1]) > 1
    np.testing.assert_allclose(shown[10:], before.controls[10:], atol=1e-4)
    drag(page, 6, 0, to)
    assert page.one().shape.key_frames == (1, 6, 11, 21)
    np.testing.assert_allclose(page.course().controls[5, 0, 1], to, atol=1e-9)
    after = page.predicted()
    np.testing.assert_array_equal(
        after.controls[[0, 5, 10, 20]], [page.one().anchor(f) for f in (1, 6, 11, 21)]
    )


def test_neighbours_follow_a_drag_and_not_an_exact_one(page):
    before = page.predicted().controls[5]
    to = before[0, 1] + [6.0, 0.0]
    drag(page, 6, 0, to)
    assert np.linalg.norm(page.course().controls[5, 1, 1] - before[1, 1]) > 0.3
    page.ask("undo")
    drag(page, 6, 0, to, gesture=2, exact=True)
    np.testing.assert_array_equal(page.course().controls[5, 1:], before[1:])


def test_points_of_a_drawn_key_never_follow(page):
    page.predicted()
    before = page.one().shape.at(11)
    drag(page, 11, 0, before[0, 1] + [6.0, 0.0])
    np.testing.assert_array_equal(page.one().shape.at(11)[1:], before[1:])


def test_a_point_placed_before_stays_when_its_neighbour_is_dragged(page):
    page.predicted()
    drag(page, 6, 0, page.course().controls[5, 0, 1] + [6.0, 0.0])
    placed = page.course().controls[5, 0, 1].copy()
    drag(page, 6, 1, page.course().controls[5, 1, 1] + [0.0, 5.0], gesture=2)
    np.testing.assert_array_equal(page.course().controls[5, 0, 1], placed)


def test_the_way_of_a_drag_does_not_count(page):
    page.predicted()
    start = page.course().controls[5, 0, 1].copy()
    for step in (50.0, -30.0, 2.0):
        drag(page, 6, 0, start + step, drop=False)
    drag(page, 6, 0, start + 3)
    straight = page.one().shape.at(6)
    page.ask("undo")
    drag(page, 6, 0, start + 3, gesture=2)
    np.testing.assert_allclose(page.one().shape.at(6), straight, atol=1e-9)


def test_undo_brings_the_former_prediction_back_without_new_work(page):
    before = page.predicted().controls.copy()
    drag(page, 6, 0, [10.0, 10.0])
    page.predicted()
    page.ask("undo")
    assert page.desk._predictor.left == 0
    np.testing.assert_array_equal(page.course().controls, before)
    page.ask("redo")
    assert page.one().shape.key_frames == (1, 6, 11, 21)


def test_a_whole_shape_is_moved_and_the_same_at_every_key_with_ripple(page):
    page.predicted()
    before = [page.one().anchor(frame) for frame in (1, 11, 21)]
    step = [1, 0, 7, 0, 1, -3]
    move(page, 1, step, 11, 1)
    np.testing.assert_allclose(page.one().anchor(11)[:, 1] - before[1][:, 1], [[7, -3]] * 8, atol=1e-9)
    np.testing.assert_array_equal(page.one().anchor(1), before[0])
    page.ask("undo")
    move(page, 1, step, 11, 2, ripple=True)
    for frame, old in zip((1, 11, 21), before, strict=True):
        np.testing.assert_allclose(page.one().anchor(frame)[:, 1] - old[:, 1], [[7, -3]] * 8, atol=1e-9)


def test_accepted_frames_stay_whatever_is_corrected_beside_them(page):
    course = page.predicted()
    taken = course.controls[6].copy()
    page.ask("accept", shapes=[1], first=7, last=7)
    assert page.course().states[6] == FrameState.ACCEPTED
    assert page.desk._predictor.left == 0, "accepting asks for no new prediction"
    np.testing.assert_array_equal(page.course().controls, course.controls)
    drag(page, 4, 0, [30.0, 30.0])
    after = page.predicted()
    np.testing.assert_array_equal(after.controls[6], taken)
    np.testing.assert_allclose(after.controls[8], course.controls[8], atol=1e-9)
    page.ask("accept", shapes=[1], first=1, last=25, undo=True)
    assert page.one().accepted == {}


def test_a_key_set_on_a_prediction_moves_nothing(page):
    before = page.predicted().controls.copy()
    page.ask("key", shapes=[1], frame=6)
    assert page.desk._predictor.left == 0
    np.testing.assert_array_equal(page.course().controls, before)
    page.ask("unkey", shapes=[1], frame=6)
    assert page.one().shape.key_frames == (1, 11, 21)


def test_a_drawn_shape_can_be_keyed_and_predicted(page):
    page.ask("draw", circle((50, 36), 9, 5), kind="bspline", closed=True, frame=3, name="new")
    assert page.said[0] == {"op": "drawn", "shape": 2}
    assert set(page.course(2).states) == {FrameState.HELD, FrameState.KEY}
    move(page, 2, [1, 0, 5, 0, 1, 0], 13, 9)
    assert page.one(2).shape.key_frames == (3, 13)
    assert set(page.predicted(2).states[3:12]) == {FrameState.PREDICTED}


def test_feather_can_be_drawn_out_of_a_point(page):
    at = page.predicted().controls[10, 2, 1]
    drag(page, 11, 2, at + np.array([3.0, 4.0]), part=3)
    np.testing.assert_allclose(page.one().shape.feather_at(11)[2, 1], [3.0, 4.0], atol=1e-6)


def test_lifetime_order_name_and_visibility_are_steps(page):
    page.ask("draw", circle((50, 36), 9, 5), kind="bezier", closed=True, frame=3, name="b")
    page.ask("set", shapes=[1], life=[5, 9], label="lifetime")
    assert [page.one().shape.is_alive(f) for f in (4, 5, 9, 10)] == [False, True, True, False]
    page.ask("order", shapes=[2, 1])
    assert [one.shape_id for one in page.desk.session.document.shapes] == [2, 1]
    page.ask("set", shapes=[1], name="b", shown=False)
    assert (page.one().shape.name, page.one().shown) == ("b2", False)
    page.ask("delete", shapes=[2])
    for _ in range(5):
        page.ask("undo")
    assert [one.shape_id for one in page.desk.session.document.shapes] == [1]


def test_what_cannot_be_done_is_a_sentence(page):
    page.predicted()
    page.ask("set", shapes=[1], locked=True)
    assert "locked" in page.refused("key", shapes=[1], frame=4)
    page.ask("set", shapes=[1], locked=False)
    assert "number 77" in page.refused("key", shapes=[77], frame=4)
    assert "no key" in page.refused("unkey", shapes=[1], frame=4)
    assert "does not know" in page.refused("format_disk")
    assert "list of shape" in page.refused("key", shapes="1", frame=4)
    assert "whole number" in page.refused("key", shapes=[1], frame="4")
    assert "point 99" in drag_text(page, 99)
    assert "at least 3" in page.refused("draw", [0.0] * 6, kind="bezier", closed=True, frame=1)
    assert "kind" in page.refused("draw", circle((50, 36), 9, 5), kind="blob", closed=True, frame=1)
    assert "nothing between" in page.refused("accept", shapes=[1], first=23, last=25)
    assert "numbers" in page.refused(
        "transform", [1.0], parts=[{"shape": 1, "points": None}], frame=3, gesture=5
    )


def drag_text(page, point):
    drag(page, 3, point, [1.0, 1.0])
    return page.said[0]["text"]


def test_a_read_only_shape_is_drawn_but_not_edited_nor_predicted(page, round_shape):

    document = page.desk.session.document
    driven = DeskShape(
        2, replace(round_shape, name="driven", path="driven", read_only_reason="driven by an expression")
    )
    page.desk._commit(edit_of("import", document, [driven]))
    assert "expression" in page.refused("key", shapes=[2], frame=4)
    page.predicted()
    assert FrameState.PREDICTED not in page.course(2).states


def test_every_classical_method_can_be_compared(page):
    page.predicted()
    ((_, numbers),) = page.ask("compare", method="smooth", shapes=[1])
    shown = numbers.reshape(25, 8, 3, 2)
    np.testing.assert_allclose(shown[5], page.one().shape.at(6), atol=1e-3)
    end = time.monotonic() + 30
    for method in ("track", "planar", "flow"):
        while not (answer := page.ask("compare", method=method, shapes=[1])):
            assert time.monotonic() < end
            time.sleep(0.02)
        ((head, numbers),) = answer
        assert head["method"] == method
        np.testing.assert_allclose(numbers.reshape(25, 8, 3, 2)[10], page.one().shape.at(11), atol=1e-3)
    assert "choose one of smooth" in page.refused("compare", method="guess", shapes=[1])


def test_shapes_go_into_layers_and_back_out(page):
    page.desk._commit(
        edit_of(
            "import",
            page.desk.session.document,
            [DeskShape(2, replace(page.one().shape, name="arm", path="Roto1:arm"))],
        )
    )
    page.ask("set", shapes=[1, 2], layer="body", label="layer body")
    assert [page.one(i).shape.path for i in (1, 2)] == ["body/round", "Roto1:body/arm"]
    page.ask("set", shapes=[1], layer="Roto1:body/")
    page.ask("set", shapes=[2], name="leg")
    assert [page.one(i).shape.path for i in (1, 2)] == ["Roto1:body/round", "Roto1:body/leg"]
    page.ask("set", shapes=[1], layer="")
    assert page.one(1).shape.path == "round"
    assert "':'" in page.refused("set", shapes=[1], layer="a:b")
    page.ask("undo")
    assert page.one(1).shape.path == "Roto1:body/round"


def test_a_shape_is_hidden_on_frames_and_lives_within_its_lifetime(page):
    def seen():
        return [frame for frame in SHOT.frames if page.one().shape.is_alive(frame)]

    page.ask("set", shapes=[1], visible=False, first=8, last=5)
    assert seen() == [*range(1, 5), *range(9, 26)]
    page.ask("set", shapes=[1], visible=False, first=1, last=2)
    page.ask("set", shapes=[1], visible=True, first=7, last=7)
    assert seen() == [3, 4, 7, *range(9, 26)]
    page.ask("set", shapes=[1], life=[4, 20])
    assert seen() == [4, 7, *range(9, 21)]
    assert "ends at" in page.refused("set", shapes=[1], life=[20, 4])
    assert "a lifetime is" in page.refused("set", shapes=[1], life=[1.5, "x"])
    page.ask("set", shapes=[1], life=[None, None])
    page.ask("set", shapes=[1], visible=True, first=1, last=25)
    assert page.one().shape.lifetime.visibility is None


def test_a_new_shape_of_one_key_needs_no_prediction(page):
    flat = Shape.from_keys("flat", [5], circle((30, 30), 5)[None])
    page.desk._commit(edit_of("draw", page.desk.session.document, [DeskShape(2, flat)]))
    page.predicted()
    assert page.course(2).suggested_key is None


def test_feather_grows_outwards_on_one_frame_and_goes_away_again(page):
    held = {"parts": [{"shape": 1, "points": [0, 2]}], "frame": 11}
    page.ask("feather", [4.0], **held)
    offsets = page.one().shape.feather_at(11)[:, 1]
    outward = page.one().shape.at(11)[:, 1] - np.array([40, 30])
    np.testing.assert_allclose(
        offsets[[0, 2]], 4 * outward[[0, 2]] / np.linalg.norm(outward[[0, 2]], axis=1)[:, None], atol=1e-6
    )
    assert not offsets[[1, 3]].any()
    page.ask("feather", [0.0], **held)
    assert not page.one().shape.feather_at(11).any()
    assert "not there" in page.refused("feather", [4.0], parts=[{"shape": 1, "points": [8]}], frame=11)
    page.ask("undo")
    page.ask("undo")
    assert page.one().shape.feather is None


FIELDS = [
    *[
        "frame",
        "to",
        "first",
        "last",
        "shape",
        "shapes",
        "parts",
        "part",
        "gesture",
        "drop",
        "exact",
        "ripple",
    ],
    *[
        "what",
        "name",
        "layer",
        "life",
        "visible",
        "shown",
        "locked",
        "kind",
        "closed",
        "method",
        "undo",
        "id",
    ],
]
JUNK = [
    *[None, True, -1, 0, 1, 5, 10**12, 1.5, "", "x" * 5000, "\0", [], [1], [[1]], [None], {}, {"shape": 1}],
    *[[{"shape": 1, "points": points}] for points in (None, [0], [99], [-1], "all", [[0]], [True])],
]


def test_nonsense_in_any_field_is_answered_and_never_an_error(page):
    rng = np.random.default_rng(1)
    known = {"shapes": [1], "parts": [{"shape": 1, "points": [0]}], "frame": 5, "gesture": 1, "part": 1}
    for turn in range(1500):
        op = str(rng.choice([*EDITS, *_ACTIONS, "dance"]))
        spoilt = {name: JUNK[rng.integers(len(JUNK))] for name in rng.choice(FIELDS, 3, replace=False)}
        numbers = [np.zeros(0), np.zeros(2), np.ones(6), np.full(18, 1e4)][turn % 4]
        page.ask(op, numbers, **(known | spoilt))
