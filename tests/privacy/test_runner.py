import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from federation.errors import RefusalCode
from federation.messages import TrainRefusal, TrainUpdate, encode_request
from studio_node.egress_log import read_log
from studio_node.ledger_report import show_ledger
from studio_node.runner_client import ask_runner

ROOT = Path(__file__).parents[2]


class Runner:
    """The runner as the real process that a studio starts."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.socket = home / "run" / "runner.sock"
        self.errors = home.parent / "errors.txt"
        with self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                # -X importtime lists every module that the process ever imports
                [
                    sys.executable,
                    "-X",
                    "importtime",
                    "-m",
                    "federation.cli",
                    "studio",
                    "runner",
                    "--home",
                    str(home),
                ],
                cwd=ROOT,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def ready(self) -> dict:
        return json.loads(self.process.stdout.readline())

    def ask(self, request):
        return ask_runner(self.socket, request, timeout_s=60)

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(20)
        folder = os.open(self.socket.parent, os.O_PATH)
        connection.connect(f"/proc/self/fd/{folder}/{self.socket.name}")
        os.close(folder)
        return connection

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=20)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """One runner for the tests of this file, with a home so deep that its socket's path is over the kernel's limit."""
    from studio_under_test import StudioUnderTest

    home = tmp_path_factory.mktemp("deep" * 25) / "studio"
    studio = StudioUnderTest.made(home, {"kelp": 2})
    runner = Runner(home)
    assert runner.ready()["event"] == "ready"
    yield studio, runner
    assert runner.stop() == 0
    assert not runner.socket.exists()


def test_a_request_is_answered_and_asked_again_answered_alike(served):
    studio, runner = served
    plan = studio.plan()
    first = runner.ask(studio.request(1, plan))
    again = runner.ask(studio.request(1, plan))
    assert isinstance(first, TrainUpdate)
    assert first.update.tobytes() == again.update.tobytes()
    assert first.ledger_hash == again.ledger_hash
    lines = read_log(studio.home).lines[-2:]
    assert [line.replay for line in lines] == [False, True]
    assert lines[0].sha256 == lines[1].sha256
    assert runner.socket.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"FRTO",
        b"FRTO" + struct.pack("<BB", 1, 3) + struct.pack("<3I", 1 << 31, 1, 4),
        b"FRTO" + struct.pack("<BB", 1, 3) + struct.pack("<3I", 5, 5, 4) + b"short",
        b"FRTO" + struct.pack("<BB", 1, 3) + struct.pack("<3I", 1, 1, 5) + b"aabcdef",
        b"FRTO" + struct.pack("<BB", 2, 4) + bytes(16),
        os.urandom(4096),
    ],
)
def test_malformed_frames_get_one_code_and_end_nothing(served, data):
    studio, runner = served
    with runner.connect() as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        reply = b"".join(iter(lambda: connection.recv(4096), b""))
    assert reply == b"FRTO" + struct.pack("<BBI", 3, 1, 1) + bytes([RefusalCode.MALFORMED])
    assert runner.process.poll() is None
    assert read_log(studio.home).lines[-1].fields[0].value == "MALFORMED"


def test_an_uplink_that_goes_away_ends_nothing(served):
    studio, runner = served
    plan = studio.plan()
    runner.connect().close()
    with runner.connect() as connection:
        connection.sendall(encode_request(studio.request(2, plan)))  # asked, and gone before the answer
    assert isinstance(runner.ask(studio.request(2, plan)), TrainUpdate)
    charged = [charge.server_round for charge in show_ledger(studio.home).charges]
    assert charged.count(2) == 1


def test_several_requests_on_one_connection_are_answered_in_turn(served):
    from federation.messages import read_reply

    studio, runner = served
    with runner.connect() as connection:
        stream = connection.makefile("rb")
        for _ in range(2):
            connection.sendall(encode_request(studio.request(1, studio="beta")))
            assert read_reply(stream.read) == TrainRefusal(RefusalCode.NOT_FOR_THIS_STUDIO)


def test_a_second_runner_of_a_home_is_refused(served):
    studio, runner = served
    second = subprocess.run(
        [sys.executable, "-m", "federation.cli", "studio", "runner", "--home", str(studio.home)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert second.returncode != 0
    assert "another runner" in second.stderr
    assert isinstance(runner.ask(studio.request(1, studio="beta")), TrainRefusal)


def test_the_runner_says_whether_it_is_isolated(served):
    studio, _ = served
    text = studio.journal()
    assert "isolated" in text


def _train_until_charged(studio, runner) -> socket.socket:
    """Ask for a training that takes minutes and return once its charge is on disk."""
    plan = studio.plan(privacy_steps_per_round=900, privacy_sample_rate=0.02, privacy_windows_per_shot=64)
    connection = runner.connect()
    before = len(show_ledger(studio.home).charges)
    connection.sendall(encode_request(studio.request(plan=plan)))
    deadline = time.monotonic() + 30
    while len(show_ledger(studio.home).charges) == before:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return connection


def test_killed_or_stopped_in_the_middle_of_training_it_starts_again_and_the_charges_stand(tmp_path):
    from studio_under_test import StudioUnderTest

    studio = StudioUnderTest.made(tmp_path / "studio", {"kelp": 3})
    runner = Runner(studio.home)
    runner.ready()
    with _train_until_charged(studio, runner):
        runner.process.kill()
        runner.process.wait()
    assert runner.socket.exists()  # a killed runner leaves its socket behind
    runner = Runner(studio.home)
    runner.ready()
    with _train_until_charged(studio, runner):
        begin = time.monotonic()
        assert runner.stop() == 0
        assert time.monotonic() - begin < 8
    assert [charge.outcome for charge in show_ledger(studio.home).charges] == ["lost", "lost"]
    assert not read_log(studio.home).lines


def test_the_runner_never_imports_flower_or_anything_that_speaks_to_networks(served):
    studio, runner = served
    runner.ask(studio.request(1))
    imported = {
        line.split("|")[-1].strip().partition(".")[0] for line in runner.errors.read_text().splitlines()
    }
    assert {"torch", "opacus", "studio_node"} <= imported
    assert not imported & {"flwr", "grpc", "uvicorn", "httpx", "requests"}


def test_isolation_is_told_from_inside_a_network_namespace_of_its_own():
    code = "from studio_node.isolation import isolation_here; print(isolation_here().isolated)"
    inside = subprocess.run(
        ["unshare", "--user", "--net", sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if inside.returncode:
        pytest.skip("this machine does not let a user make a network namespace")
    assert inside.stdout.strip() == "True"


def test_a_runner_without_a_kit_says_how_to_join(tmp_path):
    (tmp_path / "studio.toml").write_text('name = "alpha"\nfederation = "north"\n')
    run = subprocess.run(
        [sys.executable, "-m", "federation.cli", "studio", "runner", "--home", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 3
    assert "join" in run.stderr
