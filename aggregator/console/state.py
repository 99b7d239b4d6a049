"""What the console's page gets: an overview as JSON, field by field; what is not named here is not shown."""

from __future__ import annotations

import math
import shlex
from typing import Any

from aggregator.campaign_status import CampaignStatus, RoundLine
from aggregator.overview import Overview, StudioOverview
from aggregator.plan_cost import TierCost
from aggregator.release_check import MODEL, UNIT
from aggregator.release_list import ListedRelease


def page_state(overview: Overview) -> dict[str, Any]:
    """Turn an overview into what the page shows."""
    releases = overview.releases
    return {
        "federation": overview.federation,
        "at": overview.at,
        "campaigns": list(overview.campaigns),
        "campaign": None if overview.campaign is None else _campaign(overview.campaign),
        "studios": [_studio(one) for one in overview.studios],
        "costs": [_cost(one) for one in overview.costs],
        "releases": [_release(one) for one in releases.releases],
        "unit": UNIT,
        "log": {"entries": releases.log_entries, "head": releases.log_head},
        "commands": _commands(overview),
    }


def _campaign(status: CampaignStatus) -> dict[str, Any]:
    return {
        "name": status.campaign,
        "state": status.state,
        "running": status.running,
        "planned": status.rounds_planned,
        "quorum": status.quorum,
        "base_release": status.plan.base_release,
        "studios": sorted(status.plan.studios),
        "rounds": [_round(one) for one in status.rounds],
        "gain": None if status.gain is None else status.gain.gain_sentence,
        "feed": [
            {"at": one.at, "event": one.event, "text": one.text, "studio": one.studio}
            for one in status.events
        ],
    }


def _round(one: RoundLine) -> dict[str, Any]:
    return {
        "number": one.server_round,
        "attempt": one.attempt,
        "phase": one.phase,
        "sentence": one.sentence,
        "reason": one.reason,
        "opened_at": one.opened_at,
        "deadline_at": one.deadline_at,
        "bytes_in": one.bytes_in,
        "standing": {turn.studio: turn.standing for turn in one.studios},
        "why": {turn.studio: turn.reason for turn in one.studios if turn.reason},
        "used_late": list(one.used_late),
        "rolled_back": one.rolled_back,
        "error": one.shown_error,
    }


def _studio(one: StudioOverview) -> dict[str, Any]:
    return {
        "name": one.name,
        "tier": one.size_tier,
        "admitted": one.admitted,
        "named": one.named,
        "online": one.online,
        "last_seen": one.last_seen,
        "installation": one.installation,
        "returned": one.returned,
        "late": one.late,
        "rounds": one.rounds,
        "epsilon_left": one.epsilon_left,
    }


def _cost(one: TierCost) -> dict[str, Any]:
    return {
        "tier": one.tier,
        "delta": one.delta,
        "rounds": one.rounds,
        "spent": _finite(one.spent),
        "planned": _finite(one.planned),
        "points": [[number, _finite(value)] for number, value in sorted(one.epsilon.items())],
    }


def _release(one: ListedRelease) -> dict[str, Any]:
    run = one.check.candidate
    return {
        "number": one.number,
        "state": one.state,
        "reason": one.reason,
        "created_at": one.created_at,
        "made_by": one.made_by,
        "epsilon": dict(one.epsilon),
        "benchmark": run.benchmark,
        "error": one.error,
        "baselines": {name: run.mean_error(name) for name in run.baselines},
        "before": None if one.check.base is None else one.check.base.mean_error(MODEL),
        "gates": [{"name": gate.name, "passed": gate.passed, "why": gate.why} for gate in one.check.gates],
    }


def _commands(overview: Overview) -> dict[str, str]:
    """The commands that the coordinator may want next; the page only shows them."""
    home = shlex.quote(str(overview.home))
    releases = overview.releases.releases
    commands = {}
    if not releases:
        commands["release the base"] = f"fedroto coordinator release --home {home} --base"
    if not overview.studios:
        commands["admit a studio"] = f"fedroto coordinator admit STUDIO.join-request --home {home}"
    if not releases:
        return commands
    commands |= {
        "roll back": f'fedroto coordinator rollback --home {home} --reason "..."',
        "list releases": f"fedroto coordinator releases --home {home}",
    }
    commands |= {
        f"hand out release {one.number}": f"fedroto coordinator promote {one.number} --home {home}"
        for one in releases
        if one.state == "held"
    }
    status = overview.campaign
    if status is None:
        commands["begin a campaign"] = f"fedroto coordinator run --home {home} --campaign NAME"
    if status is not None and status.state in ("degraded", "stopped"):
        commands["go on"] = f"fedroto coordinator run --home {home} --campaign {status.campaign}"
    released = {one.campaign for one in releases}
    if status is not None and status.state == "complete" and status.campaign not in released:
        commands["check and release"] = (
            f"fedroto coordinator release --home {home} --campaign {status.campaign}"
        )
    return commands


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
