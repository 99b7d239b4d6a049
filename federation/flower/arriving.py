"""A reply that the SuperLink has handed out and whose objects are still coming in, to an unnamed file."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from flwr.app import Message
from flwr.proto.message_pb2 import Message as MessageProto
from flwr.proto.message_pb2 import ObjectTree

from federation.errors import MessageError, RoundError
from federation.flower.objects import IncomingMessage

UPLOAD_PAUSE_MAX_S = 60.0  # a reply of which nothing has come in for so long counts as lost


class ArrivingReply:
    """Fetched bit by bit, so that no slow upload holds up another; its file is gone with :meth:`close`."""

    def __init__(self, proto: MessageProto, tree: ObjectTree, folder: Path) -> None:
        """Prepare; nothing is called yet.

        Args:
            proto: what was announced.
            tree: names of all its objects.
            folder: on the disk that has room for it.
        """
        self._proto = proto
        self._tree = tree
        self._folder = folder
        self._spool: BinaryIO | None = None
        self._incoming: IncomingMessage | None = None
        self._progress_at = time.monotonic()
        self.message_id = str(proto.metadata.message_id)

    def fetch(self, pull_object: Callable[[str], bytes]) -> bool:
        """Fetch what is there; returns whether it is complete.

        Raises:
            MessageError: it is lost, or not a message that is read.
            RoundError: the disk refused.
        """
        with _disk_guard(self._folder):
            if self._incoming is None:
                self._spool = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115  # closed by close
                self._incoming = IncomingMessage(self._proto, self._tree, self._spool)
            before = self._incoming.fetched
            complete = self._incoming.fetch(pull_object)
        if self._incoming.fetched > before:
            self._progress_at = time.monotonic()
        elif time.monotonic() - self._progress_at > UPLOAD_PAUSE_MAX_S:
            raise MessageError("the reply's upload has stopped")
        return complete

    def build(self) -> Message:
        """Build the message that has come in.

        Raises:
            MessageError: its objects do not fit together.
            RoundError: the disk refused.
        """
        if self._incoming is None:
            raise MessageError("nothing of the reply was fetched")
        with _disk_guard(self._folder):
            return self._incoming.build()

    def close(self) -> None:
        """Let go of the file."""
        if self._spool is not None:
            self._spool.close()


@contextlib.contextmanager
def _disk_guard(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RoundError(
            f"a reply cannot be kept in {folder}: {error.strerror or error}",
            hint="mend the disk and start the same campaign again; what studios have sent is kept",
        ) from error
