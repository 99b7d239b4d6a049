"""What an audit found, as values and as a JSON object."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from federation.plan import PrivacyConstants
from studio_node.audit.canaries import CanaryResult
from studio_node.audit.findings import LABEL, Finding
from studio_node.audit.membership import Membership
from studio_node.audit.reconstruction import Reconstruction

AUDIT_SCHEMA = "fedroto.audit/1"


@dataclass(frozen=True)
class AuditReport:
    """Everything that an audit found.

    Attributes:
        level: 1 to 3; a level includes those below it.
        time: seconds since the epoch.
        plan: which plan's constants were claimed.
        privacy: those constants.
        rounds: of that plan.
        epsilon: that the plan claims for one shot over all its rounds.
        delta: of the claim.
        installation: version, digest of the installed code, accountant.
        studio: whose key signs, or None.
        findings: of level 1.
        canaries: of level 2.
        reconstruction: of level 3.
        membership: of the membership attack, where it was asked for.
    """

    level: int
    time: int
    plan: str
    privacy: PrivacyConstants
    rounds: int
    epsilon: float
    delta: float
    installation: Mapping[str, str]
    studio: str | None
    findings: tuple[Finding, ...]
    canaries: tuple[CanaryResult, ...] = ()
    reconstruction: Reconstruction | None = field(default=None, repr=False)
    membership: Membership | None = None

    @property
    def holds(self) -> bool:
        """Whether nothing contradicts what is claimed; never that it is proven."""
        recognised = self.membership is not None and self.membership.fires
        fires = any(one.fires for one in self.canaries) or recognised
        return all(finding.holds for finding in self.findings) and not fires

    def payload(self) -> dict[str, Any]:
        """Return the report as a JSON object without the pictures; numbers that JSON cannot say are text."""
        payload = {
            "schema": AUDIT_SCHEMA,
            "label": LABEL,
            "holds": self.holds,
            "level": self.level,
            "time": self.time,
            "plan": self.plan,
            "privacy": self.privacy.model_dump(mode="json"),
            "rounds": self.rounds,
            "epsilon": self.epsilon,
            "delta": self.delta,
            "installation": dict(self.installation),
            "studio": self.studio,
            "findings": [asdict(finding) for finding in self.findings],
            "canaries": [_bound_fields(result) for result in self.canaries],
            "reconstruction": None if self.reconstruction is None else _attack_fields(self.reconstruction),
            "membership": None if self.membership is None else _membership_fields(self.membership),
        }
        plain: dict[str, Any] = _sayable(payload)
        return plain


def _bound_fields(result: CanaryResult) -> dict[str, Any]:
    fields = asdict(result)
    fields["claim"]["privacy"] = result.claim.privacy.model_dump(mode="json")
    return fields


def _membership_fields(membership: Membership) -> dict[str, Any]:
    return {
        "trainings": membership.trainings,
        "shots": membership.shots,
        "recognised": [asdict(one) for one in membership.recognised],
        "bounds": [_bound_fields(result) for result in membership.bounds],
    }


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
