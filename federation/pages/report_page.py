"""A report as one HTML file: no script, nothing loaded from outside, pictures inside the file."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:1080px;margin:2rem auto;padding:0 1rem;color:#1c1f23;background:#fff}
h1{font-size:1.7rem;margin-bottom:.2rem}h2{margin-top:2.2rem;font-size:1.2rem;border-bottom:1px solid #d9dde2}
table{border-collapse:collapse;margin:.6rem 0}td,th{padding:.25rem .9rem .25rem 0;text-align:left;vertical-align:top}
th{font-weight:600;border-bottom:1px solid #b9c0c8}td.n{text-align:right;font-variant-numeric:tabular-nums}
tr.ours td{font-weight:600}.pictures{display:flex;flex-wrap:wrap;gap:12px}figure{margin:0;width:340px}
figure svg{width:100%;height:auto;display:block}figcaption{font-size:.85rem;color:#4a525b}
.say{padding:.7rem 1rem;background:#f2f5f8;border-left:4px solid #4a78b5}.legend span{margin-right:1.2rem}
.legend{background:#3a4048;color:#fff;padding:.3rem .8rem;display:inline-block}
.legend i{display:inline-block;width:1.6em;height:0;border-top:3px solid;vertical-align:middle;margin-right:.4em}
code{background:#f2f5f8;padding:0 .25em;overflow-wrap:anywhere}
"""


@dataclass(frozen=True)
class Outline:
    """A closed outline to draw over a plate.

    Attributes:
        label: what it is, for the legend.
        points: [M, 2] plate pixels.
        colour: CSS colour.
    """

    label: str
    points: npt.NDArray[np.float64]
    colour: str


def page(title: str, sections: Sequence[str]) -> str:
    """Put sections into one page."""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<link rel="icon" href="data:,"><style>{STYLE}</style></head><body><h1>{html.escape(title)}</h1>'
        + "".join(sections)
        + "</body></html>\n"
    )


def section(heading: str, *parts: str) -> str:
    """A heading and what stands under it."""
    return f"<h2>{html.escape(heading)}</h2>" + "".join(parts)


def say(text: str) -> str:
    """A sentence that must not be overlooked."""
    return f'<p class="say">{html.escape(text)}</p>'


def paragraph(text: str) -> str:
    """Plain text."""
    return f"<p>{html.escape(text)}</p>"


def code(text: str) -> str:
    """A path or command on a line of its own."""
    return f"<p><code>{html.escape(text)}</code></p>"


def table(headings: Sequence[str], rows: Sequence[Sequence[object]], ours: object = None) -> str:
    """A table; numbers are set right, the row whose first cell is ``ours`` is bold."""
    head = "".join(f"<th>{html.escape(heading)}</th>" for heading in headings)
    body = ""
    for row in rows:
        cells = "".join(_cell(cell) for cell in row)
        body += f"<tr{' class=ours' if row and row[0] == ours else ''}>{cells}</tr>"
    return f"<table><tr>{head}</tr>{body}</table>"


def key_values(values: Mapping[str, Any]) -> str:
    """Names and values, one a line."""
    rows = "".join(f"<tr><th>{html.escape(name)}</th>{_cell(value)}</tr>" for name, value in values.items())
    return f"<table>{rows}</table>"


def picture(plate: npt.NDArray[np.uint8], outlines: Sequence[Outline], caption: str) -> str:
    """The part of a plate around outlines, with the outlines over it.

    Args:
        plate: working image [H, W, 3] RGB.
        outlines: drawn in this order, as paths, so that they stay sharp at any zoom.
        caption: text beneath.
    """
    import cv2

    height, width = plate.shape[:2]
    left, top, shown_width, shown_height = _view(outlines, width, height)
    _, jpeg = cv2.imencode(".jpg", plate[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
    data = base64.b64encode(jpeg.tobytes()).decode()
    paths = "".join(
        f'<path d="{_path(one.points)}" fill="none" stroke="{one.colour}" stroke-width="1.6" '
        'vector-effect="non-scaling-stroke"/>'
        for one in outlines
    )
    return (
        f'<figure><svg viewBox="{left} {top} {shown_width} {shown_height}" xmlns="http://www.w3.org/2000/svg">'
        f'<image href="data:image/jpeg;base64,{data}" width="{width}" height="{height}"/>{paths}</svg>'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def pictures(figures: Sequence[str], legend: Mapping[str, str]) -> str:
    """Pictures side by side with one legend: label -> colour."""
    marks = "".join(
        f'<span><i style="border-color:{colour}"></i>{html.escape(label)}</span>'
        for label, colour in legend.items()
    )
    return f'<p class="legend">{marks}</p><div class="pictures">{"".join(figures)}</div>'


def _view(outlines: Sequence[Outline], width: int, height: int) -> tuple[int, int, int, int]:
    """Choose what to show, 3:2, with half the outlines' size around them: left, top, width, height in pixels."""
    points = np.vstack([one.points for one in outlines])
    low, high = points.min(0), points.max(0)
    side = max(high[0] - low[0], 1.5 * (high[1] - low[1])) * 1.6
    shown_width = min(max(side, 24), width)
    shown_height = min(shown_width / 1.5, height)
    corner = (low + high) / 2 - np.array([shown_width, shown_height]) / 2
    left, top = np.clip(corner, 0, np.array([width - shown_width, height - shown_height]))
    return int(left), int(top), int(np.ceil(shown_width)), int(np.ceil(shown_height))


def _path(points: npt.NDArray[np.float64]) -> str:
    return "M" + "L".join(f"{x:.2f} {y:.2f}" for x, y in points) + "Z"


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f'<td class="n">{value:.3f}</td>'
    if isinstance(value, int) and not isinstance(value, bool):
        return f'<td class="n">{value:,}</td>'
    return f"<td>{html.escape(str(value))}</td>"
