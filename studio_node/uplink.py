"""The uplink: the studio's Flower node. It has the network and the node key, and cannot read plates.

It takes instructions from the federation, compares the run's app bundle with the installed code, hands the message to
the installed ClientApp (which asks the runner), signs an update with the node key, and sends the reply. No trouble of
network, coordinator or runner ends it: it ends on SIGTERM, or when the coordinator has revoked its key.
"""

from __future__ import annotations

import contextlib
import os
import queue
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import Context, Message, RecordDict

from federation.child_process import stop_on_signals
from federation.documents import PublicKey
from federation.durable import make_private_dir
from federation.errors import DocumentError, FlowerError, IdentityError, RefusalCode
from federation.flower.bundle import build_bundle, bundle_digest
from federation.flower.run_state import lock_exclusively
from federation.flower.studio import FleetConnection, RunOverError
from federation.flower.transport import UnreachableError
from federation.homes import StudioHome
from federation.journal import Journal
from federation.keys import load_node_key
from federation.messages import TrainRefusal, TrainUpdate
from federation.next_key import adopt_next_key
from federation.plan import RoundInstruction
from federation.records import read_reply, read_request, reply_records
from federation.set_up import load_kit
from federation.update_signature import UpdateSubject, sign_update
from studio_node.client_app import RUNNER_SOCKET, app, seconds_left

POLL_MIN_S, POLL_MAX_S = 0.1, 3.0
BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.5, 5.0
APP_POLL_S = 0.2


@dataclass(frozen=True)
class UplinkSettings:
    """What an uplink needs.

    Attributes:
        fleet_address: host:port of the coordinator's fleet proxy.
        ca_certificate: PEM of the federation's authority.
        node_key: the studio's node key.
        plan_key: the coordinator's, which instructions are signed with.
        run_folder: private folder for the node id.
        runner_socket: the runner's socket.
        journal: JSON-lines file.
    """

    fleet_address: str
    ca_certificate: bytes
    node_key: ec.EllipticCurvePrivateKey
    plan_key: PublicKey
    run_folder: Path
    runner_socket: Path
    journal: Path

    @classmethod
    def of_home(cls, root: Path) -> UplinkSettings:
        """Return the settings that follow from a studio's home.

        Raises:
            IdentityError: the node key is missing or readable by others, or there is no join kit.
            DocumentError: the join kit is malformed or not signed by the coordinator's key.
        """
        kit = load_kit(root)
        return cls(
            fleet_address=kit.fleet_address,
            ca_certificate=kit.ca_pem.encode(),
            node_key=load_node_key(StudioHome(root).node_key).private,
            plan_key=kit.plan_key,
            run_folder=root / "run",
            runner_socket=root / "run" / "runner.sock",
            journal=root / "uplink.jsonl",
        )


def run(home: Path) -> None:
    """Be the uplink of a studio's home in this process, until SIGTERM.

    When the coordinator has retired the key in use and a next one was made, the uplink goes on with that one.

    Raises:
        IdentityError: the coordinator has revoked this studio's key or does not know it; or see UplinkSettings.
        FlowerError: another uplink serves this home.
    """
    while True:
        settings = UplinkSettings.of_home(home)
        try:
            return serve(settings)
        except IdentityError:
            if not adopt_next_key(home):
                raise


def serve(settings: UplinkSettings) -> None:
    """Be an uplink in this process, until SIGTERM; see :func:`run`."""
    stop = stop_on_signals()
    make_private_dir(settings.run_folder)
    lock = lock_exclusively(settings.run_folder / "uplink.lock", "uplink")
    try:
        Uplink(settings, stop).work()
    finally:
        os.close(lock)


class Uplink:
    """The loop, with what it remembers between messages."""

    def __init__(
        self, settings: UplinkSettings, stop: threading.Event, connection: FleetConnection | None = None
    ) -> None:
        """Prepare; nothing is called yet.

        Args:
            settings: what it needs.
            stop: set to end the loop.
            connection: to the federation; made from the settings by default.
        """
        self._settings = settings
        self._stop = stop
        self._journal = Journal(settings.journal, "uplink")
        self._own_digest = bundle_digest(build_bundle())
        self._approved_runs: set[int] = set()
        self._connection = connection or FleetConnection(
            settings.fleet_address,
            settings.ca_certificate,
            settings.node_key,
            settings.run_folder / "node.json",
            stop,
        )

    def work(self) -> None:
        """Take and answer instructions until told to stop.

        Raises:
            IdentityError: the coordinator has revoked this studio's key or does not know it.
        """
        self._journal.write("start", "started", bundle_digest=self._own_digest)
        failures = 0
        busy_at = time.monotonic()
        try:
            while not self._stop.is_set():
                asked_at = time.monotonic()
                try:
                    if self._step():
                        busy_at = asked_at = time.monotonic()
                    failures = 0
                except IdentityError as error:
                    self._journal.write("revoked", str(error))
                    raise
                except BaseException as error:  # SystemExit and KeyboardInterrupt of Flower's, too
                    if self._stop.is_set():
                        break
                    failures += 1
                    self._trouble(error, failures)
                    continue
                now = time.monotonic()
                self._stop.wait(poll_pause_s(now - busy_at, now - asked_at))
        finally:
            self._connection.close()
            self._journal.write("stop", "stopped")

    def _step(self) -> bool:
        """Go online if need be, take one message if there is one and answer it; returns whether there was one."""
        if not self._connection.active:
            self._connection.activate()
            self._journal.write("online", "online", node_id=str(self._connection.node_id))
        message = self._connection.receive()
        if message is None:
            return False
        self._journal.write(
            "instruction",
            f"instruction for round {message.metadata.group_id}",
            message=message.metadata.message_id,
            seconds_left=round(seconds_left(message), 1),
        )
        if seconds_left(message) <= 0:
            self._journal.write("expired", "the instruction came too late; nothing was asked of the runner")
            return True
        reply = self._answer(message)
        if reply is not None:
            sent = self._connection.send(reply)
            self._journal.write(
                "reply",
                "reply sent" if sent else "the reply was not taken: too late, or the run has ended",
                message=message.metadata.message_id,
                sent=sent,
            )
        return True

    def _answer(self, message: Message) -> Message | None:
        """Return the reply to a message; None if nobody waits for one."""
        try:
            approved = self._is_approved(message)
        except RunOverError:
            self._journal.write("run_over", "the run of this instruction has ended")
            return None
        except FlowerError as error:
            self._journal.write("no_bundle", f"no app bundle to compare with: {error}")
            return _refusal(message, RefusalCode.INTERNAL)
        if not approved:
            self._journal.write(
                "bundle_mismatch",
                "refused: the coordinator's app bundle is not the code that is installed here; are both sides of "
                "the same release of fedroto?",
            )
            return _refusal(message, RefusalCode.BUNDLE_MISMATCH)
        return self._in_thread(lambda: self._call_app(message))

    def _is_approved(self, message: Message) -> bool:
        """Compare the bundle's content (never its claimed hash) with the installation, once a run.

        Raises:
            FlowerError: the bundle cannot be had before the message expires.
        """
        run_id = message.metadata.run_id
        failures = 0
        while run_id not in self._approved_runs:
            try:
                if bundle_digest(self._connection.bundle_for(message)) != self._own_digest:
                    return False
                self._approved_runs = {run_id}
            except UnreachableError as error:
                failures += 1
                if seconds_left(message) <= 0 or self._stop.is_set():
                    raise
                self._trouble(error, failures)
        return True

    def _call_app(self, message: Message) -> Message:
        try:
            context = Context(
                run_id=message.metadata.run_id,
                node_id=message.metadata.dst_node_id,
                node_config={RUNNER_SOCKET: str(self._settings.runner_socket)},
                state=RecordDict(),
                run_config={},
            )
            return self._signed(message, app(message, context))
        except BaseException as error:
            self._journal.write("app_error", f"the app failed: {type(error).__name__}: {error}")
            return _refusal(message, RefusalCode.INTERNAL)

    def _signed(self, message: Message, reply: Message) -> Message:
        """Put the studio's signature to an update; a refusal goes as it is."""
        update = read_reply(reply.content)
        if not isinstance(update, TrainUpdate):
            return reply
        try:
            asked = RoundInstruction.verified(
                read_request(message.content).instruction, self._settings.plan_key
            )
        except DocumentError as error:
            self._journal.write("unsigned", f"refused: an update is not signed for this instruction: {error}")
            return _refusal(message, RefusalCode.BAD_SIGNATURE)
        signed = sign_update(update, UpdateSubject.of(asked), self._settings.node_key)
        return Message(reply_records(signed), reply_to=message)

    def _in_thread(self, call: Callable[[], Message]) -> Message | None:
        """Run a call in a thread, so that SIGTERM ends the wait; None if it did, or if the call did not return."""
        results: queue.Queue[Message] = queue.Queue()
        thread = threading.Thread(target=lambda: results.put(call()), name="client-app", daemon=True)
        thread.start()
        while not self._stop.is_set():
            ended = not thread.is_alive()
            with contextlib.suppress(queue.Empty):
                return results.get(timeout=0 if ended else APP_POLL_S)
            if ended:
                return None
        return None

    def _trouble(self, error: BaseException, failures: int) -> None:
        """Wait a while after a failure; the first one is journalled, then the 2nd, 4th, 8th... in a row."""
        pause_s = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2 ** min(failures - 1, 10))
        pause_s *= random.uniform(0.7, 1.0)  # noqa: S311 - spreads studios over time, nothing secret
        if failures & (failures - 1) == 0:
            hint = getattr(error, "hint", None)
            self._journal.write(
                "trouble",
                f"{error}{f' ({hint})' if hint else ''}; trying again",
                error=type(error).__name__,
                failures=failures,
            )
        self._stop.wait(pause_s)


def poll_pause_s(idle_s: float, took_s: float) -> float:
    """Return how long to wait before asking for instructions again.

    Right after work the next round is near; a node that has long been idle asks less often. And no node asks for more
    than a fifth of the time: where many studios keep the coordinator busy, answers take longer and all ask less.

    Args:
        idle_s: since there was something to do.
        took_s: what the last question took to be answered.
    """
    return min(POLL_MAX_S, max(POLL_MIN_S, idle_s / 4, 4 * took_s))


def _refusal(message: Message, code: RefusalCode) -> Message:
    return Message(reply_records(TrainRefusal(code)), reply_to=message)
