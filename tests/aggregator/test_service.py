import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from aggregator import release_servicer, service
from aggregator.registry import Registry
from aggregator.release_check import BenchmarkRun, check_candidate
from aggregator.release_draft import Draft
from federation import keys, release_download
from federation.certificates import create_authority
from federation.config import FederationConfig
from federation.errors import FedrotoError, IdentityError, ReleaseError, SignatureError
from federation.held_releases import HeldReleases, verified_release
from federation.homes import CoordinatorHome
from federation.proto import coordinator_pb2 as wire
from federation.proto import coordinator_pb2_grpc as wire_grpc
from federation.release_client import pull
from federation.release_manifest import ReleaseManifest
from federation.set_up import init_coordinator

CLIPS = tuple(f"clip {index}" for index in range(12))
WEIGHTS = np.random.default_rng(0).bytes(900_000)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A coordinator's home with two releases."""
    root = tmp_path_factory.mktemp("coordinator") / "home"
    init_coordinator(root, FederationConfig(name="north", hosts=("localhost",)), now=datetime.now(UTC))
    publish(root)
    publish(root)
    return root


def publish(root):
    place = CoordinatorHome(root)
    errors = np.linspace(1, 2, len(CLIPS))
    run = BenchmarkRun("procedural/1", CLIPS, {"model": tuple(errors / 2), "Nuke smooth": tuple(errors)})
    weights = root / "candidate.safetensors"
    weights.write_bytes(WEIGHTS)
    draft = Draft(weights, check_candidate(run, None), "fusion-1", "ab" * 32, 1_800_000_000)
    registry = Registry(place.releases, federation="north", release_key_pem=place.release_key.read_bytes())
    return registry.publish(draft, place.keys / "release_key")


@pytest.fixture(scope="module")
def port(home):
    with service.serving(home, host="127.0.0.1", port=0) as running:
        yield running.port


@contextmanager
def connected(home, port, ca_pem=None):
    credentials = grpc.ssl_channel_credentials(ca_pem or CoordinatorHome(home).ca.read_bytes())
    options = [("grpc.enable_http_proxy", 0)]
    with grpc.secure_channel(f"localhost:{port}", credentials, options) as channel:
        yield channel


def refused(call, code):
    with pytest.raises(grpc.RpcError) as raised:
        call()
    assert raised.value.code() == code
    return raised.value.details()


def fetch(home, port, destination, number=None, **changes):
    place = CoordinatorHome(home)
    arguments = {
        "address": f"localhost:{port}",
        "ca_pem": place.ca.read_bytes(),
        "release_key_pem": place.release_key.read_bytes(),
        "destination": destination,
        "number": number,
    }
    return pull(**{**arguments, **changes})


class TestTheService:
    def test_lists_what_there_is(self, home, port):
        with connected(home, port) as channel:
            answer = wire_grpc.ReleasesStub(channel).ListReleases(wire.ListReleasesRequest(), timeout=10)
        assert answer.federation == "north"
        assert [(item.number, item.parent) for item in answer.releases] == [(1, 0), (2, 0)]

    def test_answers_the_standard_health_check(self, home, port):
        with connected(home, port) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            for name in ("", *service.SERVICE_NAMES):
                answer = stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=10)
                assert answer.status == health_pb2.HealthCheckResponse.SERVING

    def test_hands_out_the_newest_manifest_when_none_is_named(self, home, port):
        with connected(home, port) as channel:
            answer = wire_grpc.ReleasesStub(channel).GetManifest(wire.GetManifestRequest(), timeout=10)
        assert answer.number == 2
        assert answer.manifest == (home / "releases" / "0002" / "manifest.json").read_bytes()

    @pytest.mark.parametrize(
        "file",
        [
            "../highest",
            "../../keys/ca.key",
            "/etc/passwd",
            "",
            "model.sig/..",
            "weights.safetensors/",
            ".",
            "manifest.json\0",
        ],
    )
    def test_serves_no_file_that_the_manifest_does_not_list(self, home, port, file):
        with connected(home, port) as channel:
            stub = wire_grpc.ReleasesStub(channel)
            request = wire.DownloadRequest(number=1, file=file)
            refused(lambda: list(stub.Download(request, timeout=10)), grpc.StatusCode.NOT_FOUND)

    @pytest.mark.parametrize("number", [3, 2**32 - 1])
    def test_has_no_other_releases(self, home, port, number):
        with connected(home, port) as channel:
            stub = wire_grpc.ReleasesStub(channel)
            refused(
                lambda: stub.GetManifest(wire.GetManifestRequest(number=number), timeout=10),
                grpc.StatusCode.NOT_FOUND,
            )
            request = wire.DownloadRequest(number=number, file="README.md")
            refused(lambda: list(stub.Download(request, timeout=10)), grpc.StatusCode.NOT_FOUND)

    @pytest.mark.parametrize("offset", [0, 1, 262_144, 500_000, 899_999, 900_000])
    def test_streams_a_file_from_any_offset_in_bounded_chunks(self, home, port, offset):
        with connected(home, port) as channel:
            request = wire.DownloadRequest(number=1, file="weights.safetensors", offset=offset)
            chunks = list(wire_grpc.ReleasesStub(channel).Download(request, timeout=10))
        assert b"".join(chunk.data for chunk in chunks) == WEIGHTS[offset:]
        assert all(len(chunk.data) <= release_servicer.CHUNK_BYTES for chunk in chunks)

    @pytest.mark.parametrize("offset", [900_001, 2**63, 2**64 - 1])
    def test_refuses_an_offset_beyond_the_file(self, home, port, offset):
        with connected(home, port) as channel:
            request = wire.DownloadRequest(number=1, file="weights.safetensors", offset=offset)
            call = lambda: list(wire_grpc.ReleasesStub(channel).Download(request, timeout=10))  # noqa: E731
            refused(call, grpc.StatusCode.OUT_OF_RANGE)

    def test_refuses_a_huge_request(self, home, port):
        with connected(home, port) as channel:
            request = wire.DownloadRequest(number=1, file="x" * 10_000)
            call = lambda: list(wire_grpc.ReleasesStub(channel).Download(request, timeout=10))  # noqa: E731
            refused(call, grpc.StatusCode.RESOURCE_EXHAUSTED)

    def test_talks_only_to_tls(self, home, port):
        with grpc.insecure_channel(f"localhost:{port}", [("grpc.enable_http_proxy", 0)]) as channel:
            stub = wire_grpc.ReleasesStub(channel)
            refused(
                lambda: stub.ListReleases(wire.ListReleasesRequest(), timeout=10), grpc.StatusCode.UNAVAILABLE
            )


def test_a_stream_that_is_too_slow_is_ended(home):
    ticks = iter([0.0, 0.0, 301.0])
    place = CoordinatorHome(home)
    registry = Registry(place.releases, federation="north", release_key_pem=place.release_key.read_bytes())
    servicer = release_servicer.ReleasesServicer(
        release_servicer.VerifiedReleases(registry), clock=lambda: next(ticks)
    )

    class Ended(Exception):
        pass

    class Context:
        def abort(self, code, details):
            raise Ended(code)

    chunks = servicer.Download(wire.DownloadRequest(number=1, file="weights.safetensors"), Context())
    assert len(next(chunks).data) == release_servicer.CHUNK_BYTES
    with pytest.raises(Ended, match="DEADLINE_EXCEEDED"):
        next(chunks)


class TestADamagedRelease:
    @pytest.fixture
    def damaged(self, home, tmp_path):
        """A copy of the home whose newest release was changed on disk."""
        copy = tmp_path / "home"
        shutil.copytree(home, copy)
        with service.serving(copy, host="127.0.0.1", port=0) as running:
            with connected(
                copy, running.port
            ) as channel:  # both are verified and remembered before the damage
                wire_grpc.ReleasesStub(channel).ListReleases(wire.ListReleasesRequest(), timeout=10)
            path = copy / "releases" / "0002" / "README.md"
            path.write_text(path.read_text().replace("Privacy", "privacy"))
            yield copy, running.port

    def test_is_neither_listed_nor_served_and_no_older_one_takes_its_place(self, damaged):
        home, port = damaged
        with connected(home, port) as channel:
            stub = wire_grpc.ReleasesStub(channel)
            listed = stub.ListReleases(wire.ListReleasesRequest(), timeout=10)
            assert [item.number for item in listed.releases] == [1]
            said = refused(
                lambda: stub.GetManifest(wire.GetManifestRequest(), timeout=10), grpc.StatusCode.DATA_LOSS
            )
            assert said == "release 2 is damaged at the coordinator"
            assert str(home) not in said

    def test_ends_a_pull_with_a_clear_error(self, damaged, tmp_path):
        home, port = damaged
        with pytest.raises(ReleaseError, match="damaged at the coordinator"):
            fetch(home, port, tmp_path / "releases")


class TestPulling:
    def test_brings_the_newest_release_verified(self, home, port, tmp_path):
        said = []
        pulled = fetch(home, port, tmp_path / "releases", progress=said.append, federation="north")
        assert pulled.release.number == 2
        assert pulled.release.weights.read_bytes() == WEIGHTS
        assert pulled.bytes_fetched == sum(e.size_bytes for e in pulled.release.manifest.files.values())
        assert "fetching weights.safetensors, 900000 bytes" in " ".join(said)
        again = fetch(home, port, tmp_path / "releases")
        assert (again.already_held, again.bytes_fetched) == (True, 0)

    def test_refuses_an_older_release_than_the_newest_held(self, home, port, tmp_path):
        assert fetch(home, port, tmp_path / "releases", number=1).release.number == 1
        assert fetch(home, port, tmp_path / "releases").release.number == 2
        with pytest.raises(ReleaseError, match="release 1 is older than release 2"):
            fetch(home, port, tmp_path / "releases", number=1)

    @pytest.mark.parametrize("number", [0, -1, 1_000_000])
    def test_refuses_what_is_no_number(self, home, port, tmp_path, number):
        with pytest.raises(ReleaseError, match="no release's number"):
            fetch(home, port, tmp_path / "releases", number=number)

    def test_says_that_there_is_no_such_release(self, home, port, tmp_path):
        with pytest.raises(ReleaseError, match="has it not: there is no release 7"):
            fetch(home, port, tmp_path / "releases", number=7)

    def test_trusts_no_other_authority(self, home, port, tmp_path):
        other = create_authority("north", now=datetime.now(UTC)).certificate_pem
        with pytest.raises(IdentityError, match="not the federation's coordinator") as raised:
            fetch(home, port, tmp_path / "releases", ca_pem=other)
        assert "TLS" in raised.value.hint

    def test_trusts_no_other_release_key(self, home, port, tmp_path):
        other = keys.create_release_key(tmp_path / "other")
        with pytest.raises(SignatureError, match="the release-log is signed by key"):
            fetch(home, port, tmp_path / "releases", release_key_pem=keys.public_pem(other.public_key()))
        assert not list((tmp_path / "releases").glob("0*"))

    def test_gives_up_on_a_coordinator_that_is_not_there(self, home, tmp_path, monkeypatch):
        monkeypatch.setattr(release_download, "PAUSE_SECONDS", 0.01)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            free = taken.getsockname()[1]
        with pytest.raises(ReleaseError, match="does not answer") as raised:
            fetch(home, free, tmp_path / "releases")
        assert "pull again" in raised.value.hint

    def test_goes_on_where_an_interrupted_pull_stopped(self, home, port, tmp_path, monkeypatch):
        """The first pull dies after a chunk of the weights; the second transfers only the rest of them."""
        destination = tmp_path / "releases"
        real = release_download._pieces

        class Killed(BaseException):
            pass

        def dying(chunks, offset, entry):
            for data in real(chunks, offset, entry):
                yield data
                if entry.size_bytes == len(WEIGHTS):
                    raise Killed

        with monkeypatch.context() as patched:
            patched.setattr(release_download, "_pieces", dying)
            with pytest.raises(Killed):
                fetch(home, port, destination)
        (part,) = destination.glob(".pull-*/weights.safetensors.part")
        assert part.stat().st_size == release_servicer.CHUNK_BYTES
        assert not list(destination.glob("0*"))
        pulled = fetch(home, port, destination)
        assert pulled.bytes_fetched == len(WEIGHTS) - release_servicer.CHUNK_BYTES
        assert pulled.release.weights.read_bytes() == WEIGHTS
        assert not list(destination.glob(".pull-*"))

    def test_throws_away_a_part_that_was_damaged_and_says_so(self, home, port, tmp_path):
        destination = tmp_path / "releases"
        manifest_bytes = (home / "releases" / "0002" / "manifest.json").read_bytes()
        destination.mkdir()
        workshop = HeldReleases(destination, release_key_pem=b"").workshop(
            ReleaseManifest.from_bytes(manifest_bytes)
        )
        (workshop / "weights.safetensors.part").write_bytes(b"#" * 1000)
        with pytest.raises(ReleaseError, match="arrived damaged"):
            fetch(home, port, destination)
        assert fetch(home, port, destination).release.weights.read_bytes() == WEIGHTS

    def test_survives_a_connection_that_breaks_again_and_again(self, home, port, tmp_path, monkeypatch):
        monkeypatch.setattr(release_download, "PAUSE_SECONDS", 0.01)
        with breaking_proxy(port, bytes_per_connection=400_000) as (proxy_port, connections):
            pulled = fetch(home, proxy_port, tmp_path / "releases")
        assert pulled.release.weights.read_bytes() == WEIGHTS
        assert len(connections) >= 3

    def test_refuses_a_server_that_sends_more_or_other_bytes_than_it_said(self):
        entry = release_download.FileEntry(size_bytes=4, sha256="ab" * 32)
        for chunks in (
            [wire.Chunk(offset=0, data=b"12345")],
            [wire.Chunk(offset=1, data=b"1")],
            [wire.Chunk(offset=0, data=b"12"), wire.Chunk(offset=0, data=b"34")],
            [wire.Chunk(offset=0, data=b"")],
            [wire.Chunk(offset=0, data=b"123")],
        ):
            with pytest.raises(ReleaseError, match="the coordinator"):
                list(release_download._pieces(iter(chunks), 0, entry))


@contextmanager
def breaking_proxy(port, bytes_per_connection):
    """A TCP proxy that closes every connection after so many bytes towards the client."""
    listener = socket.create_server(("127.0.0.1", 0))
    connections = []

    def close(end):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()

    def pump(source, sink, limit):
        passed = 0
        with suppress(OSError):
            while (data := source.recv(16_384)) and not (limit and passed > limit):
                sink.sendall(data)
                passed += len(data)
        close(source)
        close(sink)

    def accept():
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", port))
            connections.append(client)
            threading.Thread(target=pump, args=(client, server, 0), daemon=True).start()
            threading.Thread(target=pump, args=(server, client, bytes_per_connection), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1], connections
    finally:
        close(listener)


def test_more_calls_than_the_limit_are_refused_and_not_queued(home, monkeypatch):
    monkeypatch.setattr(service, "RPCS_MAX", 2)
    go_on, busy = threading.Event(), threading.Semaphore(0)
    real = release_servicer.VerifiedReleases.numbers

    def slow(self):
        busy.release()
        assert go_on.wait(30)
        return real(self)

    monkeypatch.setattr(release_servicer.VerifiedReleases, "numbers", slow)
    with service.serving(home, host="127.0.0.1", port=0) as running, connected(home, running.port) as channel:
        stub = wire_grpc.ReleasesStub(channel)
        request = wire.ListReleasesRequest()
        first = [stub.ListReleases.future(request, timeout=30) for _ in range(2)]
        assert all(busy.acquire(timeout=20) for _ in first)
        refused(lambda: stub.ListReleases(request, timeout=10), grpc.StatusCode.RESOURCE_EXHAUSTED)
        go_on.set()
        assert [len(call.result().releases) for call in first] == [2, 2]


def test_nobody_who_watches_can_keep_the_service_from_stopping(home):
    """The health service's own stream did: see ``service._Health``."""
    with service.serving(home, host="127.0.0.1", port=0) as running, connected(home, running.port) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        call = stub.Watch(health_pb2.HealthCheckRequest(), timeout=10)
        refused(lambda: next(iter(call)), grpc.StatusCode.UNIMPLEMENTED)
        slow_reader = wire_grpc.ReleasesStub(channel).Download(
            wire.DownloadRequest(number=1, file="weights.safetensors"), timeout=60
        )
        next(iter(slow_reader))
        started = time.monotonic()
    assert time.monotonic() - started < 2 * service.STOP_SECONDS


def test_a_taken_port_is_an_error_of_ours(home, port):
    with (
        pytest.raises(FedrotoError, match="cannot listen on"),
        service.serving(home, host="127.0.0.1", port=port),
    ):
        pass


def test_an_expired_certificate_or_an_open_key_does_not_serve(home, tmp_path):
    root = tmp_path / "old"
    long_ago = datetime.now(UTC) - timedelta(days=500)
    init_coordinator(root, FederationConfig(name="north", hosts=("localhost",)), now=long_ago)
    with pytest.raises(IdentityError, match="expired"), service.serving(root, host="127.0.0.1", port=0):
        pass
    root = tmp_path / "open"
    init_coordinator(root, FederationConfig(name="north", hosts=("localhost",)), now=datetime.now(UTC))
    (root / "keys" / "server.key").chmod(0o644)
    with pytest.raises(IdentityError, match="0644"), service.serving(root, host="127.0.0.1", port=0):
        pass


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_process_serves_and_ends_cleanly_on_a_signal(home, tmp_path, number):
    program = (
        "import sys; from pathlib import Path; from aggregator.service import serve;"
        "sys.exit(serve(Path(sys.argv[1]), host='127.0.0.1', port=0, progress=lambda line: print(line, flush=True)))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, home], stdout=subprocess.PIPE, text=True, env=os.environ
    )
    try:
        line = process.stdout.readline()
        assert line.startswith("enrolment, rounds and releases are served on 127.0.0.1:")
        assert fetch(home, int(line.rsplit(":", 1)[1]), tmp_path / "releases").release.number == 2
        started = time.monotonic()
        process.send_signal(number)
        assert process.wait(20) == 0
        assert time.monotonic() - started < 15
    finally:
        process.kill()
        process.wait()


class TestAWithdrawal:
    @pytest.fixture
    def own(self, home, tmp_path):
        """A copy of the home with its registry and its service."""
        copy = tmp_path / "home"
        shutil.copytree(home, copy)
        place = CoordinatorHome(copy)
        registry = Registry(
            place.releases, federation="north", release_key_pem=place.release_key.read_bytes()
        )
        with service.serving(copy, host="127.0.0.1", port=0) as running:
            yield copy, running.port, registry, place.release_private_key

    def test_reaches_who_holds_the_release_and_the_next_one_takes_its_place(self, own, tmp_path):
        home, port, registry, key = own
        held = tmp_path / "releases"
        assert fetch(home, port, held).release.number == 2
        registry.withdraw(2, "fails on motion blur", key)
        with pytest.raises(ReleaseError, match="fails on motion blur; what stands is the older release 1"):
            fetch(home, port, held)
        with pytest.raises(ReleaseError, match="fails on motion blur"):
            verified_release(held)
        publish(home)
        pulled = fetch(home, port, held)
        assert (pulled.release.number, [entry.number for entry in pulled.withdrawn]) == (3, [2])
        assert verified_release(held).number == 3

    def test_takes_the_release_off_the_list_and_from_download(self, own):
        home, port, registry, key = own
        registry.withdraw(2, "bad", key)
        with connected(home, port) as channel:
            stub = wire_grpc.ReleasesStub(channel)
            listed = stub.ListReleases(wire.ListReleasesRequest(), timeout=10)
            assert [item.number for item in listed.releases] == [1]
            assert stub.GetManifest(wire.GetManifestRequest(), timeout=10).number == 1
            request = wire.DownloadRequest(number=2, file="README.md")
            refused(lambda: list(stub.Download(request, timeout=10)), grpc.StatusCode.NOT_FOUND)

    def test_of_the_last_release_says_that_none_stands(self, own, tmp_path):
        home, port, registry, key = own
        registry.withdraw(1, "bad", key)
        registry.withdraw(2, "worse", key)
        with pytest.raises(ReleaseError, match=r"no release that stands; .*release 2 was withdrawn: worse"):
            fetch(home, port, tmp_path / "releases")

    def test_lets_a_rollback_reach_everybody_without_going_back(self, own, tmp_path):
        home, port, registry, key = own
        held = tmp_path / "releases"
        fetch(home, port, held)
        registry.roll_back("fails on motion blur", key)
        pulled = fetch(home, port, held)
        assert (pulled.release.number, pulled.release.manifest.restores) == (3, 1)
        assert (
            pulled.release.weights.read_bytes() == (home / "releases/0001/weights.safetensors").read_bytes()
        )

    def test_that_the_coordinator_hides_afterwards_is_noticed(self, own, tmp_path):
        home, port, registry, key = own
        before = (registry.root / "log.json").read_bytes()
        registry.roll_back("bad", key)
        fetch(home, port, tmp_path / "releases")
        (registry.root / "log.json").write_bytes(before)
        with pytest.raises(ReleaseError, match="does not go on from the one that was here before"):
            fetch(home, port, tmp_path / "releases")

    def test_a_damaged_log_is_an_error_and_no_empty_list(self, own):
        home, port, registry, _ = own
        (registry.root / "log.json").write_text("{}")
        with connected(home, port) as channel:
            stub = wire_grpc.ReleasesStub(channel)
            for call, request in (
                (stub.ListReleases, wire.ListReleasesRequest()),
                (stub.GetManifest, wire.GetManifestRequest()),
            ):
                said = refused(lambda: call(request, timeout=10), grpc.StatusCode.DATA_LOSS)  # noqa: B023
                assert said == "the log of releases is damaged at the coordinator"
