"""A TCP connection to the coordinator, with what stands in its way told apart: name, port, firewall, web proxy."""

from __future__ import annotations

import errno
import socket
import urllib.parse
import urllib.request

from federation.errors import FedrotoError

CONNECT_TIMEOUT_S = 5.0
PROXY_ANSWER_BYTES_MAX = 8192
_NO_WAY = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL})
_FORBIDDEN = frozenset({errno.EPERM, errno.EACCES})


def split_address(address: str) -> tuple[str, int]:
    """Split ``host:port``, an IPv6 address in brackets."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def web_proxy(host: str) -> tuple[str, int] | None:
    """Return the web proxy that this environment names for a host, as the uplink's HTTP client would take it."""
    proxies = urllib.request.getproxies()
    named = proxies.get("https") or proxies.get("all")
    if not named or urllib.request.proxy_bypass(host):
        return None
    parts = urllib.parse.urlsplit(named if "//" in named else f"//{named}")
    return (parts.hostname, parts.port or 80) if parts.hostname else None


def dial(
    host: str, port: int, *, proxy: tuple[str, int] | None = None, timeout_s: float = CONNECT_TIMEOUT_S
) -> socket.socket:
    """Connect to ``host:port``, through a web proxy if one is given.

    Raises:
        FedrotoError: it cannot be done; the text says which of name, port, firewall or proxy is in the way.
    """
    if proxy is None:
        return _connect(host, port, timeout_s)
    connection = _connect(*proxy, timeout_s)
    try:
        _tunnel(connection, host, port, proxy)
    except BaseException:
        connection.close()
        raise
    return connection


def _connect(host: str, port: int, timeout_s: float) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise FedrotoError(
            f"the name {host} cannot be resolved: {error}",
            hint=f"let this machine's DNS know {host}, or put it into /etc/hosts",
        ) from error
    refusal: OSError | None = None
    for family, kind, protocol, _, target in found:
        connection = socket.socket(family, kind, protocol)
        connection.settimeout(timeout_s)
        try:
            connection.connect(target)
            return connection
        except OSError as error:
            connection.close()
            refusal = error
    raise _refused(host, port, refusal or OSError("no address"), timeout_s)


def _refused(host: str, port: int, error: OSError, timeout_s: float) -> FedrotoError:
    to = f"port {port} of {host}"
    if isinstance(error, TimeoutError):
        return FedrotoError(
            f"{to} does not answer within {timeout_s:g} s: a firewall drops the packets, or the machine is off",
            hint=f"let this machine dial out to {host}:{port} (TCP), and ask the coordinator whether it is up",
        )
    if isinstance(error, ConnectionRefusedError):
        return FedrotoError(
            f"{to} refuses connections: nothing listens there, or a firewall rejects them",
            hint="ask the coordinator whether fedroto coordinator serve is up and on which port",
        )
    if error.errno in _NO_WAY:
        return FedrotoError(
            f"there is no way from here to {to}: {error.strerror}",
            hint="check this machine's network, routes and VPN",
        )
    if error.errno in _FORBIDDEN:
        return FedrotoError(
            f"this machine's own rules forbid dialling {to}: {error.strerror}",
            hint="look at the local firewall and at the service's sandbox (RestrictAddressFamilies, IPAddressDeny)",
        )
    return FedrotoError(f"{to} cannot be reached: {error}", hint="check this machine's network")


def _tunnel(connection: socket.socket, host: str, port: int, proxy: tuple[str, int]) -> None:
    name = f"[{host}]" if ":" in host else host
    through = f"the web proxy {proxy[0]}:{proxy[1]} (from this environment)"
    try:
        connection.sendall(f"CONNECT {name}:{port} HTTP/1.1\r\nHost: {name}:{port}\r\n\r\n".encode())
        answer = b""
        while b"\r\n\r\n" not in answer and len(answer) < PROXY_ANSWER_BYTES_MAX:
            part = connection.recv(1)  # byte by byte: what follows the blank line is the other side's TLS
            if not part:
                break
            answer += part
    except OSError as error:
        raise FedrotoError(
            f"{through} does not answer: {error}", hint=f"set NO_PROXY={host} to dial directly"
        ) from error
    line = answer.split(b"\r\n", 1)[0].decode("latin-1")
    words = line.split()
    if len(words) < 2 or words[1] != "200":
        raise FedrotoError(
            f"{through} does not let this machine through to {host}:{port}: {line[:120] or 'no answer'}",
            hint=f"let the proxy allow CONNECT to {host}:{port}, or set NO_PROXY={host} and allow it in the firewall",
        )
