"""One campaign as one HTML file for the archive: no script, nothing loaded from outside."""

from __future__ import annotations

from datetime import UTC, datetime

from aggregator.campaign_status import CampaignStatus
from aggregator.console.line_chart import Line, line_chart
from aggregator.overview import Overview
from aggregator.release_check import UNIT
from aggregator.release_list import ListedRelease
from federation.errors import RoundError
from federation.pages.report_page import key_values, page, paragraph, say, section, table

STATES = {
    "complete": "All rounds closed.",
    "running": "It is running.",
    "degraded": "It stopped below its quorum and waits to be run again.",
    "stopped": "Its process is gone; run it again to go on.",
}


def report(overview: Overview) -> str:
    """Write the report of an overview's campaign.

    Raises:
        RoundError: the federation has no campaign yet.
    """
    status = overview.campaign
    if status is None:
        raise RoundError(
            f"{overview.home} has no campaign yet", hint="fedroto coordinator run --campaign NAME begins one"
        )
    made = [one for one in overview.releases.releases if one.campaign == status.campaign]
    return page(
        f"{overview.federation}: campaign {status.campaign}",
        [
            say(
                f"{STATES[status.state]} {len(status.rounds)} of {status.rounds_planned} rounds, "
                f"{status.studios} studios, quorum {status.quorum}. Read at {_time(overview.at)}."
            ),
            _plan(status),
            _rounds(status),
            _participation(overview, status),
            _cost(overview),
            *[_release(one) for one in made],
            _benchmark_by_round(overview, status),
            _benchmark(overview),
            section(
                "What happened last",
                table(["time", "what"], [[_time(one.at), one.text] for one in status.events]),
            ),
        ],
    )


def _plan(status: CampaignStatus) -> str:
    plan, privacy = status.plan, status.plan.privacy
    return section(
        "The signed plan",
        key_values(
            {
                "plan": plan.digest[:16],
                "base": f"release {plan.base_release}",
                "mode": plan.mode,
                "unit of privacy": privacy.unit,
                "sample_rate": privacy.sample_rate,
                "windows_per_shot": privacy.windows_per_shot,
                "max_grad_norm": privacy.max_grad_norm,
                "noise_multiplier": privacy.noise_multiplier,
                "steps_per_round": privacy.steps_per_round,
                "deadline of a round, seconds": plan.deadline_s,
            }
        ),
    )


def _rounds(status: CampaignStatus) -> str:
    rows = [
        [one.server_round, one.phase, one.sentence.partition(": ")[2], one.reason.partition("missing: ")[2]]
        for one in status.rounds
    ]
    gain = [] if status.gain is None else [paragraph(f"After the last round: {status.gain.gain_sentence}.")]
    return section("Rounds", table(["round", "state", "how it went", "missing"], rows), *gain)


def _participation(overview: Overview, status: CampaignStatus) -> str:
    rows = [
        [one.name, one.size_tier, f"{one.returned} of {one.rounds}", one.late, _left(one.epsilon_left)]
        for one in overview.studios
        if one.name in status.plan.studios
    ]
    return section(
        "Studios", table(["studio", "size tier", "updates in time", "used late", "epsilon left"], rows)
    )


def _cost(overview: Overview) -> str:
    rows = [
        [cost.tier, f"{cost.delta:g}", cost.spent, cost.planned]
        for cost in overview.costs
        if cost.spent is not None and cost.planned is not None
    ]
    lines = [Line(f"tier {cost.tier}", sorted(cost.epsilon.items())) for cost in overview.costs]
    return section(
        "What it cost a shot",
        paragraph(
            "From the signed plan's constants alone: an upper bound for each studio, whose own ledger has the exact "
            "figure and what other campaigns cost. The unit is one shot; neighbours differ by one shot."
        ),
        table(["size tier", "delta", "epsilon of the rounds begun", "epsilon of all rounds planned"], rows),
        line_chart(lines, across="rounds", up="epsilon after so many rounds, by size tier"),
    )


def _release(one: ListedRelease) -> str:
    run = one.check.candidate
    errors = sorted(((name, run.mean_error(name)) for name in run.errors), key=lambda item: item[1])
    return section(
        f"Release {one.number}: {one.state}",
        *([say(f"Withdrawn: {one.reason}")] if one.reason else []),
        table(
            ["gate", "passed", "why"], [[g.name, "yes" if g.passed else "no", g.why] for g in one.check.gates]
        ),
        paragraph(f"{run.benchmark}; mean boundary error in {UNIT}; lower is better."),
        table(["method", "error"], errors, ours="model"),
    )


def _benchmark_by_round(overview: Overview, status: CampaignStatus) -> str:
    measured = [(one.server_round, one.shown_error) for one in status.rounds if one.shown_error is not None]
    if not measured:
        return ""
    base = [one for one in overview.releases.releases if one.number == status.plan.base_release]
    ours = Line(status.campaign, [*((0, one.error) for one in base), *measured])
    ends = (0, measured[-1][0])
    rivals = [
        Line(name, [(number, one.check.candidate.mean_error(name)) for number in ends])
        for one in base
        for name in sorted(one.check.candidate.baselines)
    ]
    chart = line_chart(
        [ours, *rivals], across="round", up=f"mean boundary error, {UNIT}; round 0 is the start"
    )
    return section("Public benchmark, round by round", chart)


def _benchmark(overview: Overview) -> str:
    listed = sorted(overview.releases.releases, key=lambda one: one.number)
    baselines = sorted({name for one in listed for name in one.check.candidate.baselines})
    ours = Line("fedroto", [(one.number, one.error) for one in listed])
    rivals = [
        Line(
            name,
            [
                (one.number, one.check.candidate.mean_error(name))
                for one in listed
                if name in one.check.candidate.errors
            ],
        )
        for name in baselines
    ]
    chart = line_chart([ours, *rivals], across="release", up=f"mean boundary error, {UNIT}")
    return section("Public benchmark, release by release", chart or paragraph("No release yet."))


def _left(epsilon_left: float | None) -> str:
    return "not shared" if epsilon_left is None else f"{epsilon_left:.2f}"


def _time(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"
