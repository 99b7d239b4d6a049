"""A TLS channel to the coordinator's gRPC service, and what its failures mean."""

from __future__ import annotations

import ipaddress

import grpc

from federation.errors import IdentityError

CALL_SECONDS = 30.0
MESSAGE_BYTES_MAX = 1 << 20
PASSING = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.INTERNAL,
    }
)
"""Failures that a later try may not meet again."""
_CERTIFICATE_MARKS = (
    "CERTIFICATE_VERIFY_FAILED",
    "is not in peer certificate",
    "Hostname Verification",
    "SSL_ERROR_SSL",
)


def open_channel(address: str, ca_pem: bytes) -> grpc.Channel:
    """Prepare a channel; nothing is dialled before the first call.

    Args:
        address: ``host:port``.
        ca_pem: the federation's CA certificate; no other authority is trusted.
    """
    options = [("grpc.max_receive_message_length", MESSAGE_BYTES_MAX)]
    if _is_loopback(address.rpartition(":")[0].strip("[]")):
        options.append(("grpc.enable_http_proxy", 0))
    return grpc.secure_channel(address, grpc.ssl_channel_credentials(root_certificates=ca_pem), options)


def require_certificate(error: grpc.RpcError, address: str) -> None:
    """Tell a failure that is the server's certificate's from every other.

    Raises:
        IdentityError: the server's certificate is not the federation's.
    """
    details = str(error.details() or "")
    if any(mark in details for mark in _CERTIFICATE_MARKS):
        raise IdentityError(
            f"{address} is not the federation's coordinator, or something in between opens the connection: {details}",
            hint="a proxy that inspects TLS must leave this address alone; compare ca.crt with the coordinator",
        ) from error


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
