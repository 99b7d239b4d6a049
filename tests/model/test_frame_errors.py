"""Predicted errors: time to the keys at least, and more where trackers, matches or colours object."""

from dataclasses import replace

import numpy as np
import pytest

from model.candidates import span_evidence
from model.edge_shift import edge_shifts
from model.evidence import column
from model.frame_errors import frame_errors
from model.frames import ArrayFrames
from model.pictures import Pictures

LAST = 8


@pytest.fixture(scope="module")
def span(disc):
    """A span over the whole disc with matches on the true outline: (pictures, evidence, reference, points)."""
    images, outlines = disc
    pictures = Pictures(ArrayFrames(images))
    evidence, reference = span_evidence(pictures, 0, LAST, outlines[[0, LAST]])
    points, available = evidence.points.copy(), evidence.available.copy()
    for name in ("match_left", "match_right"):
        points[:, :, column(name)] = (outlines[1:LAST] - reference.origin) / reference.size
        available[:, column(name)] = 1
    return pictures, replace(evidence, points=points, available=available), reference, outlines[1:LAST]


def errors(span, evidence, expected=0.01):
    pictures, _, reference, points = span
    return frame_errors(pictures, 0, evidence, reference, points, np.full(points.shape[:2], expected))


def test_without_objections_the_error_grows_with_the_time_to_the_nearer_key(span):
    found = errors(span, span[1])
    assert found.argmax() == 3
    assert (np.diff(found[:4]) > 0).all()
    assert (np.diff(found[3:]) < 0).all()


def test_where_trackers_contradict_the_path_the_clock_runs_faster(span):
    evidence = span[1]
    points = evidence.points.copy()
    for name in ("lk_left", "lk_right", "dis_left", "dis_right"):
        points[5:, :, column(name), 0] += 0.05  # another step to frame 6, and back from 7 to the key
    assert errors(span, replace(evidence, points=points)).argmax() == 5


def test_matches_beside_the_result_raise_the_error_by_their_root(span):
    evidence = span[1]
    points = evidence.points.copy()
    points[:, :, [column("match_left"), column("match_right")], 0] += 0.02
    further = points.copy()
    further[:, :, [column("match_left"), column("match_right")], 0] += 0.06
    near, far = (errors(span, replace(evidence, points=p)).mean() for p in (points, further))
    assert far / near == pytest.approx(2, rel=0.05)


def test_the_network_alone_speaks_where_there_are_no_matches(span):
    evidence = span[1]
    available = evidence.available.copy()
    available[:, column("match_left")] = 0
    found = errors(span, replace(evidence, available=available), expected=0.02)
    assert found.mean() == pytest.approx(0.02)


def test_colours_are_found_as_far_off_as_the_outline_was_moved(disc):
    images, outlines = disc
    pictures = Pictures(ArrayFrames(images))
    size = float(np.sqrt(np.pi) * 18)
    found = []
    for off in (0.0, 1.0, 2.0):
        moved = outlines.copy()
        moved[1:-1] += np.array([off, 0.0])
        found.append(edge_shifts(pictures, 0, moved, size).mean())
    assert found[0] < 0.5 * found[1] < 0.5 * found[2]
    holed = Pictures(ArrayFrames([None if row == 3 else image for row, image in enumerate(images)]))
    assert np.flatnonzero(np.isnan(edge_shifts(holed, 0, outlines, size))).tolist() == [2]
    blind = Pictures(ArrayFrames([None, *images[1:]]))
    assert np.isnan(edge_shifts(blind, 0, outlines, size)).all()
