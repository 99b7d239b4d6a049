"""What a ledger's records add up to: the chain, the accounts, and whether one more charge fits. Pure, no disk."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from federation.errors import BudgetError, LedgerError
from federation.plan import LedgerHead
from federation.privacy import RenyiFilter, merge_events, order_for
from studio_node.ledger_account import Account
from studio_node.ledger_records import (
    GENESIS,
    AbortRecord,
    AccountCharge,
    AdoptRecord,
    Charge,
    DoneRecord,
    Question,
    ReserveRecord,
    decode_record,
    record_hash,
)

CLOCK_BACK_S = 300
"""By how much this machine's clock may stand before the newest record; more, and no date can be trusted."""
ATTEMPTS_MAX = 3
"""How often one question may be charged: a round that keeps dying must not eat a lifetime's budget."""


@dataclass(frozen=True)
class ReservedRound:
    """A charge and what became of it.

    Attributes:
        record: the reserve record.
        hash: its hash.
        update_digest: SHA-256 of the stored reply once done, else None.
    """

    record: ReserveRecord
    hash: str
    update_digest: str | None = None

    @property
    def head(self) -> LedgerHead:
        """The ledger's head with this charge as its newest record."""
        return LedgerHead(sequence=self.record.sequence, hash=self.hash)


@dataclass
class LedgerState:
    """What the records so far add up to; grows by :meth:`append`, which refuses what does not follow.

    Attributes:
        head: the newest record's sequence and hash.
        newest_time: the latest time that a record was made at, seconds since the epoch.
        hashes: hash by sequence, adopted heads included.
        rounds: charges that stand, by their sequence.
        given_back: sequences of aborted charges.
        adoptions: adopt records.
        orders: every account's Rényi order, fixed by its first charge.
    """

    head: LedgerHead = GENESIS
    newest_time: int = 0
    hashes: dict[int, str] = field(default_factory=lambda: {GENESIS.sequence: GENESIS.hash})
    rounds: dict[int, ReservedRound] = field(default_factory=dict)
    given_back: set[int] = field(default_factory=set)
    adoptions: list[AdoptRecord] = field(default_factory=list)
    orders: dict[str, int] = field(default_factory=dict)
    _attempts: Counter[Question] = field(default_factory=Counter)

    @classmethod
    def of(cls, encoded: Iterable[bytes]) -> LedgerState:
        """Fold encoded records.

        Raises:
            LedgerError: a record does not follow from those before.
        """
        state = cls()
        for data in encoded:
            state.append(data)
        return state

    def append(self, data: bytes) -> None:
        """Take in one more encoded record.

        Raises:
            LedgerError: malformed, out of sequence, the chain is broken, or it contradicts earlier records.
        """
        record = decode_record(data)
        expected = self.head.sequence + 1
        if isinstance(record, AdoptRecord):
            expected = max(expected, record.adopted.sequence + 1)
        if record.sequence != expected:
            raise LedgerError(f"ledger record {record.sequence} stands where record {expected} belongs")
        if record.previous != self.head.hash:
            raise LedgerError(f"ledger record {record.sequence} does not follow the record before it")
        if isinstance(record, ReserveRecord):
            self._take_reserve(record, record_hash(data))
        elif isinstance(record, DoneRecord):
            reserved = self._open_round(record.reserve, record.sequence)
            self.rounds[record.reserve] = ReservedRound(reserved.record, reserved.hash, record.update_digest)
        elif isinstance(record, AbortRecord):
            reserved = self._open_round(record.reserve, record.sequence)
            del self.rounds[record.reserve]
            self._attempts[reserved.record.question] -= 1
            self.given_back.add(record.reserve)
        else:
            self._take_orders(record.accounts, record.sequence)
            self.hashes[record.adopted.sequence] = record.adopted.hash
            self.adoptions.append(record)
        self.head = LedgerHead(sequence=record.sequence, hash=record_hash(data))
        self.newest_time = max(self.newest_time, record.time)
        self.hashes[record.sequence] = self.head.hash

    def _take_reserve(self, record: ReserveRecord, hash_: str) -> None:
        attempt = self.attempts(record.question) + 1
        if record.attempt != attempt:
            raise LedgerError(
                f"ledger record {record.sequence} is attempt {record.attempt}, expected {attempt}"
            )
        self._take_orders(record.accounts, record.sequence)
        self._attempts[record.question] = attempt
        self.rounds[record.sequence] = ReservedRound(record, hash_)

    def _open_round(self, reserve: int, sequence: int) -> ReservedRound:
        reserved = self.rounds.get(reserve)
        if reserved is None or reserved.update_digest is not None:
            raise LedgerError(f"ledger record {sequence} closes charge {reserve}, which is not open")
        return reserved

    def _take_orders(self, accounts: Iterable[AccountCharge], sequence: int) -> None:
        for charged in accounts:
            order = self.orders.setdefault(charged.show, charged.renyi_order)
            if order != charged.renyi_order:
                raise LedgerError(
                    f"ledger record {sequence} changes the Rényi order of show {charged.show!r} "
                    f"from {order} to {charged.renyi_order}"
                )

    def attempts(self, question: Question) -> int:
        """Return how many standing charges a question has."""
        return self._attempts[question]

    def answers(self, question: Question) -> list[ReservedRound]:
        """Return the standing charges of a question, newest first."""
        return [r for r in reversed(self.rounds.values()) if r.record.question == question]

    @property
    def shows(self) -> list[str]:
        """Names of all shows that were ever charged."""
        return sorted(self.orders)

    def account(self, show: str) -> Account | None:
        """Return a show's account, None if it was never charged."""
        if show not in self.orders:
            return None
        charges: list[Charge] = []
        exhausted = False
        for reserved in self.rounds.values():
            if any(charged.show == show for charged in reserved.record.accounts):
                charges.append(reserved.record.charge)
        for record in self.adoptions:
            if any(charged.show == show for charged in record.accounts):
                charges.extend(record.charges)
                exhausted = exhausted or not record.charges
        delta = min((charge.delta for charge in charges), default=1e-5)
        events = merge_events(charge.event for charge in charges)
        return Account(show, self.orders[show], delta, events, len(charges), exhausted)

    def admit(self, show: str, charge: Charge, epsilon_lifetime: float) -> AccountCharge:
        """Return a show's part of a charge, if its lifetime cap allows it.

        Raises:
            BudgetError: it does not; carries what was asked, spent and allowed.
        """
        account = self.account(show)
        if account is None:
            order = order_for(charge.event, epsilon_lifetime, charge.delta)
            account = Account(show, order, charge.delta, (), 0)
        delta = min(account.delta, charge.delta)
        lifetime = RenyiFilter(account.renyi_order, epsilon_lifetime, delta)
        after = (*account.events, charge.event)
        if account.exhausted or not lifetime.admits(after):
            spent = float("inf") if account.exhausted else lifetime.epsilon_of(account.events)
            requested = float("inf") if account.exhausted else lifetime.epsilon_of(after)
            raise BudgetError(
                f"show {show!r} would stand at epsilon {requested:.3f} after this round; it stands at {spent:.3f} "
                f"and may reach {epsilon_lifetime:.3f} in its lifetime (delta {delta:g}, for any one shot)",
                requested=requested,
                limit=epsilon_lifetime,
                spent=spent,
            )
        return AccountCharge(show=show, renyi_order=account.renyi_order)

    def epsilon_left(self, caps: Mapping[str, float]) -> float:
        """Return how much epsilon a shot has left, by the show that has least of it, down to a hundredth.

        The smaller of what is left of the cap above the epsilon that was spent and of the same share of the cap as the
        lifetime filter has left, which is what decides in the end.

        Args:
            caps: the lifetime cap, epsilon of one shot, of each show that is asked about; not empty.
        """
        lefts = []
        for show, cap in caps.items():
            account = self.account(show)
            if account is None:
                lefts.append(cap)
            else:
                lefts.append(min(cap - account.epsilon, cap * (1 - account.fraction(cap))))
        return math.floor(max(0.0, min(lefts)) * 100) / 100

    def require_seen(self, seen: LedgerHead | None) -> None:
        """Check that this ledger contains the head that the coordinator has counter-signed.

        Raises:
            LedgerError: the coordinator has seen records that are not here; says what the operator does.
        """
        if seen is None or self.hashes.get(seen.sequence) == seen.hash:
            return
        if seen.sequence > self.head.sequence:
            what = f"ends at record {self.head.sequence}, but the coordinator has seen record {seen.sequence}"
        else:
            what = f"holds another record {seen.sequence} than the coordinator has seen"
        raise LedgerError(
            f"the ledger {what}: it was restored from a backup, cut or replaced",
            hint="put the newest ledger.sqlite back; if it is lost, adopt the coordinator's head "
            f"{seen.sequence}:{seen.hash}, which counts the budget of every show here as spent",
        )

    def require_left(self, left: LedgerHead | None) -> None:
        """Check that this ledger contains the charge of an update that has left, by the studio's own egress log.

        Raises:
            LedgerError: it does not, and no adopted head stands for the records that were lost.
        """
        if left is None or self.hashes.get(left.sequence) == left.hash:
            return
        if any(record.adopted.sequence >= left.sequence for record in self.adoptions):
            return
        raise LedgerError(
            f"an update has left under record {left.sequence}, which is not in this ledger: an older copy was put "
            "back, or it was cut",
            hint="put the newest ledger.sqlite back; if it is lost, adopt the coordinator's head, which counts the "
            "budget of every show here as spent",
        )

    def require_clock(self, now: int) -> None:
        """Check that this machine's clock has not jumped back: consent and plans end by it.

        Raises:
            LedgerError: it stands before the newest record by more than ``CLOCK_BACK_S``.
        """
        back_s = self.newest_time - now
        if back_s > CLOCK_BACK_S:
            raise LedgerError(
                f"this machine's clock stands {back_s} s before the ledger's newest record: it jumped back, so "
                "whether consent or a plan has ended cannot be told",
                hint="set the clock (NTP), then start the runner again",
            )
