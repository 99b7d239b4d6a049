"""The runner: the process that reads plates and has no network; it trains, and answers on one Unix socket.

It loads torch once and stays warm. One connection at a time, one request after another; whatever arrives that is not a
request gets a refusal, and whatever goes wrong inside becomes a code outward and a text in its own journal. Every byte
it sends passes the egress door.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from federation.durable import make_private_dir, remove_leftovers
from federation.errors import EgressError, FedrotoError, MessageError, RefusalCode
from federation.journal import Journal
from federation.messages import TrainRefusal, encode_reply, read_request
from federation.provisioning import JoinKit
from federation.set_up import load_kit
from studio_node.egress import EgressDoor
from studio_node.egress_log import EGRESS_LOG, EgressLog
from studio_node.isolation import isolation_here
from studio_node.reply_schedule import ReplySchedule
from studio_node.stored_updates import UPDATES_FOLDER, StoredUpdates

if TYPE_CHECKING:
    from studio_node.local_round import Answer, LocalRounds

RUN_FOLDER, SOCKET_NAME, JOURNAL_NAME = "run", "runner.sock", "runner.jsonl"
READ_TIMEOUT_S = 60.0
"""How long a connected uplink may take over one request or over taking one reply."""
UPDATE_KEPT_S = 62 * 24 * 3600.0
"""Twice the longest deadline that a plan can have: after it no round can ask again."""
DRAIN_S, DRAIN_READS_MAX = 2.0, 64
_READ_BYTES = 1 << 20


def run(home: Path, *, threads: int | None = None) -> int:
    """Be the runner of a studio's home in this process, until SIGTERM or SIGINT; returns the exit status.

    When it is ready it writes one JSON line to standard output. Stopping in the middle of training leaves its charge
    in the ledger, as a kill would.

    Args:
        home: of the studio.
        threads: for torch; None leaves torch's own choice.

    Raises:
        IdentityError: the studio has not joined a federation.
        FedrotoError: another runner serves this home, or its folders are not writable.
    """
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash dump would hold plates
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    kit = load_kit(home)
    journal = Journal(home / JOURNAL_NAME, "runner")
    folder = home / RUN_FOLDER
    make_private_dir(folder)
    with contextlib.ExitStack() as held:
        held.enter_context(_only_runner(folder))
        clear_leftovers(home)
        rounds = _warm(home, kit, journal, threads)
        listener = held.enter_context(_listening(folder / SOCKET_NAME))
        isolation = isolation_here()
        journal.write("ready", f"ready; {isolation.text}", isolated=isolation.isolated)
        sys.stdout.write(
            json.dumps({"event": "ready", "isolated": isolation.isolated, "text": isolation.text}) + "\n"
        )
        sys.stdout.flush()
        with contextlib.suppress(SystemExit):
            serve(listener, rounds, EgressDoor(EgressLog(home / EGRESS_LOG)), journal, ReplySchedule(home))
    journal.write("stopped", "stopped")
    return 0


def _warm(home: Path, kit: JoinKit, journal: Journal, threads: int | None) -> LocalRounds:
    """Load what takes seconds (torch, Opacus) once, after everything that can be refused at once."""
    import torch

    from studio_node.local_round import LocalRounds

    if threads is not None:
        torch.set_num_threads(threads)
    return LocalRounds(home, kit, journal)


def serve(
    listener: socket.socket, rounds: LocalRounds, door: EgressDoor, journal: Journal, schedule: ReplySchedule
) -> None:
    """Answer one connection after the other, for ever."""
    while True:
        connection, _ = listener.accept()
        with connection:
            try:
                connection.settimeout(READ_TIMEOUT_S)
                while serve_one(connection, rounds, door, journal, schedule):
                    pass
            except (
                OSError
            ) as error:  # the uplink went away; what was finished is stored and will be asked for again
                journal.write("disconnected", f"the uplink's connection ended: {error}")


def serve_one(
    connection: socket.socket,
    rounds: LocalRounds,
    door: EgressDoor,
    journal: Journal,
    schedule: ReplySchedule,
) -> bool:
    """Answer one request of a connection; False when the connection is over.

    Raises:
        OSError: the connection broke or was silent for too long.
    """
    reader = FrameReader(connection)
    readable = True
    came = time.monotonic()
    try:
        request = read_request(reader.read_exactly)
        came = time.monotonic()
        answer = rounds.answer(request)
    except EndOfRequestsError:
        return False
    except MessageError as error:
        answer, readable = rounds.refuse(RefusalCode.MALFORMED, str(error)), False
    taken_s = time.monotonic() - came
    journal.write("answered", f"an answer was ready after {taken_s:.1f} s", taken_s=round(taken_s, 1))
    schedule.wait(taken_s)
    _release(answer, connection, door, journal)
    if (
        not readable
    ):  # nobody knows where the next frame begins; unread bytes at closing would take the reply with them
        _drain(connection)
    return readable


def _release(answer: Answer, connection: socket.socket, door: EgressDoor, journal: Journal) -> None:
    try:
        door.release(
            answer.frame, answer.expected, connection.sendall, instruction=answer.instruction, now=time.time()
        )
    except EgressError as error:
        journal.write("held-back", f"nothing left: {error}")
        frame = encode_reply(TrainRefusal(RefusalCode.INTERNAL))
        with contextlib.suppress(EgressError):  # not even a refusal leaves without its line in the log
            door.release(frame, None, connection.sendall, instruction=answer.instruction, now=time.time())


def _drain(connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_WR)
    connection.settimeout(DRAIN_S)
    for _ in range(DRAIN_READS_MAX):
        if not connection.recv(_READ_BYTES):
            return


class EndOfRequestsError(Exception):
    """The uplink closed the connection between two requests."""


class FrameReader:
    """Reads exact numbers of bytes from a connection, in bounded pieces."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._started = False

    def read_exactly(self, count: int) -> bytes:
        """Return exactly ``count`` bytes.

        Raises:
            EndOfRequestsError: the connection ended before the first byte.
            MessageError: it ended in the middle.
        """
        parts = bytearray()
        while len(parts) < count:
            part = self._connection.recv(min(count - len(parts), _READ_BYTES))
            if not part:
                if not self._started:
                    raise EndOfRequestsError
                raise MessageError("the connection ended in the middle of a frame")
            self._started = True
            parts += part
        return bytes(parts)


def clear_leftovers(home: Path) -> None:
    """Remove half-written files of a killed runner and stored updates that no round can ask for any more."""
    updates = home / UPDATES_FOLDER
    for folder in (updates, *(path for path in updates.glob("*") if path.is_dir())):
        remove_leftovers(folder)
    StoredUpdates(updates).forget_older_than(UPDATE_KEPT_S)


@contextlib.contextmanager
def _only_runner(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder / "runner.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FedrotoError(f"another runner serves {folder.parent}; a home has one") from error
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _listening(path: Path) -> Iterator[socket.socket]:
    """Listen on a Unix socket (0600) at a path of any length; the kernel itself takes only 108 bytes."""
    path.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(f"/proc/self/fd/{folder}/{path.name}")
            path.chmod(0o600)
            listener.listen(4)
            yield listener
    finally:
        os.close(folder)
        path.unlink(missing_ok=True)


def _stop(number: int, frame: FrameType | None) -> None:
    del number, frame
    for again in (signal.SIGTERM, signal.SIGINT):
        signal.signal(again, signal.SIG_IGN)  # the way out is short and must not be interrupted
    sys.exit(0)
