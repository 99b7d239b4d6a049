"""The audit as one HTML page: no script, nothing loaded from outside, pictures inside the file."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

STYLE = """
body{font:15px/1.55 system-ui,sans-serif;max-width:980px;margin:2rem auto;padding:0 1rem;color:#1c1f23;background:#fff}
h1{font-size:1.6rem;margin-bottom:.2rem}h2{margin-top:2.2rem;font-size:1.2rem;border-bottom:1px solid #d9dde2}
table{border-collapse:collapse;margin:.6rem 0;width:100%}td,th{padding:.3rem .8rem .3rem 0;text-align:left;
vertical-align:top}th{font-weight:600;border-bottom:1px solid #b9c0c8}td.n{text-align:right;
white-space:nowrap;padding-right:1.6rem;font-variant-numeric:tabular-nums}
.label{padding:.7rem 1rem;background:#fff6e0;border-left:4px solid #c98a00}
.label.held{background:#e8f4ea;border-color:#1d6b35}h3{margin:1.4rem 0 0;font-size:1rem}
tr>td:first-child:nth-last-child(2){width:11rem;font-weight:600}
.ok{color:#1d6b35;font-weight:600}.bad{color:#b3261e;font-weight:600}small{color:#4a525b}
.pictures{display:flex;flex-wrap:wrap;gap:14px}figure{margin:0;width:300px}figure svg{width:100%;height:auto;
display:block;background:#222}figcaption{font-size:.85rem;color:#4a525b}code{overflow-wrap:anywhere}
"""
APPROVED, GUESSED, PUBLIC = "#39d353", "#ff5d52", "#ffffff"


def page(title: str, parts: Iterable[str]) -> str:
    """Put parts into one page."""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<link rel="icon" href="data:,"><style>{STYLE}</style></head><body><h1>{html.escape(title)}</h1>'
        + "".join(parts)
        + "</body></html>\n"
    )


def heading(text: str, *, level: int = 2) -> str:
    """A section's heading."""
    return f"<h{level}>{html.escape(text)}</h{level}>"


def paragraph(text: str) -> str:
    """Text."""
    return f"<p>{html.escape(text)}</p>"


def outcome(text: str, *, holds: bool) -> str:
    """The one sentence that everything comes down to, set apart."""
    return f'<p class="label{" held" if holds else " bad"}">{html.escape(text)}</p>'


def verdict(holds: bool) -> str:
    """A table cell's outcome, to be passed to :func:`table` as it is."""
    return _Raw("<span class=ok>holds</span>" if holds else "<span class=bad>contradicted</span>")


def note(text: str, below: str) -> str:
    """A cell of two lines."""
    return _Raw(f"{html.escape(text)}<br><small>{html.escape(below)}</small>")


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; numbers are set right. Without headings its first column names the rows."""
    head = "".join(f"<th>{html.escape(one)}</th>" for one in headings)
    body = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in rows)
    return f"<table>{f'<tr>{head}</tr>' if head else ''}{body}</table>"


def bars(rows: Sequence[tuple[str, float]], claim: float) -> str:
    """Horizontal bars of lower bounds against a line for what is claimed."""
    longest = 1.15 * max([claim, *(value for _, value in rows)])
    height = 26 * len(rows) + 22
    drawn = ""
    for index, (name, value) in enumerate(rows):
        top = 26 * index + 4
        colour = "#b3261e" if value > claim else "#4a78b5"
        drawn += (
            f'<text x="0" y="{top + 14}">{html.escape(name)}</text>'
            f'<rect x="330" y="{top}" width="{560 * value / longest:.1f}" height="18" fill="{colour}"/>'
            f'<text x="{338 + 560 * value / longest:.1f}" y="{top + 14}">{value:.2f}</text>'
        )
    at = 330 + 560 * claim / longest
    drawn += (
        f'<line x1="{at:.1f}" x2="{at:.1f}" y1="0" y2="{height - 18}" stroke="#1c1f23" stroke-dasharray="4 3"/>'
        f'<text x="{at:.1f}" y="{height - 4}" text-anchor="middle">claimed {claim:.2f}</text>'
    )
    return f'<svg viewBox="0 0 980 {height}" font-size="13" xmlns="http://www.w3.org/2000/svg">{drawn}</svg>'


def picture(
    plate: NDArray[np.uint8],
    public: NDArray[np.float64],
    approved: NDArray[np.float64],
    guessed: NDArray[np.float64] | None,
    caption: str,
) -> str:
    """A plate around an outline, with the public, the approved and an attacker's outline over it.

    Args:
        plate: working image [H, W, 3] RGB.
        public: [M, 2] plate pixels, what anybody can predict.
        approved: [M, 2] plate pixels.
        guessed: the same of the attacker, or None.
        caption: text beneath.
    """
    _, png = cv2.imencode(".png", np.ascontiguousarray(plate[..., ::-1]))
    data = base64.b64encode(png.tobytes()).decode()
    height, width = plate.shape[:2]
    low = np.clip(approved.min(0) - 8, 0, [width - 24, height - 24])
    high = np.clip(approved.max(0) + 8, low + 24, [width, height])
    lines = [(public, PUBLIC, "1 4"), (approved, APPROVED, "none")]
    lines += [] if guessed is None else [(guessed, GUESSED, "5 3")]
    drawn = "".join(
        f'<path d="M{"L".join(f"{x:.2f} {y:.2f}" for x, y in points)}Z" fill="none" stroke="{colour}" '
        f'stroke-width="1.6" stroke-dasharray="{dashes}" vector-effect="non-scaling-stroke"/>'
        for points, colour, dashes in lines
    )
    view = f"{low[0]:.1f} {low[1]:.1f} {high[0] - low[0]:.1f} {high[1] - low[1]:.1f}"
    return (
        f'<figure><svg viewBox="{view}" xmlns="http://www.w3.org/2000/svg"><image '
        f'href="data:image/png;base64,{data}" width="{width}" height="{height}"/>{drawn}</svg>'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def legend(text: str) -> str:
    """Say in words what the three lines of a picture are."""
    return f"<p><small>Green, red dashes and white dots: {html.escape(text)}.</small></p>"


def pictures(figures: Iterable[str]) -> str:
    """Figures side by side."""
    return f'<div class="pictures">{"".join(figures)}</div>'


class _Raw(str):
    """Markup that is written as it is."""

    __slots__ = ()


def _cell(value: object) -> str:
    if isinstance(value, _Raw):
        return f"<td>{value}</td>"
    if isinstance(value, float):
        return f'<td class="n">{_plain(value)}</td>'
    if isinstance(value, int) and not isinstance(value, bool):
        return f'<td class="n">{value:,}</td>'
    return f"<td>{html.escape(str(value))}</td>"


def _plain(value: float) -> str:
    """A number to four figures, without powers of ten where it can do without."""
    if not np.isfinite(value) or value == 0 or not 1e-6 <= abs(value) < 1e6:
        return f"{value:.3g}"
    return np.format_float_positional(value, precision=4, fractional=False, trim="-")
