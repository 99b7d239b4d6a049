"""The coordinator's run: claimed by this process, its token on disk, questions out and replies in.

The coordinator process claims its own run's task and plays the round loop itself; no ServerApp code is ever executed.
A run that this coordinator did not start is finished as failed. Everything here talks to the SuperLink on loopback
(Flower's control and runtime APIs).
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from flwr.app import Message, Metadata, RecordDict
from flwr.app.message import make_message
from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode, SubStatus
from flwr.proto.control_pb2 import ListRunsRequest, StartRunRequest
from flwr.proto.fab_pb2 import Fab
from flwr.proto.runtime_pb2 import (
    AcquireTaskRequest,
    PullTaskInputRequest,
    PushAppMessagesRequest,
    PushTaskOutputRequest,
    SendTaskHeartbeatRequest,
)
from flwr.supercore.constant import TaskType
from flwr.supercore.control.control_http_client import ControlHttpClient
from flwr.supercore.error import ApiErrorCode
from flwr.supercore.inflatable.inflatable_protobuf_utils import (
    make_push_object_fn_protobuf,
)
from flwr.supercore.interceptors import RuntimeTokenHttpInterceptor, SuperExecAuthHttpInterceptor
from flwr.supercore.protobuf.client import ProtobufClientInterceptor
from flwr.supercore.runtime import RuntimeHttpClient

from federation.durable import write_atomic
from federation.errors import FlowerError, IdentityError
from federation.flower.bundle import bundle_digest
from federation.flower.heartbeat import Heartbeat
from federation.flower.inbox import OWN_NODE, Inbox
from federation.flower.objects import take_apart
from federation.flower.roster import COMPONENT, Node, StudioRoster, SuperLinkAccess
from federation.flower.run_calls import RunLostError, calling
from federation.flower.run_state import QuestionId, RunState, lock_exclusively
from federation.flower.transport import AnsweredError, Client, UnreachableError, open_client, translated

TRAIN = "train"
ASK_AGAIN = int(ErrorCode.MESSAGE_UNAVAILABLE)
"""Error code 3: the question or its reply is gone; ask the studio again, it answers from its stored update."""
HEARTBEAT_S = 10.0  # the SuperLink gives a claimed task up 60 s after its last heartbeat
FOREIGN_RUN = "not started by this federation's coordinator"


@dataclass(frozen=True)
class Reply:
    """What came back for one question.

    Attributes:
        message_id: as :meth:`FederationRun.push` returned it.
        content: the studio's records, not yet validated; None if there is an error instead.
        error_code: Flower's error code (see ``ASK_AGAIN``), or None.
    """

    message_id: str
    content: RecordDict | None
    error_code: int | None

    @classmethod
    def of(cls, message_id: str, message: Message | None) -> Reply:
        """Take a reply from Flower's message; None is one that was lost."""
        if message is None:
            return cls(message_id, None, ASK_AGAIN)
        if message.has_error():
            return cls(message_id, None, int(message.error.code))
        return cls(message_id, message.content, None)


class FederationRun:
    """One Flower run, claimed by this process, whose token is kept on disk.

    Opening continues the persisted run if its token still works (questions pending there stay answerable) and starts
    a new one otherwise. Methods raise :class:`~federation.flower.transport.UnreachableError` while the SuperLink is
    away (call again) and :class:`~federation.flower.run_calls.RunLostError` when the run is dead (call :meth:`open`
    again: same object, new run).

    Use as a context manager: leaving it stops the heartbeat but does not finish the run, so that the next process
    can continue it; :meth:`finish` ends it.

    Attributes:
        run_id: Flower's id of the open run.
        resumed: whether :meth:`open` continued a run that an earlier process had started.
    """

    def __init__(self, access: SuperLinkAccess, state_path: Path, bundle: bytes) -> None:
        """Prepare; nothing is called yet.

        Args:
            access: how to reach the SuperLink.
            state_path: file for the run's token (0600), in the campaign's folder.
            bundle: the app bundle that studios compare with their own installation.
        """
        self._access = access
        self._state_path = state_path
        self._bundle = bundle
        self._roster = StudioRoster(access)
        self._control = self._open(ControlHttpClient, [])
        self._executor = self._open(
            RuntimeHttpClient,
            [
                SuperExecAuthHttpInterceptor(
                    master_secret=access.secret, protected_methods=["/flwr.proto.Runtime/AcquireTask"]
                )
            ],
        )
        self._client: RuntimeHttpClient | None = None
        self._heartbeat: Heartbeat | None = None
        self._lock: int | None = None
        self._inbox: Inbox | None = None
        self.run_id = 0
        self.resumed = False

    def __enter__(self) -> Self:
        """Take the coordinator's lock and open the run."""
        try:
            self._lock = lock_exclusively(self._access.lock_path, "coordinator process")
            self.open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the run as it is, for the next process."""
        self.close()

    def open(self) -> None:
        """Continue the persisted run, or start a new one.

        Raises:
            UnreachableError: the SuperLink is away; call again.
            IdentityError: it was started with another secret.
            FlowerError: it refuses.
        """
        self._stop_client()
        state = self._continued() or self._started()
        self.run_id = state.run_id
        self._client = self._token_client(state.token)
        self._inbox = Inbox(self._client, self.run_id, self._state_path.parent)
        try:
            with calling("enter the run"):
                self._client.PullTaskInput(PullTaskInputRequest())
        except AnsweredError as error:
            # An earlier process has entered it already.
            if not (self.resumed and error.code == ApiErrorCode.RUNTIME_TASK_START_FAILED):
                raise
        beating = self._token_client(state.token)
        self._heartbeat = Heartbeat(
            lambda: self._beat(beating), interval_s=HEARTBEAT_S, on_stop=beating.close, name="flower-run"
        )

    def nodes(self) -> list[Node]:
        """Return all registered nodes, online or not, by studio name."""
        return self._roster.nodes()

    def register_studio(self, public_key: bytes, studio: str) -> int:
        """Register a studio's node; see :meth:`StudioRoster.register`."""
        return self._roster.register(public_key, studio)

    def unregister_studio(self, node_id: int) -> None:
        """Revoke a node; see :meth:`StudioRoster.unregister`."""
        self._roster.unregister(node_id)

    def push(self, node_id: int, content: RecordDict, ttl_s: float, *, server_round: int = 0) -> str:
        """Ask a node and return the question's id; never waits for an answer.

        The id is opaque, safe to keep on disk and good for this run only.

        Raises:
            UnreachableError: the SuperLink is away: it is not known whether the node was asked; ask again.
            RunLostError: the run is dead.
            FlowerError: the node is not registered or has never been online, or the SuperLink refuses.
        """
        metadata = Metadata(
            run_id=self.run_id,
            message_id="",
            src_node_id=SUPERLINK_NODE_ID,
            dst_node_id=node_id,
            reply_to_message_id="",
            group_id=str(server_round),
            created_at=time.time(),
            ttl=ttl_s,
            message_type=TRAIN,
        )
        outgoing = take_apart(make_message(metadata, content))
        client, _ = self._live()
        with calling(f"ask node {node_id}"):
            answer = client.PushMessages(
                PushAppMessagesRequest(messages_list=[outgoing.proto], message_object_trees=[outgoing.tree])
            )
            if list(answer.message_ids) != [outgoing.message_id]:
                raise FlowerError(f"the SuperLink takes no question for node {node_id}: it is not registered")
            push_object = make_push_object_fn_protobuf(
                client.PushObject, OWN_NODE, self.run_id, answer.session_id
            )
            outgoing.upload(set(answer.objects_to_push), push_object)
        return str(QuestionId(self.run_id, node_id, outgoing.message_id))

    def pull(self, message_ids: Iterable[str]) -> Iterator[Reply]:
        """Yield the replies that have arrived, one at a time: write each to disk before taking the next.

        The SuperLink forgets a reply when it hands it out, and it destroys the stored reply of a node that is offline
        at the moment of asking; so only questions to nodes that are online now are asked for, and the others stay
        pending. A reply that is still being uploaded is fetched bit by bit, without waiting for it. An id of another
        run, or whose reply is lost, yields the error code ``ASK_AGAIN``.

        Raises:
            UnreachableError: the SuperLink is away; pull again.
            RunLostError: the run is dead.
            FlowerError: the SuperLink refuses.
        """
        questions = {text: QuestionId.parse(text) for text in message_ids}
        yield from (
            Reply(text, None, ASK_AGAIN) for text, asked in questions.items() if asked.run_id != self.run_id
        )
        mine = {asked.message_id: text for text, asked in questions.items() if asked.run_id == self.run_id}
        if not mine:
            return
        _, inbox = self._live()
        for name, message in inbox.replies({name: questions[text].node_id for name, text in mine.items()}):
            yield Reply.of(mine[name], message)
            del message  # or it would take memory while the next one comes in

    def finish(self, *, completed: bool, details: str = "") -> None:
        """End the run for good and forget its token.

        Raises:
            UnreachableError: the SuperLink is away; call again.
            FlowerError: it refuses.
        """
        with contextlib.suppress(RunLostError), calling("finish the run"):
            status = SubStatus.COMPLETED if completed else SubStatus.FAILED
            client, _ = self._live()
            client.PushTaskOutput(PushTaskOutputRequest(sub_status=status, details=details))
            # Listing a finished run makes the SuperLink delete what is left of its messages.
            self._control.ListRuns(ListRunsRequest(run_id=self.run_id))
        self._stop_client()
        self._state_path.unlink(missing_ok=True)

    def close(self) -> None:
        """Stop the heartbeat, close connections, release the lock; the run stays open for about a minute."""
        self._stop_client()
        for client in (self._roster, self._control, self._executor):
            client.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _continued(self) -> RunState | None:
        """Return the persisted run if its task can still be ours."""
        state = RunState.read(self._state_path)
        self.resumed = False
        if state is None:
            return None
        if state.bundle_digest != bundle_digest(self._bundle):
            self._fail(state.token, "the coordinator was upgraded")
            return None
        token = state.token or self._claim(state.run_id)
        if not token:
            return None
        client = self._token_client(token)
        try:
            with calling("continue the run"):
                alive = client.SendTaskHeartbeat(SendTaskHeartbeatRequest()).success
        except RunLostError:
            alive = False
        finally:
            client.close()
        self.resumed = bool(alive)
        return self._remember(state.run_id, token) if alive else None

    def _started(self) -> RunState:
        fab = Fab(hash_str=bundle_digest(self._bundle), content=self._bundle)
        with calling("start a run"):
            run_id = int(self._control.StartRun(StartRunRequest(fab=fab)).run_id)
        if run_id == 0:
            raise FlowerError(f"the SuperLink takes no app bundle of {len(self._bundle)} bytes")
        self._remember(run_id, "")
        token = self._claim(run_id)
        if token is None:
            raise UnreachableError(f"run {run_id} was started but its task is not there to claim")
        return self._remember(run_id, token)

    def _remember(self, run_id: int, token: str) -> RunState:
        state = RunState(run_id, token, bundle_digest(self._bundle))
        write_atomic(self._state_path, state.to_bytes(), 0o600)
        return state

    def _claim(self, run_id: int) -> str | None:
        """Claim pending tasks until ours comes; the others are foreign."""
        while True:
            try:
                with translated("claim the run's task"):
                    request = AcquireTaskRequest(supported_task_types=list(TaskType))
                    claimed = self._executor.AcquireTask(request)
            except AnsweredError as error:
                if error.status == 401:
                    raise IdentityError(
                        "the SuperLink does not accept this coordinator's secret",
                        hint="restart the SuperLink after its secret has changed, and check the clock",
                    ) from error
                raise
            if not claimed.token:
                return None
            if claimed.task.run_id == run_id and claimed.task.type == TaskType.SERVER_APP:
                return str(claimed.token)
            self._fail(claimed.token, FOREIGN_RUN)

    def _beat(self, client: RuntimeHttpClient) -> bool:
        """Tell that we live; afterwards finish runs that somebody else has put there."""
        try:
            with calling("send the run's heartbeat"):
                alive = bool(client.SendTaskHeartbeat(SendTaskHeartbeatRequest()).success)
        except RunLostError:
            return False
        if alive:
            with contextlib.suppress(FlowerError, IdentityError):
                self._claim(0)
        return alive

    def _fail(self, token: str, details: str) -> None:
        if not token:
            return
        client = self._token_client(token)
        with contextlib.suppress(FlowerError), calling("finish a run"):
            client.PushTaskOutput(PushTaskOutputRequest(sub_status=SubStatus.FAILED, details=details))
        client.close()

    def _live(self) -> tuple[RuntimeHttpClient, Inbox]:
        if self._client is None or self._inbox is None or self._heartbeat is None:
            raise RunLostError("no run is open")
        if self._heartbeat.refused:
            raise RunLostError(f"run {self.run_id} is no longer ours: its heartbeat was refused")
        return self._client, self._inbox

    def _stop_client(self) -> None:
        if self._inbox is not None:
            self._inbox.close()
            self._inbox = None
        if self._heartbeat is not None:
            self._heartbeat.stop()
            self._heartbeat = None
        if self._client is not None:
            self._client.close()
            self._client = None

    def _token_client(self, token: str) -> RuntimeHttpClient:
        return self._open(RuntimeHttpClient, [RuntimeTokenHttpInterceptor(token)])

    def _open(self, kind: type[Client], interceptors: Sequence[ProtobufClientInterceptor]) -> Client:
        return open_client(
            kind,
            self._access.address,
            self._access.ca_certificate,
            interceptors,
            component=COMPONENT,
            loopback=True,
        )
