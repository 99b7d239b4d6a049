import itertools

import cv2
import numpy as np
import pytest

from model.frames import ArrayFrames
from model.procedural import ShotSettings, make_shot
from model.working import to_working
from studio_node.fingerprints import BITS_MAX, NOTHING, FingerprintIndex, frame_hashes, plate_hashes


def _pictures(seed: int, frames: int = 12):
    shot = make_shot(np.random.default_rng([3, seed]), ShotSettings(width=160, height=96, frames=frames))
    return [to_working(frame) for frame in shot.frames]


@pytest.fixture(scope="module")
def shots():
    return [_pictures(seed) for seed in range(6)]


@pytest.fixture(scope="module")
def hashes(shots):
    return [plate_hashes(ArrayFrames(pictures, first_frame=1001)) for pictures in shots]


def _smaller(picture):
    return cv2.resize(picture, (80, 48), interpolation=cv2.INTER_AREA)


def _regraded(picture):
    return np.clip(picture * np.array([1.2, 1.0, 0.85]) + 8, 0, 255).astype(np.uint8)


def _recompressed(picture):
    return cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], cv2.IMREAD_COLOR)


def _cropped(picture):
    return picture[7:-7, 12:-12]


def _without_a_corner(picture):
    return picture[5:, :-8]


@pytest.mark.parametrize("change", [_smaller, _regraded, _recompressed, _cropped, _without_a_corner])
def test_a_redelivery_is_found_whatever_was_done_to_it(shots, hashes, change):
    index = FingerprintIndex((f"sh{i}", h) for i, h in enumerate(hashes))
    again = plate_hashes(ArrayFrames([change(picture) for picture in shots[2]]))
    assert list(index.like("new", again)) == ["sh2"]
    assert list(FingerprintIndex([("new", again)]).like("sh2", hashes[2])) == ["new"]


def test_a_trimmed_shot_is_found_in_the_longer_one_and_the_other_way_round(hashes):
    assert "long" in FingerprintIndex([("long", hashes[0])]).like("short", hashes[0][5:8])
    assert "short" in FingerprintIndex([("short", hashes[0][2:])]).like("long", hashes[0])


def test_unrelated_shots_are_not_alike(hashes):
    index = FingerprintIndex((f"sh{i}", h) for i, h in enumerate(hashes))
    for number, own in enumerate(hashes):
        assert index.like(f"sh{number}", own) == {}
    flat = [own.ravel() for own in hashes]
    apart = min(int(np.bitwise_count(a[:, None] ^ b[None]).min()) for a, b in itertools.pairwise(flat))
    assert apart > BITS_MAX


def test_a_shot_is_asked_for_what_it_looks_like_now(hashes):
    index = FingerprintIndex([("a", hashes[0])])
    index.add("b", hashes[0])
    assert list(index.like("c", hashes[0])) == ["a", "b"]
    assert list(index.like("a", hashes[0])) == ["b"]


@pytest.mark.parametrize(
    "picture", [None, np.zeros((20, 30, 3), np.uint8), np.full((20, 30, 3), 200, np.uint8)]
)
def test_missing_and_empty_frames_are_like_nothing(picture):
    blank = np.array([frame_hashes(picture)] * 5)
    assert (blank == NOTHING).all()
    assert FingerprintIndex([("a", blank)]).like("b", blank) == {}
