"""What a studio's people see of their ledger: accounts, charges, whether the chain holds, and an export for auditors.

Reads the file beside a running studio node; nothing here writes to the ledger.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from federation.config import STUDIO_CONFIG, load_studio_config
from federation.documents import canonical_json, digest
from federation.durable import write_atomic
from federation.errors import LedgerError
from federation.privacy import RenyiFilter
from studio_node.egress_log import EgressLine, read_log
from studio_node.ledger_account import Account
from studio_node.ledger_file import LEDGER_FILE, read_ledger
from studio_node.ledger_records import ReserveRecord, as_json, record_hash
from studio_node.ledger_state import LedgerState, ReservedRound


@dataclass(frozen=True)
class AccountView:
    """One show's account. The figures hold for any one shot of the show, not for the show as a whole.

    Attributes:
        show: its name.
        epsilon: spent so far, by PRV, taken as one fixed sequence; infinite where a restored backup hides it.
        delta: of that epsilon.
        epsilon_lifetime: the show's cap: the studio's, or its own.
        lifetime_used: part of the cap that is used, 0 to 1, allowing for plans chosen after seeing results.
        charges_left: how many more charges like the newest one the cap allows.
        charges: how many were made.
    """

    show: str
    epsilon: float
    delta: float
    epsilon_lifetime: float
    lifetime_used: float
    charges_left: int
    charges: int


@dataclass(frozen=True)
class ChargeView:
    """One charged round: "done" means that its update is stored and may have left, "lost" that there is none."""

    sequence: int
    time: int
    campaign: str
    server_round: int
    shows: tuple[str, ...]
    steps: int
    outcome: Literal["done", "lost"]


@dataclass(frozen=True)
class LedgerView:
    """A studio's ledger at a glance."""

    records: int
    head_sequence: int
    head_hash: str
    given_back: int
    accounts: tuple[AccountView, ...]
    charges: tuple[ChargeView, ...]


@dataclass(frozen=True)
class LedgerVerification:
    """Whether a ledger holds, and if not, what is wrong.

    Attributes:
        intact: the chain holds, and every update that left is one that this ledger charged.
        records: how many.
        updates_left: lines of the egress log that were compared with it.
        charges_kept: charges whose update is stored and has not left.
        head_sequence, head_hash: to compare with what the coordinator has seen.
        problem: the first thing that is wrong.
    """

    intact: bool
    records: int
    updates_left: int
    charges_kept: int
    head_sequence: int
    head_hash: str
    problem: str | None


@dataclass(frozen=True)
class LedgerExport:
    """An export: one JSON object a line, a record and its hash. It names shows and stays with the studio."""

    data: bytes
    records: int
    sha256: str


def show_ledger(home: Path) -> LedgerView:
    """Sum up the ledger of a studio's home; a studio that was never charged has an empty one.

    Raises:
        LedgerError: the ledger cannot be read or does not hold.
        ConfigError: ``studio.toml`` cannot be read.
    """
    config = load_studio_config(home / STUDIO_CONFIG)
    encoded = read_ledger(home / LEDGER_FILE) if (home / LEDGER_FILE).exists() else []
    state = LedgerState.of(encoded)
    accounts = [account for show in state.shows if (account := state.account(show)) is not None]
    return LedgerView(
        len(encoded),
        state.head.sequence,
        state.head.hash,
        len(state.given_back),
        tuple(_account_view(one, state, config.epsilon_lifetime_of(one.show)) for one in accounts),
        tuple(_charge_view(reserved) for reserved in state.rounds.values()),
    )


def verify_ledger(home: Path) -> LedgerVerification:
    """Check every record, hash and link of the ledger of a studio's home, and the egress log against it.

    Raises:
        LedgerError: there is no ledger, or the file cannot be read at all.
        EgressError: the egress log cannot be read.
    """
    updates = read_log(home).updates
    state, taken = LedgerState(), 0
    problem = None
    for data in read_ledger(home / LEDGER_FILE):
        try:
            state.append(data)
        except LedgerError as error:
            problem = str(error)
            break
        taken += 1
    problem = problem or _uncharged(state, updates)
    left = {update.sha256 for update in updates}
    kept = sum(
        one.update_digest is not None and one.update_digest not in left for one in state.rounds.values()
    )
    head = state.head
    return LedgerVerification(problem is None, taken, len(updates), kept, head.sequence, head.hash, problem)


def export_ledger(home: Path, destination: Path | None = None) -> LedgerExport:
    """Export a verified ledger, to a file (0600) if one is named.

    Raises:
        LedgerError: the ledger cannot be read or does not hold.
        FedrotoError: the file cannot be written.
    """
    encoded = read_ledger(home / LEDGER_FILE)
    LedgerState.of(encoded)
    lines = [canonical_json({"hash": record_hash(data), "record": as_json(data)}) + b"\n" for data in encoded]
    data = b"".join(lines)
    if destination is not None:
        write_atomic(destination, data, mode=0o600)
    return LedgerExport(data, len(encoded), digest(data))


def _uncharged(state: LedgerState, updates: Sequence[EgressLine]) -> str | None:
    """Say which update left that this ledger did not charge, or None."""
    for update in updates:
        charge = update.charge
        try:
            state.require_left(charge)
        except LedgerError as error:
            return str(error)
        charged = state.rounds.get(charge.sequence)
        if charged is not None and charged.update_digest != update.sha256:
            return f"another update has left under record {charge.sequence} than the one that it bought"
    return None


def _account_view(account: Account, state: LedgerState, cap: float) -> AccountView:
    used = account.fraction(cap)
    newest = _newest_charge(account.show, state)
    left = 0
    if newest is not None and used < 1:
        one = RenyiFilter(account.renyi_order, cap, account.delta).fraction([newest.charge.event])
        left = math.floor((1 - used) / one) if one > 0 else 0
    return AccountView(
        account.show, account.epsilon, account.delta, cap, min(used, 1.0), left, account.rounds
    )


def _newest_charge(show: str, state: LedgerState) -> ReserveRecord | None:
    for reserved in reversed(state.rounds.values()):
        if any(charged.show == show for charged in reserved.record.accounts):
            return reserved.record
    return None


def _charge_view(reserved: ReservedRound) -> ChargeView:
    record = reserved.record
    return ChargeView(
        record.sequence,
        record.time,
        record.campaign,
        record.server_round,
        tuple(charged.show for charged in record.accounts),
        record.charge.steps,
        "lost" if reserved.update_digest is None else "done",
    )
