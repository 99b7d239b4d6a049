"""A small line chart as inline SVG, for reports that are one file without a script."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

WIDTH, HEIGHT = 720, 260
LEFT, RIGHT, TOP, BOTTOM = 52, 150, 12, 30
COLOURS: Final = ("#c77700", "#3b6ea8", "#4a8f5c", "#8a5aa8", "#a84a4a", "#5f6b76")


@dataclass(frozen=True)
class Line:
    """One curve.

    Attributes:
        label: what it is.
        points: (x, y), x rising.
    """

    label: str
    points: Sequence[tuple[float, float]]


def line_chart(lines: Sequence[Line], *, across: str, up: str) -> str:
    """Draw curves from zero upwards; one without points is left out.

    Args:
        lines: the curves, the most important one first.
        across: what x is.
        up: what y is.
    """
    lines = [line for line in lines if line.points]
    if not lines:
        return ""
    xs = [x for line in lines for x, _ in line.points]
    top = max(y for line in lines for _, y in line.points) * 1.08 or 1.0
    low, high = min(xs), max(xs)
    span = (high - low) or 1.0

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            LEFT + (x - low) / span * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - y / top * (HEIGHT - TOP - BOTTOM),
        )

    parts = [_grid(top, place(low, 0)[1]), _across(sorted(set(xs)), place)]
    ends = _apart([place(*line.points[-1])[1] for line in lines])
    for number, (line, end) in enumerate(zip(lines, ends, strict=True)):
        colour, width = COLOURS[number % len(COLOURS)], 2.4 if number == 0 else 1.3
        placed = [place(x, y) for x, y in line.points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{width}" fill="{colour}"/>' for x, y in placed]
        parts.append(
            f'<text x="{WIDTH - RIGHT + 8}" y="{end + 4:.1f}" fill="{colour}">{html.escape(line.label)}</text>'
        )
    parts.append(f'<text x="{LEFT}" y="{HEIGHT - 2}">{html.escape(across)}</text>')
    return (
        f'<figure style="width:{WIDTH}px"><svg viewBox="0 0 {WIDTH} {HEIGHT}" font-size="11" fill="#4a525b" '
        f'xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg><figcaption>{html.escape(up)}</figcaption></figure>'
    )


def _grid(top: float, bottom: float) -> str:
    lines = []
    for share in (0, 0.25, 0.5, 0.75, 1):
        y = bottom - share * (bottom - TOP)
        lines.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#d9dde2"/>'
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{share * top:.3g}</text>'
        )
    return "".join(lines)


def _across(xs: Sequence[float], place: Callable[[float, float], tuple[float, float]]) -> str:
    step = max(1, len(xs) // 10)
    marks = []
    for x in xs[::step]:
        at, bottom = place(x, 0)
        marks.append(f'<text x="{at:.1f}" y="{bottom + 14:.1f}" text-anchor="middle">{x:g}</text>')
    return "".join(marks)


def _apart(wanted: Sequence[float], gap: float = 13.0) -> list[float]:
    """Move labels down until none covers another; in the order given."""
    order = sorted(range(len(wanted)), key=lambda number: wanted[number])
    placed = [0.0] * len(wanted)
    before = TOP - gap
    for number in order:
        before = placed[number] = max(wanted[number], before + gap)
    return placed
