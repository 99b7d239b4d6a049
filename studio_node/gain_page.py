"""A studio's gain as one private HTML file for its producer."""

from __future__ import annotations

from federation.pages.report_page import key_values, page, paragraph, say, section, table
from studio_node.gain import BEST_CLASSICAL, TODAY, GainReport, MethodGain

NAMES = {
    TODAY: "no help: interpolation between keys",
    "track": "classical: tracking",
    "planar": "classical: planar tracking",
    "flow": "classical: optical flow",
    BEST_CLASSICAL: "the best classical method, chosen per shape afterwards",
    "base": "fedroto as shipped, before any federation",
    "release": "the federation's release",
    "own": "the release, tuned on own shots",
    "alone": "as shipped, tuned on own shots alone, without the federation",
}

PRIVATE = (
    "PRIVATE. These numbers depend on this studio's own shots without any noise. No command sends them, and the "
    "privacy guarantee does not cover telling them to anybody outside."
)
METHOD = (
    "On shots that no training has seen, every method gets a key on the first and last frame and then one more "
    "wherever it is furthest off, until every frame is within tolerance of the approved shape (mean distance of "
    "outlines; the larger of both tolerances). An artist who corrects a prediction by sight sets other keys than this "
    "rule: take the figures as a comparison of methods under one rule, and the hours as what follows from the minutes "
    "above."
)


def gain_page(studio: str, report: GainReport, *, release: int | None, rate: float | None) -> str:
    """Write the page.

    Args:
        studio: its name.
        report: what was measured.
        release: number of the release that was measured, or None.
        rate: what an artist's hour costs the studio, in its own currency, or None.
    """
    shots = len({one.shot for one in report.shapes})
    return page(
        f"{studio}: what fedroto saves",
        [
            say(_headline(report)),
            paragraph(PRIVATE),
            section("Keys and hours", _methods(report, rate)),
            section("Shape by shape", _shapes(report)),
            section(
                "How it was measured",
                key_values(
                    {
                        "shots": shots,
                        "shapes": len(report.shapes),
                        "release": "none" if release is None else release,
                        "minutes a key takes": report.minutes_per_key,
                        "tolerance, plate pixels": report.tolerance.px,
                        "tolerance, percent of the outline's size": report.tolerance.percent,
                    }
                ),
                paragraph(METHOD),
            ),
            *([section("Left out", table(["what", "why"], _left_out(report)))] if report.rejected else []),
        ],
    )


def _headline(report: GainReport) -> str:
    gains = {one.method: one for one in report.methods}
    ours = min(
        (gains[name] for name in ("release", "own", "base") if name in gains), key=lambda one: one.keys
    )
    rival = gains[BEST_CLASSICAL]
    sentence = f"{NAMES[ours.method].capitalize()} needs {ours.keys} keys where interpolation needs {gains[TODAY].keys}"
    if ours.saved > 0:
        sentence += f": {ours.hours:.1f} hours saved on these shots"
    against = ours.keys - rival.keys
    if against < 0:
        return f"{sentence}, and {-against} fewer than the best classical method for each shape."
    return (
        f"{sentence}. The best classical method for each shape needs {rival.keys}: no gain against it here."
    )


def _methods(report: GainReport, rate: float | None) -> str:
    headings = ["method", "keys", "saved", "saved per shape, 95% interval", "hours saved"]
    rows = [[_name(one), one.keys, one.saved, _interval(one), f"{one.hours:.1f}"] for one in report.methods]
    if rate is not None:
        headings.append(f"worth, at {rate:g} an hour")
        rows = [[*row, f"{one.hours * rate:.0f}"] for row, one in zip(rows, report.methods, strict=True)]
    return table(headings, rows, ours=NAMES["release"])


def _shapes(report: GainReport) -> str:
    methods = [one.method for one in report.methods if one.method != BEST_CLASSICAL]
    rows = [
        [one.shot, one.shape, one.frames, one.set_by_artist, *(one.keys[name] for name in methods)]
        for one in report.shapes
    ]
    return table(["shot", "shape", "frames", "keys its artist set", *methods], rows)


def _left_out(report: GainReport) -> list[list[str]]:
    return [[one.where, one.reason] for one in report.rejected]


def _name(one: MethodGain) -> str:
    return NAMES.get(one.method, one.method)


def _interval(one: MethodGain) -> str:
    by = one.saved_per_shape
    return "-" if by is None else f"{by.mean:+.1f} ({by.low:+.1f} to {by.high:+.1f})"
