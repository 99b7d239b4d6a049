"""The evidence of a span while it is being gathered: ways to place its points, and how far each can be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.appearance import appearance_difference
from model.edge_network import EdgeNetwork
from model.edges import COARSE_PX, FINE_PX, LARGE_PX, find_edges
from model.evidence import CANDIDATES, PATH, SpanEvidence
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
EDGE_FLOOR: Final = 0.002
"""Expected error of an edge at best, outline sizes."""
EDGE_DOUBT: Final = 0.025
"""Where a tenth of a path is in more doubt than this, outline sizes, its edge may lie beyond a fine look's reach."""
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


class Draft:
    """The arrays of a span's evidence while they are being filled; lengths in outline sizes.

    Args:
        pictures: the shot.
        first: frame of the left key.
        last: frame of the right key, at least ``first + 2``.
        keys: [2, M, 2] the outline there, plate pixels.
    """

    def __init__(self, pictures: Pictures, first: int, last: int, keys: Points) -> None:
        self.pictures, self.first, self.last, self.keys = pictures, first, last, keys
        self.reference = span_reference(keys)
        self.frames = np.arange(first + 1, last)
        self.time = (self.frames - first) / (last - first)
        self.present = np.array([pictures.has(int(frame)) for frame in self.frames], bool)
        self.keys_present = pictures.has(first) and pictures.has(last)
        shape = (len(self.frames), keys.shape[1], len(CANDIDATES))
        self.points = np.zeros((*shape, 2))
        self.scale = np.ones(shape)
        self.drift = np.zeros(shape)
        self.appearance = np.zeros((*shape, 2))
        self.available = np.zeros((len(self.frames), len(CANDIDATES)))
        self.miss = np.zeros(shape[1:])
        self.steps: list[Steps] = []

    def track(self) -> None:
        """Place the interpolation and every tracker's tracks."""
        share = self.time[:, None, None]
        straight = (1 - share) * self.keys[0] + share * self.keys[1]
        moved = np.linalg.norm(self.keys[1] - self.keys[0], axis=1) / self.reference.size
        scale = INTERPOLATION_FLOOR + INTERPOLATION_MOTION * moved * far_from_keys(self.time)[:, None]
        for name in ("smooth", "linear"):
            self._place(name, self._inward(straight), scale)
        for name, chain, floor, per_miss in TRACKERS:
            tracks = track_span(self.pictures, chain, self.first, self.last, self.keys, straight)
            if tracks is not None:
                self._place_tracks(name, tracks, floor, per_miss)
                if name in STEPPING:
                    self.steps += steps_of(tracks, self.reference)

    def match(self, matcher: Matcher, size_px: float) -> None:
        """Place what the matcher finds around the best guess so far, in place of earlier matches and their path.

        Args:
            matcher: with trained weights.
            size_px: as in `match_span`.
        """
        between = np.flatnonzero(self.present)
        if len(between) == 0 or not self.keys_present:
            return
        size = self.reference.size
        start = self.guess()[between] * size + self.reference.origin
        shown = [self.first, *self.frames[between].tolist(), self.last]
        found = match_span(
            matcher,
            [self.pictures.colour(frame) for frame in shown],
            np.concatenate([self.keys[:1], start, self.keys[1:]]),
            *self.keys,
            size_px=size_px,
        )
        sides = (
            ("left", found.from_left, found.log_scale_left),
            ("right", found.from_right, found.log_scale_right),
        )
        for side, points, log_scale in sides:
            column = CANDIDATES.index(f"match_{side}")
            self.points[between, :, column] = self._inward(points[1:-1])
            self.scale[between, :, column] = MATCH_FLOOR + np.exp(log_scale[1:-1]) / size
            self.available[between, column] = 1.0
            # Matches are not closed: they do not drift, and closing them was measured to lose. Their miss still tells.
            ends = (points[-1], self.keys[1]) if side == "left" else (points[0], self.keys[0])
            self.miss[:, column] = np.linalg.norm(ends[0] - ends[1], axis=1) / size
        self.available[:, PATH] = 0.0  # it knows nothing of these matches; the blend does

    def find_path(self) -> None:
        """Place the most likely path through the steps and places at hand, starting from the best guess so far."""
        if not self.steps:
            return
        places = []
        for name, floor, per_scale in PLACES:
            column = CANDIDATES.index(name)
            absent = self.available[:, column, None] < 0.5
            scale = np.where(absent, np.inf, floor + per_scale * self.scale[:, :, column])
            places.append(Places(self.points[:, :, column], scale))
        path, deviation = likely_path(self._inward(self.keys), self.guess(), self.steps, places)
        self._place("path", path, PATH_DOUBT * deviation)

    def find_edges(self, network: EdgeNetwork) -> None:
        """Move the path across itself onto the edge that the keys show, from coarse to fine as far as that helps."""
        if not (self.keys_present and self.available[:, PATH].all()):
            return
        size, none = self.reference.size, np.zeros((1, self.keys.shape[1]))
        shown = [
            self.pictures.colour(frame) if self.pictures.has(frame) else None
            for frame in range(self.first, self.last + 1)
        ]
        in_doubt = np.quantile(self.scale[:, :, PATH], 0.9) > EDGE_DOUBT
        looks = ((COARSE_PX, in_doubt), (FINE_PX, True), (LARGE_PX, size >= LARGE_PX))
        for size_px in (px for px, helps in looks if helps):
            path = self.points[:, :, PATH] * size + self.reference.origin
            found = find_edges(
                network,
                shown,
                np.concatenate([self.keys[:1], path, self.keys[1:]]),
                np.concatenate([none, self.scale[:, :, PATH] * size, none]),
                size_px=size_px,
            )
            self._place("path", self._inward(found.points[1:-1]), EDGE_FLOOR + found.error[1:-1] / size)

    def carry_rigidly(self) -> None:
        """Place both keys as a robust affine motion carries them along the blend."""
        inward = self._inward(self.keys)
        blend, trust = self._blended(), 1.0 / self.scale.min(axis=2)
        for side, key, other, share in (
            ("left", inward[0], inward[1], self.time),
            ("right", inward[1], inward[0], 1 - self.time),
        ):
            moved, residual = rigid_motions(key, blend, trust)
            # Closed like every track: the outline's own change of form is let in linearly.
            motion_to_other, _ = rigid_motions(key, other[None], np.ones((1, len(key))))
            moved = moved + share[:, None, None] * (other - motion_to_other[0])
            self._place(f"rigid_{side}", moved, RIGID_FLOOR + RIGID_RESIDUAL * residual[:, None])

    def look(self) -> None:
        """Compare the pictures at every candidate with those at the keys."""
        if not self.keys_present:
            return
        for index in np.flatnonzero(self.present):
            self.appearance[index] = appearance_difference(
                self.pictures,
                (self.first, self.last),
                self.keys,
                int(self.frames[index]),
                self.points[index] * self.reference.size + self.reference.origin,
                size=self.reference.size,
            )
        self.appearance *= self.available[:, None, :, None]

    def guess(self) -> Points:
        """The best that is known so far [T, M, 2]: the path, or the blend where there is none yet."""
        return self.points[:, :, PATH] if self.available[:, PATH].all() else self._blended()

    def finished(self) -> SpanEvidence:
        """What the network gets; frames without a picture are trusted less."""
        scale = self.scale + np.where(self.present, 0.0, MISSING_PICTURE)[:, None, None]
        return SpanEvidence(
            time=_float32(self.time),
            points=_float32(self.points),
            log_scale=_float32(np.log(scale)),
            drift=_float32(self.drift),
            appearance=_float32(self.appearance),
            available=_float32(self.available),
            miss=_float32(self.miss),
            keys=_float32(self._inward(self.keys)),
            context=_float32(np.array([self.last - self.first, self.reference.size])),
        )

    def _inward(self, points: Points) -> Points:
        return np.asarray((points - self.reference.origin) / self.reference.size)

    def _place(self, name: str, points: Points, scale: Points) -> int:
        column = CANDIDATES.index(name)
        self.points[:, :, column] = points
        self.scale[:, :, column] = scale
        self.available[:, column] = 1.0
        return column

    def _place_tracks(self, name: str, tracks: SpanTracks, floor: float, per_miss: float) -> None:
        size = self.reference.size
        miss = along_contour(0.5 * (tracks.left_miss + tracks.right_miss)) / size
        scale = floor + per_miss * miss * far_from_keys(self.time)[:, None]
        for side, points, drift, own in (
            ("left", tracks.left, tracks.left_drift[1:-1], tracks.left_miss),
            ("right", tracks.right, tracks.right_drift[1:-1], tracks.right_miss),
        ):
            column = self._place(f"{name}_{side}", self._inward(points), scale)
            self.drift[:, :, column] = drift / size
            self.miss[:, column] = own / size

    def _blended(self) -> Points:
        """Inverse-variance blend of what pictures say so far [T, M, 2]; interpolation where they say nothing."""
        trust = self.available.copy()
        trust[:, INTERPOLATIONS] *= 1e-6
        weight = trust[:, None, :] / self.scale**2
        mixed = (weight[..., None] * self.points).sum(axis=2)
        return np.asarray(mixed / weight.sum(axis=2)[..., None])


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
    """Values [M, ...] smoothed lightly around a closed contour."""
    smoothed = values
    for _ in range(2):
        smoothed = 0.25 * np.roll(smoothed, 1, 0) + 0.5 * smoothed + 0.25 * np.roll(smoothed, -1, 0)
    return np.asarray(smoothed)


def _float32(values: Points) -> NDArray[np.float32]:
    return np.ascontiguousarray(values, np.float32)
