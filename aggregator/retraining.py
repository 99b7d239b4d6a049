"""The next release in one go: train from the newest, check, publish, compare; stopped anywhere, it goes on from there.

Shots that studios have approved and allowed since take part by themselves: each round samples from what the studio's
catalogue holds, and its ledger goes on counting.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from aggregator.campaign_result import CampaignResult
from aggregator.campaign_run import open_registry, run
from aggregator.plan_builder import Setting
from aggregator.release_comparison import ReleaseComparison, compare_releases
from aggregator.releasing import ReleaseOutcome, release_candidate
from aggregator.restart import prepare_restart
from federation.errors import ReleaseError


@dataclass(frozen=True)
class Leaver:
    """A studio to train without, and the campaign to go on from.

    Attributes:
        studio: its name; its key was withdrawn.
        campaign: in which its updates were used.
    """

    studio: str
    campaign: str


@dataclass(frozen=True)
class Retraining:
    """How far a retraining came.

    Attributes:
        campaign: how its rounds went.
        outcome: of the release check; None while rounds are left, or if the release was made before.
        number: of the release, or None.
        comparison: of the release with the one before it; None without a release.
    """

    campaign: CampaignResult
    outcome: ReleaseOutcome | None
    number: int | None
    comparison: ReleaseComparison | None

    @property
    def exit_code(self) -> int:
        """0 with a release, that of a campaign that waits, or 1 for a candidate that did not pass."""
        return self.campaign.exit_code or (0 if self.number is not None else 1)


def retrain(
    home: Path,
    campaign: str | None = None,
    settings: Mapping[str, Setting] | None = None,
    *,
    leaver: Leaver | None = None,
    carried: Sequence[str] = (),
    hold: bool = False,
    progress: Callable[[str], None],
) -> Retraining:
    """Train from the newest release, or go on with it; check, publish and compare what comes of it.

    Args:
        home: the coordinator's.
        campaign: its name; None takes ``release-N`` with the next release's number, so that a schedule needs no name.
        settings: of the plan, by name.
        leaver: train without this studio, from the last weights that hold nothing of it.
        carried: studios without any line.
        hold: publish it but do not hand it out yet.
        progress: told one sentence at a time.

    Raises:
        ReleaseError: there is no release to start from, or one breaks a rule.
        FedrotoError: see :func:`aggregator.campaign_run.run` and :func:`aggregator.restart.prepare_restart`.
    """
    registry = open_registry(home)
    numbers = registry.numbers()
    if not numbers:
        raise ReleaseError(
            "there is no release to train from", hint="fedroto coordinator release --base publishes the first"
        )
    name = campaign or f"release-{numbers[-1] + 1}"
    base, kept = None, dict(settings or {})
    if leaver is not None:
        base, kept = prepare_restart(home, name, old=leaver.campaign, without=leaver.studio, settings=kept)
    result = run(home, name, kept, base=base, carried=carried, progress=progress)
    if result.state != "complete":
        return Retraining(result, None, None, None)
    made = [n for n in numbers if registry.get(n).manifest.campaign == name]
    outcome = None if made else release_candidate(home, name, hold=hold, progress=progress)
    number = made[-1] if outcome is None else outcome.number
    if number is None:
        return Retraining(result, outcome, None, None)
    before = [n for n in registry.numbers() if n < number]
    return Retraining(result, outcome, number, compare_releases(home, before[-1], number, progress=progress))
