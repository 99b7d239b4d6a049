"""The studio's Flower ClientApp: hands a train message to the runner and its reply back, and does nothing else.

It is the only app that the uplink runs; the one in the run's bundle is compared and thrown away. Errors never carry
text outward: whatever happens becomes an update or a refusal's code.
"""

from __future__ import annotations

import time
from pathlib import Path

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from federation.errors import MessageError, RefusalCode
from federation.messages import TrainRefusal, TrainReply
from federation.records import read_request, reply_records
from studio_node.runner_client import ask_runner

RUNNER_SOCKET = "runner-socket"
"""Key of the node's configuration: path of the runner's socket."""
REPLY_MARGIN_S = 2.0  # of the message's lifetime, kept for sending the reply

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """Forward the question to the runner; the reply is its update or its refusal."""
    return Message(reply_records(_reply(message, context)), reply_to=message)


def seconds_left(message: Message) -> float:
    """Return how long a message and replies to it are still valid."""
    return message.metadata.created_at + message.metadata.ttl - time.time()


def _reply(message: Message, context: Context) -> TrainReply:
    try:
        request = read_request(message.content)
    except MessageError:
        return TrainRefusal(RefusalCode.MALFORMED)
    return ask_runner(
        Path(str(context.node_config[RUNNER_SOCKET])),
        request,
        timeout_s=max(0.0, seconds_left(message) - REPLY_MARGIN_S),
    )
