"""Kill -9 between every pair of steps of a round, in real processes, and ask again."""

import os
import signal
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from federation import durable
from federation.messages import TrainUpdate
from studio_node import ledger_file, local_round, stored_updates
from studio_node.egress import EgressDoor, decode_reply
from studio_node.egress_log import EGRESS_LOG, EgressLog, read_log
from studio_node.ledger import Ledger
from studio_node.ledger_report import show_ledger, verify_ledger
from studio_node.packs import PackReader


def train(plan, size_tier, weights, shots, *, warn):
    """Stand in for the training: opens every pack, and gives another update each time."""
    for open_shot in shots:
        open_shot()
    steps = np.frombuffer(os.urandom(weights.size), np.uint8) % 3
    return (steps * np.float32(plan.update.grid)).astype(np.float32)


def kill_self(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)


def kill_before(monkeypatch, owner, name: str) -> None:
    monkeypatch.setattr(owner, name, kill_self)


def kill_after(monkeypatch, owner, name: str) -> None:
    original = getattr(owner, name)

    def then_die(*arguments, **keywords):
        original(*arguments, **keywords)
        kill_self()

    monkeypatch.setattr(owner, name, then_die)


def note_touch(studio, monkeypatch) -> None:
    """Note durably, outside the ledger, which charge a pack was opened under."""
    opened = PackReader.open.__func__

    def noting(cls, path, reservation, **rest):
        with (studio.home / "touched").open("a") as file:
            file.write(f"{reservation.head.sequence}\n")
            file.flush()
            os.fsync(file.fileno())
        return opened(cls, path, reservation, **rest)

    monkeypatch.setattr(PackReader, "open", classmethod(noting))


def answer_in_a_child(studio, request, monkeypatch, *sabotage) -> tuple[int, bytes | None]:
    """Answer in a forked process; returns how it ended and what went out of its door."""
    sent = studio.home / "sent"
    sent.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        try:
            for apply in sabotage:
                apply(monkeypatch)
            answer = studio.rounds().answer(request)
            door = EgressDoor(EgressLog(studio.home / EGRESS_LOG))
            door.release(
                answer.frame, answer.expected, sent.write_bytes, instruction=answer.instruction, now=1.0
            )
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return status, sent.read_bytes() if sent.exists() else None


def touched_charges(studio) -> set[int]:
    path = studio.home / "touched"
    return {int(line) for line in path.read_text().splitlines()} if path.exists() else set()


STEPS = {
    "before the charge": (lambda m: kill_before(m, Ledger, "reserve"), 0, False),
    "after the charge": (lambda m: kill_after(m, Ledger, "reserve"), 1, False),
    "when the first pack was opened": (lambda m: kill_before(m, PackReader, "__init__"), 1, False),
    "after the training": (lambda m: kill_before(m, local_round, "inspect_frame"), 1, False),
    "before the update is stored": (lambda m: kill_before(m, stored_updates.StoredUpdates, "put"), 1, False),
    "in the middle of storing it": (lambda m: kill_before(m, Path, "replace"), 1, False),
    "after its rename": (lambda m: kill_before(m, durable, "sync_folder"), 1, True),
    "after the update is stored": (lambda m: kill_after(m, stored_updates.StoredUpdates, "put"), 1, True),
    "after it is recorded as done": (lambda m: kill_after(m, Ledger, "done"), 1, True),
    "before it is logged": (lambda m: kill_before(m, EgressLog, "append"), 1, True),
    "after it is logged, before it is sent": (lambda m: kill_after(m, EgressLog, "append"), 1, True),
}


@pytest.mark.parametrize("step", STEPS)
def test_a_kill_at_any_step_leaves_a_counted_charge_and_an_answer(studio, monkeypatch, step):
    sabotage, charged, stored = STEPS[step]
    monkeypatch.setattr(local_round, "train_update", train)
    note_touch(studio, monkeypatch)
    Ledger.open(
        studio.home / ledger_file.LEDGER_FILE
    ).close()  # made before, so that only the round's own writes die
    request = studio.request()
    status, sent = answer_in_a_child(studio, request, monkeypatch, sabotage)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert sent is None
    assert verify_ledger(studio.home).intact
    charges = show_ledger(studio.home).charges
    assert len(charges) == charged
    assert touched_charges(studio) <= {charge.sequence for charge in charges}

    status, sent = answer_in_a_child(studio, request, monkeypatch)
    assert status == 0
    update = decode_reply(sent)
    assert isinstance(update, TrainUpdate)
    charges = show_ledger(studio.home).charges
    assert touched_charges(studio) <= {charge.sequence for charge in charges}
    if stored:  # the finished update was on disk: sent, not trained again
        assert len(charges) == 1
        assert read_log(studio.home).lines[-1].replay
    else:
        assert len(charges) == charged + 1
    assert update.ledger_sequence == charges[-1].sequence
    assert charges[-1].outcome == "done"

    _, again = answer_in_a_child(studio, request, monkeypatch)
    assert again == sent


def _die_at_statement(number: int):
    """Die in the middle of the ledger's SQL, just before statement ``number`` of the process runs."""

    def sabotage(monkeypatch) -> None:
        connect = sqlite3.connect
        seen = []

        class Dying(sqlite3.Connection):
            def execute(self, *arguments):
                seen.append(1)
                if len(seen) == number:
                    kill_self()
                return super().execute(*arguments)

        monkeypatch.setattr(
            ledger_file.sqlite3, "connect", lambda *a, **k: connect(*a, **({"factory": Dying} | k))
        )

    return sabotage


@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.long)])
def test_a_kill_at_any_sql_statement_of_a_round_loses_no_charge(studio, monkeypatch, every):
    monkeypatch.setattr(local_round, "train_update", train)
    note_touch(studio, monkeypatch)
    for number in range(1, 200, every):
        request = studio.request(number)
        status, sent = answer_in_a_child(studio, request, monkeypatch, _die_at_statement(number))
        assert touched_charges(studio) <= {charge.sequence for charge in show_ledger(studio.home).charges}, (
            number
        )
        if status == 0:
            assert number > 8
            break
        assert sent is None
        status, sent = answer_in_a_child(studio, request, monkeypatch)
        assert isinstance(decode_reply(sent), TrainUpdate)
    else:
        pytest.fail("the statements never ran out")


def test_what_a_killed_runner_left_half_written_is_swept(studio, monkeypatch):
    from studio_node.runner import clear_leftovers

    monkeypatch.setattr(local_round, "train_update", train)
    answer_in_a_child(studio, studio.request(), monkeypatch, STEPS["in the middle of storing it"][0])
    left = [path for path in (studio.home / "updates").rglob("*") if path.is_file()]
    assert left
    clear_leftovers(studio.home)
    assert not [path for path in (studio.home / "updates").rglob("*") if path.is_file()]
