import contextlib
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys

import kill_ledger
import pytest

from federation.errors import LedgerError
from studio_node import ledger_file
from studio_node.ledger import Ledger
from studio_node.ledger_file import LEDGER_FILE, read_ledger

NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]


def namespaces_permitted() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode == 0


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
            {"kelp": 100.0},
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


@contextlib.contextmanager
def no_write_beyond(size_bytes: int):
    """Let the operating system fail every write, to whatever file, at or beyond this place in it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("before", [0, 9])
def test_a_real_write_that_fails_at_any_place_loses_no_charge(tmp_path, before):
    # SQLite writes whole pages, and a journal's pages with eight bytes about each: steps of 256 cut each of them
    template = tmp_path / "template"
    template.mkdir()
    for server_round in range(1, before + 1):
        charge_once(template, server_round)
    failed = 0
    for size_bytes in range(0, 1 << 20, 256):
        home = tmp_path / f"{size_bytes}"
        shutil.copytree(template, home)
        try:
            with no_write_beyond(size_bytes):
                charge_once(home, before + 1)
        except (LedgerError, OSError):
            failed += 1
        else:
            break
        finally:
            outcome = kill_ledger.Outcome()
            kill_ledger.check(home, outcome)
            assert (outcome.under_counts, outcome.refused) == (0, 0), size_bytes
            charge_once(home, before + 2)
            shutil.rmtree(home)
    assert failed * 256 > (template / LEDGER_FILE).stat().st_size if before else failed > 8


@pytest.mark.skipif(not namespaces_permitted(), reason="mount namespaces are not permitted here")
@pytest.mark.parametrize("charged", [False, True])
def test_a_read_only_disk_is_refused(tmp_path, charged):
    if charged:
        charge_once(tmp_path, 1)
    program = (
        "import sys; from pathlib import Path; from studio_node.ledger import Ledger\n"
        "try: Ledger.open(Path(sys.argv[1]))\n"
        "except Exception as error: print(type(error).__name__, error, error.hint)\n"
    )
    mount = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && exec "$2" -c "$3" "$1/$4"'
    command = [*NAMESPACE, "sh", "-c", mount, "sh", tmp_path, sys.executable, program, LEDGER_FILE]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.startswith("LedgerError")
    assert "Read-only file system" in said
    assert "no data were touched" in said


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
