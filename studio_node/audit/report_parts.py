"""An audit's page: first what a lawyer needs, in plain words; then every measurement; then the particulars."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from studio_node.audit import page
from studio_node.audit.canaries import SIGNIFICANCE, CanaryResult
from studio_node.audit.findings import LABEL
from studio_node.audit.membership import Membership
from studio_node.audit.reconstruction import Reconstruction
from studio_node.audit.report import AuditReport

SHOWN_SHARE = 0.06
"""How large the secret is drawn on level 3's pictures, as a share of the outline's size."""


def report_page(report: AuditReport) -> str:
    """Write the page of a report."""
    return page.page("Privacy audit", _parts(report))


def certainty(epsilon: float) -> float:
    """Return how sure somebody may become, at most, of what was an even bet before; delta left aside."""
    return 1 / (1 + math.exp(-epsilon))


def _parts(report: AuditReport) -> Iterator[str]:
    made = datetime.fromtimestamp(report.time, UTC).strftime("%Y-%m-%d %H:%M UTC")
    whose = f"Of studio {report.studio}" if report.studio else "Of no particular studio"
    yield page.paragraph(f"{whose}, made {made} at level {report.level} of 3.")
    outcome = (
        "Nothing contradicts the privacy that is claimed."
        if report.holds
        else "A CLAIM IS CONTRADICTED; see below."
    )
    yield page.outcome(f"{outcome} This report is a {LABEL}.", holds=report.holds)
    yield page.heading("In short")
    yield page.table([], _in_short(report))
    yield page.heading("1. The mechanism")
    yield page.paragraph(
        "One shot may move a step's sum by the clipping norm at most, whatever it shows, and noise of a fixed size "
        "covers that. These checks run the real code on the worst data that can be made up. All of them together raise "
        "a false alarm in fewer than one run in a million."
    )
    yield page.table(
        ["check", "measured", "alarm above", "outcome"],
        [
            [
                page.note(one.question, f"{one.name}: {one.detail}"),
                one.measured,
                one.limit,
                page.verdict(one.holds),
            ]
            for one in report.findings
        ],
    )
    if report.canaries:
        yield from _canary_parts(report.canaries)
    if report.reconstruction is not None:
        yield from _attack_parts(report.reconstruction)
    if report.membership is not None:
        yield from _membership_parts(report.membership)
    yield page.heading("Particulars")
    yield page.table([], _particulars(report))


def _in_short(report: AuditReport) -> Iterator[list[object]]:
    yield [
        "What is protected",
        "Every single shot: all plates, frames, shapes and versions under one shot id.",
    ]
    yield [
        "What is claimed",
        f"That whoever sees everything that leaves the studio in all {report.rounds} rounds of this plan, and knows "
        f"everything else there is to know, learns little about any one shot: epsilon {report.epsilon:.2f}, delta "
        f"{report.delta:g}. In plain words: who held it an even bet whether a certain shot was trained on can be at "
        f"most {_percent(certainty(report.epsilon))} sure afterwards, but for a chance of 1 in "
        f"{1 / report.delta:,.0f}. That is the worst case, over all attacks, known or not.",
    ]
    yield [
        "What was done",
        "The installed training code was attacked with made-up data. No picture, shape or shot of any studio was read.",
    ]
    yield ["What came out", _what_came_out(report)]
    yield [
        "What it shows",
        f"A {LABEL}: an attack can show that a claim is false, never that it is true. The reason to believe the claim "
        "is the mathematics of the guarantee (docs/privacy.md); this report is the reason to believe that the code "
        "does what the mathematics asks.",
    ]
    yield [
        "What it does not show",
        "Anything about a show as a whole (its look may be learnt from many shots), about code other than the "
        "installed one, or about a machine that lies. What else is not covered stands in docs/privacy.md.",
    ]
    yield ["How to check it", _how_to_check(report)]


def _what_came_out(report: AuditReport) -> str:
    holding = sum(one.holds for one in report.findings)
    found = [f"{holding} of {len(report.findings)} checks of the mechanism hold."]
    if report.canaries:
        below = sum(not one.fires for one in report.canaries)
        found.append(
            f"{below} of {len(report.canaries)} canary attacks, of {report.canaries[0].canaries:,} made-up shots each, "
            "stay within the claim."
        )
    if report.reconstruction is not None:
        clean, noised = report.reconstruction.releases[0], report.reconstruction.releases[-2]
        found.append(
            f"A secret outline was rebuilt to {clean.error_px:.2g} pixels from an update without noise, and to "
            f"{noised.error_px:.2g} pixels with the plan's noise, where knowing nothing gives "
            f"{report.reconstruction.guess_error_px:.2g}."
        )
    return " ".join(found)


def _how_to_check(report: AuditReport) -> str:
    if report.studio is None:
        return "This report is not signed: it was made without a studio's key (--home). Anybody can make one like it."
    return (
        "The file audit.json beside this page holds this page's SHA-256 and is signed by the studio's node key. With "
        "fedroto installed: fedroto audit --check FOLDER --key node_key.pub. Or make a report of your own: the code "
        "is the one whose hash stands under Particulars."
    )


def _particulars(report: AuditReport) -> list[list[object]]:
    constants = report.privacy
    rows: list[list[object]] = [
        ["plan", report.plan],
        [
            "constants",
            f"sample rate {constants.sample_rate:g}, clipping norm {constants.max_grad_norm:g}, noise multiplier "
            f"{constants.noise_multiplier:g}, {constants.steps_per_round} steps a round, {report.rounds} rounds, "
            f"{constants.windows_per_shot} windows a shot, delta {report.delta:g}",
        ],
    ]
    return rows + [[name, value] for name, value in report.installation.items()]


def _canary_parts(canaries: tuple[CanaryResult, ...]) -> Iterator[str]:
    yield page.heading("2. Canaries")
    yield page.paragraph(
        "Thousands of made-up shots, each as visible as a shot can be, went through the real training loop; a coin "
        "decided which took part. An attacker who sees what every step releases then guessed who was in. How often the "
        "guesses are right gives lower bounds on epsilon, each wrong with a chance of at most "
        f"{SIGNIFICANCE:g}; a bound above the claim (the dashed line) would mean that the claim is false. An attack "
        "that finds less than the claim is what an honest implementation looks like."
    )
    for one in canaries:
        yield page.heading(f"{one.claim.name[:1].upper()}{one.claim.name[1:]}", level=3)
        yield page.paragraph(
            f"{one.claim.scope}, noise multiplier {one.claim.privacy.noise_multiplier:g}, epsilon "
            f"{one.claim.epsilon:.2f} claimed (delta {one.claim.delta:g}). {one.canaries:,} canaries, "
            f"{one.included:,} of them in. Of the 100 surest guesses {one.surest} were right (50 is chance). So many "
            f"canaries could show {one.ceiling:.1f} at most."
        )
        yield page.bars(_bars(one), one.claim.epsilon)


def _attack_parts(attack: Reconstruction) -> Iterator[str]:
    size = float(np.sqrt(np.ptp(attack.approved, axis=0).prod()))
    times = max(1, round(SHOWN_SHARE * size / attack.guess_error_px))

    def shown(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return attack.predicted + times * (points - attack.predicted)

    yield page.heading("3. Reconstruction, before noise and after")
    yield page.paragraph(
        "What would an update give away if it were not noised? From one step's release the attack rebuilds the "
        "outline that an artist approved on a made-up plate. It is told everything else: the weights, all inputs of "
        "the network, that this one shot was alone in the step. The public network's own prediction, which anybody can "
        f"make from those inputs, is {attack.guess_error_px:.2f} pixels off; an attack that does no better has learned "
        "nothing. The plate itself is no input of the trained network and was not rebuilt; stronger attacks than this "
        "one may exist."
    )
    yield page.legend(
        f"what the artist approved (the secret), what the attack rebuilt, and what anybody can predict; drawn with "
        f"all differences from that prediction {times} times as large as they are"
    )
    yield page.pictures(
        page.picture(
            attack.plate,
            attack.predicted,
            shown(attack.approved),
            None if rebuilt is None else shown(rebuilt.points),
            "the made-up plate and the secret"
            if rebuilt is None
            else f"{rebuilt.name}: {rebuilt.error_px:.2g} px off, likeness to the secret {rebuilt.likeness:.2f}",
        )
        for rebuilt in (None, *attack.releases)
    )
    yield page.table(
        ["release", "noise multiplier", "off by (px)", "likeness (1 known, 0 nothing)"],
        [[one.name, one.noise_multiplier, one.error_px, one.likeness] for one in attack.releases],
    )


def _membership_parts(membership: Membership) -> Iterator[str]:
    yield page.heading("4. Membership")
    yield page.paragraph(
        f"Can anybody tell whether a certain shot was trained on? The real network was trained "
        f"{membership.trainings} times by the whole plan, and as often without noise; each time a coin decided for "
        f"each of {membership.shots} procedural shots whether it took part. Half of the trainings taught the "
        "attacker, who knows every shot; the other half were attacked. Lower bounds on epsilon are drawn below."
    )
    yield page.table(
        [
            "score",
            "noise multiplier",
            "of two shots, the right one is named",
            "named of those in, at 1% false alarms",
        ],
        [
            [one.score, one.noise_multiplier, _percent(one.shot_right), _percent(one.caught)]
            for one in membership.recognised
        ],
    )
    for one in membership.bounds:
        yield page.heading(f"With the plan's noise, by {one.claim.name}", level=3)
        yield page.bars(_bars(one), one.claim.epsilon)


def _bars(result: CanaryResult) -> list[tuple[str, float]]:
    return [
        ("one run, f-DP (no independence assumed)", result.one_run),
        ("Clopper-Pearson, canaries independent", result.independent),
        ("Clopper-Pearson, read as a Gaussian curve", result.independent_gaussian),
    ]


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%" if share < 0.999 else f"{100 * share:.2f}%"
