"""Replies of the coordinator's run: taken as soon as they are announced, fetched bit by bit, confirmed afterwards."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from flwr.app import Message
from flwr.common.constant import SUPERLINK_NODE_ID
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest
from flwr.proto.node_pb2 import Node
from flwr.proto.runtime_pb2 import GetNodesRequest, PullAppMessagesRequest
from flwr.supercore.inflatable.inflatable_protobuf_utils import make_pull_object_fn_protobuf
from flwr.supercore.runtime import RuntimeHttpClient

from federation.errors import FlowerError, MessageError
from federation.flower.arriving import ArrivingReply
from federation.flower.run_calls import calling

OWN_NODE = Node(node_id=SUPERLINK_NODE_ID)


class Inbox:
    """What the SuperLink has announced to one run and this process has not yet handed on; nobody else knows of it."""

    def __init__(self, client: RuntimeHttpClient, run_id: int, folder: Path) -> None:
        """Begin empty.

        Args:
            client: with the run's token.
            run_id: Flower's.
            folder: on the disk that has room for what comes in.
        """
        self._client, self._run_id, self._folder = client, run_id, folder
        self._arriving: dict[str, ArrivingReply] = {}
        self._received: list[str] = []

    def replies(self, node_ids: Mapping[str, int]) -> Iterator[tuple[str, Message | None]]:
        """Yield each question whose reply is complete, with the reply; None in its place if it is lost.

        A lost reply must be asked for again: the SuperLink has forgotten it.

        Args:
            node_ids: whom each question was put to.

        Raises:
            UnreachableError: the SuperLink is away.
            RunLostError: the run is dead.
            FlowerError: the SuperLink refuses.
        """
        self._confirm()
        self._take_announced(node_ids)
        for question in [one for one in node_ids if one in self._arriving]:
            try:
                if self._is_complete(question):
                    yield question, self._built(question)
            except MessageError:
                self._forget(question)
                yield question, None

    def close(self) -> None:
        """Let go of everything."""
        for question in list(self._arriving):
            self._forget(question)

    def _take_announced(self, node_ids: Mapping[str, int]) -> None:
        """Ask which replies are there; the SuperLink forgets them with its answer, so they are kept here."""
        with calling("pull replies"):
            online = {node.node_id for node in self._client.GetNodes(GetNodesRequest()).nodes}
            asked = [n for n, node_id in node_ids.items() if node_id in online and n not in self._arriving]
            if not asked:
                return
            answer = self._client.PullMessages(PullAppMessagesRequest(message_ids=asked))
        for proto, tree in zip(answer.messages_list, answer.message_object_trees, strict=True):
            if proto.metadata.reply_to_message_id in node_ids:
                arriving = ArrivingReply(proto, tree, self._folder)
                self._arriving[proto.metadata.reply_to_message_id] = arriving

    def _is_complete(self, question: str) -> bool:
        """Fetch what is there of a reply, and say whether that is all of it."""
        pull_object = make_pull_object_fn_protobuf(self._client.PullObject, OWN_NODE, self._run_id)
        with calling("pull a reply"):
            return self._arriving[question].fetch(pull_object)

    def _built(self, question: str) -> Message:
        message = self._arriving[question].build()
        self._received.append(self._arriving[question].message_id)
        self._forget(question)
        return message

    def _confirm(self) -> None:
        """Let the SuperLink delete what was fetched before, for which no round waits; the run's end does it, too."""
        while self._received:
            request = ConfirmMessageReceivedRequest(
                node=OWN_NODE, run_id=self._run_id, message_object_id=self._received.pop()
            )
            with contextlib.suppress(FlowerError), calling("confirm a reply"):
                self._client.ConfirmMessageReceived(request)

    def _forget(self, question: str) -> None:
        self._arriving.pop(question).close()
