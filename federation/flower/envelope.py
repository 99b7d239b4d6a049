"""The objects of a message that follow from its announcement and so need not be fetched.

A message is announced with its metadata and the names of its objects. Two of these, the message itself and its
RecordDict, say nothing more where the records are named 0, 1, ... as ours are (``federation.records``). They are
written here as Flower writes them and believed only where their SHA-256 is the announced name, which saves two requests
a message.
"""

from __future__ import annotations

import json

from flwr.app import Message, RecordDict
from flwr.proto.message_pb2 import Message as MessageProto
from flwr.proto.message_pb2 import ObjectTree
from flwr.supercore.constant import HEAD_BODY_DIVIDER, HEAD_VALUE_DIVIDER
from flwr.supercore.inflatable.inflatable_object import get_object_id


def envelope(proto: MessageProto, tree: ObjectTree) -> dict[str, bytes]:
    """Return the contents of those objects, by name, that are known from what was announced.

    Args:
        proto: what was announced, without content.
        tree: names of all its objects.
    """
    written = {tree.object_id: _message(proto, tree)}
    for child in tree.children:
        written[child.object_id] = _record_dict(child)
    return {name: content for name, content in written.items() if get_object_id(content) == name}


def _message(proto: MessageProto, tree: ObjectTree) -> bytes:
    body = MessageProto(metadata=proto.metadata, error=proto.error if proto.HasField("error") else None)
    body.metadata.message_id = ""
    return _object(Message, tree, body.SerializeToString(deterministic=True))


def _record_dict(tree: ObjectTree) -> bytes:
    names = {str(number): child.object_id for number, child in enumerate(tree.children)}
    return _object(RecordDict, tree, json.dumps(names).encode())


def _object(kind: type, tree: ObjectTree, body: bytes) -> bytes:
    children = ",".join(child.object_id for child in tree.children)
    head = HEAD_VALUE_DIVIDER.join((kind.__qualname__, children, str(len(body))))
    return head.encode() + HEAD_BODY_DIVIDER + body
