"""The whole line from here to one of the coordinator's ports: name, port, TLS, certificate, health, clock.

Each step needs the one before it, so the list of findings ends with the first step that fails. Nothing is sent but a
TLS handshake and a question after health.
"""

from __future__ import annotations

import email.utils
import http.client
import socket
import ssl
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from federation import certificates
from federation.doctor.dialling import CONNECT_TIMEOUT_S, dial, split_address, web_proxy
from federation.doctor.finding import Finding, fail, found, ok, warn

CLOCK_WARN_S, CLOCK_FAIL_S = 60.0, 300.0
"""Flower's node authentication refuses requests whose time is more than about five minutes off."""
CERTIFICATE_WARN_DAYS = 30
ANSWER_TIMEOUT_S = 10.0
NEW_KIT = (
    "ask the coordinator for a new join kit (and compare its fingerprint by phone): fedroto studio join KIT"
)


@dataclass(frozen=True)
class Line:
    """One port of the coordinator, as a studio or the coordinator itself dials it.

    Attributes:
        name: in front of each finding's name ("fleet").
        address: host:port.
        ca_pem: of the federation's authority.
        speaks: "http" for the fleet proxy and the SuperLink, "grpc" for the release service.
        proxied: whether the environment's web proxy is used, as the uplink does.
    """

    name: str
    address: str
    ca_pem: bytes
    speaks: Literal["http", "grpc"]
    proxied: bool = True

    @property
    def host(self) -> str:
        """The host that is dialled."""
        return split_address(self.address)[0]

    def dial(self) -> socket.socket:
        """Connect to the port.

        Raises:
            FedrotoError: see :func:`federation.doctor.dialling.dial`.
        """
        host, port = split_address(self.address)
        return dial(host, port, proxy=web_proxy(host) if self.proxied else None)


def examine_line(line: Line, *, now: datetime) -> tuple[Finding, ...]:
    """Look at every step of a line up to the first that fails."""
    reached = found(f"{line.name}-port", lambda: _reached(line))
    if reached[0].verdict == "fail":
        return reached
    tls = found(f"{line.name}-tls", lambda: _tls(line, now))
    if tls[0].verdict == "fail":
        return (*reached, *tls)
    return (*reached, *tls, *found(f"{line.name}-answer", lambda: _answers(line, now)))


def _reached(line: Line) -> Finding:
    with line.dial():
        proxy = web_proxy(line.host) if line.proxied else None
        through = f" through the web proxy {proxy[0]}:{proxy[1]}" if proxy else ""
        return ok(f"{line.name}-port", f"{line.address} takes connections{through}")


def _tls(line: Line, now: datetime) -> Finding:
    name = f"{line.name}-tls"
    try:
        with _verified(line) as connection:
            pem = ssl.DER_cert_to_PEM_cert(connection.getpeercert(binary_form=True) or b"").encode()
    except ssl.SSLCertVerificationError as error:
        return _distrusted(line, error, now)
    except (ssl.SSLError, ConnectionError, TimeoutError) as error:
        return fail(
            name,
            f"{line.address} takes connections but speaks no TLS: {error}",
            "something else than the coordinator, or a box that cuts TLS off, answers there: look at the path between",
        )
    days = certificates.days_left(pem, now=now)
    text = f"the certificate is of the federation's authority and holds {days} more days"
    if days < CERTIFICATE_WARN_DAYS:
        return warn(name, text, "the coordinator renews it: fedroto coordinator renew-certificate")
    return ok(name, text)


def _verified(line: Line) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cadata=line.ca_pem.decode("ascii"))
    return _wrapped(line, context)


def _unverified(line: Line) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # only to see who answers; nothing is told to them
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return _wrapped(line, context)


def _wrapped(line: Line, context: ssl.SSLContext) -> ssl.SSLSocket:
    if line.speaks == "grpc":
        context.set_alpn_protocols(["h2"])
    connection = line.dial()
    try:
        connection.settimeout(CONNECT_TIMEOUT_S)
        return context.wrap_socket(connection, server_hostname=line.host)
    except BaseException:
        connection.close()
        raise


def _distrusted(line: Line, error: ssl.SSLCertVerificationError, now: datetime) -> Finding:
    """Say why the certificate that was shown is not trusted."""
    name = f"{line.name}-tls"
    with _unverified(line) as connection:
        shown = x509.load_der_x509_certificate(connection.getpeercert(binary_form=True) or b"")
    authority = certificates.read_certificate(line.ca_pem)
    issuer, subject = _text(shown.issuer), _text(shown.subject)
    if not _is_signed_by(shown, authority):
        if shown.issuer == authority.subject:
            what = (
                f"wrong CA: {line.address} has a certificate of an authority of the same name ({issuer}) with another "
                "key: the federation was set up anew, or somebody poses as it"
            )
            return fail(name, what, NEW_KIT)
        if "fedroto CA of" in issuer:
            what = f"wrong CA: the coordinator at {line.address} is of another federation ({issuer})"
            return fail(name, what, NEW_KIT)
        return fail(
            name,
            f"TLS is intercepted: {line.address} shows a certificate issued by {issuer} (for {subject}), not by "
            f"{_text(authority.subject)}",
            f"exempt {line.address} from TLS inspection, in the web proxy or firewall that is called {issuer}",
        )
    if now > shown.not_valid_after_utc or now < shown.not_valid_before_utc:
        return _out_of_date(line, shown, now)
    return fail(
        name,
        f"the certificate of {line.address} does not fit: {error.verify_message}; it names {_names(shown)}",
        f"the coordinator adds {line.host} to hosts in federation.toml, then: fedroto coordinator renew-certificate",
    )


def _out_of_date(line: Line, shown: x509.Certificate, now: datetime) -> Finding:
    ahead = _clock_ahead_s(line, now)
    spans = f"{shown.not_valid_before_utc:%Y-%m-%d %H:%M} to {shown.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
    if ahead is not None and abs(ahead) > CLOCK_FAIL_S:
        return fail(
            f"{line.name}-tls",
            f"this machine's clock is off by {ahead:+.0f} s against the server: it is {now:%Y-%m-%d %H:%M} UTC here, "
            f"and the certificate holds from {spans}",
            "set the clock (NTP)",
        )
    state = "has expired" if now > shown.not_valid_after_utc else "does not hold yet"
    return fail(
        f"{line.name}-tls",
        f"the certificate of {line.address} {state}: it holds from {spans}",
        "the coordinator renews it: fedroto coordinator renew-certificate; and look at this machine's clock",
    )


def _clock_ahead_s(line: Line, now: datetime) -> float | None:
    """Ask the clock of whoever answers; good enough to tell a wrong clock from an expired certificate."""
    try:
        with _unverified(line) as connection:
            return _ahead_s(_health(connection, line).getheader("Date"), now)
    except (OSError, http.client.HTTPException):
        return None


def _health(connection: ssl.SSLSocket, line: Line) -> http.client.HTTPResponse:
    connection.settimeout(ANSWER_TIMEOUT_S)
    connection.sendall(f"GET /health HTTP/1.1\r\nHost: {line.address}\r\nConnection: close\r\n\r\n".encode())
    answer = http.client.HTTPResponse(connection, method="GET")
    answer.begin()
    return answer


def _answers(line: Line, now: datetime) -> list[Finding]:
    name = f"{line.name}-answer"
    if line.speaks == "grpc":
        return [_grpc_health(line)]
    try:
        with _verified(line) as connection:
            answer = _health(connection, line)
            status, date = answer.status, answer.getheader("Date")
    except (OSError, http.client.HTTPException) as error:
        return [
            fail(
                name,
                f"{line.address} does not answer after the handshake: {error}",
                "try again; then ask the coordinator",
            )
        ]
    findings = [_health_finding(line, status)]
    ahead = _ahead_s(date, now)
    return findings if ahead is None else [*findings, _clock(ahead)]


def _health_finding(line: Line, status: int) -> Finding:
    name = f"{line.name}-answer"
    if status == 200:
        return ok(name, f"{line.address} says that it serves")
    if status in (502, 503, 504):
        return warn(
            name,
            f"{line.address} answers {status}: the fleet proxy is up, the SuperLink behind it is not, or is overloaded",
            "wait: nodes try again by themselves; the coordinator looks into its folder logs",
        )
    return fail(
        name,
        f"{line.address} answers {status} to GET /health: that is no fleet proxy",
        "the coordinator compares what stands in front of it with docs/deployment.md",
    )


def _clock(ahead_s: float) -> Finding:
    text = f"the coordinator's clock is {ahead_s:+.0f} s ahead of this machine's"
    if abs(ahead_s) > CLOCK_FAIL_S:
        return fail(
            "clock", f"{text}; more than {CLOCK_FAIL_S:g} s is refused", "set this machine's clock (NTP)"
        )
    if abs(ahead_s) > CLOCK_WARN_S:
        return warn("clock", text, "set this machine's clock (NTP)")
    return ok("clock", text)


def _grpc_health(line: Line) -> Finding:
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    name = f"{line.name}-answer"
    credentials = grpc.ssl_channel_credentials(line.ca_pem)
    options = () if line.proxied else (("grpc.enable_http_proxy", 0),)
    with grpc.secure_channel(line.address, credentials, options=options) as channel:
        try:
            stub = health_pb2_grpc.HealthStub(channel)
            status = stub.Check(health_pb2.HealthCheckRequest(), timeout=ANSWER_TIMEOUT_S).status
        except grpc.RpcError as error:
            code = error.code().name
            return fail(
                name,
                f"{line.address} does not answer gRPC: {code}",
                "the coordinator looks into logs/releases.log",
            )
    if status == health_pb2.HealthCheckResponse.SERVING:
        return ok(name, f"{line.address} says that it serves releases")
    return warn(name, f"{line.address} says that it does not serve at present", "wait, then look again")


def _ahead_s(date: str | None, now: datetime) -> float | None:
    try:
        return (email.utils.parsedate_to_datetime(date or "") - now).total_seconds()
    except ValueError:
        return None


def _is_signed_by(shown: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        shown.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _text(name: x509.Name) -> str:
    """Write a name that somebody else chose, on one printable line."""
    return "".join(c if c.isprintable() else "?" for c in name.rfc4514_string())[:120] or "nobody"


def _names(shown: x509.Certificate) -> str:
    try:
        names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return "no host"
    return ", ".join(str(name.value) for name in names)[:300]
