"""A Flower message to and from the objects that Flower moves one request each.

A message is a tree of objects named by the SHA-256 of their bytes: the message, its RecordDict and its records. Every
object is a request up, and one down where its announcement does not tell it (``federation.flower.envelope``), which is
why the model travels as bytes in few records (``federation.records``) and not as an array, three objects more.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import BinaryIO

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.app.message import remove_content_from_message
from flwr.common.serde import message_to_proto
from flwr.proto.message_pb2 import Message as MessageProto
from flwr.proto.message_pb2 import ObjectTree
from flwr.supercore.inflatable.inflatable_object import (
    InflatableObject,
    get_all_nested_objects,
    get_object_head_values_from_object_content,
    get_object_id,
    get_object_tree,
    iterate_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.inflatable.inflatable_utils import (
    ObjectPullError,
    ObjectUnavailableError,
    inflatable_class_registry,
)

from federation.errors import MessageError
from federation.flower.envelope import envelope
from federation.messages import PACKED_BYTES_MAX

KINDS = frozenset(kind.__qualname__ for kind in (Message, RecordDict, ConfigRecord))
OBJECTS_MAX = 24
"""Objects of one message; ours have two and one for every 4 MiB of the frame (``federation.records``)."""
MESSAGE_BYTES_MAX = PACKED_BYTES_MAX + 3 * (1 << 20)
"""Bytes of all objects of one message: the weights, the signed plan and instruction, and their frames."""
REQUESTS_AT_ONCE, LARGE_AT_ONCE = 4, 2
"""Objects of a message under way at once; those of a large one have 4 MiB and take several times that on their way."""


@dataclass(frozen=True)
class OutgoingMessage:
    """A message ready to be announced and uploaded.

    Attributes:
        message_id: SHA-256 of the message object; the same for every attempt to send it.
        proto: what is announced, without content.
        tree: names of all objects.
        objects: the objects by name.
        inner: content of those that are made of others; Flower would name all of these anew for it, reading the model
            each time.
    """

    message_id: str
    proto: MessageProto
    tree: ObjectTree
    objects: dict[str, InflatableObject]
    inner: dict[str, bytes]

    def content(self, name: str) -> bytes:
        """Return an object's content."""
        return self.inner[name] if name in self.inner else self.objects[name].deflate()

    def upload(self, names: set[str], push_object: Callable[[str, bytes], None]) -> None:
        """Upload the named objects, a few at a time; the first failure is raised.

        Raises:
            Exception: whatever ``push_object`` raises.
        """
        chosen = [name for name in self.objects if name in names]
        with ThreadPoolExecutor(_at_once(chosen)) as pool:
            uploads = [pool.submit(lambda n: push_object(n, self.content(n)), name) for name in chosen]
            try:
                for upload in uploads:
                    upload.result()
            finally:
                pool.shutdown(wait=True, cancel_futures=True)


def take_apart(message: Message) -> OutgoingMessage:
    """Name a message by its content and list its objects."""
    with no_object_id_recompute():
        message.metadata.__dict__["_message_id"] = message.object_id
        objects = get_all_nested_objects(message)
        return OutgoingMessage(
            message_id=message.object_id,
            proto=message_to_proto(remove_content_from_message(message)),
            tree=get_object_tree(message),
            objects=objects,
            inner={name: one.deflate() for name, one in objects.items() if one.children},
        )


class IncomingMessage:
    """An announced message whose objects are being fetched; what has been fetched is kept between attempts.

    Of its objects only those are fetched that its announcement does not tell already (``federation.flower.envelope``).

    Objects wait in a spool, not in memory: of many messages that come in side by side only the one that is built takes
    memory.
    """

    def __init__(self, proto: MessageProto, tree: ObjectTree, spool: BinaryIO | None = None) -> None:
        """Take note of what is to be fetched.

        Args:
            proto: what was announced.
            tree: names of all its objects.
            spool: an empty file that the objects are written to; None keeps them in memory.

        Raises:
            MessageError: too many objects.
            OSError: the spool's disk refused.
        """
        self.message_id = str(proto.metadata.message_id)
        self._missing = dict.fromkeys(node.object_id for node in iterate_object_tree(tree))
        if not 0 < len(self._missing) <= OBJECTS_MAX:
            raise MessageError(f"the message has {len(self._missing)} objects; 1 to {OBJECTS_MAX} are read")
        self._spool: BinaryIO = io.BytesIO() if spool is None else spool
        self._places: dict[str, tuple[int, int]] = {}  # name -> offset and length in the spool
        self._size = 0
        for name, content in envelope(proto, tree).items():
            self._write(name, content)

    @property
    def fetched(self) -> int:
        """Number of objects that are here."""
        return len(self._places)

    def fetch(self, pull_object: Callable[[str], bytes]) -> bool:
        """Fetch what is there, a few objects at a time, and return whether the message is complete.

        Args:
            pull_object: fetches one object; raises ObjectUnavailableError while it is still being uploaded.

        Raises:
            MessageError: an object is lost or not what its name says, or there are too many bytes.
            OSError: the spool's disk refused.
            Exception: whatever ``pull_object`` raises otherwise.
        """
        names = list(self._missing)
        at_once = _at_once(names)
        with ThreadPoolExecutor(at_once) as pool:
            for start in range(0, len(names), at_once):
                batch = names[start : start + at_once]
                self._keep({name: pool.submit(_pull, name, pull_object) for name in batch})
        return not self._missing

    def _keep(self, pulls: dict[str, Future[bytes | None]]) -> None:
        first_error: BaseException | None = None
        for name, pull in pulls.items():
            if (error := pull.exception()) is not None:
                first_error = first_error or error
            elif (content := pull.result()) is not None:
                self._write(name, content)
        if first_error is not None:
            raise first_error

    def _write(self, name: str, content: bytes) -> None:
        if self._size + len(content) > MESSAGE_BYTES_MAX:
            raise MessageError(f"the message has more than {MESSAGE_BYTES_MAX} bytes")
        self._spool.seek(self._size)
        self._spool.write(content)
        self._places[name] = (self._size, len(content))
        self._size += len(content)
        del self._missing[name]

    def build(self) -> Message:
        """Build the message from its objects.

        Raises:
            MessageError: they do not fit together.
            OSError: the spool's disk refused.
        """
        try:
            message = self._inflated(self.message_id, {})
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

    def _content(self, name: str) -> bytes:
        offset, length = self._places[name]
        self._spool.seek(offset)
        return self._spool.read(length)

    def _inflated(self, name: str, done: dict[str, InflatableObject]) -> InflatableObject:
        """Build an object and what it is made of, as Flower's ``inflate_object_from_contents`` does.

        Of kinds of objects only those that our messages have: an array, say, may name one chunk a million times.
        """
        if name not in done:
            content = self._content(name)
            kind, children, _ = get_object_head_values_from_object_content(content)
            if kind not in KINDS:
                raise MessageError("the message holds an object of another kind than ours do")
            parts = {child: self._inflated(child, done) for child in children}
            done[name] = inflatable_class_registry[kind].inflate(content, children=parts)
        return done[name]


def _at_once(names: list[str]) -> int:
    return REQUESTS_AT_ONCE if len(names) <= 2 * REQUESTS_AT_ONCE else LARGE_AT_ONCE


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
