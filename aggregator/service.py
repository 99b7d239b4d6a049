"""The coordinator's gRPC service over TLS, beside Flower and in a process of its own: joining, rounds, releases.

Who joins proves a node key, who asks for a kit or for the rounds is an admitted studio (``aggregator.callers``).
Releases need no login: whoever reaches the port and trusts the federation's CA can read every one. The weights are
therefore public inside the federation's network; they are noised before they leave a studio and signed, so what a
reader learns is bounded by their privacy guarantee, and what a reader accepts by the release key.

The standard health and reflection services answer beside them. The service writes nothing but join requests that wait
and needs no private key but the server's. Limits: see the constants and ``aggregator.call_limits``; a client that is
cut off asks for the rest of a file.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from grpc_reflection.v1alpha import reflection_pb2_grpc as reflection_grpc

from aggregator.call_limits import CallLimits
from aggregator.callers import Callers
from aggregator.enrolment_servicer import EnrolmentServicer
from aggregator.registry import Registry
from aggregator.release_servicer import CHUNK_BYTES, ReleasesServicer, VerifiedReleases
from aggregator.rounds_servicer import RoundsServicer
from federation import certificates, child_process, keys
from federation.config import address, load_federation_config
from federation.durable import read_bounded
from federation.errors import FedrotoError
from federation.homes import CoordinatorHome
from federation.proto import coordinator_pb2 as wire
from federation.proto import coordinator_pb2_grpc as wire_grpc

REQUEST_BYTES_MAX, METADATA_BYTES_MAX = 4 << 10, 8 << 10
WORKERS, RPCS_MAX = 8, 32
STOP_SECONDS = 5.0
SERVICE_NAMES = tuple(service.full_name for service in wire.DESCRIPTOR.services_by_name.values())
REFLECTIONS_MAX = 64
"""Questions that one reflection stream may ask."""
SERVER_OPTIONS = (
    ("grpc.max_receive_message_length", REQUEST_BYTES_MAX),
    ("grpc.max_send_message_length", 2 * CHUNK_BYTES),
    ("grpc.max_metadata_size", METADATA_BYTES_MAX),
    ("grpc.so_reuseport", 0),  # a second server on the port is an error, not a partner
    ("grpc.max_connection_age_ms", 600_000),  # a reader that does not read holds a worker no longer than this
    ("grpc.max_connection_age_grace_ms", 30_000),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)


class _Health(health.HealthServicer):  # type: ignore[misc]  # ships no types
    """The standard health service without its stream.

    grpc_health 1.81's ``Watch`` can hang a server that is stopping: it tells watchers while it holds a lock that the
    server's event thread waits for when a watcher goes away. Without ``Watch`` clients ask again, as the standard says.
    """

    def Watch(self, request: object, context: grpc.ServicerContext, *_: object) -> None:
        """Refuse to stream."""
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "ask with Check")


class _Reflection(reflection.ReflectionServicer):  # type: ignore[misc]  # ships no types
    """The standard reflection service with an end to each stream."""

    def ServerReflectionInfo(
        self, requests: Iterator[object], context: grpc.ServicerContext
    ) -> Iterator[object]:
        """Answer the first questions of a stream."""
        yield from super().ServerReflectionInfo(itertools.islice(requests, REFLECTIONS_MAX), context)


@dataclass(frozen=True)
class RunningService:
    """A service that is up: the port that it listens on."""

    port: int


@contextmanager
def serving(
    home: Path, *, host: str, port: int, limits: CallLimits | None = None
) -> Iterator[RunningService]:
    """Serve a coordinator's home until the context ends.

    Args:
        home: the coordinator's.
        host: address to listen on.
        port: port to listen on; 0 picks a free one.
        limits: on each host's calls.

    Raises:
        ConfigError: the settings are missing or wrong.
        IdentityError: a key or the certificate is missing, open to others or expired.
        FedrotoError: the port is taken.
    """
    place = CoordinatorHome(home)
    config = load_federation_config(place.config)
    certificate = read_bounded(place.server_certificate, keys.KEY_FILE_BYTES_MAX)
    certificates.days_left(certificate, now=datetime.now(UTC))
    registry = Registry(
        place.releases,
        federation=config.name,
        release_key_pem=read_bounded(place.release_key, keys.KEY_FILE_BYTES_MAX),
    )
    server = grpc.server(
        ThreadPoolExecutor(WORKERS, thread_name_prefix="service"),
        interceptors=(limits or CallLimits(),),
        options=SERVER_OPTIONS,
        maximum_concurrent_rpcs=RPCS_MAX,
    )
    callers = Callers(home, config.name)
    wire_grpc.add_EnrolmentServicer_to_server(EnrolmentServicer(home, config.name, callers), server)
    wire_grpc.add_RoundsServicer_to_server(RoundsServicer(home, callers), server)
    wire_grpc.add_ReleasesServicer_to_server(ReleasesServicer(VerifiedReleases(registry)), server)
    status = _Health(experimental_non_blocking=False)
    for name in ("", *SERVICE_NAMES):
        status.set(name, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(status, server)
    names = (*SERVICE_NAMES, health.SERVICE_NAME, reflection.SERVICE_NAME)
    reflection_grpc.add_ServerReflectionServicer_to_server(_Reflection(names), server)
    # The authority goes along, for a studio that joins by address and has no certificate of it yet.
    chain = certificate + read_bounded(place.ca, keys.KEY_FILE_BYTES_MAX)
    credentials = grpc.ssl_server_credentials([(keys.read_private(place.keys / "server.key"), chain)])
    try:
        bound = server.add_secure_port(address(host, port), credentials)
    except RuntimeError as error:
        raise FedrotoError(
            f"cannot listen on {address(host, port)}: {error}",
            hint="another process holds the port; set service_port in federation.toml",
        ) from error
    server.start()
    try:
        yield RunningService(bound)
    finally:
        status.enter_graceful_shutdown()
        server.stop(STOP_SECONDS).wait()


def serve(
    home: Path,
    *,
    host: str = "0.0.0.0",  # noqa: S104  # studios dial in; a firewall in front decides who may
    port: int | None = None,
    progress: Callable[[str], None] | None = None,
) -> int:
    """Serve a coordinator's home in this process until SIGTERM or SIGINT; returns the exit status.

    Args:
        home: the coordinator's.
        host: address to listen on.
        port: port to listen on; None takes the settings' ``service_port``.
        progress: told once where it serves.

    Raises:
        FedrotoError: see :func:`serving`.
    """
    stop_requested = child_process.stop_on_signals()
    chosen = load_federation_config(CoordinatorHome(home).config).service_port if port is None else port
    with serving(home, host=host, port=chosen) as running:
        if progress is not None:
            progress(f"enrolment, rounds and releases are served on {address(host, running.port)}")
        stop_requested.wait()
    return 0
