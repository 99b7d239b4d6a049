"""The audit as a whole: which plan is claimed, which levels run, what is written."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from federation.config import PlanDefaults, default_size_tiers, load_studio_config
from federation.documents import DOCUMENT_BYTES_MAX, PrivateKey, SignedDocument
from federation.durable import read_bounded
from federation.errors import DocumentError, PlanError
from federation.flower.bundle import build_bundle, bundle_digest
from federation.homes import StudioHome
from federation.keys import load_node_key
from federation.plan import PrivacyConstants, TrainingPlan
from federation.privacy import PrivacyEvent, accountant_name, epsilon
from federation.set_up import load_kit
from studio_node.audit.canaries import (
    CANARIES,
    CanaryResult,
    Claim,
    audit_claim,
    production_claim,
    rehearsals,
)
from studio_node.audit.mechanism import check_mechanism
from studio_node.audit.membership import attack_membership
from studio_node.audit.outward import check_outward
from studio_node.audit.reconstruction import attack_made_up_shot
from studio_node.audit.repeats import Restart, repeat_findings
from studio_node.audit.report import AuditReport
from studio_node.audit.report_files import AuditFiles, write_report

DEFAULT_TIER = "s"


@dataclass(frozen=True)
class AuditOutcome:
    """A finished audit: what it found, and where that was written."""

    report: AuditReport
    files: AuditFiles


@dataclass(frozen=True)
class ClaimedPlan:
    """The constants whose claims are audited, and where they come from."""

    name: str
    privacy: PrivacyConstants
    rounds: int
    delta: float

    @property
    def epsilon(self) -> float:
        """Of one shot over all rounds."""
        steps = self.rounds * self.privacy.steps_per_round
        return epsilon(
            [PrivacyEvent(self.privacy.sample_rate, self.privacy.noise_multiplier, steps)], self.delta
        )


def run_audit(
    level: int,
    output: Path,
    *,
    now: int,
    home: Path | None = None,
    plan: Path | None = None,
    canaries: int = CANARIES,
    trainings: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> AuditOutcome:
    """Audit the installed training code and write the report.

    Args:
        level: 1 the mechanism, 2 canaries as well, 3 reconstruction as well.
        output: folder of the two files.
        now: seconds since the epoch.
        home: of a studio, whose node key signs the report; nothing else of it is read but its kit.
        plan: a signed plan's file, verified with the coordinator's key where the home has joined; default: a new
            plan's constants.
        canaries: of level 2; fewer show less.
        trainings: of the membership attack, with and without noise each; 0 leaves it out.
        progress: told what is done next.

    Raises:
        PlanError: the plan has no noise, or contradicts itself.
        DocumentError: the plan is malformed or (SignatureError) not signed by the studio's coordinator.
        IdentityError: the home's node key cannot be read.
        FedrotoError: the disk refused, or a restarted process failed.
    """
    if not 1 <= level <= 3:
        raise PlanError(f"an audit has the levels 1, 2 and 3, not {level}")
    claimed = claimed_plan(plan, home)
    key: PrivateKey | None = None if home is None else load_node_key(StudioHome(home).node_key).private
    restart = Restart(claimed.privacy)
    try:
        progress("level 1: the mechanism, worst-case neighbours, 400,000 draws")
        findings, noise = check_mechanism(claimed.privacy)
        progress("level 1: what leaves the real round; a restarted process")
        findings += check_outward(claimed.privacy)
        findings += repeat_findings(noise, restart.rows())
    finally:
        restart.stop()
    results: list[CanaryResult] = []
    if level >= 2:
        for claim in _claims(claimed, canaries):
            progress(f"level 2: {claim.name}, {canaries} canaries, {claim.scope}")
            results.append(audit_claim(claim, canaries=canaries))
    attack = None
    if level >= 3:
        progress("level 3: rebuilding a made-up shot from its releases")
        attack = attack_made_up_shot(claimed.privacy)
    membership = None
    if trainings:
        membership = attack_membership(
            claimed.privacy, claimed.rounds, claimed.delta, trainings, progress=progress
        )
    report = AuditReport(
        level,
        now,
        claimed.name,
        claimed.privacy,
        claimed.rounds,
        claimed.epsilon,
        claimed.delta,
        {
            "fedroto": importlib.metadata.version("fedroto"),
            "installed code, sha256": bundle_digest(build_bundle()),
            "accountant": accountant_name(),
        },
        None if home is None else _studio_name(home),
        tuple(findings),
        tuple(results),
        attack,
        membership,
    )
    return AuditOutcome(report, write_report(report, output, key))


def claimed_plan(plan: Path | None, home: Path | None) -> ClaimedPlan:
    """Read which constants are claimed (see :func:`run_audit`)."""
    if plan is None:
        defaults = PlanDefaults()
        fields = {
            name: getattr(defaults, name) for name in PrivacyConstants.model_fields if hasattr(defaults, name)
        }
        tier = default_size_tiers(defaults.sample_rate)[DEFAULT_TIER]
        name = "the defaults of a new plan"
        return ClaimedPlan(name, PrivacyConstants.model_validate(fields), defaults.rounds, tier.delta)
    data = read_bounded(plan, DOCUMENT_BYTES_MAX)
    kit = None if home is None or not (StudioHome(home).coordinator / "kit.json").exists() else load_kit(home)
    if kit is not None:
        read, checked = (
            TrainingPlan.verified(data, kit.plan_key),
            f"signed by the coordinator of {kit.federation}",
        )
    else:
        read, checked = TrainingPlan.from_payload(_payload(data)), "its signature was not checked"
    if read.privacy.noise_multiplier == 0:
        raise PlanError(
            f"plan {read.campaign} trains without noise; it claims no privacy, and studio nodes refuse it"
        )
    named = kit is not None and kit.studio in read.studios
    if kit is not None and named:
        delta = read.tier_of(kit.studio).delta
    else:
        delta = max(tier.delta for tier in read.size_tiers.values())
    return ClaimedPlan(f"campaign {read.campaign} ({checked})", read.privacy, read.rounds, delta)


def _claims(claimed: ClaimedPlan, canaries: int) -> list[Claim]:
    production = production_claim(
        claimed.name, claimed.privacy, claimed.rounds, claimed.delta, canaries=canaries
    )
    return [*rehearsals(), production]


def _payload(data: bytes) -> dict[str, object]:
    """Return a plan's fields from its signed or its plain form, unverified."""
    try:
        fields = json.loads(SignedDocument.from_bytes(data).payload)
    except DocumentError:
        try:
            fields = json.loads(data)
        except ValueError as error:
            raise DocumentError(f"the plan's file is not JSON: {error}") from error
    except ValueError as error:
        raise DocumentError(f"the plan inside its envelope is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise DocumentError(f"the plan is a JSON {type(fields).__name__}, expected an object")
    return fields


def _studio_name(home: Path) -> str:
    return load_studio_config(StudioHome(home).config).name
