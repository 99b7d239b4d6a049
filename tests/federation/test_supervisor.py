"""The supervisor with real processes that write down when they start."""

import signal
import subprocess
import sys
import time

import pytest

from federation.durable import write_atomic

SUPERVISED = """
import sys
from pathlib import Path
from federation.supervisor import Service, supervise
folder = Path(sys.argv[1])
write = "import sys, time, os; open(sys.argv[1], 'a').write(f'{os.getpid()}\\\\n'); time.sleep(60)"
def service(name, files):
    return Service(name, (sys.executable, "-c", write, str(folder / name)), files=files)
sys.exit(supervise(
    [service("certified", (folder / "server.pem",)), service("other", ())], folder / "logs",
    progress=lambda line: print(line, flush=True),
))
"""


@pytest.fixture
def supervised(tmp_path):
    (tmp_path / "server.pem").write_text("first")
    process = subprocess.Popen(
        [sys.executable, "-c", SUPERVISED, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        yield tmp_path
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        process.stdout.close()


def starts(folder, name):
    path = folder / name
    return path.read_text().split() if path.exists() else []


def wait_for_starts(folder, name, count):
    deadline = time.monotonic() + 20
    while len(starts(folder, name)) < count:
        assert time.monotonic() < deadline, f"{name} was started {starts(folder, name)}"
        time.sleep(0.05)


def test_a_service_is_started_again_when_a_file_it_reads_is_replaced(supervised):
    wait_for_starts(supervised, "certified", 1)
    wait_for_starts(supervised, "other", 1)
    write_atomic(supervised / "server.pem", b"second")
    wait_for_starts(supervised, "certified", 2)
    time.sleep(0.5)
    first, second = starts(supervised, "certified")
    assert first != second
    assert len(starts(supervised, "other")) == 1
