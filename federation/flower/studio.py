"""A studio's connection to the federation, through the fleet proxy (Flower's fleet API).

Nothing here signals, exits or retries for ever: Flower's own connection does all three (flwr 1.41). A call fails as
one of four errors, and only one of them is final:

    UnreachableError   the network or the coordinator is away: wait and call again
    RunOverError       the run of this message has ended: drop the message
    AnsweredError      something else was answered
    IdentityError      the coordinator has revoked this key, or has never known it
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import Error, Message
from flwr.common.constant import ErrorCode
from flwr.common.serde import message_from_proto
from flwr.proto.fab_pb2 import GetFabRequest
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    DeactivateNodeRequest,
    PullMessagesRequest,
    PushMessagesRequest,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, ObjectTree
from flwr.proto.message_pb2 import Message as MessageProto
from flwr.proto.node_pb2 import Node
from flwr.proto.run_pb2 import GetRunRequest
from flwr.supercore.error import ApiErrorCode
from flwr.supercore.inflatable.inflatable_protobuf_utils import (
    make_pull_object_fn_protobuf,
    make_push_object_fn_protobuf,
)
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from federation.durable import write_atomic
from federation.errors import FlowerError, IdentityError, MessageError
from federation.flower.heartbeat import Heartbeat
from federation.flower.objects import IncomingMessage, take_apart
from federation.flower.transport import AnsweredError, UnreachableError, open_client, translated

COMPONENT = "fedroto-uplink"
HEARTBEAT_INTERVAL_S = 20.0  # told to the SuperLink: offline after twice this without a beat
HEARTBEAT_PAUSE_S = 8.0
CLOCK_TOLERANCE_S = 300.0  # Flower's node authentication refuses signatures older or newer than about this
ADMISSION_WAIT_S = 90.0  # longer than a killed node with this key can stay online at the SuperLink
RETRY_FIRST_S = 0.5
RETRY_MAX_S = 5.0
SEND_REFUSALS_MAX = 5
INSTRUCTION_UPLOAD_S = (
    30.0  # an instruction that is announced but not uploaded for so long is asked for again
)
UPLOAD_POLL_S = 0.25
GOODBYE_S = 2.0
LOST_REASON = "the instruction's objects could not be fetched"


class RunOverError(FlowerError):
    """The run that a message belongs to has ended; its reply is of no use to anybody."""


class FleetConnection:
    """One studio node's connection. Not for use by several threads at once.

    Attributes:
        node_id: Flower's id of this node; 0 before the first activation.
    """

    def __init__(
        self,
        address: str,
        ca_certificate: bytes,
        private_key: ec.EllipticCurvePrivateKey,
        state_path: Path,
        stop: threading.Event,
    ) -> None:
        """Prepare; nothing is called yet.

        Args:
            address: the fleet proxy, host:port.
            ca_certificate: PEM of the federation's authority.
            private_key: the node's key.
            state_path: file that keeps the node id, so that a restart can take over from a killed process at once.
            stop: waits end early when it is set.
        """
        self._address = address
        self._ca_certificate = ca_certificate
        self._private_key = private_key
        self._public_key = public_key_to_bytes(private_key.public_key())
        self._state_path = state_path
        self._stop = stop
        self._client = self._open()
        self._heartbeat: Heartbeat | None = None
        self._bundles: dict[int, bytes] = {}
        self._received: ConfirmMessageReceivedRequest | None = None
        self._refused_since: float | None = None
        self.node_id = self._read_node_id()

    @property
    def active(self) -> bool:
        """Whether the node is activated and its heartbeat is accepted."""
        return self._heartbeat is not None and not self._heartbeat.refused

    def activate(self) -> None:
        """Go online; a process with the same key that was killed is replaced at once.

        Raises:
            UnreachableError: no connection, or the answer is not final yet; call again.
            IdentityError: the key is revoked or unknown.
        """
        self._stop_heartbeat()
        key_unknown = self.node_id != 0 and not self._deactivate()
        try:
            with self._calling("activate this node"):
                request = ActivateNodeRequest(
                    public_key=self._public_key, heartbeat_interval=HEARTBEAT_INTERVAL_S
                )
                node_id = int(self._client.ActivateNode(request).node_id)
        except AnsweredError as error:
            raise self._activation_refused(error, key_unknown=key_unknown) from error
        self._refused_since = None
        self._keep_node_id(node_id)
        beating = self._open()
        self._heartbeat = Heartbeat(
            lambda: self._beat(beating),
            interval_s=HEARTBEAT_PAUSE_S,
            on_stop=beating.close,
            name="flower-node",
        )

    def receive(self) -> Message | None:
        """Return the next instruction, complete, or None if there is none now.

        An instruction is handed out once; one whose objects cannot be had is answered so that the coordinator asks
        again. One that was received is confirmed when the next is asked for: no answer waits for that.

        Raises:
            UnreachableError: wait and call again.
            AnsweredError: something unexpected was answered; wait and call again.
        """
        self._confirm()
        try:
            with self._calling("ask for instructions"):
                answer = self._client.PullMessages(PullMessagesRequest(node=self._node))
        except UnreachableError as error:
            if error.maybe_received:
                # An instruction may have been handed out to nobody. A new activation tells the coordinator to ask
                # again: it compares its time with the time of asking.
                self._stop_heartbeat()
            raise
        if not answer.messages_list:
            return None
        announced = message_from_proto(answer.messages_list[0])
        try:
            return self._fetch(announced, answer.messages_list[0], answer.message_object_trees[0])
        except RunOverError:
            return None
        except (MessageError, UnreachableError, AnsweredError, IndexError):
            self.send(Message(Error(ErrorCode.MESSAGE_UNAVAILABLE, LOST_REASON), reply_to=announced))
            return None

    def bundle_for(self, message: Message) -> bytes:
        """Return the app bundle of a message's run, as the coordinator uploaded it: untrusted bytes.

        Raises:
            UnreachableError: it cannot be had now.
            RunOverError: the run has ended.
            AnsweredError: the SuperLink has no such bundle.
        """
        run_id = message.metadata.run_id
        if run_id not in self._bundles:
            with self._calling("fetch the run's app bundle"):
                run = self._client.GetRun(GetRunRequest(node=self._node, run_id=run_id)).run
                request = GetFabRequest(node=self._node, hash_str=run.fab_hash, run_id=run_id)
                self._bundles = {run_id: bytes(self._client.GetFab(request).fab.content)}
        return self._bundles[run_id]

    def send(self, reply: Message) -> bool:
        """Send a reply, through outages, until it has arrived, has expired or is no longer wanted.

        Returns:
            Whether it has arrived; False after expiry, after the run's end, or when ``stop`` was set.
        """
        outgoing = take_apart(reply)
        expires_at = reply.metadata.created_at + reply.metadata.ttl
        refusals = 0
        for pause_s in _pauses():
            if time.time() >= expires_at or self._stop.is_set():
                return False
            try:
                with self._calling("send a reply"):
                    answer = self._client.PushMessages(
                        PushMessagesRequest(
                            node=self._node,
                            messages_list=[outgoing.proto],
                            message_object_trees=[outgoing.tree],
                            clientapp_runtime_list=[0.0],
                        )
                    )
                    push_object = make_push_object_fn_protobuf(
                        self._client.PushObject, self._node, reply.metadata.run_id, answer.session_id
                    )
                    outgoing.upload(set(answer.objects_to_push), push_object)
                return True
            except RunOverError:
                return False
            except UnreachableError:
                pass
            except FlowerError:
                refusals += 1
                if refusals >= SEND_REFUSALS_MAX:
                    return False
            self._stop.wait(pause_s)
        return False  # pragma: no cover - the pauses never end

    def close(self) -> None:
        """Go offline and close within seconds; never raises."""
        self._stop_heartbeat()
        self._client._client.timeout = httpx.Timeout(GOODBYE_S)
        if self.node_id:
            with contextlib.suppress(FlowerError):
                self._deactivate()
        self._client.close()

    @property
    def _node(self) -> Node:
        return Node(node_id=self.node_id)

    def _fetch(self, announced: Message, proto: MessageProto, tree: ObjectTree) -> Message:
        run_id = announced.metadata.run_id
        pull_object = make_pull_object_fn_protobuf(self._client.PullObject, self._node, run_id)
        incoming = IncomingMessage(proto, tree)
        pauses = _pauses()
        upload_ends_at = time.monotonic() + INSTRUCTION_UPLOAD_S
        while True:
            if time.time() >= announced.metadata.created_at + announced.metadata.ttl or self._stop.is_set():
                raise MessageError("the instruction has expired while it was fetched")
            try:
                with self._calling("fetch an instruction"):
                    if incoming.fetch(pull_object):
                        break
                if time.monotonic() >= upload_ends_at:
                    raise MessageError("the coordinator has not finished uploading the instruction")
                self._stop.wait(UPLOAD_POLL_S)
            except UnreachableError:
                self._stop.wait(next(pauses))
                upload_ends_at = time.monotonic() + INSTRUCTION_UPLOAD_S
        self._received = ConfirmMessageReceivedRequest(
            node=self._node, run_id=run_id, message_object_id=incoming.message_id
        )
        return incoming.build()

    def _confirm(self) -> None:
        """Let the SuperLink delete the last instruction; it does so anyway when the run ends."""
        if self._received is not None:
            with contextlib.suppress(FlowerError), self._calling("confirm an instruction"):
                self._client.ConfirmMessageReceived(self._received)
            self._received = None

    def _deactivate(self) -> bool:
        """Take this node offline; False if the SuperLink does not know the key under this node id."""
        try:
            with translated("deactivate this node"):
                self._client.DeactivateNode(DeactivateNodeRequest(node_id=self.node_id))
        except AnsweredError as error:
            return not (error.status == 401 and not _clock_is_off(error))
        return True

    def _activation_refused(self, error: AnsweredError, *, key_unknown: bool) -> FlowerError | IdentityError:
        if error.code != ApiErrorCode.FLEET_NODE_ACTIVATION_FAILED:
            return UnreachableError(f"this node is not let in: {error}", hint=error.hint)
        now = time.monotonic()
        self._refused_since = self._refused_since or now
        if key_unknown:
            return IdentityError(
                "the coordinator has revoked this studio's key",
                hint="ask the coordinator; to join again make a new key and a new join request",
            )
        if now - self._refused_since > ADMISSION_WAIT_S:
            return IdentityError(
                "the coordinator does not know this studio's key, or another process keeps using it",
                hint="ask the coordinator whether the join request was admitted; look for a second uplink",
            )
        return UnreachableError(
            "this node is not let in: not admitted yet, or a process with this key was online a moment ago"
        )

    def _beat(self, client: FleetHttpClient) -> bool:
        try:
            with translated("send a heartbeat"):
                request = SendNodeHeartbeatRequest(node=self._node, heartbeat_interval=HEARTBEAT_INTERVAL_S)
                return bool(client.SendNodeHeartbeat(request).success)
        except AnsweredError as error:
            if error.status == 401:
                return False
            raise

    @contextlib.contextmanager
    def _calling(self, what: str) -> Iterator[None]:
        try:
            with translated(what):
                yield
        except AnsweredError as error:
            if error.code == ApiErrorCode.FLEET_RUN_STATUS_NOT_ALLOWED:
                raise RunOverError(str(error)) from error
            if error.status == 401:
                # Revoked, or the clock: activation finds out which.
                self._stop_heartbeat()
                if _clock_is_off(error):
                    raise UnreachableError(
                        f"this machine's clock is {error.clock_ahead_s:+.0f} s away from the coordinator's",
                        hint="set the clock (NTP); nodes more than five minutes off are refused",
                    ) from error
                raise UnreachableError(str(error)) from error
            raise

    def _stop_heartbeat(self) -> None:
        if self._heartbeat is not None:
            self._heartbeat.stop()
            self._heartbeat = None

    def _open(self) -> FleetHttpClient:
        return open_client(
            FleetHttpClient,
            self._address,
            self._ca_certificate,
            [NodeAuthHttpInterceptor(self._private_key, self._private_key.public_key())],
            component=COMPONENT,
            loopback=False,
        )

    def _read_node_id(self) -> int:
        try:
            fields = json.loads(self._state_path.read_bytes())
            known = fields["public_key_digest"] == hashlib.sha256(self._public_key).hexdigest()
            return int(fields["node_id"]) if known else 0
        except (OSError, ValueError, KeyError, TypeError):
            return 0

    def _keep_node_id(self, node_id: int) -> None:
        if node_id == self.node_id:
            return
        self.node_id = node_id
        digest = hashlib.sha256(self._public_key).hexdigest()
        fields = {"node_id": node_id, "public_key_digest": digest}
        write_atomic(self._state_path, json.dumps(fields).encode(), 0o600)


def _clock_is_off(error: AnsweredError) -> bool:
    return error.clock_ahead_s is not None and abs(error.clock_ahead_s) > CLOCK_TOLERANCE_S


def _pauses() -> Iterator[float]:
    pause_s = RETRY_FIRST_S
    while True:
        yield pause_s
        pause_s = min(2 * pause_s, RETRY_MAX_S)
