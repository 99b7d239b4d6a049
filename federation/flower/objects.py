"""A Flower message to and from the objects that Flower moves one request each.

A message is a tree of objects named by the SHA-256 of their bytes: the message, its RecordDict, its records, each
array and each chunk of an array. Every object is one request down and one up, which is why the model travels as one
packed array (six objects in all).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import cast

from flwr.app import Message
from flwr.app.message import remove_content_from_message
from flwr.common.serde import message_to_proto
from flwr.proto.message_pb2 import Message as MessageProto
from flwr.proto.message_pb2 import ObjectTree
from flwr.supercore.inflatable.inflatable_object import (
    InflatableObject,
    get_all_nested_objects,
    get_object_id,
    get_object_tree,
    iterate_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.inflatable.inflatable_utils import (
    ObjectPullError,
    ObjectUnavailableError,
    inflate_object_from_contents,
)

from federation.errors import MessageError
from federation.messages import PACKED_BYTES_MAX

OBJECTS_MAX = 32
"""Objects of one message; ours have 6, plus one for every 5 MB of weights."""
MESSAGE_BYTES_MAX = PACKED_BYTES_MAX + 3 * (1 << 20)
"""Bytes of all objects of one message: the weights, the signed plan and instruction, and their frames."""
REQUESTS_AT_ONCE = 4
UNAVAILABLE_WAIT_S = 0.25


@dataclass(frozen=True)
class OutgoingMessage:
    """A message ready to be announced and uploaded.

    Attributes:
        message_id: SHA-256 of the message object; the same for every attempt to send it.
        proto: what is announced, without content.
        tree: names of all objects.
        objects: the objects by name.
    """

    message_id: str
    proto: MessageProto
    tree: ObjectTree
    objects: dict[str, InflatableObject]

    def upload(self, names: set[str], push_object: Callable[[str, bytes], None]) -> None:
        """Upload the named objects, a few at a time; the first failure is raised.

        Raises:
            Exception: whatever ``push_object`` raises.
        """
        chosen = [name for name in self.objects if name in names]
        with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
            uploads = [
                pool.submit(lambda n: push_object(n, self.objects[n].deflate()), name) for name in chosen
            ]
            try:
                for upload in uploads:
                    upload.result()
            finally:
                pool.shutdown(wait=True, cancel_futures=True)


def take_apart(message: Message) -> OutgoingMessage:
    """Name a message by its content and list its objects."""
    with no_object_id_recompute():
        message.metadata.__dict__["_message_id"] = message.object_id
        return OutgoingMessage(
            message_id=message.object_id,
            proto=message_to_proto(remove_content_from_message(message)),
            tree=get_object_tree(message),
            objects=get_all_nested_objects(message),
        )


def put_together(
    proto: MessageProto, tree: ObjectTree, pull_object: Callable[[str], bytes], *, deadline: float
) -> Message:
    """Fetch a message's objects and build it.

    Args:
        proto: what was announced.
        tree: names of all its objects.
        pull_object: fetches one object; raises ObjectUnavailableError while it is still being uploaded.
        deadline: ``time.monotonic()`` after which an object that is still being uploaded counts as lost.

    Raises:
        MessageError: too many objects or bytes, an object is lost or not what its name says, or it cannot be built.
        Exception: whatever ``pull_object`` raises otherwise.
    """
    names = list(dict.fromkeys(node.object_id for node in iterate_object_tree(tree)))
    if not 0 < len(names) <= OBJECTS_MAX:
        raise MessageError(f"the message has {len(names)} objects; 1 to {OBJECTS_MAX} are read")
    contents: dict[str, bytes] = {}
    budget = _ByteBudget(MESSAGE_BYTES_MAX)
    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
        pulls = {name: pool.submit(_pull, name, pull_object, budget, deadline) for name in names}
        try:
            for name, pull in pulls.items():
                contents[name] = pull.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    message_id = proto.metadata.message_id
    try:
        message = cast(Message, inflate_object_from_contents(message_id, contents))
    except (KeyError, ValueError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise MessageError(f"the message's objects do not fit together: {type(error).__name__}") from error
    if not isinstance(message, Message):
        raise MessageError(f"the object {message_id[:16]} is a {type(message).__name__}, not a message")
    message.metadata.__dict__["_message_id"] = message_id
    return message


class _ByteBudget:
    def __init__(self, size_bytes_max: int) -> None:
        self._left = size_bytes_max
        self._size_bytes_max = size_bytes_max

    def take(self, size_bytes: int) -> None:
        self._left -= size_bytes
        if self._left < 0:
            raise MessageError(f"the message has more than {self._size_bytes_max} bytes")


def _pull(name: str, pull_object: Callable[[str], bytes], budget: _ByteBudget, deadline: float) -> bytes:
    while True:
        try:
            content = pull_object(name)
            break
        except ObjectPullError as error:
            raise MessageError(f"object {name[:16]} of the message is lost") from error
        except ObjectUnavailableError as error:
            if time.monotonic() >= deadline:
                raise MessageError(f"object {name[:16]} of the message was never uploaded") from error
            time.sleep(UNAVAILABLE_WAIT_S)
    budget.take(len(content))
    if get_object_id(content) != name:
        raise MessageError(f"object {name[:16]} of the message has other content than its name says")
    return content
