"""Withdrawing a show: nothing of it is trained on again, its packs are deleted, and a report says what remains.

What was already learnt from it left as noised updates, within the budget that the ledger shows, and cannot be called
back; the ledger keeps the spend. The order is that of safety: first consent ends, durably, then data go, then the
report is written. A withdrawal that was cut short is finished by asking for it again.
"""

from __future__ import annotations

import datetime
import json
import math
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from federation.config import STUDIO_CONFIG, ShowConsent, load_studio_config
from federation.durable import make_private_dir, sync_folder, write_atomic
from federation.errors import IngestError
from federation.set_up import record_consent
from studio_node.catalogue import Catalogue
from studio_node.ledger_report import AccountView, ChargeView, show_ledger
from studio_node.shot_sources import IMPORTED_FOLDER

REPORTS_FOLDER = "reports"


@dataclass(frozen=True)
class Withdrawal:
    """What a withdrawal did, and what it could not undo.

    Attributes:
        show: its name.
        by: who withdrew it.
        withdrawn_at: ISO 8601, UTC.
        shots: whose packs were deleted, now or in an earlier attempt at this withdrawal.
        packs_deleted: files deleted now.
        bytes_deleted: of those files.
        account: what the ledger says any one shot of the show has spent; None if it was never charged.
        charges: the rounds that it was charged for, whose noised updates may have left and are in releases since.
        report: where this is written, as JSON.
    """

    show: str
    by: str
    withdrawn_at: str
    shots: tuple[str, ...]
    packs_deleted: int
    bytes_deleted: int
    account: AccountView | None
    charges: tuple[ChargeView, ...]
    report: Path


def withdraw_show(home: Path, show: str, *, by: str, now: datetime.datetime) -> Withdrawal:
    """Withdraw a show from training for good, or until somebody consents anew and ingests it again.

    Args:
        home: of the studio. A round that is being trained just now goes on with what it has open; stop the runner first
            where that may not be.
        show: its name.
        by: who says so: a name, a letter, a ticket.
        now: with a time zone.

    Raises:
        IngestError: there is no such show.
        LedgerError: the ledger cannot be read; consent has ended and the packs are gone all the same.
        FedrotoError: the disk refused; ask again.
    """
    config = load_studio_config(home / STUDIO_CONFIG)
    with Catalogue.open(home) as catalogue:
        known = [row[0] for row in catalogue.read("SELECT name FROM shows ORDER BY name")]
        if show not in known and show not in config.shows:
            listed = ", ".join(sorted({*known, *config.shows})) or "none"
            raise IngestError(f"there is no show {show!r} here; there are: {listed}")
        record_consent(home, show, ShowConsent(training_allowed=False, allowed_by=by))
        shots = tuple(
            row[0] for row in catalogue.read("SELECT id FROM shots WHERE show = ? ORDER BY id", show)
        )
        packs_deleted, bytes_deleted = _delete_data(catalogue, show, by, now)
    ledger = show_ledger(home)
    moment = now.astimezone(datetime.UTC)
    report = home / REPORTS_FOLDER / f"withdrawal-{show}-{moment:%Y%m%dT%H%M%SZ}.json"
    done = Withdrawal(
        show,
        by,
        moment.isoformat(timespec="seconds"),
        shots,
        packs_deleted,
        bytes_deleted,
        next((account for account in ledger.accounts if account.show == show), None),
        tuple(charge for charge in ledger.charges if show in charge.shows),
        report,
    )
    make_private_dir(report.parent)
    written = asdict(done)
    if done.account is not None and math.isinf(done.account.epsilon):
        written["account"]["epsilon"] = "unknown"  # a restored backup hides it, and JSON has no infinity
    write_atomic(report, (json.dumps(written, indent=2, default=str) + "\n").encode(), mode=0o600)
    return done


def _delete_data(catalogue: Catalogue, show: str, by: str, now: datetime.datetime) -> tuple[int, int]:
    """Unlink the show's packs, then forget what its pictures looked like; return files and bytes deleted."""
    packs = [pack for pack in catalogue.packs(show=show) if pack.path.is_file()]
    for pack in packs:
        pack.path.unlink()
    if packs:
        sync_folder(catalogue.packs_folder)
    shutil.rmtree(catalogue.home / IMPORTED_FOLDER / show, ignore_errors=True)
    of_show = "(SELECT id FROM shots WHERE show = ?)"
    with catalogue.write() as run:
        for table in ("packs", "shapes", "deliveries"):
            run(f"DELETE FROM {table} WHERE shot IN {of_show}", (show,))  # noqa: S608 # names of our own tables
        run(f"DELETE FROM lookalikes WHERE shot IN {of_show} OR other IN {of_show}", (show, show))  # noqa: S608
        if catalogue.read("SELECT 1 FROM shows WHERE name = ?", show):
            run("INSERT INTO withdrawals VALUES (?, ?, ?)", (show, int(now.timestamp()), by))
    return len(packs), sum(pack.size_bytes for pack in packs)
