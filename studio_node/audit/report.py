"""What an audit found, as a signed document for machines and a page for people; the two name each other's content."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from federation.documents import PrivateKey, SignedDocument, canonical_json, digest, sign
from federation.durable import write_atomic
from federation.plan import PrivacyConstants
from studio_node.audit import page
from studio_node.audit.canaries import SIGNIFICANCE, CanaryResult
from studio_node.audit.findings import LABEL, Finding
from studio_node.audit.reconstruction import Reconstruction

AUDIT_SCHEMA, AUDIT_KIND = "fedroto.audit/1", "audit-report"
JSON_NAME, PAGE_NAME = "audit.json", "audit.html"


@dataclass(frozen=True)
class AuditReport:
    """Everything that an audit found.

    Attributes:
        level: 1 to 3; a level includes those below it.
        time: seconds since the epoch.
        plan: which plan's constants were claimed.
        privacy: those constants.
        delta: of the claim.
        installation: version, digest of the installed code, accountant.
        studio: whose key signs, or None.
        findings: of level 1.
        canaries: of level 2.
        reconstruction: of level 3.
    """

    level: int
    time: int
    plan: str
    privacy: PrivacyConstants
    delta: float
    installation: Mapping[str, str]
    studio: str | None
    findings: tuple[Finding, ...]
    canaries: tuple[CanaryResult, ...] = ()
    reconstruction: Reconstruction | None = field(default=None, repr=False)

    @property
    def holds(self) -> bool:
        """Whether nothing contradicts what is claimed; never that it is proven."""
        return all(finding.holds for finding in self.findings) and not any(one.fires for one in self.canaries)

    def payload(self) -> dict[str, Any]:
        """Return the report as a JSON object without the pictures; numbers that JSON cannot say are text."""
        canaries = []
        for result in self.canaries:
            fields = asdict(result)
            fields["claim"]["privacy"] = result.claim.privacy.model_dump(mode="json")
            canaries.append(fields)
        payload = {
            "schema": AUDIT_SCHEMA,
            "label": LABEL,
            "holds": self.holds,
            "level": self.level,
            "time": self.time,
            "plan": self.plan,
            "privacy": self.privacy.model_dump(mode="json"),
            "delta": self.delta,
            "installation": dict(self.installation),
            "studio": self.studio,
            "findings": [asdict(finding) for finding in self.findings],
            "canaries": canaries,
            "reconstruction": None if self.reconstruction is None else _attack_fields(self.reconstruction),
        }
        plain: dict[str, Any] = _sayable(payload)
        return plain


@dataclass(frozen=True)
class AuditFiles:
    """Where a report was written, and whether its JSON is signed."""

    document: Path
    page: Path
    signed: bool


def write_report(report: AuditReport, output: Path, key: PrivateKey | None) -> AuditFiles:
    """Write ``audit.html`` and ``audit.json``, which holds the page's hash and is signed if there is a key.

    Raises:
        FedrotoError: the disk refused.
    """
    output.mkdir(parents=True, exist_ok=True)
    html = page.page("Privacy audit", _parts(report)).encode()
    payload = report.payload() | {"page_sha256": digest(html)}
    data = canonical_json(payload) if key is None else sign(AUDIT_KIND, payload, key).to_bytes()
    write_atomic(output / PAGE_NAME, html)
    write_atomic(output / JSON_NAME, data)
    return AuditFiles(output / JSON_NAME, output / PAGE_NAME, key is not None)


def read_signed(data: bytes, key: Any) -> dict[str, Any]:
    """Return a signed report's fields once its signature holds.

    Args:
        data: of ``audit.json``.
        key: the studio's public node key.

    Raises:
        DocumentError: malformed, or (SignatureError) not signed by this key.
    """
    return SignedDocument.from_bytes(data).verified(AUDIT_KIND, key)


def _parts(report: AuditReport) -> Iterator[str]:
    yield page.paragraph(f"This report is a {LABEL}.", label=True)
    yield page.paragraph(
        "It attacks the installed training code with made-up data and asks whether anything contradicts the privacy "
        "that is claimed. What it finds is real; what it does not find may still be there. The guarantee itself, and "
        "what it does not cover, stands in docs/privacy.md. No picture and no shot of any studio was used."
    )
    outcome = "Nothing contradicts the claims." if report.holds else "A CLAIM IS CONTRADICTED; see below."
    yield page.paragraph(outcome, label=not report.holds)
    yield page.table(["what", "value"], _facts(report))
    yield page.heading("1. The mechanism")
    yield page.paragraph(
        "One shot may move a step's sum by the clipping norm at most, whatever it shows, and noise of a fixed size "
        "covers that. These checks run the real code on the worst data that can be made up. All of them together raise "
        "a false alarm in fewer than one run in a million."
    )
    yield page.table(
        ["check", "measured", "honest limit", "outcome"],
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
        yield from _canary_parts(report)
    if report.reconstruction is not None:
        yield from _attack_parts(report.reconstruction)


def _facts(report: AuditReport) -> list[list[object]]:
    made = datetime.fromtimestamp(report.time, UTC).strftime("%Y-%m-%d %H:%M UTC")
    constants = report.privacy
    rows: list[list[object]] = [
        ["made", made],
        ["level", report.level],
        ["studio", report.studio or "none: the report is not signed"],
        ["plan", report.plan],
        ["unit of protection", "one shot: everything that shares its shot id"],
        [
            "constants",
            f"sample rate {constants.sample_rate:g}, clipping norm {constants.max_grad_norm:g}, noise multiplier "
            f"{constants.noise_multiplier:g}, {constants.steps_per_round} steps a round, delta {report.delta:g}",
        ],
    ]
    return rows + [[name, value] for name, value in report.installation.items()]


def _canary_parts(report: AuditReport) -> Iterator[str]:
    yield page.heading("2. Canaries")
    yield page.paragraph(
        "Thousands of made-up shots, each as visible as a shot can be, went through the real training loop; a coin "
        "decided which took part. An attacker who sees what every step releases then guessed who was in. How often the "
        "guesses are right gives lower bounds on epsilon, each wrong with a chance of at most "
        f"{SIGNIFICANCE:g}; a bound above the claim would mean that the claim is false. An attack that finds less than "
        "the claim is what an honest implementation looks like."
    )
    for one in report.canaries:
        yield page.paragraph(
            f"{one.claim.name}: {one.claim.scope}, noise multiplier {one.claim.privacy.noise_multiplier:g}, epsilon "
            f"{one.claim.epsilon:.2f} claimed (delta {one.claim.delta:g}). {one.canaries:,} canaries, "
            f"{one.included:,} in. Of the 100 surest guesses {one.surest} were right (50 is chance). So many canaries "
            f"could show {one.ceiling:.1f} at most."
        )
        yield page.bars(
            [
                ("one run, f-DP (no independence assumed)", one.one_run),
                ("Clopper-Pearson, canaries independent", one.independent),
                ("Clopper-Pearson, read as a Gaussian curve", one.independent_gaussian),
            ],
            one.claim.epsilon,
        )


def _attack_parts(attack: Reconstruction) -> Iterator[str]:
    yield page.heading("3. Reconstruction, before noise and after")
    yield page.paragraph(
        "What would an update give away if it were not noised? From one step's release the attack rebuilds the "
        "outline that an artist approved on a made-up plate. It is told everything else: the weights, all inputs of "
        "the network, that this one shot was alone in the step. Green is the approved outline, red what the attack "
        "rebuilt. The public network's own prediction, which anybody can make from those inputs, is "
        f"{attack.guess_error_px:.2f} pixels off; an attack that does no better has learned nothing. The plate itself "
        "is no input of the trained network and was not rebuilt; stronger attacks than this one may exist."
    )
    figures = [
        page.picture(attack.plate, attack.approved, None, "the made-up plate and its approved outline")
    ]
    figures += [
        page.picture(
            attack.plate,
            attack.approved,
            one.points,
            f"{one.name}: {one.error_px:.3g} px off, likeness to the secret {one.likeness:.2f}",
        )
        for one in attack.releases
    ]
    yield page.pictures(figures)
    yield page.table(
        ["release", "noise multiplier", "off by (px)", "likeness (1 known, 0 nothing)"],
        [[one.name, one.noise_multiplier, one.error_px, one.likeness] for one in attack.releases],
    )


def _attack_fields(attack: Reconstruction) -> dict[str, Any]:
    releases = [
        {name: getattr(one, name) for name in ("name", "noise_multiplier", "error_px", "likeness")}
        for one in attack.releases
    ]
    return {
        "attacked": "the approved outline of one window, all else known to the attacker",
        "guess_error_px": attack.guess_error_px,
        "gradient_norm": attack.gradient_norm,
        "releases": releases,
    }


def _sayable(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _sayable(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_sayable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
