"""Who calls the service: verifies the document that a studio's node key signed for the call."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import grpc

from aggregator.enrolment import EnrolledStudio, Enrolment
from federation.errors import DocumentError
from federation.keys import openssh_public
from federation.service_call import CALL_METADATA, SKEW_S, verified_call

NONCES_MAX = 10_000


class Callers:
    """Tells callers apart by their node keys; a document serves once."""

    def __init__(self, home: Path, federation: str, *, clock: Callable[[], float] = time.time) -> None:
        self._home, self._federation, self._clock = home, federation, clock
        self._used: dict[str, float] = {}  # nonce -> when it may be forgotten
        self._lock = threading.Lock()

    def key(self, context: grpc.ServicerContext, method: str) -> str:
        """Return the caller's node key, one OpenSSH line; ends the call if it did not sign for this method."""
        documents = _documents(context)
        if len(documents) != 1:
            refuse(context, grpc.StatusCode.UNAUTHENTICATED, "the call is not signed by a node key")
        now = self._clock()
        try:
            key, call = verified_call(documents[0], federation=self._federation, method=method, now=int(now))
        except DocumentError as error:
            refuse(context, grpc.StatusCode.UNAUTHENTICATED, str(error))
        if not self._is_fresh(call.nonce, now):
            refuse(context, grpc.StatusCode.UNAUTHENTICATED, "the call's document was used before")
        return openssh_public(key).decode()

    def has_signed(self, context: grpc.ServicerContext) -> bool:
        """Whether the call says that a node key signed it; whether that holds is for :meth:`key`."""
        return bool(_documents(context))

    def studio(self, context: grpc.ServicerContext, method: str) -> EnrolledStudio:
        """Return the admitted studio that calls; ends the call if there is none."""
        key = self.key(context, method)
        with Enrolment(self._home) as enrolment:
            studio = enrolment.holder(key)
            if studio is not None:
                return studio
            retired = enrolment.is_retired(key)
        refuse(
            context,
            grpc.StatusCode.PERMISSION_DENIED,
            "this node key was revoked or replaced" if retired else "this node key is not admitted",
        )

    def _is_fresh(self, nonce: str, now: float) -> bool:
        with self._lock:
            self._used = {one: until for one, until in self._used.items() if until > now}
            if nonce in self._used or len(self._used) >= NONCES_MAX:
                return False
            self._used[nonce] = now + 2 * SKEW_S
            return True


def _documents(context: grpc.ServicerContext) -> list[bytes]:
    return [value for name, value in context.invocation_metadata() if name == CALL_METADATA]


def refuse(context: grpc.ServicerContext, code: grpc.StatusCode, details: str) -> NoReturn:
    """End a call."""
    context.abort(code, details)
    raise AssertionError("abort returned")
