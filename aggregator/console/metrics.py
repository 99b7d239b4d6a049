"""The console's figures in Prometheus' text format, for those who have a Prometheus: ``/metrics``.

Format: https://prometheus.io/docs/instrumenting/exposition_formats/ (version 0.0.4).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from aggregator.overview import Overview
from aggregator.release_check import MODEL

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
Sample = tuple[Mapping[str, str], float]


def metrics(overview: Overview) -> str:
    """Write an overview's figures; a figure that is not known is left out."""
    return "".join(
        _family(name, kind, text, samples)
        for name, kind, text, samples in (*_rounds(overview), *_studios(overview), *_releases(overview))
    )


Family = tuple[str, str, str, Iterable[Sample]]


def _rounds(overview: Overview) -> Iterator[Family]:
    status = overview.campaign
    if status is None:
        return
    label = {"campaign": status.campaign}
    phases = ("preparing", "open", "closed", "degraded", "failed")
    yield (
        "fedroto_campaign_running",
        "gauge",
        "Whether a process holds the campaign.",
        [(label, status.running)],
    )
    yield "fedroto_rounds_planned", "gauge", "Rounds of the signed plan.", [(label, status.rounds_planned)]
    yield (
        "fedroto_rounds",
        "gauge",
        "Rounds by phase.",
        [({**label, "phase": phase}, sum(one.phase == phase for one in status.rounds)) for phase in phases],
    )
    yield (
        "fedroto_received_bytes",
        "gauge",
        "Bytes of all accepted updates of the campaign.",
        [(label, sum(one.bytes_in for one in status.rounds))],
    )
    if status.rounds:
        last = status.rounds[-1]
        yield "fedroto_round", "gauge", "The newest round.", [(label, last.server_round)]
        yield "fedroto_round_returned", "gauge", "Updates of the newest round.", [(label, len(last.returned))]
        yield "fedroto_round_quorum", "gauge", "Updates that it needs.", [(label, last.quorum)]
    yield (
        "fedroto_rounds_rolled_back",
        "gauge",
        "Rounds whose weights the public benchmark found worse.",
        [(label, sum(one.rolled_back for one in status.rounds))],
    )
    errors = [one.shown_error for one in status.rounds if one.shown_error is not None]
    yield (
        "fedroto_round_error_percent",
        "gauge",
        "Mean boundary error on the public benchmark of the newest round that was measured.",
        [(label, error) for error in errors[-1:]],
    )
    yield (
        "fedroto_epsilon_spent",
        "gauge",
        "Most that a shot was charged by the campaign, at the tier's delta.",
        [
            ({**label, "tier": cost.tier, "delta": f"{cost.delta:g}"}, cost.spent)
            for cost in overview.costs
            if cost.spent is not None
        ],
    )


def _studios(overview: Overview) -> Iterator[Family]:
    yield (
        "fedroto_studio_online",
        "gauge",
        "Whether the studio's node is up.",
        [
            ({"studio": one.name, "tier": one.size_tier}, one.online)
            for one in overview.studios
            if one.admitted and one.online is not None
        ],
    )
    yield (
        "fedroto_studio_epsilon_left",
        "gauge",
        "What the studio's ledger leaves a shot, where the studio shares it.",
        [
            ({"studio": one.name}, one.epsilon_left)
            for one in overview.studios
            if one.epsilon_left is not None
        ],
    )
    yield (
        "fedroto_studio_rounds_returned",
        "gauge",
        "Rounds of the campaign in which the studio's update came in time.",
        [({"studio": one.name}, one.returned) for one in overview.studios if one.named],
    )


def _releases(overview: Overview) -> Iterator[Family]:
    listed = overview.releases.releases
    current = [one for one in listed if one.state == "current"]
    yield (
        "fedroto_release_current",
        "gauge",
        "Number that artists get.",
        [({}, one.number) for one in current],
    )
    yield (
        "fedroto_releases_withdrawn",
        "gauge",
        "Releases that were withdrawn.",
        [({}, sum(one.state == "withdrawn" for one in listed))],
    )
    yield (
        "fedroto_benchmark_error_percent",
        "gauge",
        "Mean boundary error on the public benchmark of the current release and of the classical methods.",
        [
            ({"method": method}, one.check.candidate.mean_error(method))
            for one in current
            for method in (MODEL, *one.check.candidate.baselines)
        ],
    )


def _family(name: str, kind: str, text: str, samples: Iterable[Sample]) -> str:
    lines = [f"{name}{_labels(labels)} {_number(value)}\n" for labels, value in samples]
    return "".join([f"# HELP {name} {text}\n", f"# TYPE {name} {kind}\n", *lines]) if lines else ""


def _labels(labels: Mapping[str, str]) -> str:
    escaped = {
        name: value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
        for name, value in labels.items()
    }
    inside = ",".join(f'{name}="{value}"' for name, value in escaped.items())
    return f"{{{inside}}}" if inside else ""


def _number(value: float) -> str:
    return "+Inf" if math.isinf(value) else repr(float(value))
