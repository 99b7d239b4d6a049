"""Where a campaign stands, read beside it: while it runs, between runs, and after its process was killed.

Nothing is written in the campaign's folder. What is read is what is kept for people (``aggregator.progress``); the
signed plan says how many rounds there are to be.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from aggregator.activity import Activity, newest_activity
from aggregator.aggregation import GROUP_MIN
from aggregator.campaign import CAMPAIGNS_FOLDER, LOCK_FILE
from aggregator.database import reading
from aggregator.progress import PROGRESS_FILE, ROUNDS_FILE
from aggregator.round_report import FOUND_WORSE
from aggregator.round_state import Phase, Standing, size_text
from aggregator.round_store import PLAN_FILE
from federation.documents import DOCUMENT_BYTES_MAX
from federation.durable import read_bounded
from federation.errors import FedrotoError, RoundError
from federation.homes import CoordinatorHome
from federation.keys import KEY_FILE_BYTES_MAX, read_public_pem
from federation.plan import TrainingPlan

EVENTS_SHOWN = 60


@dataclass(frozen=True)
class StudioLine:
    """One studio's part in one round.

    Attributes:
        standing: as in ``aggregator.round_state.Standing``; "late" where an answer is out after the round's end.
        reason: why it stands there.
        asks: how often it was asked.
        size_bytes: of its update.
        seconds: from first asked to accepted.
    """

    studio: str
    standing: str
    reason: str
    asks: int
    size_bytes: int
    seconds: float


@dataclass(frozen=True)
class RoundLine:
    """One round at a glance.

    Attributes:
        phase: as in ``aggregator.round_state.Phase``.
        reason: why it ended as it did.
        named: studios of the plan.
        returned: studios whose update came in time.
        late: studios whose answer was still out when the round ended.
        used_late: studios whose update of the round before came late and was used here.
        update_bytes: of the largest update of this round.
        bytes_in: of all updates accepted while it ran.
        shown_error: mean error of its weights on the public benchmark; None where that was not asked or its mean is
            over fewer than ``GROUP_MIN`` updates.
        rolled_back: whether it was worse, and the last good weights stayed.
        verdict: what the public benchmark said, without numbers of so few.
    """

    server_round: int
    attempt: int
    phase: str
    reason: str
    quorum: int
    named: int
    returned: tuple[str, ...]
    late: tuple[str, ...]
    used_late: tuple[str, ...]
    update_bytes: int
    bytes_in: int
    opened_at: float
    deadline_at: float
    studios: tuple[StudioLine, ...]
    shown_error: float | None = None
    rolled_back: bool = False
    verdict: str = ""

    @property
    def gain_sentence(self) -> str:
        """Say how the question for gains goes, if this is the line of one."""
        until = "" if Phase(self.phase).is_over else " so far"
        return f"{len(self.returned)} of {self.named} studios shared their gain{until}"

    @property
    def sentence(self) -> str:
        """Say how it went: "round 7: 4 of 5 returned, one late, 2.3 MB each"."""
        label = f"{self.phase.upper()}, " if self.phase in (Phase.DEGRADED, Phase.FAILED) else ""
        text = f"round {self.server_round}: {label}{len(self.returned)} of {self.named} returned"
        if self.late:
            text += f", {_count(len(self.late))} late"
        if self.update_bytes:
            text += f", {size_text(self.update_bytes)} each"
        if self.used_late:
            text += f"; used from the round before: {', '.join(self.used_late)}"
        if self.phase == Phase.DEGRADED:
            text += f"; quorum is {self.quorum}: nothing was averaged"
        if self.rolled_back:
            text += f"; ROLLED BACK: {self.verdict}"
        return text


@dataclass(frozen=True)
class CampaignStatus:
    """Where one campaign stands.

    Attributes:
        running: whether a process holds the campaign now.
        state: "complete"; "running"; "degraded": it stopped below a quorum and waits to be run again; or "stopped":
            its process is gone, run it again to go on.
        rounds_planned: by the signed plan.
        gain: where the question for gains stands, which comes after the last round; None before it.
        events: what happened last, oldest first.
        others: further campaigns in the same home.
        plan: the signed plan.
    """

    campaign: str
    folder: Path
    running: bool
    state: Literal["complete", "running", "degraded", "stopped"]
    rounds_planned: int
    quorum: int
    studios: int
    rounds: tuple[RoundLine, ...]
    gain: RoundLine | None
    events: tuple[Activity, ...]
    others: tuple[str, ...]
    plan: TrainingPlan = field(repr=False)


def campaign_status(home: Path, campaign: str | None = None) -> CampaignStatus:
    """Read where a campaign stands.

    Args:
        home: the coordinator's.
        campaign: its name; None takes the one that something happened in last.

    Raises:
        RoundError: there is no such campaign, or it has not begun.
        SignatureError: its plan is not signed by this coordinator.
        FedrotoError: a file cannot be read.
    """
    names = campaigns(home)
    if not names or campaign not in (None, *names):
        raise RoundError(
            f"{home} has no campaign {campaign!r}; there are: {', '.join(names) or 'none'}"
            if campaign
            else f"{home} has no campaign yet",
            hint="fedroto coordinator run --campaign NAME begins one",
        )
    name = campaign or names[0]
    folder = home / CAMPAIGNS_FOLDER / name
    plan_key = read_public_pem(read_bounded(CoordinatorHome(home).plan_key, KEY_FILE_BYTES_MAX))
    plan = TrainingPlan.verified(read_bounded(folder / PLAN_FILE, DOCUMENT_BYTES_MAX), plan_key)
    running = _is_held(folder / LOCK_FILE)
    lines = _read_rounds(folder / ROUNDS_FILE)
    rounds = tuple(one for one in lines if one.server_round <= plan.rounds)
    gain = next((one for one in lines if one.server_round == plan.gain_round), None)
    return CampaignStatus(
        campaign=name,
        folder=folder,
        running=running,
        state=_state(running, rounds, gain, plan),
        rounds_planned=plan.rounds,
        quorum=plan.quorum,
        studios=len(plan.studios),
        rounds=rounds,
        gain=gain,
        events=newest_activity(folder / PROGRESS_FILE, EVENTS_SHOWN),
        others=tuple(other for other in names if other != name),
        plan=plan,
    )


def campaigns(home: Path) -> tuple[str, ...]:
    """Return the names of the campaigns that have begun, the one that something happened in last first."""
    begun = [path.parent for path in (home / CAMPAIGNS_FOLDER).glob(f"*/{PLAN_FILE}")]

    def touched(folder: Path) -> float:
        progress = folder / PROGRESS_FILE
        return (progress if progress.exists() else folder / PLAN_FILE).stat().st_mtime

    return tuple(folder.name for folder in sorted(begun, key=touched, reverse=True))


def _state(
    running: bool, rounds: Sequence[RoundLine], gain: RoundLine | None, plan: TrainingPlan
) -> Literal["complete", "running", "degraded", "stopped"]:
    asked = plan.gain is None or (gain is not None and Phase(gain.phase).is_over)
    if asked and len(rounds) == plan.rounds and all(one.phase == Phase.CLOSED for one in rounds):
        return "complete"
    if running:
        return "running"
    return "degraded" if rounds and rounds[-1].phase == Phase.DEGRADED else "stopped"


def _is_held(lock: Path) -> bool:
    """Whether a process runs the campaign: it holds the lock, which ends with the process, however that ends."""
    try:
        descriptor = os.open(lock, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # given back at once
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


def _read_rounds(path: Path) -> tuple[RoundLine, ...]:
    if not path.exists():
        return ()
    try:
        with reading(path) as tables:
            rounds = tables.execute("SELECT * FROM rounds ORDER BY server_round").fetchall()
            studios = tables.execute("SELECT * FROM studio_rounds ORDER BY server_round, studio").fetchall()
    except FedrotoError as error:
        raise RoundError(f"{path} cannot be read: {error}") from error
    return _lines([dict(row) for row in rounds], [dict(row) for row in studios])


Rows = list[dict[str, Any]]


def _lines(rounds: Rows, studios: Rows) -> tuple[RoundLine, ...]:
    return tuple(
        _line(row, [one for one in studios if one["server_round"] == row["server_round"]]) for row in rounds
    )


def _line(row: dict[str, Any], studios: Rows) -> RoundLine:
    is_over = Phase(row["phase"]).is_over
    own = [one for one in studios if one["staleness"] == 0]
    stale = [one for one in studios if one["staleness"] == 1]
    returned, used_late = _named(own, Standing.ACCEPTED), _named(stale, Standing.ACCEPTED)
    is_group = len({*returned, *used_late}) >= GROUP_MIN
    return RoundLine(
        server_round=row["server_round"],
        attempt=row["attempt"],
        phase=row["phase"],
        reason=row["reason"],
        quorum=row["quorum"],
        named=row["named"],
        returned=returned,
        late=_named(own, Standing.ASKED) if is_over else (),
        used_late=used_late,
        update_bytes=max((one["bytes"] for one in own), default=0),
        bytes_in=row["bytes_in"],
        opened_at=row["opened_at"],
        deadline_at=row["deadline_at"],
        studios=tuple(_studio(one, is_over) for one in own),
        shown_error=row.get("public_error") if is_group else None,
        rolled_back=bool(row.get("rolled_back")),
        verdict=(row.get("verdict") or "") if is_group or not row.get("rolled_back") else FOUND_WORSE,
    )


def _studio(row: dict[str, Any], is_over: bool) -> StudioLine:
    standing = "late" if is_over and row["standing"] == Standing.ASKED else row["standing"]
    return StudioLine(row["studio"], standing, row["reason"], row["asks"], row["bytes"], row["seconds"])


def _named(rows: Iterable[dict[str, Any]], standing: Standing) -> tuple[str, ...]:
    return tuple(row["studio"] for row in rows if row["standing"] == standing)


def _count(number: int) -> str:
    return "one" if number == 1 else str(number)
