"""The wire as real processes on loopback: TLS SuperLink, fleet proxy, coordinator's run, uplink, a trivial runner."""

import json
import os
import shutil
import signal
import socket
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from aggregator.fleet_proxy import FleetProxySettings
from aggregator.superlink import SuperLinkSettings, is_healthy, wait_until_healthy
from federation import certificates, child_process, keys
from federation.errors import FlowerError, RefusalCode
from federation.flower.bundle import build_bundle
from federation.flower.coordinator import ASK_AGAIN, FederationRun
from federation.flower.transport import UnreachableError
from federation.messages import TrainRefusal, TrainRequest, TrainUpdate
from federation.records import read_reply, request_records

PARAMETERS = 100_000
SUPERLINK = "from aggregator.superlink import serve, SuperLinkSettings"
PROXY = "from aggregator.fleet_proxy import serve, FleetProxySettings"
UPLINK = "from studio_node.uplink import serve, UplinkSettings; from federation.keys import load_node_key"
RUNNER = """
import os, socket, sys, time
from pathlib import Path
from federation import messages
from federation.errors import RefusalCode
folder = Path(sys.argv[1])
path = folder / "runner.sock"
path.unlink(missing_ok=True)
server = socket.socket(socket.AF_UNIX)
server.bind(str(path))
server.listen(1)
while True:
    connection, _ = server.accept()
    stream = connection.makefile("rb")
    request = messages.read_request(stream.read)
    with (folder / "asked").open("a") as log:
        log.write(request.instruction.decode() + "\\n")
    time.sleep(float((folder / "delay").read_text()) if (folder / "delay").exists() else 0.0)
    reply = messages.TrainUpdate(request.weights + 1, "a" * 64, 7, "b" * 64)
    try:
        connection.sendall(messages.encode_reply(reply))
    except OSError:
        pass
    stream.close()
    connection.close()
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Wire:
    """A federation of one or more studios; every process is stopped at the end whatever happens."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.children = {}
        now = datetime.now(UTC)
        authority = certificates.create_authority("wire", now=now)
        issued = certificates.issue_server_certificate(authority, ["localhost"], now=now)
        folder.mkdir(parents=True, exist_ok=True)
        self.ca = folder / "ca.crt"
        self.ca.write_bytes(authority.certificate_pem)
        (folder / "server.pem").write_bytes(issued.certificate_pem)
        keys.store_private(folder / "server.key", issued.key_pem)
        keys.create_secret(folder / "superlink.secret")
        self.superlink = SuperLinkSettings(
            port=free_port(),
            ca_certificate=self.ca,
            certificate=folder / "server.pem",
            key=folder / "server.key",
            secret=folder / "superlink.secret",
            folder=folder / "superlink",
        )
        self.proxy = FleetProxySettings(
            host="127.0.0.1",
            port=free_port(),
            certificate=folder / "server.pem",
            key=folder / "server.key",
            ca_certificate=self.ca,
            superlink=f"127.0.0.1:{self.superlink.port}",
        )
        self.fleet_address = f"127.0.0.1:{self.proxy.port}"

    def run_python(self, name, code, *arguments):
        log = (self.folder / f"{name}.log").open("ab")
        # PosixPath appears in the settings' repr.
        code = "from pathlib import Path; PosixPath = Path; " + code if "PosixPath" in code else code
        self.children[name] = child_process.start(
            [sys.executable, "-c", code, *arguments], stdout=log, stderr=log
        )
        log.close()

    def start_superlink(self):
        self.run_python("superlink", f"{SUPERLINK}; serve({self.superlink!r})")

    def start_proxy(self):
        code = f"{PROXY}; from aggregator.fleet_proxy import ProxyLimits; serve({self.proxy!r})"
        self.run_python("proxy", code)

    def studio_folder(self, studio):
        return self.folder / studio

    def create_studio(self, studio):
        self.studio_folder(studio).mkdir()
        (self.studio_folder(studio) / "run").mkdir(mode=0o700)
        return keys.create_node_key(self.studio_folder(studio) / "keys")

    def start_uplink(self, studio):
        folder = self.studio_folder(studio)
        code = (
            f"{UPLINK}; folder = Path({str(folder)!r}); serve(UplinkSettings("
            f"fleet_address={self.fleet_address!r}, ca_certificate=Path({str(self.ca)!r}).read_bytes(), "
            "node_key=load_node_key(folder / 'keys' / 'node_key').private, run_folder=folder / 'run', "
            "runner_socket=folder / 'run' / 'runner.sock', journal=folder / 'uplink.jsonl'))"
        )
        self.run_python(f"{studio}-uplink", "from pathlib import Path; " + code)

    def start_runner(self, studio):
        self.run_python(f"{studio}-runner", RUNNER, str(self.studio_folder(studio) / "run"))
        deadline = time.monotonic() + 20
        while not (self.studio_folder(studio) / "run" / "runner.sock").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def set_delay(self, studio, seconds):
        (self.studio_folder(studio) / "run" / "delay").write_text(str(seconds))

    def asked(self, studio):
        log = self.studio_folder(studio) / "run" / "asked"
        return log.read_text().split() if log.exists() else []

    def events(self, studio):
        log = self.studio_folder(studio) / "uplink.jsonl"
        return [json.loads(line)["event"] for line in log.read_text().splitlines()] if log.exists() else []

    def kill(self, name):
        child_process.signal_group(self.children[name], signal.SIGKILL)
        self.children.pop(name).wait()

    def stop(self, name):
        child_process.stop([self.children.pop(name)])

    def wait_healthy(self):
        wait_until_healthy(self.fleet_address, self.ca.read_bytes(), 30)

    def open_run(self, campaign="campaign"):
        return FederationRun(self.superlink.access(), self.folder / f"{campaign}.json", build_bundle())

    def close(self):
        child_process.stop(self.children.values())


def request(instruction=b"one", value=0.5):
    return TrainRequest(b"plan", instruction, np.full(PARAMETERS, value, np.float32))


def wait_for(condition, timeout_s, what):
    deadline = time.monotonic() + timeout_s
    while not (result := condition()):
        assert time.monotonic() < deadline, f"no {what} within {timeout_s} s"
        time.sleep(0.05)
    return result


def wait_online(run, studio, timeout_s=30, after=0.0):
    return wait_for(
        lambda: next(
            (n for n in run.nodes() if n.studio == studio and n.online and n.last_activated_at > after), None
        ),
        timeout_s,
        f"{studio} online",
    )


def wait_reply(run, message_id, timeout_s=30):
    """Pull as a round loop does: an unreachable SuperLink is asked again."""

    def replies():
        try:
            return list(run.pull([message_id]))
        except UnreachableError:
            return None

    return wait_for(replies, timeout_s, "reply")[0]


def exchange(run, node, instruction=b"one", timeout_s=30):
    message_id = run.push(node.node_id, request_records(request(instruction)), timeout_s)
    return wait_reply(run, message_id, timeout_s)


@pytest.fixture(scope="module")
def wire(tmp_path_factory):
    wire = Wire(tmp_path_factory.mktemp("wire"))
    try:
        wire.start_superlink()
        wire.start_proxy()
        node_key = wire.create_studio("north")
        wire.start_runner("north")
        wire.wait_healthy()
        with wire.open_run() as run:
            run.register_studio(node_key.public, "north")
            wire.start_uplink("north")
            wire.run = run
            wait_online(run, "north")
            yield wire
    finally:
        wire.close()
        shutil.rmtree(wire.folder, ignore_errors=True)


def test_one_message_goes_there_and_back(wire):
    node = wait_online(wire.run, "north")
    started = time.monotonic()
    reply = exchange(wire.run, node)
    update = read_reply(reply.content)
    assert isinstance(update, TrainUpdate)
    assert update.update.shape == (PARAMETERS,)
    assert np.all(update.update == np.float32(1.5))
    assert (update.plan_digest, update.ledger_sequence, update.ledger_hash) == ("a" * 64, 7, "b" * 64)
    print("first exchange", time.monotonic() - started)
