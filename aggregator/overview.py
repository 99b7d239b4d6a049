"""A federation at a glance: what the console and ``fedroto coordinator status`` show.

Read beside whatever runs; nothing is written, so that looking, and the death of who looks, changes nothing. Everything
here is public inside the federation or follows from the signed plans: who answered in which round, bytes, the public
benchmark, the plans' privacy cost. No loss, no gradient, no norm of anybody's update, no measure of a single studio and
none of a group smaller than ``aggregator.aggregation.GROUP_MIN``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from aggregator.campaign_status import CampaignStatus, campaign_status, campaigns
from aggregator.enrolment import EnrolledStudio, enrolled_studios
from aggregator.plan_cost import PlanCosts, TierCost
from aggregator.presence import NodeSeen
from aggregator.release_list import ListedReleases, list_releases
from federation.config import load_federation_config
from federation.errors import RefusalCode
from federation.homes import CoordinatorHome


@dataclass(frozen=True)
class StudioOverview:
    """One studio.

    Attributes:
        admitted: whether its key is good.
        named: whether the campaign's plan names it.
        online: whether its node is up; None while the SuperLink does not answer.
        last_seen: seconds since the epoch, or None if unknown or never.
        installation: "same": its last answer in this campaign came from the coordinator's own program version, which
            every update proves; "other": it refused because it has another; "unknown": it has not answered yet.
        returned: rounds of the campaign in which its update came in time.
        late: rounds in which it did not come in time but was used in the next.
        rounds: rounds of the campaign that are over.
        epsilon_left: what its ledger leaves a shot, if it shares that, by its newest update.
    """

    name: str
    size_tier: str
    admitted: bool
    named: bool
    online: bool | None
    last_seen: float | None
    installation: Literal["same", "other", "unknown"]
    returned: int
    late: int
    rounds: int
    epsilon_left: float | None


@dataclass(frozen=True)
class Overview:
    """A federation at one moment.

    Attributes:
        at: seconds since the epoch, UTC.
        campaign: where the campaign that was asked for stands; None before the first.
        costs: what it costs a shot, by size tier, whether or not the studio took part in every round.
        releases: with the checks that they passed.
    """

    federation: str
    home: Path
    at: float
    campaign: CampaignStatus | None
    campaigns: tuple[str, ...]
    studios: tuple[StudioOverview, ...]
    costs: tuple[TierCost, ...]
    releases: ListedReleases


class Overviews:
    """Makes overviews of one home; keeps what is dear to compute."""

    def __init__(self, home: Path, costs: PlanCosts) -> None:
        self._home, self._costs = home, costs
        self._releases: tuple[tuple[tuple[str, int, int], ...], ListedReleases] | None = None

    def take(
        self,
        *,
        now: float,
        nodes: Mapping[str, NodeSeen] | None,
        campaign: str | None = None,
        wait: bool = False,
    ) -> Overview:
        """Look at everything once.

        Args:
            now: seconds since the epoch, UTC.
            nodes: what the SuperLink says (``aggregator.presence``).
            campaign: its name; None takes the one that something happened in last.
            wait: until the privacy costs are computed.

        Raises:
            RoundError: there is no such campaign.
            FedrotoError: settings, keys or a file cannot be read.
        """
        names = campaigns(self._home)
        status = campaign_status(self._home, campaign) if names or campaign else None
        enrolled = enrolled_studios(self._home)
        return Overview(
            federation=load_federation_config(CoordinatorHome(self._home).config).name,
            home=self._home,
            at=now,
            campaign=status,
            campaigns=names,
            studios=tuple(_studio(one, status, nodes) for one in enrolled),
            costs=() if status is None else self._costs.costs(status.plan, len(status.rounds), wait=wait),
            releases=self._listed(),
        )

    def _listed(self) -> ListedReleases:
        """List the releases; verified anew only when a file of theirs changed."""
        root = CoordinatorHome(self._home).releases
        files = sorted(path for path in root.rglob("*") if path.is_file()) if root.exists() else []
        state = tuple((str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in files)
        if self._releases is None or self._releases[0] != state:
            self._releases = state, list_releases(self._home)
        return self._releases[1]


def _studio(
    studio: EnrolledStudio, status: CampaignStatus | None, nodes: Mapping[str, NodeSeen] | None
) -> StudioOverview:
    over = (
        () if status is None else tuple(one for one in status.rounds if one.phase in ("closed", "degraded"))
    )
    used_late = () if status is None else tuple(one for one in status.rounds if studio.name in one.used_late)
    seen = None if nodes is None else nodes.get(studio.name)
    return StudioOverview(
        name=studio.name,
        size_tier=studio.size_tier,
        admitted=studio.is_admitted,
        named=status is not None and studio.name in status.plan.studios,
        online=None if nodes is None else seen is not None and seen.online,
        last_seen=seen.last_seen if seen is not None and seen.last_seen else None,
        installation=_installation(studio.name, status),
        returned=sum(studio.name in one.returned for one in over),
        late=len(used_late),
        rounds=len(over),
        epsilon_left=studio.epsilon_left,
    )


def _installation(studio: str, status: CampaignStatus | None) -> Literal["same", "other", "unknown"]:
    rounds = () if status is None else status.rounds
    turns = [turn for one in reversed(rounds) for turn in one.studios if turn.studio == studio]
    for turn in turns:
        if turn.standing == "accepted":
            return "same"
        if RefusalCode.BUNDLE_MISMATCH.name in turn.reason.upper().replace(" ", "_"):
            return "other"
    return "unknown"
