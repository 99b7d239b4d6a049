"""A studio that leaves: what was made with its updates, told when its key is withdrawn.

Its spend stays spent (its own ledger keeps it, and so does the head that the coordinator has seen), and its noised
updates cannot be taken out of a mean again. What can be done is to train once more without it, from the last weights
that hold nothing of it (``aggregator.restart``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aggregator.campaign_run import open_registry
from aggregator.campaign_status import RoundLine, campaign_status, campaigns
from aggregator.enrolment import EnrolledStudio, Enrolment
from aggregator.round_state import Phase


@dataclass(frozen=True)
class CampaignPart:
    """A studio's part in one campaign.

    Attributes:
        base_release: release that the campaign started from.
        rounds: rounds whose mean holds an update of the studio.
        last_without: last round whose weights hold nothing of it; 0 means the base release.
    """

    campaign: str
    base_release: int
    rounds: tuple[int, ...]
    last_without: int


@dataclass(frozen=True)
class Departure:
    """A studio that left, and what was made with it.

    Attributes:
        studio: as the enrolment book has it now.
        campaigns: in which its updates were used, newest first.
        releases: made with its updates or descended from one that was; oldest first.
        current: whether the release that artists get is one of them.
    """

    studio: EnrolledStudio
    campaigns: tuple[CampaignPart, ...]
    releases: tuple[int, ...]
    current: bool


def revoke_studio(home: Path, studio: str, *, now: int) -> Departure:
    """Withdraw a studio's key for ever and list what was made with it; doing it twice changes nothing.

    Raises:
        IdentityError: no such studio.
        FedrotoError: the disk refused, or a campaign or release cannot be read.
    """
    with Enrolment(home) as enrolment:
        left = enrolment.revoke(studio, now=now)
    releases = releases_with(home, studio)
    return Departure(left, _parts(home, studio), releases, open_registry(home).log().current in releases)


def releases_with(home: Path, studio: str) -> tuple[int, ...]:
    """Return the numbers of the releases made with a studio's updates or descended from one that was, oldest first.

    Raises:
        FedrotoError: a campaign or release cannot be read.
    """
    registry, named = open_registry(home), {part.campaign for part in _parts(home, studio)}
    made: list[int] = []
    for number in registry.numbers():  # ancestors have lower numbers
        manifest = registry.get(number).manifest
        again = manifest.restores is not None
        from_it = (
            manifest.restores in made if again else manifest.parent in made or manifest.campaign in named
        )
        if from_it:
            made.append(number)
    return tuple(made)


def campaign_part(home: Path, campaign: str, studio: str) -> CampaignPart | None:
    """Return a studio's part in a campaign, or None if no mean of it holds an update of the studio.

    Raises:
        RoundError: there is no such campaign.
    """
    status = campaign_status(home, campaign)
    rounds = _rounds_with(status.rounds, studio)
    if not rounds:
        return None
    return CampaignPart(campaign, status.plan.base_release, rounds, rounds[0] - 1)


def _parts(home: Path, studio: str) -> tuple[CampaignPart, ...]:
    parts = (campaign_part(home, name, studio) for name in campaigns(home))
    return tuple(part for part in parts if part is not None)


def _rounds_with(rounds: Sequence[RoundLine], studio: str) -> tuple[int, ...]:
    return tuple(
        one.server_round
        for one in rounds
        if one.phase == Phase.CLOSED and studio in (*one.returned, *one.used_late)
    )
