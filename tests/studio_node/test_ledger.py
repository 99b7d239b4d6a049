import json
import multiprocessing
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from federation.documents import canonical_json
from federation.errors import BudgetError, LedgerError
from federation.plan import LedgerHead, RoundInstruction
from federation.privacy import RenyiFilter, order_for
from studio_node import ledger_file
from studio_node.ledger import Ledger
from studio_node.ledger_file import LEDGER_FILE, read_ledger
from studio_node.ledger_records import Charge, decode_record, record_hash
from studio_node.ledger_report import export_ledger, show_ledger, verify_ledger
from studio_node.ledger_state import ATTEMPTS_MAX, CLOCK_BACK_S, LedgerState

NOW = 1_800_000_000
CHARGE = Charge(
    sample_rate=0.25,
    noise_multiplier=4.0,
    steps=5,
    max_grad_norm=1.0,
    windows_per_shot=8,
    update_denominator=25.0,
    delta=1e-5,
)


def instruction(server_round: int = 1, **changes) -> RoundInstruction:
    fields = {
        "federation": "north",
        "campaign": "autumn",
        "plan_digest": "a" * 64,
        "server_round": server_round,
        "studio": "alpha",
        "base_digest": "b" * 64,
        "bundle_digest": "c" * 64,
        "issued_at": NOW,
        "expires_at": NOW + 60,
    }
    return RoundInstruction.model_validate(fields | changes)


def reserve(
    ledger: Ledger, server_round: int = 1, shows=("kelp",), *, cap: float = 8.0, charge: Charge = CHARGE
):
    return ledger.reserve(
        instruction(server_round), charge, dict.fromkeys(shows, cap), dataset_digest="d" * 64, now=NOW
    )


@pytest.fixture
def path(tmp_path):
    return tmp_path / LEDGER_FILE


@pytest.fixture
def home(tmp_path):
    (tmp_path / "studio.toml").write_text('name = "alpha"\nfederation = "north"\n')
    return tmp_path


def test_a_charge_is_on_disk_when_reserve_returns(path):
    with Ledger.open(path) as ledger:
        reservation = reserve(ledger)
        # another connection, as another process would see it, while the writer is still open
        assert len(read_ledger(path)) == 1
        assert reservation.head == ledger.head
        assert reservation.head.sequence == 1


def test_what_was_charged_is_there_again_after_reopening(path):
    with Ledger.open(path) as ledger:
        reserve(ledger, 1, ("kelp", "moss"))
        reserve(ledger, 2)
        head = ledger.head
    with Ledger.open(path) as ledger:
        assert ledger.head == head
        kelp, moss = ledger.state.account("kelp"), ledger.state.account("moss")
        assert kelp.events[0].steps == 10
        assert moss.events[0].steps == 5
        assert kelp.epsilon > moss.epsilon > 0
        assert ledger.state.account("reef") is None


def test_a_new_ledger_has_the_genesis_head(path):
    with Ledger.open(path) as ledger:
        assert ledger.head == LedgerHead(sequence=0, hash="0" * 64)
    assert path.stat().st_mode & 0o777 == 0o600


def test_records_are_salted_so_that_equal_charges_hash_differently(tmp_path):
    heads = set()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        with Ledger.open(tmp_path / name / LEDGER_FILE) as ledger:
            heads.add(reserve(ledger).head.hash)
    assert len(heads) == 2


def test_a_second_writer_is_told_so(path):
    with Ledger.open(path) as ledger:
        reserve(ledger)
        with pytest.raises(LedgerError, match="one writer"):
            Ledger.open(path)
    with Ledger.open(path) as ledger:
        assert ledger.head.sequence == 1


def _try_open(path, queue):
    try:
        Ledger.open(path).close()
        queue.put("opened")
    except LedgerError as error:
        queue.put(str(error))


def test_a_second_writing_process_is_told_so(path):
    context = multiprocessing.get_context("spawn")
    with Ledger.open(path):
        queue = context.Queue()
        process = context.Process(target=_try_open, args=(path, queue))
        process.start()
        assert "one writer" in queue.get(timeout=30)
        process.join()


def test_journal_and_synchronous_are_the_durable_ones(path, monkeypatch):
    seen = []
    connect = sqlite3.connect

    def watched(*args, **kwargs):
        connection = connect(*args, **kwargs)
        connection.set_trace_callback(seen.append)
        return connection

    monkeypatch.setattr(ledger_file.sqlite3, "connect", watched)
    with Ledger.open(path) as ledger:
        assert ledger._file._connection.execute("PRAGMA journal_mode").fetchone()[0] == "delete"
        assert ledger._file._connection.execute("PRAGMA synchronous").fetchone()[0] == 3
    assert any("EXTRA" in statement for statement in seen)


def test_a_new_ledgers_name_is_on_disk_before_its_first_record(path, monkeypatch):
    synced = []
    fsync = os.fsync

    def watched(descriptor):
        synced.append((str(Path(f"/proc/self/fd/{descriptor}").readlink()), path.stat().st_size))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    Ledger.open(path).close()
    assert (str(path.parent), 0) in synced  # the folder, while the file in it was still empty


@pytest.mark.parametrize("statement", ["UPDATE records SET record = x'00'", "DELETE FROM records"])
def test_the_database_itself_refuses_to_change_a_record(path, statement):
    with Ledger.open(path) as ledger:
        reserve(ledger)
    with closing(sqlite3.connect(path)) as connection, pytest.raises(sqlite3.IntegrityError, match="never"):
        connection.execute(statement)


def _rewrite(path, change) -> None:
    """Change the stored records behind the triggers' back, as a tamperer with the file would."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT sequence, record FROM records ORDER BY sequence").fetchall()
        connection.execute("DROP TRIGGER records_are_never_changed")
        connection.execute("DROP TRIGGER records_are_never_deleted")
        connection.execute("DELETE FROM records")
        connection.executemany("INSERT INTO records VALUES (?, ?)", change(rows))
        connection.commit()


def _cheaper(data: bytes) -> bytes:
    fields = json.loads(data)
    fields["charge"]["steps"] = 1
    return canonical_json(fields)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda rows: [rows[0], rows[2]], id="a record in the middle removed"),
        pytest.param(
            lambda rows: [(n, _cheaper(d) if n == 1 else d) for n, d in rows], id="a charge made smaller"
        ),
        pytest.param(lambda rows: [(1, rows[1][1]), (2, rows[0][1]), rows[2]], id="two records swapped"),
        pytest.param(
            lambda rows: [(n, d.replace(b'"', b"'") if n == 2 else d) for n, d in rows], id="not JSON"
        ),
        pytest.param(
            lambda rows: [(n, d.replace(b":", b": ") if n == 2 else d) for n, d in rows], id="not canonical"
        ),
        pytest.param(lambda rows: rows[1:], id="the first record removed"),
        pytest.param(lambda rows: [*rows, (4, rows[2][1])], id="a record twice"),
    ],
)
def test_a_tampered_ledger_is_refused(path, home, change):
    with Ledger.open(path) as ledger:
        for server_round in (1, 2, 3):
            reserve(ledger, server_round)
    _rewrite(path, change)
    with pytest.raises(LedgerError):
        Ledger.open(path)
    verification = verify_ledger(home)
    assert not verification.intact
    assert verification.problem
    with pytest.raises(LedgerError):
        export_ledger(home)
    # and the lock is free again: the refusal is about the content
    with pytest.raises(LedgerError, match=r"(?!.*one writer)"):
        Ledger.open(path)


def test_a_damaged_file_is_refused(path):
    with Ledger.open(path) as ledger:
        for server_round in range(1, 30):
            reserve(ledger, server_round)
    data = bytearray(path.read_bytes())
    data[4096 * 2 : 4096 * 2 + 200] = bytes(200)
    path.write_bytes(data)
    with pytest.raises(LedgerError):
        Ledger.open(path)


def test_a_cut_tail_is_caught_by_the_coordinators_head(path):
    with Ledger.open(path) as ledger:
        reserve(ledger, 1)
        backup = path.read_bytes()
        seen = reserve(ledger, 2).head
        ledger.require_seen(seen)
        ledger.require_seen(None)
    path.write_bytes(backup)
    with Ledger.open(path) as ledger, pytest.raises(LedgerError, match="backup") as caught:
        ledger.require_seen(seen)
    assert "adopt" in caught.value.hint


def test_another_ledger_of_the_same_length_is_caught(tmp_path):
    heads = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        with Ledger.open(tmp_path / name / LEDGER_FILE) as ledger:
            heads.append(reserve(ledger).head)
    with Ledger.open(tmp_path / "a" / LEDGER_FILE) as ledger:
        ledger.require_seen(heads[0])
        with pytest.raises(LedgerError, match="another record 1"):
            ledger.require_seen(heads[1])


def _spend_all(ledger: Ledger, show: str, *, cap: float) -> int:
    """Charge a show until its cap refuses; returns the next round."""
    for server_round in range(1, 1000):
        try:
            reserve(ledger, server_round, (show,), cap=cap)
        except BudgetError:
            return server_round
    raise AssertionError("the cap never refused")


def test_the_lifetime_cap_is_enforced_before_anything_is_written(path):
    with Ledger.open(path) as ledger:
        refused = _spend_all(ledger, "kelp", cap=3.0)
        before = ledger.head
        with pytest.raises(BudgetError, match="kelp") as caught:
            reserve(ledger, refused, cap=3.0)
        assert ledger.head == before
        assert caught.value.spent <= 3.0 < caught.value.requested
        assert caught.value.limit == 3.0
        account = ledger.state.account("kelp")
        lifetime = RenyiFilter(account.renyi_order, 3.0, account.delta)
        assert account.epsilon <= 3.0
        assert lifetime.admits(account.events)
        assert not lifetime.admits([*account.events, CHARGE.event])
        assert account.rounds > 5  # the filter is not so loose that the cap is empty


def test_an_exhausted_show_is_left_out_while_a_fresh_one_goes_on(path):
    with Ledger.open(path) as ledger:
        server_round = _spend_all(ledger, "kelp", cap=3.0)
        reservation = reserve(ledger, server_round, ("kelp", "moss"), cap=3.0)
        assert reservation.shows == {"moss"}
        with pytest.raises(LedgerError, match="kelp"):
            reservation.touch("kelp")


def test_an_accounts_order_is_that_of_its_first_charge_whatever_comes_after(path):
    other = CHARGE.model_copy(update={"sample_rate": 0.5, "noise_multiplier": 0.8, "steps": 1})
    first, later = (order_for(charge.event, 8.0, charge.delta) for charge in (CHARGE, other))
    assert first != later  # an order chosen after results were seen would be no filter
    with Ledger.open(path) as ledger:
        reserve(ledger, 1)
        reserve(ledger, 2, charge=other)
        assert ledger.state.account("kelp").renyi_order == first
    assert [decode_record(data).accounts[0].renyi_order for data in read_ledger(path)] == [first, first]


def test_each_show_has_its_own_cap(path):
    caps = {"kelp": 8.0, "moss": 3.0}
    charged = []
    with Ledger.open(path) as ledger:
        for server_round in range(1, 100):
            try:
                made = ledger.reserve(
                    instruction(server_round), CHARGE, caps, dataset_digest="d" * 64, now=NOW
                )
            except BudgetError:
                break
            charged.append(made.shows)
        kelp, moss = ledger.state.account("kelp"), ledger.state.account("moss")
    assert charged[0] == {"kelp", "moss"}
    assert charged[-1] == {"kelp"}
    assert moss.epsilon <= 3.0 < kelp.epsilon <= 8.0


def test_a_clock_that_jumped_back_is_refused(path):
    with Ledger.open(path) as ledger:
        ledger.state.require_clock(0)
        reserve(ledger)
    with Ledger.open(path) as ledger:
        ledger.state.require_clock(NOW + 10**6)
        ledger.state.require_clock(NOW - CLOCK_BACK_S)
        with pytest.raises(LedgerError, match=f"{CLOCK_BACK_S + 1} s before"):
            ledger.state.require_clock(NOW - CLOCK_BACK_S - 1)


def test_a_network_file_system_is_refused(path, monkeypatch, tmp_path_factory):
    mounts = tmp_path_factory.mktemp("mounts") / "mountinfo"
    monkeypatch.setattr("federation.mounts.MOUNTINFO", mounts)
    for kind in ("nfs4", "cifs", "fuse.sshfs"):
        mounts.write_text(
            f"1 1 0:1 / / rw - ext4 /dev/sda rw\n2 1 0:2 / {path.parent} rw - {kind} filer:/x rw\n"
        )
        with pytest.raises(LedgerError, match=f"{kind} .filer:/x., a network file system") as refused:
            Ledger.open(path)
        assert "move the studio's home" in refused.value.hint
    assert not path.exists()
    mounts.write_text("1 1 0:1 / / rw - ext4 /dev/sda rw\n")
    Ledger.open(path).close()


def test_a_new_plan_does_not_reset_the_account(path):
    with Ledger.open(path) as ledger:
        reserve(ledger, 1)
        other = CHARGE.model_copy(update={"noise_multiplier": 2.0, "sample_rate": 0.1})
        reserve(ledger, 2, charge=other)
        account = ledger.state.account("kelp")
        assert {(e.sample_rate, e.noise_multiplier, e.steps) for e in account.events} == {
            (0.25, 4.0, 5),
            (0.1, 2.0, 5),
        }


def test_a_smaller_delta_later_is_the_accounts_delta(path):
    with Ledger.open(path) as ledger:
        reserve(ledger, 1)
        reserve(ledger, 2, charge=CHARGE.model_copy(update={"delta": 1e-6}))
        assert ledger.state.account("kelp").delta == 1e-6


def test_the_same_question_is_charged_again_and_only_so_often(path):
    with Ledger.open(path) as ledger:
        for attempt in range(1, ATTEMPTS_MAX + 1):
            reserve(ledger, 7)
            assert ledger.state.account("kelp").rounds == attempt
        with pytest.raises(LedgerError, match="3 times"):
            reserve(ledger, 7)
        reserve(ledger, 8)


def test_a_done_question_is_found_by_its_question_alone(path):
    with Ledger.open(path) as ledger:
        reservation = reserve(ledger, 1)
        ledger.done(reservation.head.sequence, "e" * 64, now=NOW)
        answer = ledger.answer_to(instruction(1, issued_at=NOW + 5, expires_at=NOW + 900))
        assert answer.update_digest == "e" * 64
        assert answer.head == reservation.head
        for other in ({"base_digest": "0" * 64}, {"plan_digest": "0" * 64}, {"campaign": "winter"}):
            assert ledger.answer_to(instruction(1, **other)) is None
        assert ledger.answer_to(instruction(2)) is None
        with pytest.raises(LedgerError, match="not open"):
            ledger.done(reservation.head.sequence, "e" * 64, now=NOW)


def test_a_charge_that_is_done_opens_nothing_more(path):
    with Ledger.open(path) as ledger:
        reservation = reserve(ledger, 1)
        reservation.touch("kelp")
        ledger.done(reservation.head.sequence, "e" * 64, now=NOW)
        with pytest.raises(LedgerError, match="needs a new one"):
            reservation.touch("kelp")


def test_a_charge_is_given_back_only_before_data_were_touched(path):
    with Ledger.open(path) as ledger:
        untouched = reserve(ledger, 1)
        ledger.abort(untouched, now=NOW)
        assert ledger.state.account("kelp").events == ()
        with pytest.raises(LedgerError, match="closed"):
            untouched.touch("kelp")
        touched = reserve(ledger, 2)
        touched.touch("kelp")
        with pytest.raises(LedgerError, match="data were opened"):
            ledger.abort(touched, now=NOW)
        assert ledger.state.account("kelp").rounds == 1
    with Ledger.open(path) as ledger:
        assert ledger.state.account("kelp").rounds == 1
        assert ledger.state.given_back == {1}


def test_adopting_the_coordinators_head_spends_what_the_lost_records_hid(path):
    with Ledger.open(path) as ledger:
        reserve(ledger, 1)
        backup = path.read_bytes()
        for server_round in (2, 3, 4):
            seen = reserve(ledger, server_round).head
    path.write_bytes(backup)
    with Ledger.open(path) as ledger:
        ledger.adopt(seen, ["kelp", "moss"], epsilon_lifetime=8.0, now=NOW)
        ledger.require_seen(seen)
        assert ledger.head.sequence == seen.sequence + 1
        for show in ("kelp", "moss"):
            with pytest.raises(BudgetError):
                reserve(ledger, 9, (show,))
        reserve(ledger, 10, ("reef",))
        with pytest.raises(LedgerError, match="nothing to adopt"):
            ledger.adopt(seen, ["kelp"], epsilon_lifetime=8.0, now=NOW)
    with Ledger.open(path) as ledger:
        ledger.require_seen(seen)
        assert ledger.state.account("kelp").exhausted


def test_adopting_with_stated_charges_spends_those(path):
    with Ledger.open(path) as ledger:
        reserve(ledger, 1)
        ledger.adopt(
            LedgerHead(sequence=9, hash="7" * 64),
            ["kelp", "moss"],
            epsilon_lifetime=8.0,
            now=NOW,
            charges=[CHARGE] * 4,
        )
        assert ledger.state.account("kelp").events[0].steps == 25
        assert ledger.state.account("moss").events[0].steps == 20
        reserve(ledger, 2, ("kelp", "moss"))
        assert ledger.head.sequence == 11


def test_a_failed_write_closes_the_ledger(path, monkeypatch):
    ledger = Ledger.open(path)
    reserve(ledger, 1)
    ledger._file._connection.execute("PRAGMA query_only = ON")  # the next write fails inside SQLite
    with pytest.raises(LedgerError, match="cannot be read or written"):
        reserve(ledger, 2)
    with pytest.raises(LedgerError, match="open it anew"):
        reserve(ledger, 3)
    with Ledger.open(path) as anew:
        assert anew.state.account("kelp").rounds == 1


def test_a_folder_that_is_not_there_is_a_ledger_error(tmp_path):
    with pytest.raises(LedgerError, match="cannot be opened"):
        Ledger.open(tmp_path / "gone" / LEDGER_FILE)


def test_a_ledger_of_another_format_is_refused(path):
    Ledger.open(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 9")
    with pytest.raises(LedgerError, match="format 9"):
        Ledger.open(path)


def test_show_names_accounts_charges_and_what_is_left(path, home):
    assert show_ledger(home).accounts == ()
    with Ledger.open(path) as ledger:
        first = reserve(ledger, 1, ("kelp", "moss"))
        ledger.done(first.head.sequence, "e" * 64, now=NOW)
        reserve(ledger, 2, ("kelp",))
        view = show_ledger(home)  # beside the open writer
    assert [account.show for account in view.accounts] == ["kelp", "moss"]
    kelp, moss = view.accounts
    assert kelp.epsilon > moss.epsilon > 0
    assert kelp.lifetime_used == pytest.approx(2 * moss.lifetime_used)
    assert kelp.charges_left == moss.charges_left - 1
    assert [charge.outcome for charge in view.charges] == ["done", "lost"]
    assert view.head_sequence == view.records == 3


def test_verify_and_export_hold_the_whole_chain(path, home, tmp_path):
    with pytest.raises(LedgerError, match="no ledger"):
        verify_ledger(home)
    with Ledger.open(path) as ledger:
        for server_round in (1, 2):
            reserve(ledger, server_round)
        head = ledger.head
    assert verify_ledger(home) == verify_ledger(home)
    assert verify_ledger(home).intact
    exported = export_ledger(home, tmp_path / "export.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "export.jsonl").read_bytes().splitlines()]
    assert exported.data == (tmp_path / "export.jsonl").read_bytes()
    assert lines[-1]["hash"] == head.hash
    previous = "0" * 64
    for line in lines:  # what an auditor does with it: re-hash and follow the links
        assert line["record"]["previous"] == previous
        previous = record_hash(canonical_json(line["record"]))
        assert previous == line["hash"]


def test_thousands_of_records_open_within_seconds(path):
    import time

    state = LedgerState()
    with Ledger.open(path) as ledger:
        reserve(ledger, 1)
        template = json.loads(read_ledger(path)[0])
    rows = []
    previous = "0" * 64
    for sequence in range(1, 2001):
        template |= {"sequence": sequence, "previous": previous, "server_round": sequence}
        data = canonical_json(template)
        previous = record_hash(data)
        rows.append(data)
    begin = time.process_time()
    for data in rows:
        state.append(data)
    assert state.account("kelp").rounds == 2000
    assert time.process_time() - begin < 2.0


@pytest.mark.parametrize(
    "change",
    [
        {"type": "refund"},
        {"attempt": 0},
        {"note": "free"},
        {"sequence": "1"},
        {"salt": "00"},
        {"schema": "fedroto.ledger/2"},
    ],
)
def test_records_of_another_form_are_refused(path, change):
    with Ledger.open(path) as ledger:
        reserve(ledger, 1)
    fields = json.loads(read_ledger(path)[0]) | change
    with pytest.raises(LedgerError, match="malformed"):
        decode_record(canonical_json(fields))
