"""The uplink, its ClientApp and its side of the runner's socket, without a network."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from flwr.app import ConfigRecord, Metadata, RecordDict
from flwr.app.message import make_message
from signed_instruction import PLAN_KEY, signed_instruction

import studio_node
from federation import messages
from federation.errors import FlowerError, IdentityError, RefusalCode
from federation.flower.bundle import build_bundle
from federation.flower.studio import RunOverError
from federation.flower.transport import UnreachableError
from federation.messages import SignedUpdate, TrainRefusal, TrainRequest, TrainUpdate
from federation.records import read_reply, request_records
from federation.update_signature import UpdateSubject, require_signature
from studio_node import uplink as uplink_module
from studio_node.runner_client import ask_runner
from studio_node.uplink import Uplink, UplinkSettings

REQUEST = TrainRequest(b"plan", signed_instruction(), np.arange(5, dtype=np.float32))
NODE_KEY = ec.generate_private_key(ec.SECP384R1())
UPDATE = TrainUpdate(np.ones(5, np.float32), "a" * 64, 3, "b" * 64)


def listen(path):
    """Listen on a Unix socket by a path of any length."""
    server = socket.socket(socket.AF_UNIX)
    folder = os.open(path.parent, os.O_PATH)
    server.bind(f"/proc/self/fd/{folder}/{path.name}")
    os.close(folder)
    server.listen(1)
    return server


class Runner:
    """A runner in a thread: reads each request and answers as told."""

    def __init__(self, path, answer):
        self.server = listen(path)
        self.answer = answer
        self.requests = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                connection, _ = self.server.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as stream:
                self.requests.append(messages.read_request(stream.read))
                self.answer(connection)

    def close(self):
        self.server.close()


@pytest.fixture
def runner(tmp_path):
    started = []

    def start(answer, folder=tmp_path):
        started.append(Runner(folder / "runner.sock", answer))
        return started[-1]

    yield start
    for one in started:
        one.close()


def send_update(connection):
    connection.sendall(messages.encode_reply(UPDATE))


class TestRunnerClient:
    def test_a_request_goes_over_and_its_reply_comes_back(self, runner, tmp_path):
        there = runner(send_update)
        reply = ask_runner(tmp_path / "runner.sock", REQUEST, timeout_s=5)
        assert np.array_equal(reply.update, UPDATE.update)
        assert there.requests[0].instruction == REQUEST.instruction
        assert np.array_equal(there.requests[0].weights, REQUEST.weights)

    def test_a_refusal_comes_back_as_it_is(self, runner, tmp_path):
        refusal = TrainRefusal(RefusalCode.BUDGET)
        runner(lambda c: c.sendall(messages.encode_reply(refusal)))
        assert ask_runner(tmp_path / "runner.sock", REQUEST, timeout_s=5) == refusal

    def test_a_path_longer_than_the_kernel_takes_works(self, runner, tmp_path):
        folder = tmp_path / ("a" * 120)
        folder.mkdir()
        runner(send_update, folder)
        assert isinstance(ask_runner(folder / "runner.sock", REQUEST, timeout_s=5), TrainUpdate)

    def test_a_runner_that_is_not_up_is_busy_within_bounded_time(self, tmp_path):
        started = time.monotonic()
        reply = ask_runner(tmp_path / "runner.sock", REQUEST, timeout_s=60, connect_wait_s=0.3)
        assert reply == TrainRefusal(RefusalCode.BUSY)
        assert time.monotonic() - started < 2

    def test_a_runner_that_comes_up_while_it_is_waited_for_is_used(self, runner, tmp_path):
        threading.Timer(0.3, lambda: runner(send_update)).start()
        reply = ask_runner(tmp_path / "runner.sock", REQUEST, timeout_s=10, connect_wait_s=5)
        assert isinstance(reply, TrainUpdate)

    def test_a_socket_left_behind_by_a_killed_runner_is_busy(self, tmp_path):
        listen(tmp_path / "runner.sock").close()
        reply = ask_runner(tmp_path / "runner.sock", REQUEST, timeout_s=5, connect_wait_s=0.1)
        assert reply == TrainRefusal(RefusalCode.BUSY)

    def test_a_runner_that_does_not_finish_in_time_is_busy(self, runner, tmp_path):
        runner(lambda c: time.sleep(1))
        started = time.monotonic()
        reply = ask_runner(tmp_path / "runner.sock", REQUEST, timeout_s=0.3)
        assert reply == TrainRefusal(RefusalCode.BUSY)
        assert time.monotonic() - started < 1

    def test_a_runner_that_drips_its_reply_does_not_hold_us_longer(self, runner, tmp_path):
        def drip(connection):
            for byte in messages.encode_reply(UPDATE):
                connection.sendall(bytes([byte]))
                time.sleep(0.05)

        runner(lambda c: _quietly(drip, c))
        started = time.monotonic()
        assert ask_runner(tmp_path / "runner.sock", REQUEST, timeout_s=0.4) == TrainRefusal(RefusalCode.BUSY)
        assert time.monotonic() - started < 1

    @pytest.mark.parametrize(
        "said",
        [
            b"",
            b"FR",
            messages.encode_reply(UPDATE)[:-3],
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"FRTO\x03\x01\x01\0\0\0\xff",
        ],
    )
    def test_a_runner_that_ends_in_the_middle_or_talks_nonsense_is_internal(self, runner, tmp_path, said):
        runner(lambda c: c.sendall(said))
        assert ask_runner(tmp_path / "runner.sock", REQUEST, timeout_s=5) == TrainRefusal(
            RefusalCode.INTERNAL
        )


def _quietly(call, connection):
    try:
        call(connection)
    except OSError:
        return


def message(records=None, *, ttl=60.0, created_at=None, run_id=1, kind="train"):
    metadata = Metadata(
        run_id, "1" * 64, 1, 77, "", "3", time.time() if created_at is None else created_at, ttl, kind
    )
    return make_message(metadata, request_records(REQUEST) if records is None else records)


class Connection:
    """A federation in memory: a script of what receive() does, and what was sent."""

    def __init__(self, script, stop, bundle=None):
        self.script = list(script)
        self.stop = stop
        self.bundle = build_bundle() if bundle is None else bundle
        self.bundle_calls = 0
        self.active = False
        self.node_id = 77
        self.activations = 0
        self.sent = []
        self.closed = False

    def activate(self):
        self.activations += 1
        self.active = True

    def receive(self):
        if not self.script:
            self.stop.set()
            return None
        step = self.script.pop(0)
        if isinstance(step, BaseException):
            raise step
        return step

    def bundle_for(self, message):
        self.bundle_calls += 1
        if isinstance(self.bundle, BaseException):
            error, self.bundle = self.bundle, build_bundle()
            raise error
        return self.bundle

    def send(self, reply):
        self.sent.append(read_reply(reply.content))
        assert reply.metadata.reply_to_message_id == "1" * 64
        return True

    def close(self):
        self.closed = True


@pytest.fixture
def work(tmp_path, monkeypatch):
    monkeypatch.setattr(uplink_module, "BACKOFF_FIRST_S", 0.001)
    monkeypatch.setattr(uplink_module, "POLL_MIN_S", 0.001)

    stop = threading.Event()

    def run(script, bundle=None):
        connection = Connection(script, stop, bundle)
        settings = UplinkSettings(
            fleet_address="localhost:1",
            ca_certificate=b"",
            node_key=NODE_KEY,
            plan_key=PLAN_KEY.public_key(),
            run_folder=tmp_path,
            runner_socket=tmp_path / "runner.sock",
            journal=tmp_path / "uplink.jsonl",
        )
        try:
            Uplink(settings, stop, connection).work()
        finally:
            assert connection.closed
        return connection

    run.stop = stop
    run.journal = lambda: [json.loads(x) for x in (tmp_path / "uplink.jsonl").read_text().splitlines()]
    return run


class TestUplink:
    def test_an_instruction_is_answered_by_the_runner(self, work, runner):
        runner(send_update)
        sent = work([None, message(), None]).sent
        assert [type(reply) for reply in sent] == [SignedUpdate]
        assert [e["event"] for e in work.journal()] == ["start", "online", "instruction", "reply", "stop"]

    @pytest.mark.parametrize(
        "trouble",
        [
            UnreachableError("ssl handshake cut"),
            FlowerError("HTTP 404"),
            SystemExit(1),
            KeyboardInterrupt(),
            RuntimeError("a bug of somebody's"),
            MemoryError(),
        ],
    )
    def test_no_trouble_ends_it(self, work, runner, trouble):
        runner(send_update)
        assert len(work([trouble, trouble, message()]).sent) == 1

    def test_an_update_is_signed_as_the_answer_to_its_question(self, work, runner):
        runner(send_update)
        (signed,) = work([message()]).sent
        subject = UpdateSubject("autumn", 7, "alder", "a" * 64, "c" * 64)
        require_signature(signed, subject, NODE_KEY.public_key())

    def test_the_same_answer_has_the_same_signature(self, work, runner):
        runner(send_update)
        first, again = work([message(), message()]).sent
        assert first.signature == again.signature

    def test_nothing_is_signed_for_an_instruction_that_is_not_the_coordinators(self, work, runner):
        runner(send_update)  # a runner that would answer anybody
        stranger = signed_instruction(ed25519.Ed25519PrivateKey.generate())
        requests = [TrainRequest(b"plan", one, REQUEST.weights) for one in (stranger, b"nonsense")]
        sent = work([message(request_records(one)) for one in requests]).sent
        assert sent == [TrainRefusal(RefusalCode.BAD_SIGNATURE)] * 2

    def test_revocation_ends_it_and_says_so(self, work):
        with pytest.raises(IdentityError):
            work([IdentityError("the coordinator has revoked this studio's key")])
        assert "revoked" in [event["event"] for event in work.journal()]

    def test_an_expired_instruction_costs_nothing(self, work, runner):
        there = runner(send_update)
        connection = work([message(ttl=60, created_at=time.time() - 61)])
        assert connection.sent == []
        assert there.requests == []

    def test_a_foreign_bundle_is_refused_without_asking_the_runner(self, work, runner):
        there = runner(send_update)
        sent = work([message(), message()], bundle=b"other code").sent
        assert sent == [TrainRefusal(RefusalCode.BUNDLE_MISMATCH)] * 2
        assert there.requests == []

    def test_a_bundle_is_compared_once_a_run(self, work, runner):
        runner(send_update)
        connection = work([message(), message(), message(run_id=2)])
        assert connection.bundle_calls == 2
        assert len(connection.sent) == 3

    def test_a_bundle_that_cannot_be_had_for_a_moment_is_waited_for(self, work, runner):
        runner(send_update)
        assert [type(r) for r in work([message()], bundle=UnreachableError("away")).sent] == [SignedUpdate]

    def test_the_end_of_the_run_drops_the_instruction(self, work):
        assert work([message()], bundle=RunOverError("over")).sent == []

    def test_a_run_without_a_bundle_is_an_internal_refusal(self, work):
        sent = work([message()], bundle=FlowerError("HTTP 404")).sent
        assert sent == [TrainRefusal(RefusalCode.INTERNAL)]

    @pytest.mark.parametrize(
        "records",
        [
            RecordDict(),
            RecordDict({"weights": ConfigRecord({"a": 1}), "instruction": ConfigRecord({"plan": b""})}),
        ],
    )
    def test_a_malformed_instruction_is_refused_without_asking_the_runner(self, work, runner, records):
        there = runner(send_update)
        assert work([message(records)]).sent == [TrainRefusal(RefusalCode.MALFORMED)]
        assert there.requests == []

    @pytest.mark.parametrize("kind", ["evaluate", "query", "train.other"])
    def test_other_kinds_of_messages_are_refused(self, work, kind):
        assert work([message(kind=kind)]).sent == [TrainRefusal(RefusalCode.INTERNAL)]

    def test_what_goes_wrong_inside_is_told_outward_as_a_code_only(self, work, monkeypatch):
        def fail(*arguments, **options):
            raise SystemExit("/mnt/secret/shot_010")

        monkeypatch.setattr("studio_node.client_app.ask_runner", fail)
        assert work([message()]).sent == [TrainRefusal(RefusalCode.INTERNAL)]

    def test_stopping_does_not_wait_for_the_training(self, work, runner):
        release = threading.Event()
        runner(lambda c: release.wait(30))
        threading.Timer(0.3, work.stop.set).start()
        started = time.monotonic()
        assert work([message()]).sent == []
        assert time.monotonic() - started < 5
        release.set()

    @pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
    def test_an_app_that_does_not_come_back_does_not_hang_the_uplink(self, work, monkeypatch):
        monkeypatch.setattr(Uplink, "_call_app", lambda self, message: sys.exit(1))
        assert work([message(), message()]).sent == []

    def test_text_of_the_other_side_does_not_steer_the_terminal(self, work, capsys):
        work([FlowerError("\x1b[2J\nnot a line of ours")])
        assert "\x1b" not in capsys.readouterr().err

    def test_a_refused_heartbeat_makes_it_activate_again(self, work, runner):
        runner(send_update)

        class Dropped(Connection):
            def receive(self):
                self.active = False
                return super().receive()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys.modules[__name__], "Connection", Dropped)
            assert work([None, message(), None]).activations == 4


def test_the_uplink_loads_neither_torch_nor_anything_that_reads_plates():
    code = (
        "import sys, studio_node.uplink; "
        "print(sorted({'torch', 'cv2', 'OpenImageIO', 'opacus', 'model'} & set(sys.modules)))"
    )
    root = str(Path(studio_node.__file__).parents[1])
    answer = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert answer.stdout.strip() == "[]"
