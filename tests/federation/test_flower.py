"""The Flower adapter without a SuperLink; with one it is in tests/end_to_end/test_wire.py."""

import io
import json
import os
import subprocess
import sys
import threading
import time
import zipfile
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

import flwr
import httpx
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from flwr.app import ArrayRecord, Message, Metadata, RecordDict
from flwr.app.message import make_message
from flwr.common.config import get_fab_config
from flwr.proto.fleet_pb2 import ActivateNodeResponse, PullMessagesResponse, PushMessagesResponse
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatResponse
from flwr.proto.message_pb2 import PullObjectResponse
from flwr.supercore.inflatable.inflatable_object import get_object_id
from flwr.supercore.inflatable.inflatable_utils import ObjectPullError, ObjectUnavailableError

from federation.errors import FlowerError, IdentityError, MessageError
from federation.flower import bundle, coordinator, objects, studio, version
from federation.flower.bundle import build_bundle, bundle_digest, bundle_of
from federation.flower.heartbeat import Heartbeat
from federation.flower.objects import IncomingMessage, take_apart
from federation.flower.roster import public_key_pem
from federation.flower.run_state import QuestionId, RunState, lock_exclusively
from federation.flower.studio import FleetConnection
from federation.flower.transport import AnsweredError, UnreachableError, translated
from federation.messages import TrainRequest
from federation.records import read_request, request_records

REQUEST = TrainRequest(b"plan", b"instruction", np.arange(5, dtype=np.float32))
NODE_KEY = ec.generate_private_key(ec.SECP384R1()).private_bytes(
    Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
)
ROOT = Path(bundle.__file__).parents[2]


def python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    ).stdout.strip()


class TestVersion:
    def test_the_installed_flower_is_the_one_this_adapter_was_written_for(self):
        assert version.check_flower_version() == flwr.__version__

    def test_another_series_is_named_with_what_to_install(self, monkeypatch):
        monkeypatch.setattr(version.importlib.metadata, "version", lambda name: "1.42.0")
        with pytest.raises(FlowerError, match=r"1\.42\.0") as error:
            version.check_flower_version()
        assert "1.41" in error.value.hint

    def test_nothing_reports_home_looks_for_updates_or_installs(self, tmp_path):
        environment = version.flower_environment(tmp_path)
        assert environment["FLWR_TELEMETRY_ENABLED"] == "0"
        assert environment["FLWR_DISABLE_UPDATE_CHECK"] == "1"
        assert environment["FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION"] == "1"
        assert environment["FLWR_HOME"] == str(tmp_path)

    def test_flower_settings_of_the_parent_are_not_inherited(self, tmp_path, monkeypatch):
        monkeypatch.setenv("FLWR_INTERNAL_GRPC_CONTROL_API", "1")
        monkeypatch.setenv("FLWR_DATABASE", "elsewhere")
        assert not {"FLWR_INTERNAL_GRPC_CONTROL_API", "FLWR_DATABASE"} & set(
            version.flower_environment(tmp_path)
        )

    def test_importing_the_adapter_switches_them_off_before_flower_is_loaded(self):
        code = (
            "import sys, os, federation.flower; "
            "print('flwr' in sys.modules, os.environ['FLWR_TELEMETRY_ENABLED'])"
        )
        assert python(code, FLWR_TELEMETRY_ENABLED="1") == "False 0"


class TestBundle:
    def test_it_is_the_same_bytes_in_every_process(self):
        code = "from federation.flower.bundle import *; print(bundle_digest(build_bundle()))"
        assert python(code, PYTHONHASHSEED="1", TZ="Asia/Tokyo") == python(code, PYTHONHASHSEED="2")

    def test_it_holds_the_source_of_the_four_packages_and_nothing_else(self):
        names = zipfile.ZipFile(io.BytesIO(build_bundle())).namelist()
        assert {"federation/plan.py", "studio_node/client_app.py"} <= set(names)
        packages = {name.split("/")[0] for name in names}
        assert packages == {"aggregator", "federation", "model", "studio_node", "pyproject.toml", ".info"}
        assert all(name.endswith(".py") for name in names if name not in ("pyproject.toml", ".info/CONTENT"))
        assert not any("__pycache__" in name for name in names)

    def test_it_does_not_depend_on_where_or_how_it_is_installed(self, tmp_path):
        for name, data in bundle._source_files():
            target = tmp_path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        (tmp_path / "model" / "__pycache__").mkdir()
        (tmp_path / "model" / "__pycache__" / "x.py").write_bytes(b"cached")
        (tmp_path / "model" / "weights.safetensors").write_bytes(b"weights")
        code = (
            "from federation.flower.bundle import *; print(bundle_digest(bundle_of(dict(_source_files()))))"
        )
        code = code.replace("import *", "import *; from federation.flower.bundle import _source_files")
        assert python(code, PYTHONPATH=str(tmp_path)) == bundle_digest(
            bundle_of(dict(bundle._source_files()))
        )

    def test_one_changed_byte_changes_the_digest(self):
        assert bundle_digest(bundle_of({"a.py": b"x = 1"})) != bundle_digest(bundle_of({"a.py": b"x = 2"}))
        assert bundle_digest(bundle_of({"a.py": b"x = 1"})) != bundle_digest(bundle_of({"b.py": b"x = 1"}))

    def test_flower_takes_it_as_an_app(self):
        app = get_fab_config(build_bundle())["tool"]["flwr"]["app"]
        assert app["components"]["clientapp"] == "studio_node.client_app:app"

    def test_more_than_flower_takes_is_refused(self, monkeypatch):
        monkeypatch.setattr(bundle, "BUNDLE_BYTES_MAX", 1000)
        with pytest.raises(FlowerError, match="Flower takes 1000"):
            bundle_of({"a.py": b"x" * 1000})

    def test_comparing_bundles_needs_no_flower(self):
        code = (
            "import sys; from federation.flower.bundle import build_bundle; build_bundle(); "
            "print(sorted({'flwr', 'torch', 'httpx', 'grpc'} & set(sys.modules)))"
        )
        assert python(code) == "[]"


def http_error(status, body="", **headers):
    request = httpx.Request("POST", "https://x/")
    response = httpx.Response(status, text=body, headers=headers, request=request)
    return httpx.HTTPStatusError("error", request=request, response=response)


class TestTransport:
    @pytest.mark.parametrize("status", [429, 502, 503, 504])
    def test_overloaded_or_away_means_ask_again(self, status):
        with pytest.raises(UnreachableError) as error, translated("call"):
            raise http_error(status)
        assert error.value.maybe_received

    @pytest.mark.parametrize(
        ("failure", "maybe_received"),
        [
            (httpx.ConnectError("refused"), False),
            (httpx.ConnectTimeout("slow"), False),
            (httpx.ReadError("cut"), True),
            (httpx.ReadTimeout("slow"), True),
            (httpx.RemoteProtocolError("closed"), True),
            (httpx.ConnectError("[SSL: UNEXPECTED_EOF] ssl tls certificate"), False),
        ],
    )
    def test_no_network_failure_is_final(self, failure, maybe_received):
        with pytest.raises(UnreachableError) as error, translated("call"):
            raise failure
        assert error.value.maybe_received is maybe_received

    def test_a_foreign_certificate_is_named(self):
        with pytest.raises(UnreachableError) as error, translated("call"):
            raise httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed")
        assert "authority" in error.value.hint

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 500])
    def test_every_other_status_is_an_answer(self, status):
        with pytest.raises(AnsweredError) as error, translated("call"):
            raise http_error(status, json.dumps({"code": 2004, "detail": "no"}))
        assert (error.value.status, error.value.code) == (status, 2004)

    def test_a_page_that_is_not_flowers_has_no_code(self):
        with pytest.raises(AnsweredError) as error, translated("call"):
            raise http_error(401, "<html>log in</html>")
        assert (error.value.code, error.value.clock_ahead_s) == (None, None)

    def test_the_other_sides_clock_is_read_from_its_answer(self):
        future = format_datetime(datetime.fromtimestamp(time.time() + 600, UTC))
        with pytest.raises(AnsweredError) as error, translated("call"):
            raise http_error(401, date=future)
        assert error.value.clock_ahead_s == pytest.approx(600, abs=3)

    def test_an_unreadable_answer_is_our_error_too(self):
        with pytest.raises(FlowerError, match="cannot call"), translated("call"):
            raise ValueError("Invalid protobuf response payload")


def message(size=10):
    weights = np.arange(size, dtype=np.float32)
    metadata = Metadata(1, "", 1, 2, "", "3", 1000.0, 60.0, "train")
    return make_message(metadata, request_records(TrainRequest(b"plan", b"instruction", weights)))


class Store:
    """The SuperLink's object store in memory."""

    def __init__(self, outgoing):
        self.contents = {}
        outgoing.upload(set(outgoing.objects), self.contents.__setitem__)
        self.pulled = []

    def pull(self, name):
        self.pulled.append(name)
        if name not in self.contents:
            raise ObjectPullError(name, "gone")
        if self.contents[name] == b"":
            raise ObjectUnavailableError(name)
        return self.contents[name]


def piece_of(outgoing):
    (record_dict,) = outgoing.tree.children
    return record_dict.children[0].object_id


class TestObjects:
    def test_a_message_comes_back_whole_and_what_its_announcement_tells_is_not_fetched(self):
        outgoing = take_apart(message())
        store = Store(outgoing)
        incoming = IncomingMessage(outgoing.proto, outgoing.tree)
        assert incoming.fetch(store.pull)
        assert store.pulled == [piece_of(outgoing)]
        back = incoming.build()
        assert back.metadata.message_id == outgoing.message_id
        assert read_request(back.content).weights.tolist() == list(range(10))

    def test_an_announcement_that_tells_something_else_is_not_believed(self):
        outgoing = take_apart(message())
        store = Store(outgoing)
        outgoing.proto.metadata.ttl += 1
        outgoing.tree.children[0].children[0].object_id = "0" * 64
        incoming = IncomingMessage(outgoing.proto, outgoing.tree)
        with pytest.raises(MessageError, match="lost"):
            incoming.fetch(store.pull)
        assert set(store.pulled) == {outgoing.message_id, outgoing.tree.children[0].object_id, "0" * 64}

    def test_a_packed_model_is_three_objects_and_one_more_for_every_four_megabytes(self):
        assert len(take_apart(message()).objects) == 3
        assert len(take_apart(message(3_000_000)).objects) == 5

    def test_the_same_message_has_the_same_name_for_every_attempt(self):
        question = message()
        assert take_apart(question).message_id == take_apart(question).message_id

    def test_what_is_still_being_uploaded_is_left_for_later_and_the_rest_is_not_fetched_twice(self):
        outgoing = take_apart(message())
        store = Store(outgoing)
        late = next(iter(outgoing.objects))
        content, store.contents[late] = store.contents[late], b""
        incoming = IncomingMessage(outgoing.proto, outgoing.tree)
        assert not incoming.fetch(store.pull)
        assert incoming.fetched == 2
        store.contents[late] = content
        store.pulled.clear()
        assert incoming.fetch(store.pull)
        assert store.pulled == [late]
        incoming.build()

    def test_an_interrupted_fetch_keeps_what_it_has(self):
        outgoing = take_apart(message())
        store = Store(outgoing)
        broken = next(iter(outgoing.objects))

        def pull(name):
            if name == broken:
                raise httpx.ReadError("cut")
            return store.pull(name)

        incoming = IncomingMessage(outgoing.proto, outgoing.tree)
        with pytest.raises(httpx.ReadError):
            incoming.fetch(pull)
        assert incoming.fetched >= 1
        assert incoming.fetch(store.pull)

    def test_a_lost_object_loses_the_message(self):
        outgoing = take_apart(message())
        store = Store(outgoing)
        del store.contents[piece_of(outgoing)]
        with pytest.raises(MessageError, match="lost"):
            IncomingMessage(outgoing.proto, outgoing.tree).fetch(store.pull)

    def test_an_object_with_other_content_than_its_name_is_refused(self):
        outgoing = take_apart(message())
        store = Store(outgoing)
        store.contents[piece_of(outgoing)] = b"Message 0\0"
        with pytest.raises(MessageError, match="other content"):
            IncomingMessage(outgoing.proto, outgoing.tree).fetch(store.pull)

    def test_too_many_objects_are_refused_before_one_is_fetched(self):
        outgoing = take_apart(message())
        for index in range(objects.OBJECTS_MAX):
            outgoing.tree.children.add(object_id=f"{index:064x}")
        with pytest.raises(MessageError, match="objects"):
            IncomingMessage(outgoing.proto, outgoing.tree)

    def test_too_many_bytes_are_refused(self, monkeypatch):
        monkeypatch.setattr(objects, "MESSAGE_BYTES_MAX", 100)
        outgoing = take_apart(message())
        with pytest.raises(MessageError, match="more than 100 bytes"):
            IncomingMessage(outgoing.proto, outgoing.tree).fetch(Store(outgoing).pull)

    def test_objects_that_do_not_fit_together_are_refused(self):
        outgoing = take_apart(message())
        nonsense = b"Message,,0"
        outgoing.tree.object_id = get_object_id(nonsense)
        outgoing.proto.metadata.message_id = outgoing.tree.object_id
        incoming = IncomingMessage(outgoing.proto, outgoing.tree)
        store = Store(outgoing)
        store.contents[outgoing.tree.object_id] = nonsense
        assert incoming.fetch(store.pull)
        with pytest.raises(MessageError, match="fit together"):
            incoming.build()

    def test_a_kind_of_object_that_our_messages_do_not_have_is_refused_before_it_is_built(self):
        # an array may name one chunk a million times; Flower would put all of them together
        records = RecordDict({"0": ArrayRecord([np.zeros(3, np.float32)])})
        outgoing = take_apart(make_message(message().metadata, records))
        incoming = IncomingMessage(outgoing.proto, outgoing.tree)
        assert incoming.fetch(Store(outgoing).pull)
        with pytest.raises(MessageError, match="another kind"):
            incoming.build()

    def test_a_failed_upload_is_raised(self):
        def refuse(name, content):
            raise httpx.ReadError("cut")

        outgoing = take_apart(message())
        with pytest.raises(httpx.ReadError):
            outgoing.upload(set(outgoing.objects), refuse)


class FleetApi:
    """The fleet API in memory: what it was asked, and a script of what it does instead of answering."""

    def __init__(self, **scripts):
        self.calls = []
        self.scripts = {name: list(steps) for name, steps in scripts.items()}

    def __getattr__(self, name):
        def call(request):
            self.calls.append(name)
            step = self.scripts.get(name, []).pop(0) if self.scripts.get(name) else None
            if isinstance(step, Exception):
                raise step
            return step or {
                "ActivateNode": ActivateNodeResponse(node_id=77),
                "SendNodeHeartbeat": SendNodeHeartbeatResponse(success=True),
                "PullMessages": PullMessagesResponse(),
                "PushMessages": PushMessagesResponse(session_id="s"),
            }.get(name)

        return call

    def close(self):
        return None


def flower_error(status, code, **headers):
    return http_error(status, json.dumps({"code": code, "detail": "text"}), **headers)


@pytest.fixture
def connect(tmp_path, monkeypatch):
    monkeypatch.setattr(studio, "RETRY_FIRST_S", 0.001)
    opened = []

    def open_connection(api):
        monkeypatch.setattr(FleetConnection, "_open", lambda self: api)
        key = load_pem_private_key(NODE_KEY, None)
        opened.append(FleetConnection("x:1", b"", key, tmp_path / "node.json", threading.Event()))
        return opened[-1]

    yield open_connection
    for one in opened:
        one.close()


class TestFleetConnection:
    def test_a_restart_takes_over_from_a_killed_process(self, connect):
        connect(FleetApi()).activate()
        api = FleetApi()
        again = connect(api)
        again.activate()
        assert api.calls[:2] == ["DeactivateNode", "ActivateNode"]
        assert again.active
        assert again.node_id == 77

    def test_the_node_id_of_another_key_is_not_used(self, connect, tmp_path):
        (tmp_path / "node.json").write_text(json.dumps({"node_id": 5, "public_key_digest": "0" * 64}))
        api = FleetApi()
        connect(api).activate()
        assert api.calls[0] == "ActivateNode"

    def test_an_instruction_that_may_be_lost_is_made_known_by_a_new_activation(self, connect):
        api = FleetApi(PullMessages=[httpx.ConnectError("refused"), httpx.ReadError("cut")])
        connection = connect(api)
        connection.activate()
        with pytest.raises(UnreachableError):
            connection.receive()
        assert connection.active  # it never got there
        with pytest.raises(UnreachableError):
            connection.receive()
        assert not connection.active

    def test_a_revoked_key_is_told_from_a_wrong_clock(self, connect):
        late = format_datetime(datetime.fromtimestamp(time.time() + 3600, UTC))
        api = FleetApi(PullMessages=[http_error(401, date=late), http_error(401)])
        connection = connect(api)
        connection.activate()
        with pytest.raises(UnreachableError, match="clock"):
            connection.receive()
        connection.activate()
        with pytest.raises(UnreachableError):
            connection.receive()
        api.scripts = {"DeactivateNode": [http_error(401)], "ActivateNode": [flower_error(412, 2004)]}
        with pytest.raises(IdentityError, match="revoked"):
            connection.activate()

    def test_a_login_page_in_between_is_not_revocation(self, connect):
        page = http_error(401, "<html>log in to the guest network</html>")
        connection = connect(FleetApi())
        connection.activate()
        connection = connect(FleetApi(DeactivateNode=[page], ActivateNode=[page]))
        with pytest.raises(UnreachableError):
            connection.activate()

    def reply(self, ttl=60.0):
        question = make_message(
            Metadata(1, "q" * 64, 1, 77, "", "3", time.time(), ttl, "train"), request_records(REQUEST)
        )
        return Message(request_records(REQUEST), reply_to=question)

    def test_a_reply_is_sent_through_outages(self, connect):
        api = FleetApi(PushMessages=[http_error(502), httpx.ConnectError("x"), httpx.ReadError("x")])
        assert connect(api).send(self.reply())
        assert api.calls.count("PushMessages") == 4

    def test_a_reply_to_a_finished_run_is_dropped_at_once(self, connect):
        api = FleetApi(PushMessages=[flower_error(403, 2007)])
        assert not connect(api).send(self.reply())
        assert api.calls == ["PushMessages"]

    def test_a_reply_that_is_refused_again_and_again_is_given_up(self, connect):
        api = FleetApi(PushMessages=[http_error(413)] * 100)
        assert not connect(api).send(self.reply())
        assert api.calls.count("PushMessages") == studio.SEND_REFUSALS_MAX

    def test_an_expired_reply_is_not_sent(self, connect):
        api = FleetApi(PushMessages=[http_error(502)] * 1000)
        assert not connect(api).send(self.reply(ttl=0.05))

    def test_an_instruction_that_cannot_be_fetched_is_answered_so_that_it_is_asked_again(self, connect):
        announced = take_apart(
            make_message(
                Metadata(1, "", 1, 77, "", "3", time.time(), 60.0, "train"), request_records(REQUEST)
            )
        )
        api = FleetApi(
            PullMessages=[
                PullMessagesResponse(messages_list=[announced.proto], message_object_trees=[announced.tree])
            ],
            PullObject=[PullObjectResponse(object_found=False)] * 10,
        )
        sent = []
        connection = connect(api)
        connection.activate()
        connection.send = lambda reply: sent.append(reply) or True
        assert connection.receive() is None
        assert sent[0].error.code == coordinator.ASK_AGAIN
        assert sent[0].error.reason == studio.LOST_REASON
        assert sent[0].metadata.reply_to_message_id == announced.message_id


class TestHeartbeat:
    def test_it_beats_until_stopped(self):
        beats = []
        ended = threading.Event()
        heart = Heartbeat(lambda: beats.append(1) or True, interval_s=0.01, on_stop=ended.set, name="test")
        while len(beats) < 3:
            time.sleep(0.005)
        heart.stop()
        assert ended.is_set()
        assert not heart.refused

    def test_a_refusal_sets_a_flag_and_nothing_else(self):
        heart = Heartbeat(lambda: False, interval_s=0.01, name="test")
        heart._thread.join(5)
        assert heart.refused

    def test_trouble_is_counted_and_tried_again(self, monkeypatch):
        monkeypatch.setattr("federation.flower.heartbeat.RETRY_S", 0.01)
        answers = iter([False, UnreachableError("a"), UnreachableError("b")][::-1])
        counts = []

        def beat():
            counts.append(heart_box[0].failed_in_a_row if heart_box else 0)
            answer = next(answers)
            if isinstance(answer, Exception):
                raise answer
            return answer

        heart_box = []
        heart = Heartbeat(beat, interval_s=0.01, name="test")
        heart_box.append(heart)
        heart._thread.join(5)
        assert heart.refused
        assert counts[-1] == 2


class TestRunState:
    def test_a_question_id_says_which_run_and_node_it_is_good_for(self):
        question = QuestionId(2**63, 12, "a" * 64)
        assert QuestionId.parse(str(question)) == question

    @pytest.mark.parametrize("text", ["", "a", "1.2", "1.2.3.4", "x.2.a", "-1.2.a"])
    def test_what_is_no_question_id_is_refused(self, text):
        with pytest.raises(MessageError):
            QuestionId.parse(text)

    def test_the_state_survives_on_disk(self, tmp_path):
        state = RunState(2**63, "token", "d" * 64)
        (tmp_path / "run.json").write_bytes(state.to_bytes())
        assert RunState.read(tmp_path / "run.json") == state

    @pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"run_id": "x"}', b"\xff"])
    def test_a_damaged_state_means_a_new_run(self, tmp_path, data):
        (tmp_path / "run.json").write_bytes(data)
        assert RunState.read(tmp_path / "run.json") is None
        assert RunState.read(tmp_path / "missing.json") is None

    def test_the_lock_is_held_until_it_is_closed(self, tmp_path):
        held = lock_exclusively(tmp_path / "folder" / "lock", "coordinator")
        with pytest.raises(FlowerError, match="another coordinator"):
            lock_exclusively(tmp_path / "folder" / "lock", "coordinator")
        os.close(held)
        os.close(lock_exclusively(tmp_path / "folder" / "lock", "coordinator"))


def test_a_key_is_compared_in_flowers_form_whatever_form_it_came_in():

    key = ec.generate_private_key(ec.SECP384R1()).public_key()
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    assert public_key_pem(key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)) == pem
    assert public_key_pem(pem) == pem
    other = ed25519.Ed25519PrivateKey.generate().public_key()
    with pytest.raises(IdentityError, match="EC key"):
        public_key_pem(other.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH))
    with pytest.raises(IdentityError, match="cannot be read"):
        public_key_pem(b"nonsense")


def test_the_heartbeat_leaves_several_tries_before_the_superlink_gives_the_run_up():
    assert coordinator.HEARTBEAT_S * 4 <= 60
