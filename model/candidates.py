"""Gathers the evidence of a span: every way to place its points, and how far each can be trusted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.appearance import appearance_difference
from model.evidence import CANDIDATES, SpanEvidence
from model.matcher import Matcher, match_span
from model.path import Places, Steps, likely_path
from model.pictures import Pictures
from model.rigid import rigid_motions
from model.trackers_dis import dis_chain
from model.trackers_lk import lk_chain
from model.trackers_planar import planar_chain
from model.tracks import Chain, Points, SpanTracks, track_span

TRACKERS: Final[tuple[tuple[str, Chain, float, float], ...]] = (
    ("lk", lk_chain, 0.004, 0.35),
    ("dis", dis_chain, 0.008, 0.35),
    ("planar", planar_chain, 0.020, 1.00),
)
"""Name, chain, expected error at a key and per unit of closure miss (both in outline sizes): guessed, not fitted."""
STEPPING: Final = ("lk", "dis")
"""Trackers whose steps make the path: those that place every point by itself."""
STEP_FLOOR: Final = 0.002
STEP_FLOOR_PX: Final = 0.2
STEP_DRIFT: Final = 0.5
"""Expected error of a step: in outline sizes, in pixels, and for each length of forward-backward disagreement."""
PLACES: Final = (
    ("match_left", 0.009, 1.6),
    ("match_right", 0.009, 1.6),
    ("planar_left", 0.0, 0.5),
    ("planar_right", 0.0, 0.5),
)
"""Where the path is held: candidate, expected error at best and for each length that is expected of it by itself."""
PATH_DOUBT: Final = 5.0
"""Expected error of the path for each standard deviation: its measurements err together."""
MATCH_FLOOR: Final = 0.006
INTERPOLATION_FLOOR: Final = 0.05
INTERPOLATION_MOTION: Final = 1.0
RIGID_FLOOR: Final = 0.012
RIGID_RESIDUAL: Final = 3.0
INTERPOLATIONS: Final = [CANDIDATES.index("smooth"), CANDIDATES.index("linear")]
MISSING_PICTURE: Final = 0.01
"""Expected error added at a frame without a picture."""


@dataclass(frozen=True)
class SpanReference:
    """Where the evidence's units come from: plate = points * size + origin."""

    origin: Points  # [2] plate pixels
    size: float  # pixels


def span_reference(keys: Points) -> SpanReference:
    """Centre and size (square root of the area) of a span's two key outlines [2, M, 2].

    Thin and open outlines have hardly any area: a quarter of the diagonal stands in.
    """
    following = np.roll(keys, -1, axis=1)
    area = 0.5 * np.abs((keys[..., 0] * following[..., 1] - keys[..., 1] * following[..., 0]).sum(axis=1))
    diagonal = np.linalg.norm(keys.max(axis=1) - keys.min(axis=1), axis=1)
    size = np.maximum(np.sqrt(area), 0.25 * diagonal).mean()
    return SpanReference(keys.mean(axis=(0, 1)), max(float(size), 1.0))


def span_evidence(
    pictures: Pictures,
    first: int,
    last: int,
    keys: Points,
    *,
    matcher: Matcher | None = None,
) -> tuple[SpanEvidence, SpanReference]:
    """Gather the evidence for the frames between two neighbouring keys, from these two keys alone.

    The ``smooth`` candidate stands on the straight interpolation; `with_smooth` puts the application's own there,
    which depends on further keys. So evidence stays valid while the artist works elsewhere on the shape.

    Args:
        pictures: the shot.
        first: frame of the left key.
        last: frame of the right key, at least ``first + 2``.
        keys: [2, M, 2] the outline there, plate pixels.
        matcher: the frozen matcher; None leaves its candidates out.

    Returns:
        The evidence in units of the outline's size, and the reference that leads back to plate pixels.
    """
    count = last - first - 1
    time = np.arange(1, count + 1) / (count + 1)
    straight = (1 - time)[:, None, None] * keys[0] + time[:, None, None] * keys[1]
    draft = _Draft(count, keys.shape[1], span_reference(keys))
    draft.place_interpolations(straight, keys, time)
    present = np.array([pictures.has(frame) for frame in range(first + 1, last)], bool)
    for name, chain, floor, per_miss in TRACKERS:
        tracks = track_span(pictures, chain, first, last, keys, straight)
        if tracks is not None:
            draft.place_tracks(name, tracks, floor, per_miss, time)
            if name in STEPPING:
                draft.steps += steps_of(tracks, draft.reference)
    if matcher is not None and pictures.has(first) and pictures.has(last):
        draft.place_matches(pictures, matcher, first, last, keys, present)
    draft.place_path(keys)
    draft.place_rigid(keys, time)
    draft.scale[~present] += MISSING_PICTURE
    if present.any() and pictures.has(first) and pictures.has(last):
        draft.look(pictures, first, last, keys, present)
    return draft.finished(time, keys, gap=last - first), draft.reference


def with_smooth(
    evidence: SpanEvidence,
    reference: SpanReference,
    pictures: Pictures,
    first: int,
    keys: Points,
    smooth: Points,
) -> SpanEvidence:
    """Put the application's own interpolation [T, M, 2] (plate pixels) in place of the straight one.

    Args:
        evidence: what `span_evidence` gave.
        reference: its units.
        pictures: the shot.
        first: frame of the left key.
        keys: [2, M, 2] plate pixels, as given there.
        smooth: what an artist would see between the keys without any picture.
    """
    column = CANDIDATES.index("smooth")
    last = first + len(evidence.time) + 1
    points, appearance = evidence.points.copy(), evidence.appearance.copy()
    points[:, :, column] = (smooth - reference.origin) / reference.size
    if pictures.has(first) and pictures.has(last):
        for index, outline in enumerate(smooth):
            frame = first + 1 + index
            if pictures.has(frame):
                appearance[index, :, column] = appearance_difference(
                    pictures, (first, last), keys, frame, outline[:, None], size=reference.size
                )[:, 0]
    return replace(evidence, points=points, appearance=appearance)


class _Draft:
    """The arrays of a span's evidence while they are being filled; lengths in outline sizes."""

    def __init__(self, frames: int, samples: int, reference: SpanReference) -> None:
        self.reference = reference
        shape = (frames, samples, len(CANDIDATES))
        self.points = np.zeros((*shape, 2))
        self.scale = np.ones(shape)
        self.drift = np.zeros(shape)
        self.appearance = np.zeros((*shape, 2))
        self.available = np.zeros((frames, len(CANDIDATES)))
        self.miss = np.zeros(shape[1:])
        self.steps: list[Steps] = []

    def inward(self, points: Points) -> Points:
        return np.asarray((points - self.reference.origin) / self.reference.size)

    def outward(self, points: Points) -> Points:
        return np.asarray(points * self.reference.size + self.reference.origin)

    def place(self, name: str, points: Points, scale: Points, available: Points | float = 1.0) -> int:
        column = CANDIDATES.index(name)
        self.points[:, :, column] = self.inward(points)
        self.scale[:, :, column] = scale
        self.available[:, column] = available
        return column

    def place_interpolations(self, straight: Points, keys: Points, time: Points) -> None:
        moved = np.linalg.norm(keys[1] - keys[0], axis=1) / self.reference.size
        scale = INTERPOLATION_FLOOR + INTERPOLATION_MOTION * moved * far_from_keys(time)[:, None]
        self.place("smooth", straight, scale)
        self.place("linear", straight, scale)

    def place_tracks(
        self, name: str, tracks: SpanTracks, floor: float, per_miss: float, time: Points
    ) -> None:
        size = self.reference.size
        miss = along_contour(0.5 * (tracks.left_miss + tracks.right_miss)) / size
        scale = floor + per_miss * miss * far_from_keys(time)[:, None]
        for side, points, drift, own in (
            ("left", tracks.left, tracks.left_drift[1:-1], tracks.left_miss),
            ("right", tracks.right, tracks.right_drift[1:-1], tracks.right_miss),
        ):
            column = self.place(f"{name}_{side}", points, scale)
            self.drift[:, :, column] = drift / size
            self.miss[:, column] = own / size

    def place_matches(
        self,
        pictures: Pictures,
        matcher: Matcher,
        first: int,
        last: int,
        keys: Points,
        present: NDArray[np.bool_],
    ) -> None:
        between = np.flatnonzero(present)
        if len(between) == 0:
            return
        start = self.outward(self.blended())[between]
        shown = [first, *(first + 1 + between).tolist(), last]
        found = match_span(
            matcher,
            [pictures.colour(frame) for frame in shown],
            np.concatenate([keys[:1], start, keys[1:]]),
            keys[0],
            keys[1],
            mode="cheap",
        )
        sides = (
            ("left", found.from_left, found.log_scale_left),
            ("right", found.from_right, found.log_scale_right),
        )
        for side, points, log_scale in sides:
            column = CANDIDATES.index(f"match_{side}")
            self.points[between, :, column] = self.inward(points[1:-1])
            self.scale[between, :, column] = MATCH_FLOOR + np.exp(log_scale[1:-1]) / self.reference.size
            self.available[between, column] = 1.0
            # Matches are not closed: they do not drift, and closing them was measured to lose. Their miss still tells.
            ends = (points[-1], keys[1]) if side == "left" else (points[0], keys[0])
            self.miss[:, column] = np.linalg.norm(ends[0] - ends[1], axis=1) / self.reference.size

    def place_path(self, keys: Points) -> None:
        if not self.steps:
            return
        places = []
        for name, floor, per_scale in PLACES:
            column = CANDIDATES.index(name)
            absent = self.available[:, column, None] < 0.5
            scale = np.where(absent, np.inf, floor + per_scale * self.scale[:, :, column])
            places.append(Places(self.points[:, :, column], scale))
        path, deviation = likely_path(self.inward(keys), self.blended(), self.steps, places)
        self.place("path", self.outward(path), PATH_DOUBT * deviation)

    def place_rigid(self, keys: Points, time: Points) -> None:
        inward = self.inward(keys)
        blend, trust = self.blended(), 1.0 / self.scale.min(axis=2)
        for side, key in (("left", inward[0]), ("right", inward[1])):
            moved, residual = rigid_motions(key, blend, trust)
            # Closed like every track: the outline's own change of form is let in linearly.
            share = time if side == "left" else 1 - time
            other = inward[1] if side == "left" else inward[0]
            motion_to_other, _ = rigid_motions(key, other[None], np.ones((1, len(key))))
            moved = moved + share[:, None, None] * (other - motion_to_other[0])
            self.place(f"rigid_{side}", self.outward(moved), RIGID_FLOOR + RIGID_RESIDUAL * residual[:, None])

    def blended(self) -> Points:
        """Inverse-variance blend of what pictures say so far [T, M, 2]; interpolation where they say nothing."""
        trust = self.available.copy()
        trust[:, INTERPOLATIONS] *= 1e-6
        weight = trust[:, None, :] / self.scale**2
        mixed = (weight[..., None] * self.points).sum(axis=2)
        return np.asarray(mixed / weight.sum(axis=2)[..., None])

    def look(
        self, pictures: Pictures, first: int, last: int, keys: Points, present: NDArray[np.bool_]
    ) -> None:
        for index in np.flatnonzero(present):
            self.appearance[index] = appearance_difference(
                pictures,
                (first, last),
                keys,
                first + 1 + int(index),
                self.outward(self.points[index]),
                size=self.reference.size,
            )
        self.appearance *= self.available[:, None, :, None]

    def finished(self, time: Points, keys: Points, *, gap: int) -> SpanEvidence:
        return SpanEvidence(
            time=_float32(time),
            points=_float32(self.points),
            log_scale=_float32(np.log(self.scale)),
            drift=_float32(self.drift),
            appearance=_float32(self.appearance),
            available=_float32(self.available),
            miss=_float32(self.miss),
            keys=_float32(self.inward(keys)),
            context=_float32(np.array([gap, self.reference.size])),
        )


def steps_of(tracks: SpanTracks, reference: SpanReference) -> list[Steps]:
    """Both directions of a tracker as steps, in outline sizes."""
    return [
        Steps.of_track(
            (track - reference.origin) / reference.size,
            STEP_FLOOR + (STEP_FLOOR_PX + STEP_DRIFT * np.abs(np.diff(drift, axis=0))) / reference.size,
        )
        for track, drift in ((tracks.left_open, tracks.left_drift), (tracks.right_open, tracks.right_drift))
    ]


def far_from_keys(time: Points) -> Points:
    """0 at a key, 1 halfway: how a closed track's expected error grows and falls."""
    return np.asarray(np.sqrt(4 * time * (1 - time)))


def along_contour(values: Points) -> Points:
    """Values [M] smoothed lightly around a closed contour."""
    smoothed = values
    for _ in range(2):
        smoothed = 0.25 * np.roll(smoothed, 1) + 0.5 * smoothed + 0.25 * np.roll(smoothed, -1)
    return np.asarray(smoothed)


def _float32(values: Points) -> NDArray[np.float32]:
    return np.ascontiguousarray(values, np.float32)
