"""The wire as real processes on loopback: TLS SuperLink, fleet proxy, coordinator's run, uplink, a trivial runner."""

import json
import signal
import socket
import ssl
import stat
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.proto.control_pb2 import ListRunsRequest, StartRunRequest, StopRunRequest
from flwr.proto.fab_pb2 import Fab
from flwr.proto.fleet_pb2 import PullMessagesRequest
from flwr.proto.node_pb2 import Node as NodeProto
from signed_instruction import PLAN_KEY, signed_instruction

from aggregator.fleet_proxy import FleetProxySettings
from aggregator.superlink import SuperLinkSettings, wait_until_healthy
from federation import certificates, child_process, keys
from federation.errors import FlowerError, IdentityError, RefusalCode
from federation.flower import coordinator, studio
from federation.flower.bundle import build_bundle, bundle_of
from federation.flower.coordinator import ASK_AGAIN, FOREIGN_RUN, FederationRun
from federation.flower.run_calls import RunLostError
from federation.flower.studio import FleetConnection
from federation.flower.transport import UnreachableError
from federation.keys import public_pem
from federation.messages import SignedUpdate, TrainRefusal, TrainRequest, TrainUpdate
from federation.records import read_reply, request_records

PARAMETERS = 100_000
SUPERLINK = "from aggregator.superlink import serve, SuperLinkSettings"
PROXY = "from aggregator.fleet_proxy import serve, FleetProxySettings"
UPLINK = (
    "from studio_node.uplink import serve, UplinkSettings; "
    "from federation.keys import load_node_key, read_public_pem"
)
RUNNER = """
import json, os, socket, sys, time
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
        log.write(json.loads(json.loads(request.instruction)["payload"])["campaign"] + "\\n")
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
        self.run = None
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
            "node_key=load_node_key(folder / 'keys' / 'node_key').private, "
            f"plan_key=read_public_pem({public_pem(PLAN_KEY.public_key())!r}), run_folder=folder / 'run', "
            "runner_socket=folder / 'run' / 'runner.sock', journal=folder / 'uplink.jsonl'))"
        )
        self.run_python(f"{studio}-uplink", "from pathlib import Path; " + code)

    def start_runner(self, studio):
        self.run_python(f"{studio}-runner", RUNNER, str(self.studio_folder(studio) / "run"))
        deadline = time.monotonic() + 120
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

    def open_run(self):
        run = FederationRun(self.superlink.access(), self.folder / "campaign.json", build_bundle())
        self.run = run.__enter__()

    def request(self, method, path, **options):
        context = ssl.create_default_context(cafile=str(self.ca))
        with httpx.Client(verify=context, trust_env=False, timeout=10) as client:
            return client.request(method, f"https://{self.fleet_address}{path}", **options)

    def get(self, path):
        return self.request("GET", path)

    def close(self):
        child_process.stop(self.children.values(), patience_s=5)
        if self.run is not None:
            self.run.close()


def request(campaign="one", value=0.5):
    instruction = signed_instruction(campaign=campaign)
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


def wait_update(run, message_id, timeout_s=30):
    """Pull as a round loop does: an unreachable SuperLink is asked again."""

    def replies():
        try:
            return list(run.pull([message_id]))
        except UnreachableError:
            return None

    reply = wait_for(replies, timeout_s, "reply")[0]
    assert reply.error_code is None
    answer = read_reply(reply.content)
    return answer.content if isinstance(answer, SignedUpdate) else answer


def exchange(run, node, campaign="one", timeout_s=30):
    message_id = run.push(node.node_id, request_records(request(campaign)), timeout_s)
    return wait_update(run, message_id, timeout_s)


@pytest.fixture(scope="module")
def wire(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setattr(coordinator, "HEARTBEAT_S", 0.5)
    wire = Wire(tmp_path_factory.mktemp("wire"))
    try:
        wire.start_superlink()
        wire.start_proxy()
        node_key = wire.create_studio("north")
        wire.start_runner("north")
        wire.wait_healthy()
        wire.open_run()
        wire.run.register_studio(node_key.public, "north")
        wire.start_uplink("north")
        wait_online(wire.run, "north")
        yield wire
    finally:
        wire.close()
        patch.undo()


@pytest.fixture
def node(wire):
    return wait_online(wire.run, "north")


def test_one_message_goes_there_and_back(wire, node):
    update = exchange(wire.run, node)
    assert isinstance(update, TrainUpdate)
    assert update.update.shape == (PARAMETERS,)
    assert np.all(update.update == np.float32(1.5))
    assert (update.plan_digest, update.ledger_sequence, update.ledger_hash) == ("a" * 64, 7, "b" * 64)


def test_no_two_coordinators_work_with_one_superlink(wire):
    with pytest.raises(FlowerError, match="another coordinator process"):
        FederationRun(wire.superlink.access(), wire.folder / "other.json", build_bundle()).__enter__()


def test_a_restarted_coordinator_continues_its_run_and_pulls_what_was_pending(wire, node):
    pending = wire.run.push(node.node_id, request_records(request()), 60)
    run_id = wire.run.run_id
    assert stat.S_IMODE((wire.folder / "campaign.json").stat().st_mode) == 0o600
    wire.run.close()
    wire.open_run()
    assert wire.run.resumed
    assert wire.run.run_id == run_id
    assert isinstance(wait_update(wire.run, pending), TrainUpdate)


def test_a_dead_run_is_replaced_and_its_questions_are_asked_again(wire, node):
    pending = wire.run.push(node.node_id, request_records(request()), 60)
    run_id = wire.run.run_id
    wire.run._control.StopRun(StopRunRequest(run_id=run_id))
    with pytest.raises(RunLostError):
        list(wire.run.pull([pending]))
    wire.run.open()
    assert not wire.run.resumed
    assert wire.run.run_id != run_id
    assert [reply.error_code for reply in wire.run.pull([pending])] == [ASK_AGAIN]
    assert isinstance(exchange(wire.run, node), TrainUpdate)


def test_a_bundle_of_other_code_is_refused_and_never_reaches_the_runner(wire, node):
    own = wire.run._bundle
    try:
        wire.run._bundle = bundle_of({"studio_node/client_app.py": b"raise SystemExit"})
        wire.run.open()
        assert not wire.run.resumed  # another bundle is another run
        assert exchange(wire.run, node, "foreign-code") == TrainRefusal(RefusalCode.BUNDLE_MISMATCH)
    finally:
        wire.run._bundle = own
        wire.run.open()
    assert "foreign-code" not in wire.asked("north")
    assert isinstance(exchange(wire.run, node), TrainUpdate)


def test_a_foreign_run_is_finished_as_failed_and_never_executed(wire, node):
    bundle = bundle_of({"a.py": b"raise SystemExit"})
    run_id = wire.run._control.StartRun(StartRunRequest(fab=Fab(content=bundle))).run_id

    def ended():
        run = wire.run._control.ListRuns(ListRunsRequest(run_id=run_id)).run_dict[run_id]
        return run.status if run.status.status == "finished" else None

    status = wait_for(ended, 10, "end of the foreign run")
    assert (status.sub_status, status.details) == ("failed", FOREIGN_RUN)
    assert isinstance(exchange(wire.run, node), TrainUpdate)


def test_a_killed_uplink_is_asked_again_by_its_activation_time(wire, node):
    wire.set_delay("north", 3)
    asked_at = time.time()
    wire.run.push(node.node_id, request_records(request("lost")), 60)
    wait_for(lambda: "lost" in wire.asked("north"), 10, "question at the runner")
    wire.set_delay("north", 0)
    wire.kill("north-uplink")
    wire.start_uplink("north")
    back = wait_online(wire.run, "north", 15, after=asked_at)
    assert isinstance(exchange(wire.run, back, "lost", 20), TrainUpdate)


def test_a_killed_runner_costs_one_refusal_and_is_used_again_when_it_is_back(wire, node):
    wire.set_delay("north", 60)
    pending = wire.run.push(node.node_id, request_records(request("slow")), 60)
    wait_for(lambda: "slow" in wire.asked("north"), 10, "question at the runner")
    wire.set_delay("north", 0)
    wire.kill("north-runner")
    assert wait_update(wire.run, pending, 10) == TrainRefusal(RefusalCode.INTERNAL)
    pending = wire.run.push(node.node_id, request_records(request("again")), 60)
    wire.start_runner("north")
    assert isinstance(wait_update(wire.run, pending, 10), TrainUpdate)


def test_a_killed_superlink_keeps_the_run_its_questions_and_its_replies(wire, node):
    run_id = wire.run.run_id
    wire.set_delay("north", 1.5)
    pending = wire.run.push(node.node_id, request_records(request("outage")), 60)
    wait_for(lambda: "outage" in wire.asked("north"), 10, "question at the runner")
    wire.set_delay("north", 0)
    wire.kill("superlink")
    with pytest.raises(UnreachableError):
        list(wire.run.pull([pending]))
    assert wire.get("/health").status_code == 502
    time.sleep(2)
    wire.start_superlink()
    assert isinstance(wait_update(wire.run, pending, 20), TrainUpdate)
    assert wire.run.run_id == run_id
    wait_online(wire.run, "north", 15)


def test_a_killed_fleet_proxy_only_delays_the_reply(wire, node):
    wire.set_delay("north", 1)
    pending = wire.run.push(node.node_id, request_records(request("proxy")), 60)
    wait_for(lambda: "proxy" in wire.asked("north"), 10, "question at the runner")
    wire.set_delay("north", 0)
    wire.kill("proxy")
    time.sleep(2)
    assert list(wire.run.pull([pending])) == []
    wire.start_proxy()
    assert isinstance(wait_update(wire.run, pending, 15), TrainUpdate)


def test_the_reply_of_a_node_that_went_offline_is_not_destroyed_by_asking_for_it(wire, node):
    replies = wire.events("north").count("reply")
    pending = wire.run.push(node.node_id, request_records(request()), 60)
    wait_for(lambda: wire.events("north").count("reply") > replies, 10, "reply on its way")
    wire.stop("north-uplink")
    assert not next(n for n in wire.run.nodes() if n.studio == "north").online
    for _ in range(3):
        assert list(wire.run.pull([pending])) == []
    expired = wire.run.push(node.node_id, request_records(request("expired")), 0.5)
    time.sleep(0.5)
    wire.start_uplink("north")
    wait_online(wire.run, "north")
    assert isinstance(wait_update(wire.run, pending, 10), TrainUpdate)
    assert isinstance(exchange(wire.run, node), TrainUpdate)
    assert "expired" not in wire.asked("north")
    assert [reply.error_code for reply in wire.run.pull([expired])] == [ASK_AGAIN]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/control/list-runs"),
        ("POST", "/v1/control/start-run"),
        ("POST", "/v1/control/register-node"),
        ("POST", "/v1/runtime/acquire-task"),
        ("POST", "/v1/fleet/register-node"),
        ("POST", "/v1/fleet/unregister-node"),
        ("POST", "/v1/fleet/%2e%2e/control/list-runs"),
        ("POST", "/v1/fleet/pull-messages?x=1"),
        ("GET", "/v1/fleet/pull-messages"),
        ("POST", "/health"),
        ("GET", "/docs"),
        ("GET", "/openapi.json"),
        ("GET", "/"),
    ],
)
def test_what_is_not_a_node_call_is_closed(wire, method, path):
    assert wire.request(method, path).status_code == 404


def test_an_unsigned_call_is_refused_by_the_superlink_itself(wire):
    unsigned = PullMessagesRequest(node=NodeProto(node_id=1)).SerializeToString()
    answer = wire.request(
        "POST",
        "/v1/fleet/pull-messages",
        content=unsigned,
        headers={"content-type": "application/x-protobuf", "accept": "application/x-protobuf"},
    )
    assert answer.status_code in (401, 415)


def connection(wire, key, *, ca=None, state="x.json"):
    return FleetConnection(
        wire.fleet_address, ca or wire.ca.read_bytes(), key, wire.folder / state, threading.Event()
    )


def test_an_unregistered_key_is_not_let_in(wire, monkeypatch):
    stranger = connection(wire, ec.generate_private_key(ec.SECP384R1()))
    with pytest.raises(UnreachableError, match="not admitted yet"):
        stranger.activate()
    monkeypatch.setattr(studio, "ADMISSION_WAIT_S", 0.0)
    with pytest.raises(IdentityError, match="does not know"):
        stranger.activate()
    stranger.close()


def test_another_authority_is_named_as_the_trouble_and_is_not_final(wire):
    foreign = certificates.create_authority("other", now=datetime.now(UTC)).certificate_pem
    lost = connection(wire, ec.generate_private_key(ec.SECP384R1()), ca=foreign)
    with pytest.raises(UnreachableError) as error:
        lost.activate()
    assert "authority" in error.value.hint
    lost.close()


def test_a_revoked_key_ends_the_uplink_with_that_word_and_never_comes_back(wire):
    node_key = wire.create_studio("south")
    node_id = wire.run.register_studio(node_key.public, "south")
    assert wire.run.register_studio(node_key.public, "south") == node_id  # admitting twice changes nothing
    wire.start_uplink("south")
    wait_online(wire.run, "south")
    wire.run.unregister_studio(node_id)
    assert wire.children.pop("south-uplink").wait(20) != 0
    assert "revoked" in wire.events("south")
    assert "south" not in [n.studio for n in wire.run.nodes()]
    with pytest.raises(IdentityError, match="revoked"):
        wire.run.register_studio(node_key.public, "south")
    again = connection(wire, node_key.private, state="south/run/node.json")
    with pytest.raises(IdentityError, match="revoked"):
        again.activate()
    again.close()


@pytest.mark.long
def test_a_superlink_away_for_longer_than_the_heartbeat_means_a_new_run(wire, node):
    run_id = wire.run.run_id
    wire.kill("superlink")
    time.sleep(70)
    wire.start_superlink()
    wait_until_healthy(f"127.0.0.1:{wire.superlink.port}", wire.ca.read_bytes(), 30)

    def lost():
        try:
            return list(wire.run.pull([f"{run_id}.{node.node_id}.{'0' * 64}"])) and False
        except RunLostError:
            return True

    wait_for(lost, 10, "lost run")
    wire.run.open()
    assert not wire.run.resumed
    assert isinstance(exchange(wire.run, wait_online(wire.run, "north")), TrainUpdate)


@pytest.mark.long
def test_everything_killed_at_once_goes_on_with_the_same_run(wire, node):
    run_id = wire.run.run_id
    replies = wire.events("north").count("reply")
    pending = wire.run.push(node.node_id, request_records(request("everything")), 120)
    wait_for(lambda: wire.events("north").count("reply") > replies, 10, "reply on its way")
    for name in ("north-uplink", "north-runner", "proxy", "superlink"):
        wire.kill(name)
    wire.run.close()
    time.sleep(15)
    for start in (wire.start_superlink, wire.start_proxy):
        start()
    wire.start_runner("north")
    wire.start_uplink("north")
    wire.wait_healthy()
    wire.open_run()
    assert (wire.run.resumed, wire.run.run_id) == (True, run_id)
    assert isinstance(wait_update(wire.run, pending, 20), TrainUpdate)


@pytest.mark.long
def test_an_uplink_that_forgot_its_node_id_is_let_in_once_its_predecessor_counts_as_offline(wire, node):
    wire.kill("north-uplink")
    (wire.studio_folder("north") / "run" / "node.json").unlink()
    killed_at = time.time()
    wire.start_uplink("north")
    wait_online(wire.run, "north", 60, after=killed_at)
    assert isinstance(exchange(wire.run, node), TrainUpdate)
