import os
import signal
import sqlite3

import kill_ledger
import pytest

from federation.errors import LedgerError
from studio_node import ledger_file
from studio_node.ledger import Ledger
from studio_node.ledger_file import LEDGER_FILE, read_ledger


def test_no_kill_loses_a_charge(tmp_path):
    outcome = kill_ledger.run(15, tmp_path, seed=5)
    assert outcome.kills == 15
    assert outcome.under_counts == 0
    assert outcome.refused == 0
    assert outcome.touched > 0
    assert outcome.charged >= outcome.touched


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_no_kill_of_a_thousand_loses_a_charge(tmp_path):
    outcome = kill_ledger.run(1000, tmp_path, seed=6)
    print(outcome)
    assert (outcome.under_counts, outcome.refused) == (0, 0)


def charge_once(home, server_round: int) -> None:
    """Reserve, touch and record one round; what is touched is noted by the caller's list."""
    with Ledger.open(home / LEDGER_FILE) as ledger:
        reservation = ledger.reserve(
            kill_ledger.instruction(server_round),
            kill_ledger.CHARGE,
            ["kelp"],
            epsilon_lifetime=100.0,
            dataset_digest="d" * 64,
            now=server_round,
        )
        reservation.touch("kelp")
        (home / "touched").open("a").write(f"{server_round}\n")
        ledger.done(reservation.head.sequence, "e" * 64, now=server_round)


class Failing(sqlite3.Connection):
    """A connection whose statement number ``fail_at`` fails, before or after it has done its work."""

    fail_at = 0
    after = False
    count = 0

    def execute(self, *arguments):
        Failing.count += 1
        failing = Failing.count == Failing.fail_at
        if failing and not Failing.after:
            raise sqlite3.OperationalError("disk I/O error")
        result = super().execute(*arguments)
        if failing:
            raise sqlite3.OperationalError("disk I/O error")
        return result


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("fresh", [False, True])
def test_a_failure_of_any_statement_loses_no_charge(tmp_path, monkeypatch, after, fresh):
    connect = sqlite3.connect
    for fail_at in range(1, 60):
        home = tmp_path / f"{fail_at}"
        home.mkdir()
        if not fresh:
            charge_once(home, 1)
        Failing.fail_at, Failing.after, Failing.count = fail_at, after, 0
        monkeypatch.setattr(ledger_file.sqlite3, "connect", lambda *a, **k: connect(*a, factory=Failing, **k))
        try:
            charge_once(home, 2)
            failed = False
        except LedgerError:
            failed = True
        monkeypatch.undo()
        outcome = kill_ledger.Outcome()
        kill_ledger.check(home, outcome)
        assert (outcome.under_counts, outcome.refused) == (0, 0), fail_at
        charge_once(home, 3)  # and the ledger goes on
        if not failed:
            assert Failing.count < fail_at  # every statement had its turn
            break
    else:
        pytest.fail("the failures never ran out")


def leave_a_hot_journal(home) -> None:
    """Die in a transaction that has already written pages into the ledger's file."""
    child = os.fork()
    if child == 0:
        try:
            connection = sqlite3.connect(home / LEDGER_FILE, isolation_level=None)
            connection.execute("PRAGMA cache_size = 1")
            connection.execute("BEGIN IMMEDIATE")
            for sequence in range(100, 140):
                connection.execute("INSERT INTO records VALUES (?, ?)", (sequence, b"x" * 3000))
            os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    os.waitpid(child, 0)


@pytest.mark.parametrize("first", [read_ledger, lambda path: Ledger.open(path).close()])
def test_a_torn_write_is_undone_by_whoever_opens_the_ledger_next(tmp_path, first):
    path = tmp_path / LEDGER_FILE
    charge_once(tmp_path, 1)
    before = read_ledger(path)
    leave_a_hot_journal(tmp_path)
    assert path.with_name(LEDGER_FILE + "-journal").stat().st_size > 0
    assert path.stat().st_size > 100_000  # pages of the unfinished transaction are in the file
    first(path)
    assert read_ledger(path) == before
    charge_once(tmp_path, 2)
