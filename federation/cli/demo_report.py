"""The demo's report: what happened, from the commands' own ``--json`` results and what lies on disk."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from federation.cli.demo_measure import COLOURS, LABELS, ShapeMeasurement
from federation.pages.report_page import (
    code,
    key_values,
    page,
    paragraph,
    pictures,
    say,
    section,
    table,
)

MATERIAL = {
    "procedural": "procedural shots that this machine invented",
    "clips": "real footage from the folder that was given",
}


@dataclass(frozen=True)
class StudioFacts:
    """One studio in the report: results of its commands.

    Attributes:
        name: in the federation.
        ingest: of ``studio ingest``.
        ledger: of ``ledger show``.
        verified: of ``ledger verify``.
        egress: of ``egress log``.
    """

    name: str
    ingest: dict[str, Any]
    ledger: dict[str, Any]
    verified: dict[str, Any]
    egress: dict[str, Any]


@dataclass(frozen=True)
class DemoFacts:
    """All that the report tells.

    Attributes:
        material: key of ``MATERIAL``.
        studios: by name.
        campaign: of ``coordinator run``.
        releases: of ``coordinator release``: the base's and the candidate's.
        plan: the signed plan's constants.
        pulled: number of the release that the artist got.
        measurements: of the artist's shots.
        outputs: the ``.nk`` files written.
        seconds: by stage.
        isolation: what the runners said about their isolation.
    """

    material: str
    studios: Sequence[StudioFacts]
    campaign: dict[str, Any]
    releases: Sequence[dict[str, Any]]
    plan: dict[str, Any]
    pulled: int
    measurements: Sequence[ShapeMeasurement]
    outputs: Sequence[Path]
    seconds: dict[str, float]
    isolation: str


def render(facts: DemoFacts) -> str:
    """Write the report as one HTML page."""
    return page(
        "fedroto demo: three studios, one model, no picture left any of them",
        [
            _summary(facts),
            _artist(facts),
            _privacy(facts),
            _bytes(facts),
            _rounds(facts),
            _releases(facts),
            _machine(facts),
        ],
    )


def _summary(facts: DemoFacts) -> str:
    closed = sum(one["phase"] == "closed" for one in facts.campaign["rounds"])
    shots = sum(len(one.ingest["shots"]) for one in facts.studios)
    return paragraph(
        f"{len(facts.studios)} studios joined with keys of their own and trained on {shots} shots "
        f"({MATERIAL[facts.material]}). {closed} of {facts.campaign['rounds_planned']} rounds closed. The artist "
        f"predicted with release {facts.pulled} a shot that no studio trained on. Every process was real: a Flower "
        "SuperLink with TLS and node authentication, a fleet proxy, the coordinator, and a runner and an uplink for "
        "each studio."
    ) + say(_candidate_sentence(facts))


def _candidate_sentence(facts: DemoFacts) -> str:
    candidate = facts.releases[-1]
    if candidate["number"] is not None:
        verdict = (
            f"The candidate passed the release check and is release {candidate['number']}: better than every baseline "
            "and not worse than release 1 by more than the check's margin. That is not a claim that it learned."
        )
    else:
        failed = [gate["why"] for gate in candidate["check"]["gates"] if not gate["passed"]]
        verdict = (
            "The candidate did not pass the release check, so release 1, the pretrained base, stays. Why: "
            f"{'; '.join(failed)}."
        )
    return f"{verdict} {_noise_sentence(facts)}"


def _noise_sentence(facts: DemoFacts) -> str:
    """Compare the noise of one step with the most that the included shots can contribute to it."""
    constants = facts.plan["privacy"]
    parameters = sum(math.prod(entry["shape"]) for entry in facts.plan["model"]["trainable"])
    shots = max(len(one.ingest["shots"]) for one in facts.studios)
    ratio = constants["noise_multiplier"] * math.sqrt(parameters) / (constants["sample_rate"] * shots)
    return (
        f"With {shots} shots in a studio, the noise of one step is about {ratio:.0f} times as long as all that the "
        "included shots can contribute: studios of this size are hidden by being drowned. Quality comes from many "
        "shots and many studios; nothing was tuned to hide that."
    )


def _artist(facts: DemoFacts) -> str:
    parts = []
    for one in facts.measurements:
        rows = [
            [LABELS.get(name, name), one.mean_px[name], one.worst_px[name]]
            for name in sorted(one.mean_px, key=lambda method: one.mean_px[method])
        ]
        parts += [
            f"<h3>{one.shot}, {one.shape}</h3>",
            paragraph(
                f"{one.frames} frames predicted between the artist's keys on {', '.join(map(str, one.artist_keys))}."
            ),
            table(["method", "mean error, px", "worst frame, px"], rows, ours=LABELS["fedroto"]),
            pictures(one.figures, {LABELS.get(name, name): colour for name, colour in COLOURS.items()}),
        ]
    files = "".join(code(str(path)) for path in facts.outputs)
    return section(
        "What the artist got",
        *parts,
        paragraph("Written, with predicted keys in a node of their own:"),
        files,
    )


def _privacy(facts: DemoFacts) -> str:
    rows = []
    for studio in facts.studios:
        for account in studio.ledger["accounts"]:
            rows.append(
                [
                    studio.name,
                    account["show"],
                    account["epsilon"],
                    f"{account['delta']:g}",
                    account["epsilon_lifetime"],
                    account["charges"],
                    "holds" if studio.verified["intact"] else f"BROKEN: {studio.verified['problem']}",
                ]
            )
    constants = facts.plan["privacy"]
    return section(
        "What privacy was spent",
        paragraph(
            "The unit is one shot: everything that shares its id. Epsilon holds for any one shot of a show, for adding "
            "or removing it, over everything that ever left the studio. It is not a figure for a whole show."
        ),
        table(
            ["studio", "show", "epsilon", "delta", "lifetime cap", "charged rounds", "ledger's chain"], rows
        ),
        key_values({name.replace("_", " "): value for name, value in constants.items()}),
    )


def _bytes(facts: DemoFacts) -> str:
    rows = []
    for studio in facts.studios:
        updates = [line for line in studio.egress["lines"] if line["kind"] == "update"]
        rows.append([studio.name, len(updates), studio.egress["size_bytes"]])
    fields = [
        [field["name"], field["type"], field["size_bytes"]]
        for line in facts.studios[0].egress["lines"][:1]
        for field in line["fields"]
    ]
    return section(
        "What left each studio",
        table(["studio", "updates", "bytes"], rows),
        paragraph("An update has exactly these fields:"),
        table(["field", "type", "bytes"], fields),
    )


def _rounds(facts: DemoFacts) -> str:
    rows = [
        [one["server_round"], one["phase"], ", ".join(one["returned"]), one["bytes_in"], one["reason"]]
        for one in facts.campaign["rounds"]
    ]
    return section("Rounds", table(["round", "state", "returned", "bytes in", "why"], rows))


def _releases(facts: DemoFacts) -> str:
    parts = []
    for title, outcome in zip(
        ("Release 1, the pretrained base", "The candidate"), facts.releases, strict=True
    ):
        rows = [
            [gate["name"], "yes" if gate["passed"] else "no", gate["why"]]
            for gate in outcome["check"]["gates"]
        ]
        parts += [f"<h3>{title}</h3>", table(["gate", "passed", "why"], rows)]
    return section("Release check", *parts)


def _machine(facts: DemoFacts) -> str:
    return section(
        "This run",
        key_values({**{f"{name}, s": value for name, value in facts.seconds.items()}}),
        paragraph(f"The runners, here: {facts.isolation}."),
    )
