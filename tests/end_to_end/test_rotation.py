"""Keys and certificates change while the federation runs: real commands, real processes, no studio restarted."""

import json
import socket
import ssl
import subprocess
import sys
import time

import numpy as np
import pytest
from signed_instruction import signed_instruction

from aggregator.replies import INVALID_BUNDLE
from aggregator.superlink import SuperLinkSettings, wait_until_healthy
from federation import child_process, keys
from federation.flower import coordinator
from federation.flower.bundle import build_bundle
from federation.flower.coordinator import FederationRun
from federation.flower.run_calls import RunLostError
from federation.flower.transport import UnreachableError
from federation.keys import PLAN_KEY, load_plan_key
from federation.messages import TrainRequest
from federation.records import read_reply, request_records

PATIENCE_S = 100  # for one step on a busy machine; each takes a few seconds on an idle one
RUNNER = """
import os, socket, sys
from federation import messages
folder = sys.argv[1]
os.chdir(folder)
server = socket.socket(socket.AF_UNIX)
server.bind("runner.sock")
server.listen(1)
while True:
    connection, _ = server.accept()
    with connection, connection.makefile("rb") as stream:
        try:
            request = messages.read_request(stream.read)
        except Exception:
            continue
        reply = messages.TrainUpdate(request.weights + 1, "a" * 64, 7, "b" * 64)
        connection.sendall(messages.encode_reply(reply))
"""


class Federation:
    """One coordinator with its standing processes, one studio with its uplink and a trivial runner."""

    def __init__(self, folder):
        self.folder, self.home, self.node = folder, folder / "fed", folder / "node"
        self.children = []
        self.ports = free_ports(3)

    def fedroto(self, *words, status=0):
        command = [sys.executable, "-m", "federation.cli", *map(str, words), "--json"]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        assert ended.returncode == status, ended.stdout + ended.stderr
        return json.loads(ended.stdout)

    def start(self, name, *command):
        with (self.folder / f"{name}.log").open("ab") as log:
            child = child_process.start([sys.executable, *command], stdout=log, stderr=log)
        self.children.append(child)
        return child

    def set_up(self):
        fleet, service, superlink = self.ports
        made = self.fedroto(
            *("coordinator", "init", "--home", self.home, "--name", "north", "--host", "localhost"),
            *("--fleet-port", fleet, "--service-port", service, "--superlink-port", superlink),
        )
        asked = self.fedroto(
            "studio", "init", "--home", self.node, "--name", "alder", "--federation", "north"
        )
        admitted = self.fedroto(
            *("coordinator", "admit", asked["request"], "--home", self.home),
            *("--fingerprint", asked["fingerprint"]),
        )
        self.fedroto(
            "studio", "join", admitted["kit"], "--home", self.node, "--fingerprint", made["plan_key"]
        )
        self.serve = self.start("serve", "-m", "federation.cli", "coordinator", "serve", "--home", self.home)
        (self.node / "run").mkdir(mode=0o700)
        self.start("runner", "-c", RUNNER, self.node / "run")
        self.uplink = self.start("uplink", "-m", "federation.cli", "studio", "uplink", "--home", self.node)
        wait_until_healthy(f"localhost:{fleet}", (self.home / "ca.crt").read_bytes(), PATIENCE_S)
        access = SuperLinkSettings.of_home(self.home).access()
        self.run = FederationRun(access, self.folder / "run.json", build_bundle())
        self.run.__enter__()
        return self

    def close(self):
        child_process.stop(self.children, patience_s=8)
        if hasattr(self, "run"):
            self.run.close()

    def wait_online(self, condition=lambda node: True):
        def found():
            return next((node for node in self.run.nodes() if node.online and condition(node)), None)

        return self.wait_for(found, "node online") or self.wait_for(found, "node online")

    def wait_for(self, condition, what, timeout_s=PATIENCE_S):
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                if result := condition():
                    return result
            except UnreachableError:
                pass
            except (
                RunLostError
            ):  # a SuperLink that took a minute to be back; questions of the old run are lost
                self.run.open()
                return None
            assert time.monotonic() < deadline, f"no {what} within {timeout_s} s, see {self.folder}"
            time.sleep(0.1)

    def exchange(self, node):
        """Ask as the round loop does: after a restart of the SuperLink an error, or a lost run, is asked again."""
        instruction = signed_instruction(load_plan_key(self.home / "keys" / PLAN_KEY))
        question = request_records(TrainRequest(b"plan", instruction, np.zeros(10, np.float32)))
        while True:
            self.wait_online(lambda one: one.node_id == node.node_id)
            message = self.wait_for(lambda: self.run.push(node.node_id, question, PATIENCE_S), "question out")
            replies = message and self.wait_for(
                lambda message=message: list(self.run.pull([message])), "reply"
            )
            if replies and replies[0].content is not None:
                return read_reply(replies[0].content).content
            assert not replies or replies[0].error_code != INVALID_BUNDLE

    def certificate_shown(self):
        context = ssl.create_default_context(cafile=str(self.home / "ca.crt"))
        with (
            socket.create_connection(("localhost", self.ports[0]), 5) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as connection,
        ):
            return connection.getpeercert()["serialNumber"]


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture(scope="module")
def federation(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setattr(coordinator, "HEARTBEAT_S", 0.5)
    federation = Federation(tmp_path_factory.mktemp("rotation"))
    try:
        yield federation.set_up()
    finally:
        federation.close()
        patch.undo()


def test_a_renewed_certificate_is_shown_within_seconds_and_no_studio_is_restarted(federation):
    assert federation.exchange(federation.wait_online()).update[0] == 1.0
    before = federation.certificate_shown()
    federation.fedroto("coordinator", "renew-certificate", "--home", federation.home)

    def renewed():
        try:
            return federation.certificate_shown() != before
        except OSError:
            return False

    federation.wait_for(renewed, "renewed certificate")
    assert federation.exchange(federation.wait_online()).update[0] == 1.0
    assert federation.uplink.poll() is None
    assert federation.serve.poll() is None


def test_a_studios_key_is_replaced_while_its_uplink_goes_on(federation):
    old = federation.wait_online()
    asked = federation.fedroto("studio", "rotate", "--home", federation.node)
    assert (
        federation.exchange(old).update[0] == 1.0
    )  # the old key serves until the coordinator has the new one
    assert asked["sent_to"] == f"localhost:{federation.ports[1]}"
    refused = federation.fedroto(
        *("coordinator", "rotate", "alder", "--home", federation.home),
        *("--fingerprint", "SHA256:" + "A" * 43),
        status=3,
    )
    assert "no request of a studio 'alder' with key" in refused["error"]
    rotated = federation.fedroto(
        *("coordinator", "rotate", "alder", "--home", federation.home),
        *("--fingerprint", asked["fingerprint"]),
    )
    new = federation.wait_online(lambda node: node.node_id != old.node_id)
    assert federation.exchange(new).update[0] == 1.0
    assert federation.uplink.poll() is None
    assert [node.node_id for node in federation.run.nodes()] == [new.node_id]
    federation.fedroto("studio", "join", rotated["kit"], "--home", federation.node)
    key = keys.load_node_key(federation.node / "keys" / "node_key").private.public_key()
    assert keys.fingerprint(key) == asked["fingerprint"] == rotated["fingerprint"]


def test_a_retired_key_never_comes_back(federation):
    retired = keys.load_node_key(federation.node / "keys" / "node_key.replaced")
    with pytest.raises(Exception, match="cannot come back"):
        federation.run.register_studio(retired.public, "alder")


def test_the_doctor_finds_both_homes_of_a_running_federation_in_order(federation):
    federation.wait_online()
    for home, names in (
        (
            federation.node,
            {"kit", "runner", "uplink", "fleet-port", "fleet-tls", "fleet-answer", "clock", "releases-tls"},
        ),
        (
            federation.home,
            {"superlink-answer", "fleet-answer", "releases-answer", "exposure", "certificate-fit"},
        ),
    ):
        examined = federation.fedroto("doctor", "--home", home)
        verdicts = {finding["name"]: finding["verdict"] for finding in examined["findings"]}
        assert {name: verdicts.get(name) for name in names} == dict.fromkeys(names, "ok"), examined
