"""``studio run --isolate``: from inside the runner's network namespace no address answers, and rounds go on."""

import ctypes
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from federation.errors import FedrotoError, RefusalCode
from federation.messages import TrainUpdate
from studio_node import network_namespace, node
from studio_node.network_namespace import isolated, require_permission
from studio_node.runner_client import ask_runner

ROOT = Path(__file__).parents[2]
PROBE = """
import json, socket, sys
from studio_node.isolation import isolation_here
answers = []
for family, host, port in json.loads(sys.argv[1]):
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.settimeout(2)
            probe.connect((host, port))
        answers.append(host)
    except OSError:
        pass
try:
    socket.getaddrinfo("localhost.fedroto.invalid", 80)
    answers.append("names")
except OSError:
    pass
print(json.dumps([answers, isolation_here().isolated]))
"""
PLAIN_USER = """
import ctypes, os, socket, sys
from studio_node.network_namespace import leave_network
NOBODY, PR_SET_DUMPABLE = 65534, 4
os.setgid(NOBODY)
os.setuid(NOBODY)
ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1)  # as after a login: /proc/self is the user's own
try:
    leave_network()
except PermissionError:
    sys.exit(print("EPERM"))
assert (os.getuid(), os.getgid()) == (NOBODY, NOBODY)
with socket.socket() as probe:
    print("unreachable" if probe.connect_ex(("127.0.0.1", int(sys.argv[1]))) else "reached")
"""


@pytest.fixture(autouse=True)
def permitted():
    try:
        require_permission()
    except FedrotoError as error:
        pytest.skip(f"network namespaces are not permitted here: {error}")


@pytest.fixture
def listener():
    """A server of this machine: what is tried first, to see that the probe works."""
    with socket.socket() as server:
        server.bind(("0.0.0.0", 0))
        server.listen(16)
        yield server.getsockname()[1]


def addresses(port: int) -> list[tuple[int, str, int]]:
    own = socket.gethostbyname(socket.gethostname())
    inet, inet6 = int(socket.AF_INET), int(socket.AF_INET6)
    return [
        (inet, "127.0.0.1", port),
        (inet, own, port),
        (inet, "192.0.2.1", 80),
        (inet, "10.0.0.1", 53),
        (inet6, "::1", port),
        (inet6, "2001:db8::1", 80),
    ]


def probed(command: tuple[str, ...]) -> list:
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, timeout=60)
    return json.loads(done.stdout)


def test_no_address_answers_from_inside_and_outside_the_same_probe_finds_one(listener):
    probe = (sys.executable, "-c", PROBE, json.dumps(addresses(listener)))
    answers, _ = probed(probe)
    assert "127.0.0.1" in answers
    assert probed(isolated(probe)) == [[], True]


def test_a_plain_user_can_do_it_too(listener):
    if os.geteuid() != 0:
        pytest.skip("the other tests run as a plain user already")
    # A new process: one forked from this may have threads, and a process with threads gets no user namespace.
    done = subprocess.run(
        (sys.executable, "-c", PLAIN_USER, str(listener)),
        capture_output=True, text=True, cwd=ROOT, timeout=60, check=False,
    )  # fmt: skip
    if done.stdout.startswith("EPERM"):
        pytest.skip("this kernel lets no plain user make a user namespace")
    assert (done.stdout, done.returncode) == ("unreachable\n", 0), done.stderr


def test_the_isolated_runner_answers_on_its_socket_and_reaches_nothing(studio, listener):
    service = node.services(studio.home, isolate=True)[0]
    runner = subprocess.Popen(
        service.argv, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, text=True
    )
    try:
        ready = json.loads(runner.stdout.readline())
        assert ready["isolated"] is True
        assert Path(f"/proc/{runner.pid}/ns/net").readlink() != Path("/proc/self/ns/net").readlink()
        interfaces = Path(f"/proc/{runner.pid}/net/dev").read_text().splitlines()[2:]
        assert [line.split(":")[0].strip() for line in interfaces] == ["lo"]
        assert reached_from(runner.pid, addresses(listener)) == []
        limits = Path(f"/proc/{runner.pid}/limits").read_text()
        assert re.search(
            r"^Max core file size +0 +0 ", limits, re.MULTILINE
        )  # a crash leaves no plates behind
        socket_path = studio.home / "run" / "runner.sock"
        reply = ask_runner(socket_path, studio.request(), timeout_s=60)
        assert isinstance(reply, TrainUpdate), RefusalCode(reply.code).name
    finally:
        runner.send_signal(signal.SIGTERM)
        assert runner.wait(timeout=20) == 0


def reached_from(process: int, hosts: list[tuple[int, str, int]]) -> list[str]:
    """Join a process's own network namespace and try addresses from in there; returns those that answer."""
    libc = ctypes.CDLL(None, use_errno=True)
    came, gone = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            for name in ("user", "net"):
                descriptor = os.open(f"/proc/{process}/ns/{name}", os.O_RDONLY)
                if libc.setns(descriptor, 0) and name == "net":
                    raise OSError(ctypes.get_errno(), "setns")  # one's own user namespace cannot be joined
            answers = []
            for family, host, port in hosts:
                with socket.socket(family, socket.SOCK_STREAM) as probe:
                    probe.settimeout(2)
                    if probe.connect_ex((host, port)) == 0:
                        answers.append(host)
            os.write(gone, json.dumps(answers).encode())
        except BaseException as error:
            os.write(gone, json.dumps([repr(error)]).encode())
        finally:
            os._exit(0)
    os.close(gone)
    with os.fdopen(came, "rb") as pipe:
        answers = json.loads(pipe.read())
    os.waitpid(child, 0)
    return answers


def test_an_isolated_program_ends_with_its_parent():
    script = (
        "import subprocess, sys, time, federation.child_process as c;"
        f"child = c.start({isolated((sys.executable, '-c', 'import time; time.sleep(60)'))!r});"
        "print(child.pid, flush=True); time.sleep(1.5)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    time.sleep(1.0)
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and _runs(child):
        time.sleep(0.1)
    assert not _runs(child)


def _runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_where_it_is_not_permitted_nothing_starts_and_the_reason_is_said(studio, monkeypatch):
    refused = (sys.executable, "-c", "raise SystemExit('EPERM: Operation not permitted')")
    monkeypatch.setattr(network_namespace, "isolated", lambda _: refused)
    monkeypatch.setattr(node, "supervise", lambda *_, **__: pytest.fail("something was started"))
    with pytest.raises(FedrotoError, match=r"EPERM.*nothing was started") as raised:
        node.run(studio.home, progress=lambda _: None, isolate=True)
    assert "systemd" in raised.value.hint
    assert "--isolate" in raised.value.hint
