"""A Flower message to and from the objects that Flower moves one request each.

A message is a tree of objects named by the SHA-256 of their bytes: the message, its RecordDict, its records, each
array and each chunk of an array. Every object is one request down and one up, which is why the model travels as one
packed array (six objects in all).
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
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


class IncomingMessage:
    """An announced message whose objects are being fetched; what has been fetched is kept between attempts."""

    def __init__(self, proto: MessageProto, tree: ObjectTree) -> None:
        """Take note of what is to be fetched.

        Args:
            proto: what was announced.
            tree: names of all its objects.

        Raises:
            MessageError: too many objects.
        """
        self.message_id = str(proto.metadata.message_id)
        self._missing = dict.fromkeys(node.object_id for node in iterate_object_tree(tree))
        if not 0 < len(self._missing) <= OBJECTS_MAX:
            raise MessageError(f"the message has {len(self._missing)} objects; 1 to {OBJECTS_MAX} are read")
        self._contents: dict[str, bytes] = {}

    @property
    def fetched(self) -> int:
        """Number of objects fetched so far."""
        return len(self._contents)

    def fetch(self, pull_object: Callable[[str], bytes]) -> bool:
        """Fetch what is there, a few objects at a time, and return whether the message is complete.

        Args:
            pull_object: fetches one object; raises ObjectUnavailableError while it is still being uploaded.

        Raises:
            MessageError: an object is lost or not what its name says, or there are too many bytes.
            Exception: whatever ``pull_object`` raises otherwise.
        """
        names = list(self._missing)
        with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
            for start in range(0, len(names), REQUESTS_AT_ONCE):
                batch = names[start : start + REQUESTS_AT_ONCE]
                self._keep({name: pool.submit(_pull, name, pull_object) for name in batch})
        return not self._missing

    def _keep(self, pulls: dict[str, Future[bytes | None]]) -> None:
        first_error: BaseException | None = None
        for name, pull in pulls.items():
            if (error := pull.exception()) is not None:
                first_error = first_error or error
            elif (content := pull.result()) is not None:
                self._contents[name] = content
                del self._missing[name]
        if sum(map(len, self._contents.values())) > MESSAGE_BYTES_MAX:
            raise MessageError(f"the message has more than {MESSAGE_BYTES_MAX} bytes")
        if first_error is not None:
            raise first_error

    def build(self) -> Message:
        """Build the message from its objects, which are used up.

        Raises:
            MessageError: they do not fit together.
        """
        try:
            message = cast(Message, inflate_object_from_contents(self.message_id, self._contents))
        except (KeyError, ValueError, TypeError, AttributeError, IndexError, RecursionError) as error:
            raise MessageError(
                f"the message's objects do not fit together: {type(error).__name__}"
            ) from error
        if not isinstance(message, Message):
            raise MessageError(
                f"the object {self.message_id[:16]} is a {type(message).__name__}, not a message"
            )
        message.metadata.__dict__["_message_id"] = self.message_id
        return message


def _pull(name: str, pull_object: Callable[[str], bytes]) -> bytes | None:
    """Fetch one object; None if it is still being uploaded."""
    try:
        content = pull_object(name)
    except ObjectUnavailableError:
        return None
    except ObjectPullError as error:
        raise MessageError(f"object {name[:16]} of the message is lost") from error
    if get_object_id(content) != name:
        raise MessageError(f"object {name[:16]} of the message has other content than its name says")
    return content
