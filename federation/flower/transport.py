"""One HTTP client set-up for all of Flower's APIs, and one translation of what can go wrong.

Flower's own clients follow redirects, retry for ever and answer some status codes with a signal to their own process.
Here a call is made once, with a time limit, and fails as one of two errors: the other side cannot be reached now
(ask again), or it answered something else (its status says what).
"""

from __future__ import annotations

import email.utils
import logging
import ssl
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import httpx
from flwr.supercore.error import FlowerError as FlowerApiError
from flwr.supercore.inflatable.inflatable_utils import ObjectPushError
from flwr.supercore.interceptors.http.utils import add_headers
from flwr.supercore.protobuf.client import (
    ProtobufCall,
    ProtobufClient,
    ProtobufClientInterceptor,
    ProtobufRequestContext,
)
from flwr.supercore.runtime_version_compatibility import RuntimeVersionMetadata

from federation.errors import FlowerError
from federation.flower.version import check_flower_version
from federation.memory import untied

CALL_TIMEOUT_S = 30.0
CONNECT_TIMEOUT_S = 10.0
UNREACHABLE_STATUSES = frozenset({429, 502, 503, 504})
Client = TypeVar("Client", bound=ProtobufClient)


class UnreachableError(FlowerError):
    """The other side cannot be reached at present, or is overloaded: ask again.

    Attributes:
        maybe_received: whether the request may have been carried out although its answer did not arrive.
    """

    def __init__(self, message: str, *, hint: str | None = None, maybe_received: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.maybe_received = maybe_received


class AnsweredError(FlowerError):
    """The other side answered with an error.

    Attributes:
        status: HTTP status.
        code: Flower's API error code, or None where the answer is not Flower's.
        clock_ahead_s: seconds by which the other side's clock is ahead of the time of the call, or None.
    """

    def __init__(self, message: str, *, status: int, code: int | None, clock_ahead_s: float | None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.clock_ahead_s = clock_ahead_s


class VersionHeaders:
    """Tells the peer this side's Flower version; unlike Flower's own interceptor it never exits the process.

    As the first interceptor it is also the one that lets go of the response.
    """

    def __init__(self, component: str) -> None:
        self._headers = dict(RuntimeVersionMetadata.from_local_component(component).as_metadata())

    def intercept(self, context: ProtobufRequestContext, call_next: ProtobufCall) -> httpx.Response:
        """Add the headers and pass the request on."""
        add_headers(context.request, self._headers)
        return untied(call_next(context))


def open_client(
    kind: type[Client],
    address: str,
    ca_certificate: bytes,
    interceptors: Sequence[ProtobufClientInterceptor],
    *,
    component: str,
    loopback: bool,
    timeout_s: float = CALL_TIMEOUT_S,
) -> Client:
    """Open one of Flower's API clients over TLS.

    Args:
        kind: the generated client class.
        address: host:port.
        ca_certificate: PEM of the only authority that is trusted.
        interceptors: what signs the requests.
        component: name told to the peer beside the version.
        loopback: on the coordinator's own machine; the environment's web proxies are not used then.
        timeout_s: limit of one read or write.

    Raises:
        FlowerError: the installed Flower is of another series, or the certificate is not PEM.
    """
    check_flower_version()
    logging.getLogger("flwr").setLevel(logging.ERROR)  # it would write between a command's own lines
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(cadata=ca_certificate.decode("ascii"))
    except (ssl.SSLError, UnicodeDecodeError, ValueError) as error:
        raise FlowerError(f"the authority's certificate is not PEM: {error}") from error
    client = kind(f"https://{address}", interceptors=[VersionHeaders(component), *interceptors])
    client._client.close()
    client._client = httpx.Client(
        verify=context,
        timeout=httpx.Timeout(timeout_s, connect=CONNECT_TIMEOUT_S),
        follow_redirects=False,
        trust_env=not loopback,
    )
    client._client.headers.clear()  # httpx's own, a hundred bytes a request, that nobody at the other end reads
    return client


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn whatever a call of Flower's clients raises into our errors.

    Raises:
        UnreachableError: no connection, a broken one, a time-out, a proxy without its upstream.
        AnsweredError: any other error status.
        FlowerError: the answer is not what Flower's clients can read.
    """
    try:
        yield
    except httpx.HTTPStatusError as error:
        raise _of_status(what, error.response) from error
    except httpx.TransportError as error:
        hint = None
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            hint = "the certificate is of another authority than the join kit's, or something intercepts TLS"
        raise UnreachableError(
            f"cannot {what}: {type(error).__name__} {error}",
            hint=hint,
            maybe_received=not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout),
        ) from error
    except ObjectPushError as error:
        raise UnreachableError(f"cannot {what}: the upload was interrupted for too long") from error
    except (ValueError, RuntimeError, httpx.HTTPError) as error:
        raise FlowerError(f"cannot {what}: {type(error).__name__}: {error}") from error


def _of_status(what: str, response: httpx.Response) -> FlowerError:
    if response.status_code in UNREACHABLE_STATUSES:
        return UnreachableError(
            f"cannot {what}: the answer is HTTP {response.status_code}", maybe_received=True
        )
    api_error = FlowerApiError.from_json(response.text[:4096])
    text = f"cannot {what}: HTTP {response.status_code}"
    if api_error is not None:
        text += f", Flower code {api_error.code}: {api_error.message}"
    return AnsweredError(
        text,
        status=response.status_code,
        code=None if api_error is None else int(api_error.code),
        clock_ahead_s=_clock_ahead_s(response),
    )


def _clock_ahead_s(response: httpx.Response) -> float | None:
    # The Date header has whole seconds and the call took some time: good to about a second or two, which is enough
    # beside node authentication's tolerance of minutes.
    try:
        return email.utils.parsedate_to_datetime(response.headers["date"]).timestamp() - time.time()
    except (KeyError, ValueError, TypeError):
        return None
