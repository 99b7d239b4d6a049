"""The studio's privacy ledger on disk: append-only, durable before data are touched, one writer at a time.

Every opening reads and verifies the whole chain and refuses a ledger that does not hold; what a chain alone cannot
see, a cut tail or an old copy put back, the coordinator's counter-signed head shows (:meth:`Ledger.require_seen`).
The file itself is :mod:`studio_node.ledger_file`.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from federation.errors import BudgetError, LedgerError
from federation.plan import LedgerHead, RoundInstruction
from federation.privacy import RENYI_ORDERS, accountant_name, order_for
from studio_node.ledger_file import LedgerFile
from studio_node.ledger_records import (
    AbortRecord,
    AccountCharge,
    AdoptRecord,
    Charge,
    DoneRecord,
    Record,
    ReserveRecord,
)
from studio_node.ledger_state import ATTEMPTS_MAX, LedgerState, ReservedRound


class Reservation:
    """Proof that a round is charged, on disk: what opening a pack asks for.

    Only :meth:`Ledger.reserve` makes one.

    Attributes:
        head: the ledger's head with the charge in it; it leaves the studio beside the update.
        shows: the shows that were charged.
    """

    def __init__(self, head: LedgerHead, shows: Iterable[str]) -> None:
        self.head = head
        self.shows = frozenset(shows)
        self.touched = False
        self.closed = False

    def touch(self, show: str) -> None:
        """Say that data of a show are about to be opened; from here on the charge can no longer be given back.

        Raises:
            LedgerError: the show was not charged, or the charge is done or given back.
        """
        if self.closed:
            raise LedgerError(
                f"charge {self.head.sequence} is closed; opening data of show {show!r} needs a new one"
            )
        if show not in self.shows:
            raise LedgerError(f"charge {self.head.sequence} does not include show {show!r}")
        self.touched = True


class Ledger:
    """A studio's ledger, open for writing; a context manager.

    After a failed write the object refuses everything (what is on disk is then unknown): open the ledger anew.
    """

    def __init__(self, file: LedgerFile, state: LedgerState) -> None:
        self._file = file
        self.state = state
        self._reservations: dict[int, Reservation] = {}

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open, or make, the ledger and verify all of it.

        Raises:
            LedgerError: another process has it open, the disk refuses, or the ledger does not hold.
        """
        file = LedgerFile.open(path)
        try:
            return cls(file, LedgerState.of(file.read()))
        except BaseException:
            file.close()
            raise

    def close(self) -> None:
        """Close the file and let the next writer in."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def head(self) -> LedgerHead:
        """The newest record's sequence and hash."""
        return self.state.head

    def require_seen(self, seen: LedgerHead | None) -> None:
        """Check that this ledger contains the head that the coordinator has counter-signed (see LedgerState)."""
        self.state.require_seen(seen)

    def answer_to(self, instruction: RoundInstruction) -> ReservedRound | None:
        """Return the newest charge of the same question, done or not; None if it was never charged."""
        return next(iter(self.state.answers(instruction.question)), None)

    def reserve(
        self,
        instruction: RoundInstruction,
        charge: Charge,
        caps: Mapping[str, float],
        *,
        dataset_digest: str,
        now: int,
    ) -> Reservation:
        """Charge a round to shows, durably, before any of their data are touched.

        Shows whose lifetime cap does not allow the charge are left out: that depends on the ledger alone.

        Args:
            instruction: what is asked.
            charge: what it costs.
            caps: the lifetime cap, epsilon of one shot, of every show with consent; not empty.
            dataset_digest: of the shots' ids, for the studio's own audit.
            now: seconds since the epoch.

        Raises:
            BudgetError: the cap of none of the shows allows it.
            LedgerError: the question was charged too often already, or the disk refused. Nothing was touched.
        """
        attempt = self.state.attempts(instruction.question) + 1
        if attempt > ATTEMPTS_MAX:
            raise LedgerError(
                f"round {instruction.server_round} of {instruction.campaign} was charged {attempt - 1} times without "
                "an update that can be sent",
                hint="see the runner's log for why its training keeps ending; the next round is not affected",
            )
        accounts = self._admitted(caps, charge)
        record = ReserveRecord(
            **self._chained(now),
            federation=instruction.federation,
            studio=instruction.studio,
            campaign=instruction.campaign,
            server_round=instruction.server_round,
            plan_digest=instruction.plan_digest,
            base_digest=instruction.base_digest,
            attempt=attempt,
            charge=charge,
            accountant=accountant_name(),
            accounts=accounts,
            dataset_digest=dataset_digest,
        )
        self._append(record)
        reservation = Reservation(self.head, (account.show for account in accounts))
        self._reservations[self.head.sequence] = reservation
        return reservation

    def done(self, reserve: int, update_digest: str, *, now: int) -> None:
        """Record that charge ``reserve`` bought the stored update with this digest; its reservation opens nothing more.

        Raises:
            LedgerError: no such open charge, or the disk refused (the charge stands).
        """
        if reserve in self._reservations:
            self._reservations.pop(reserve).closed = True
        self._append(DoneRecord(**self._chained(now), reserve=reserve, update_digest=update_digest))

    def abort(self, reservation: Reservation, *, now: int) -> None:
        """Give a charge back that no pack was opened for.

        Raises:
            LedgerError: data were touched, the charge is closed, or the disk refused (the charge stands).
        """
        if reservation.touched or reservation.closed:
            raise LedgerError(
                f"charge {reservation.head.sequence} stands: data were opened, or it is closed already"
            )
        reservation.closed = True
        self._append(AbortRecord(**self._chained(now), reserve=reservation.head.sequence))

    def adopt(
        self,
        seen: LedgerHead,
        shows: Iterable[str],
        *,
        epsilon_lifetime: float,
        now: int,
        charges: Sequence[Charge] = (),
    ) -> None:
        """Continue a restored ledger after the head that the coordinator has seen.

        Args:
            seen: the coordinator's head.
            shows: every show that may have been charged in the lost records.
            epsilon_lifetime: the studio's cap for any one shot.
            now: seconds since the epoch.
            charges: what is assumed to have been spent in them; none: everything these shows had left.

        Raises:
            LedgerError: nothing is lost (the ledger contains that head), or the disk refused.
        """
        if self.state.hashes.get(seen.sequence) == seen.hash:
            raise LedgerError(f"the ledger contains record {seen.sequence}; there is nothing to adopt")
        fresh = (
            order_for(charges[0].event, epsilon_lifetime, charges[0].delta) if charges else RENYI_ORDERS[0]
        )
        accounts = tuple(
            AccountCharge(show=show, renyi_order=self.state.orders.get(show, fresh))
            for show in sorted(set(shows))
        )
        chained = self._chained(now)
        chained["sequence"] = max(chained["sequence"], seen.sequence + 1)
        self._append(AdoptRecord(**chained, adopted=seen, accounts=accounts, charges=tuple(charges)))

    def _admitted(self, caps: Mapping[str, float], charge: Charge) -> tuple[AccountCharge, ...]:
        accounts: list[AccountCharge] = []
        refused: BudgetError | None = None
        for show in sorted(caps):
            try:
                accounts.append(self.state.admit(show, charge, caps[show]))
            except BudgetError as error:
                refused = error
        if accounts:
            return tuple(accounts)
        raise refused or LedgerError("a charge needs at least one show")

    def _chained(self, now: int) -> dict[str, Any]:
        return {
            "sequence": self.head.sequence + 1,
            "previous": self.head.hash,
            "salt": secrets.token_hex(16),
            "time": now,
        }

    def _append(self, record: Record) -> None:
        data = record.encoded()
        self._file.append(record.sequence, data)
        self.state.append(data)
