"""Limits on gRPC calls before any of them is looked at: calls of one host a second, and at once.

The second limit keeps workers free: a stream whose reader is slow holds one, and no host may hold many.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from aggregator.request_rate import RequestRate

CALLS_BURST, CALLS_PER_S, CALLS_AT_ONCE = 200, 10.0, 4
_FORMS = {
    (False, False): ("unary_unary", grpc.unary_unary_rpc_method_handler),
    (False, True): ("unary_stream", grpc.unary_stream_rpc_method_handler),
    (True, False): ("stream_unary", grpc.stream_unary_rpc_method_handler),
    (True, True): ("stream_stream", grpc.stream_stream_rpc_method_handler),
}


class CallLimits(grpc.ServerInterceptor):  # type: ignore[misc]  # ships no types
    """Refuses a host's calls with RESOURCE_EXHAUSTED when there are too many; clients wait and try again."""

    def __init__(
        self,
        *,
        burst: int = CALLS_BURST,
        per_s: float = CALLS_PER_S,
        at_once: int = CALLS_AT_ONCE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rate = RequestRate(burst, per_s)
        self._at_once_max = at_once
        self._at_once: Counter[str] = Counter()
        self._clock = clock
        self._lock = threading.Lock()

    def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Any], details: grpc.HandlerCallDetails
    ) -> Any:
        """Put the limits around a call's handler."""
        handler = continuation(details)
        if handler is None:
            return None
        name, make = _FORMS[handler.request_streaming, handler.response_streaming]
        answer = getattr(handler, name)

        def limited(request: Any, context: grpc.ServicerContext) -> Any:
            with self._admitted(context):
                return answer(request, context)

        def limited_stream(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            with self._admitted(context):
                yield from answer(request, context)

        return make(
            limited_stream if handler.response_streaming else limited,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    @contextmanager
    def _admitted(self, context: grpc.ServicerContext) -> Iterator[None]:
        host = context.peer().rpartition(":")[0]
        with self._lock:
            admitted = self._rate.allows(host, self._clock()) and self._at_once[host] < self._at_once_max
            if admitted:
                self._at_once[host] += 1
        if not admitted:
            context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED, "too many calls from this host; try again later"
            )
        try:
            yield
        finally:
            with self._lock:
                self._at_once[host] -= 1
                if not self._at_once[host]:
                    del self._at_once[host]
