"""The page of ``fedroto model compare``: two weight files side by side, with pictures of the frames that tell most."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from federation.pages.report_page import (
    Outline,
    key_values,
    page,
    paragraph,
    picture,
    pictures,
    section,
    table,
)

if TYPE_CHECKING:
    from federation.cli.model_measure import Measured
    from model.evaluation import Difference, MethodScore

COLOURS = {"truth": "#ffffff", "A": "#ff9d2e", "B": "#39c0ff"}
PICTURES_PER_WAY = 3
NEAR = 3
"""Frames: pictures closer to each other than this show the same."""


def comparison_page(measured: Measured, differences: Sequence[Difference], facts: Mapping[str, Any]) -> str:
    """The whole page as HTML.

    Args:
        measured: with methods ``A`` and ``B`` among the scores.
        differences: what was compared with what.
        facts: which files, which clips, how long, on what machine.
    """
    return page(
        "Two models side by side",
        [
            key_values(facts),
            section(
                "Means",
                paragraph(
                    "Boundary distance in percent of the outline's size (smaller is better), intersection over union."
                ),
                *_means(measured.scores),
            ),
            section("Differences", _differences(differences)),
            section("Clip by clip", _by_clip(measured.scores)),
            section(
                "Frames that tell most",
                paragraph(
                    "Where B is worse than A by most, where it is better by most, and where both are worst."
                ),
                _pictures(measured),
            ),
            *([section("Left out", key_values(measured.skipped))] if measured.skipped else []),
        ],
    )


def difference_rows(differences: Sequence[Difference]) -> list[list[object]]:
    """One row per comparison: group, gap, pair, boundary and IoU with intervals, clips won."""
    return [
        [
            one.group,
            one.gap,
            f"{one.one} - {one.other}",
            f"{one.boundary.mean:+.3f} [{one.boundary.low:+.3f}, {one.boundary.high:+.3f}]",
            f"{one.iou.mean:+.4f} [{one.iou.low:+.4f}, {one.iou.high:+.4f}]",
            f"{one.won}/{one.clips}",
        ]
        for one in differences
    ]


DIFFERENCE_HEADINGS = ["clips", "gap", "pair", "boundary, %", "IoU", "better on"]


def _means(scores: Sequence[MethodScore]) -> list[str]:
    from model.evaluation import groups_of, means

    parts = []
    for group in groups_of(scores):
        for gap in sorted({score.gap for score in scores}):
            found = means(scores, group, gap)
            rows = [[name, boundary, f"{iou:.4f}", clips] for name, (boundary, iou, clips) in found.items()]
            if rows:
                parts.append(f"<h3>{group}, keys every {gap} frames</h3>")
                parts.append(table(["method", "boundary, %", "IoU", "clips"], rows))
    return parts


def _differences(differences: Sequence[Difference]) -> str:
    return paragraph("Mean of the pairs, 95% bootstrap over clips; below 0 the first is nearer.") + table(
        DIFFERENCE_HEADINGS, difference_rows(differences)
    )


def _by_clip(scores: Sequence[MethodScore]) -> str:
    pairs = sorted(_pairs(scores), key=lambda pair: pair[0].mean_boundary - pair[1].mean_boundary)
    rows = [
        [
            a.clip,
            a.gap,
            a.mean_boundary,
            b.mean_boundary,
            b.mean_boundary - a.mean_boundary,
            b.mean_iou - a.mean_iou,
        ]
        for a, b in pairs
    ]
    return table(["clip", "gap", "A, %", "B, %", "B - A, %", "B - A, IoU"], rows)


def _pairs(scores: Sequence[MethodScore]) -> list[tuple[MethodScore, MethodScore]]:
    theirs = {(s.clip, s.gap): s for s in scores if s.method == "B"}
    return [(s, theirs[s.clip, s.gap]) for s in scores if s.method == "A" and (s.clip, s.gap) in theirs]


@dataclass(frozen=True)
class _Frame:
    """A frame that both have predicted."""

    a: MethodScore
    b: MethodScore
    index: int

    @property
    def errors(self) -> tuple[float, float]:
        return float(self.a.boundary[self.index]), float(self.b.boundary[self.index])

    @property
    def row(self) -> int:
        return int(self.a.rows[self.index])


WAYS: Mapping[str, Callable[[_Frame], float]] = {
    "B is worse": lambda one: one.errors[1] - one.errors[0],
    "B is better": lambda one: one.errors[0] - one.errors[1],
    "both are far off": lambda one: min(one.errors),
}


def _pictures(measured: Measured) -> str:
    frames = [_Frame(a, b, i) for a, b in _pairs(measured.scores) for i in range(len(a.rows))]
    figures: list[str] = []
    shown: set[tuple[str, int]] = set()
    for why, much in WAYS.items():
        left = PICTURES_PER_WAY
        for one in sorted(frames, key=much, reverse=True):
            near = {(one.a.clip, row) for row in range(one.row - NEAR, one.row + NEAR + 1)}
            figure = "" if near & shown or much(one) <= 0 else _figure(measured, one, why)
            if figure:
                figures.append(figure)
                shown.add((one.a.clip, one.row))
                left -= 1
            if left == 0:
                break
    return pictures(figures, COLOURS)


def _figure(measured: Measured, one: _Frame, why: str) -> str:
    """The picture, or nothing where the plate has none."""
    clip = measured.clips[one.a.clip]
    frame = clip.frames.first_frame + one.row
    image = clip.frames.working(frame)
    if image is None:
        return ""
    placed = {"truth": clip.outline[one.row], "A": one.a.points[one.row], "B": one.b.points[one.row]}
    outlines = [Outline(name, points, COLOURS[name]) for name, points in placed.items()]
    a_error, b_error = one.errors
    caption = f"{why}: {one.a.clip}, frame {frame}, gap {one.a.gap}: A {a_error:.2f}%, B {b_error:.2f}%"
    return picture(image, outlines, caption)
