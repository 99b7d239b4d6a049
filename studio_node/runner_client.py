"""The uplink's side of the socket to the runner: one request out, one reply back, always within a bounded time.

The uplink knows nothing of plates or ledgers. Whatever goes wrong here becomes a refusal that lets the coordinator
ask again; the runner replays a finished update from its store.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

from federation.errors import MessageError, RefusalCode
from federation.messages import TrainRefusal, TrainReply, TrainRequest, encode_request, read_reply

SOCKET_NAME_BYTES_MAX = 100  # sun_path holds 108 with its end
CONNECT_WAIT_S = 5.0
CONNECT_PAUSE_S = 0.2


def ask_runner(
    socket_path: Path, request: TrainRequest, *, timeout_s: float, connect_wait_s: float = CONNECT_WAIT_S
) -> TrainReply:
    """Hand a request to the runner and wait for its reply.

    Args:
        socket_path: the runner's socket.
        request: as it came over the wire; the runner verifies it.
        timeout_s: for the whole exchange, training included.
        connect_wait_s: how long a runner that is not up is waited for (it may be restarting).

    Returns:
        The runner's reply; a BUSY refusal if it is not up or did not finish in time, INTERNAL if it ended in the
        middle or does not speak our frames.
    """
    deadline = time.monotonic() + timeout_s
    connection = _connect(socket_path, min(deadline, time.monotonic() + connect_wait_s))
    if connection is None:
        return TrainRefusal(RefusalCode.BUSY)
    with connection:
        try:
            _before(connection, deadline)
            connection.sendall(encode_request(request))
            return read_reply(_exact_reader(connection, deadline))
        except TimeoutError:
            return TrainRefusal(RefusalCode.BUSY)
        except (OSError, MessageError):
            return TrainRefusal(RefusalCode.INTERNAL)


def _connect(path: Path, deadline: float) -> socket.socket | None:
    while True:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connect_unix(connection, path)
            return connection
        except OSError:
            connection.close()
            if time.monotonic() + CONNECT_PAUSE_S >= deadline:
                return None
            time.sleep(CONNECT_PAUSE_S)


def connect_unix(connection: socket.socket, path: Path) -> None:
    """Connect a Unix socket by a path of any length (the kernel takes 108 bytes).

    Raises:
        OSError: nobody listens there.
    """
    name = os.fspath(path)
    if len(os.fsencode(name)) <= SOCKET_NAME_BYTES_MAX:
        connection.connect(name)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        connection.connect(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)


def _before(connection: socket.socket, deadline: float) -> None:
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    connection.settimeout(left_s)


def _exact_reader(connection: socket.socket, deadline: float) -> Callable[[int], bytes]:
    def read_exactly(count: int) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            _before(connection, deadline)
            part = connection.recv(min(count - len(parts), 1 << 20))
            if not part:
                raise ConnectionError("the runner closed the connection in the middle of its reply")
            parts += part
        return bytes(parts)

    return read_exactly
