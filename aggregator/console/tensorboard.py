"""A campaign's curves as a TensorBoard run, for those who keep their trainings there."""

from __future__ import annotations

from pathlib import Path

from aggregator.overview import Overview
from aggregator.release_check import MODEL
from federation.errors import ConfigError, RoundError


def export_tensorboard(overview: Overview, folder: Path) -> int:
    """Write a run below a folder, in a folder named after the campaign; returns the number of values.

    Raises:
        ConfigError: tensorboardX is not installed, or the run is there already.
        RoundError: the federation has no campaign yet.
    """
    try:
        from tensorboardX import SummaryWriter
    except ModuleNotFoundError as error:
        raise ConfigError(
            "tensorboardX, which writes TensorBoard's files, is not installed",
            hint="pip install 'fedroto[tensorboard]'",
        ) from error
    if overview.campaign is None:
        raise RoundError(f"{overview.home} has no campaign yet")
    run = folder / overview.campaign.campaign
    if run.exists():
        raise ConfigError(f"{run} is there already", hint="remove it, or name another folder")
    values = _values(overview)
    with SummaryWriter(str(run)) as writer:
        for name, value, step, at in values:
            writer.add_scalar(name, value, step, walltime=at)
    return len(values)


def _values(overview: Overview) -> list[tuple[str, float, int, float]]:
    """Name, value, step and time of every point."""
    values = []
    rounds = () if overview.campaign is None else overview.campaign.rounds
    for one in rounds:
        for name, value in (
            ("rounds/returned", len(one.returned)),
            ("rounds/late", len(one.late)),
            ("rounds/bytes_in", one.bytes_in),
            ("rounds/degraded", one.phase == "degraded"),
        ):
            values.append((name, float(value), one.server_round, one.opened_at))
        if one.shown_error is not None:
            values.append(("benchmark/round", one.shown_error, one.server_round, one.opened_at))
    values += [
        (f"epsilon/tier_{cost.tier}", value, number, overview.at)
        for cost in overview.costs
        for number, value in sorted(cost.epsilon.items())
    ]
    for release in sorted(overview.releases.releases, key=lambda one: one.number):
        run = release.check.candidate
        values += [
            (f"benchmark/{method}", run.mean_error(method), release.number, float(release.created_at))
            for method in (MODEL, *run.baselines)
        ]
    return values
