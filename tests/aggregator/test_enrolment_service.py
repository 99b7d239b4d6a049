"""Joining, standing, kit and rounds over the real gRPC service, with real keys and real TLS."""

import shutil
import threading
from contextlib import contextmanager
from datetime import UTC, datetime

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from federation_simulator import FederationSimulator, use_tiny_model
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from aggregator import service, waiting_room
from aggregator.admission import admit, kept_kit
from aggregator.call_limits import CallLimits
from aggregator.enrolment import Enrolment
from aggregator.waiting_room import WaitingRoom
from federation import keys
from federation.config import FederationConfig, StudioConfig
from federation.errors import FedrotoError, IdentityError, RoundError
from federation.homes import CoordinatorHome, StudioHome
from federation.joining import ask_rounds, join_by_address, shown_authority
from federation.proto import coordinator_pb2 as wire
from federation.proto import coordinator_pb2_grpc as wire_grpc
from federation.provisioning import JoinRequest
from federation.service_call import SKEW_S, sign_call
from federation.service_client import ServiceClient, Standing
from federation.set_up import init_coordinator, init_studio, load_kit
from federation.studio_rotation import begin_rotation

NOW = datetime.now(UTC)
GET_KIT, GET_STANDING = (f"/fedroto.coordinator.v1.Enrolment/{name}" for name in ("GetKit", "GetStanding"))


class Coordinator:
    """A coordinator's home with its service up."""

    def __init__(self, root, *, home=None):
        self.home = home or root / "fed"
        config = FederationConfig(name="test", hosts=("localhost",))
        self.plan_key = init_coordinator(self.home, config, now=NOW).plan_key
        self.ca = CoordinatorHome(self.home).ca.read_bytes()

    @contextmanager
    def up(self, limits=None):
        with service.serving(self.home, host="127.0.0.1", port=0, limits=limits) as running:
            self.address = f"localhost:{running.port}"
            yield self

    def admit(self, studio):
        return admit(
            self.home,
            WaitingRoom(self.home).find(studio).file,
            None,
            now=NOW,
            confirm=lambda request: True,
        )

    def client(self, node_key, *, federation="test", clock=None):
        options = {} if clock is None else {"clock": clock}
        return ServiceClient(self.address, self.ca, federation=federation, node_key=node_key, **options)


class Studio:
    """A studio's home, set up and not joined."""

    def __init__(self, root, name="alder", federation="test"):
        self.root = root / name
        config = StudioConfig.from_fields({"name": name, "federation": federation})
        made = init_studio(self.root, config, size_tier="s", now=NOW)
        self.request = made.request.read_bytes()
        self.fingerprint = made.fingerprint

    @property
    def key(self):
        return keys.load_node_key(StudioHome(self.root).node_key).private

    def join(self, coordinator, *, fingerprint=None, wait_s=100.0, pause=lambda seconds: None, told=None):
        return join_by_address(
            self.root,
            coordinator.address,
            fingerprint or coordinator.plan_key,
            wait_s=wait_s,
            bundle_digest=None,
            progress=(told if told is not None else []).append,
            pause=pause,
        )


@pytest.fixture
def coordinator(tmp_path, quick_disk):
    with Coordinator(tmp_path).up() as running:
        yield running


@pytest.fixture
def alder(tmp_path):
    return Studio(tmp_path)


def signed(studio, method, *, federation="test", now=None):
    return (sign_call(federation, method, studio.key, now=int(NOW.timestamp()) if now is None else now),)


def call(coordinator, method, metadata=(), request=None):
    """One bare call; returns its status code and details, or OK."""
    credentials = grpc.ssl_channel_credentials(coordinator.ca)
    with grpc.secure_channel(coordinator.address, credentials, [("grpc.enable_http_proxy", 0)]) as channel:
        stub = getattr(wire_grpc.EnrolmentStub(channel), method)
        kinds = {"GetKit": wire.GetKitRequest, "GetStanding": wire.GetStandingRequest}
        try:
            stub(request or kinds[method](), metadata=metadata, timeout=20)
        except grpc.RpcError as error:
            return error.code(), error.details()
        return grpc.StatusCode.OK, ""


class TestJoining:
    def test_a_studio_joins_by_address_and_fingerprint_while_a_person_admits_it(self, coordinator, alder):
        told = []
        kit = alder.join(coordinator, pause=lambda seconds: coordinator.admit("alder"), told=told)
        assert (kit.studio, kit.federation, kit.size_tier) == ("alder", "test", "s")
        assert load_kit(alder.root) == kit
        assert alder.fingerprint in told[0]
        assert WaitingRoom(coordinator.home).requests() == ()

    def test_it_goes_on_where_it_was_interrupted(self, coordinator, alder):
        with pytest.raises(IdentityError, match="not admitted yet") as caught:
            alder.join(coordinator, wait_s=0)
        assert alder.fingerprint in caught.value.hint
        (waiting,) = WaitingRoom(coordinator.home).requests()
        assert (waiting.studio, waiting.size_tier, waiting.fingerprint) == ("alder", "s", alder.fingerprint)
        coordinator.admit("alder")
        assert alder.join(coordinator, wait_s=0).studio == "alder"
        assert alder.join(coordinator, wait_s=0).studio == "alder", "joining twice changes nothing"

    def test_only_the_present_key_of_an_admitted_studio_brings_its_next_one(
        self, coordinator, alder, tmp_path
    ):
        birch = Studio(tmp_path, "birch")
        for studio, name in ((alder, "alder"), (birch, "birch")):
            studio.join(coordinator, pause=lambda seconds, name=name: coordinator.admit(name))
        stranger = Studio(tmp_path / "elsewhere", "alder")
        with coordinator.client(stranger.key) as client:
            for as_studio, refused in ((False, "admitted with another key"), (True, "is not admitted")):
                with pytest.raises(IdentityError, match=refused):
                    client.submit(stranger.request, as_studio=as_studio)
        with (
            coordinator.client(birch.key) as client,
            pytest.raises(IdentityError, match="another studio's key"),
        ):
            client.submit(stranger.request, as_studio=True)
        assert WaitingRoom(coordinator.home).requests() == ()
        begun = begin_rotation(alder.root, now=NOW)
        with coordinator.client(alder.key) as client:
            assert client.submit(begun.request.read_bytes(), as_studio=True) is Standing.WAITING
        (waiting,) = WaitingRoom(coordinator.home).requests()
        assert (waiting.studio, waiting.fingerprint) == ("alder", begun.fingerprint)

    def test_another_fingerprint_changes_nothing(self, coordinator, alder):
        alder_pause = lambda seconds: coordinator.admit("alder")  # noqa: E731
        with pytest.raises(IdentityError, match="fingerprint"):
            alder.join(coordinator, fingerprint="SHA256:" + "A" * 43, pause=alder_pause)
        assert not StudioHome(alder.root).coordinator.exists()

    def test_somebody_in_between_with_another_authority_is_named(self, coordinator, alder, tmp_path):
        """An impostor who hands out the true kit, and could so read what is asked later."""
        alder.join(coordinator, pause=lambda seconds: coordinator.admit("alder"))
        shutil.rmtree(StudioHome(alder.root).coordinator)
        public = keys.openssh_public(alder.key.public_key()).decode()
        with Coordinator(tmp_path / "impostor").up() as impostor:
            with pytest.raises(IdentityError):
                alder.join(impostor, wait_s=0)
            impostor.admit("alder")
            shutil.copyfile(kept_kit(coordinator.home, public), kept_kit(impostor.home, public))
            with pytest.raises(IdentityError, match="another authority"):
                alder.join(impostor, fingerprint=coordinator.plan_key)
        assert not StudioHome(alder.root).coordinator.exists()

    def test_a_revoked_studio_is_told_so(self, coordinator, alder):
        alder.join(coordinator, pause=lambda seconds: coordinator.admit("alder"))
        with Enrolment(coordinator.home) as enrolment:
            enrolment.revoke("alder", now=1)
        with pytest.raises(IdentityError, match="revoked or replaced"):
            alder.join(coordinator)
        with coordinator.client(alder.key) as client:
            assert client.standing() is Standing.REVOKED
            with pytest.raises(IdentityError, match="revoked or replaced"):
                client.kit()
            with pytest.raises(IdentityError, match="revoked or replaced"):
                client.rounds()
        assert WaitingRoom(coordinator.home).requests() == (), "a retired key does not wait again"

    def test_a_port_that_is_no_service_is_named(self, alder):
        with pytest.raises(FedrotoError, match="refuses connections"):
            shown_authority("127.0.0.1:1")


class TestRequests:
    @pytest.mark.parametrize("data", [b"", b"nonsense", b"\0" * 3000])
    def test_what_is_no_request_is_refused(self, coordinator, alder, data):
        with (
            coordinator.client(alder.key) as client,
            pytest.raises(IdentityError, match=r"no join request|public key"),
        ):
            client.submit(data)

    def test_a_request_that_another_key_signed_or_that_was_changed_is_refused(self, coordinator, alder):
        changed = alder.request.replace(b"alder", b"birch")
        with coordinator.client(alder.key) as client, pytest.raises(IdentityError, match="signature"):
            client.submit(changed)

    def test_a_request_for_another_federation_is_refused(self, coordinator, tmp_path):
        other = Studio(tmp_path, "birch", "south")
        with coordinator.client(other.key) as client, pytest.raises(IdentityError, match="federation south"):
            client.submit(other.request)

    @pytest.mark.parametrize("size", [9_000, 13_000, 5_000_000])
    def test_a_large_request_is_refused_before_it_is_read(self, coordinator, size):
        code, _ = call(coordinator, "Submit", request=wire.SubmitRequest(join_request=b"x" * size))
        assert code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED)

    def test_submitting_admits_nobody_and_shows_once(self, coordinator, alder):
        with coordinator.client(alder.key) as client:
            assert client.standing() is Standing.UNKNOWN
            assert client.submit(alder.request) is Standing.WAITING
            assert client.submit(alder.request) is Standing.WAITING
            assert client.standing() is Standing.WAITING
            with pytest.raises(IdentityError, match="not admitted"):
                client.kit()
        assert len(WaitingRoom(coordinator.home).requests()) == 1

    def test_two_that_call_themselves_alike_are_told_apart_by_their_fingerprints(
        self, coordinator, alder, tmp_path
    ):
        thief = Studio(tmp_path / "thief")
        for one in (alder, thief):
            with coordinator.client(one.key) as client:
                client.submit(one.request)
        room = WaitingRoom(coordinator.home)
        with pytest.raises(IdentityError, match="2 requests call themselves alder"):
            room.find("alder")
        assert room.find("alder", alder.fingerprint).file.read_bytes() == alder.request

    def test_the_room_is_small_and_forgets_after_a_week(self, coordinator, tmp_path, monkeypatch):
        monkeypatch.setattr(waiting_room, "REQUESTS_MAX", 2)
        studios = [Studio(tmp_path, name) for name in ("ash", "birch", "cedar")]
        clients = [coordinator.client(one.key) for one in studios]
        for one, client in zip(studios[:2], clients, strict=False):
            assert client.submit(one.request) is Standing.WAITING
        with pytest.raises(FedrotoError, match="wait already"):
            clients[2].submit(studios[2].request)
        later = WaitingRoom(coordinator.home, clock=lambda: NOW.timestamp() + 8 * 24 * 3600)
        later.put(*_verified(studios[2].request))
        assert len(later.requests()) == 2


def _verified(data):
    return JoinRequest.verified(data), data


class TestCallers:
    def test_an_unsigned_call_is_refused(self, coordinator):
        for method in ("GetKit", "GetStanding"):
            assert call(coordinator, method)[0] == grpc.StatusCode.UNAUTHENTICATED

    def test_a_call_of_an_unknown_key_gets_no_kit(self, coordinator, alder):
        code, details = call(coordinator, "GetKit", signed(alder, GET_KIT))
        assert (code, details) == (grpc.StatusCode.PERMISSION_DENIED, "this node key is not admitted")

    def test_a_calls_document_serves_once(self, coordinator, alder):
        once = signed(alder, GET_STANDING)
        assert call(coordinator, "GetStanding", once)[0] == grpc.StatusCode.OK
        code, details = call(coordinator, "GetStanding", once)
        assert (code, details) == (grpc.StatusCode.UNAUTHENTICATED, "the call's document was used before")

    @pytest.mark.parametrize(
        ("changed", "said"),
        [
            ({"method": GET_KIT}, "is for /fedroto"),
            ({"federation": "south"}, "federation south"),
            ({"now": int(NOW.timestamp()) - SKEW_S - 60}, "is a clock wrong"),
            ({"now": int(NOW.timestamp()) + SKEW_S + 600}, "is a clock wrong"),
        ],
    )
    def test_a_document_for_anything_else_serves_not_at_all(self, coordinator, alder, changed, said):
        metadata = signed(alder, **({"method": GET_STANDING} | changed))
        code, details = call(coordinator, "GetStanding", metadata)
        assert code == grpc.StatusCode.UNAUTHENTICATED
        assert said in details

    @pytest.mark.parametrize("damage", [lambda d: d[:-9], lambda d: b"", lambda d: d + b"x", lambda d: d * 3])
    def test_a_damaged_document_is_refused(self, coordinator, alder, damage):
        ((name, data),) = signed(alder, GET_STANDING)
        assert call(coordinator, "GetStanding", ((name, damage(data)),))[0] == grpc.StatusCode.UNAUTHENTICATED

    def test_a_document_under_a_strangers_key_line_is_refused(self, coordinator, alder):
        ((name, data),) = signed(alder, GET_STANDING)
        stranger = keys.openssh_public(ec.generate_private_key(ec.SECP384R1()).public_key())
        forged = stranger + data[data.index(b"\n") :]
        assert call(coordinator, "GetStanding", ((name, forged),))[0] == grpc.StatusCode.UNAUTHENTICATED


class TestLimits:
    def test_a_host_that_asks_too_often_is_told_to_wait(self, tmp_path, alder, quick_disk):
        with Coordinator(tmp_path).up(CallLimits(burst=3, per_s=0.0)) as coordinator:
            codes = [call(coordinator, "GetStanding")[0] for _ in range(5)]
            assert codes == [grpc.StatusCode.UNAUTHENTICATED] * 3 + [grpc.StatusCode.RESOURCE_EXHAUSTED] * 2
            with (
                coordinator.client(alder.key) as client,
                pytest.raises(FedrotoError, match="does not answer"),
            ):
                client.standing()

    def test_a_host_holds_few_workers(self, tmp_path, quick_disk):
        with Coordinator(tmp_path).up(CallLimits(at_once=1)) as coordinator:
            credentials = grpc.ssl_channel_credentials(coordinator.ca)
            with grpc.secure_channel(
                coordinator.address, credentials, [("grpc.enable_http_proxy", 0)]
            ) as channel:
                stub = reflection_pb2_grpc.ServerReflectionStub(channel)
                hold = _Questions()
                held = stub.ServerReflectionInfo(hold)
                assert next(held).HasField("list_services_response")
                assert call(coordinator, "GetStanding")[0] == grpc.StatusCode.RESOURCE_EXHAUSTED
                hold.end()
                assert list(held) == []
                assert call(coordinator, "GetStanding")[0] == grpc.StatusCode.UNAUTHENTICATED


class _Questions:
    """A reflection client that asks once and then says nothing."""

    def __init__(self):
        self._asked, self._ended = False, threading.Event()

    def __iter__(self):
        return self

    def __next__(self):
        if self._asked:
            self._ended.wait(20)
            raise StopIteration
        self._asked = True
        return reflection_pb2.ServerReflectionRequest(list_services="")

    def end(self):
        self._ended.set()


def reflected(coordinator, count=1):
    credentials = grpc.ssl_channel_credentials(coordinator.ca)
    with grpc.secure_channel(coordinator.address, credentials, [("grpc.enable_http_proxy", 0)]) as channel:
        asked = reflection_pb2.ServerReflectionRequest(list_services="")
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        return list(stub.ServerReflectionInfo(iter([asked] * count), timeout=20))


def test_reflection_lists_what_is_served(coordinator):
    (answer,) = reflected(coordinator)
    assert {one.name for one in answer.list_services_response.service} == {
        *(f"fedroto.coordinator.v1.{name}" for name in ("Enrolment", "Rounds", "Releases")),
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }


def test_a_reflection_stream_has_an_end(coordinator):
    assert len(reflected(coordinator, 1000)) == service.REFLECTIONS_MAX


def test_an_admitted_studio_sees_where_the_rounds_stand_and_nobody_else_does(
    tmp_path, monkeypatch, quick_disk
):
    use_tiny_model(monkeypatch)
    simulator = FederationSimulator(tmp_path / "fed")
    simulator.studios["cedar"].online = False
    simulator.run(rounds=2, quorum=2, deadline_s=60)
    (simulator.home / "federation.toml").unlink()  # the home of a simulation lacks what TLS needs
    with Coordinator(tmp_path, home=simulator.home).up() as coordinator:
        with coordinator.client(simulator.studios["ash"].key) as client:
            view = client.rounds()
            assert (view.campaign, view.state, view.server_round, view.rounds_planned) == (
                "spring",
                "complete",
                2,
                2,
            )
            assert (view.phase, view.returned, view.named, view.quorum) == ("closed", 2, 3, 2)
            assert view.standing == "accepted"
            with pytest.raises(RoundError, match="no such campaign"):
                client.rounds("autumn")
        with coordinator.client(simulator.studios["cedar"].key) as client:
            assert client.rounds("spring").standing == "waiting"
        stranger = ec.generate_private_key(ec.SECP384R1())
        with coordinator.client(stranger) as client, pytest.raises(IdentityError, match="not admitted"):
            client.rounds()


def test_a_studio_asks_with_what_its_kit_says(coordinator, alder):
    with pytest.raises(IdentityError, match="has not joined"):
        ask_rounds(alder.root)
    alder.join(coordinator, pause=lambda seconds: coordinator.admit("alder"))
    # The kit names the default port, where nobody is, or another federation of this machine.
    with pytest.raises(FedrotoError, match=r"does not answer|refused|is not the federation's coordinator"):
        ask_rounds(alder.root)
