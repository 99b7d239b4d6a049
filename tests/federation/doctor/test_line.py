"""Every fault of a line is really there: closed ports, other authorities, expired certificates, wrong clocks."""

import re
import socket
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from federation import certificates
from federation.doctor.dialling import dial, split_address
from federation.doctor.line import examine_line
from federation.errors import FedrotoError

NOW = datetime.now(UTC)


def by_name(findings):
    return {finding.name: finding for finding in findings}


def last(findings):
    """The finding that the looking ended with."""
    return findings[-1]


def test_a_line_in_order_is_ok_at_every_step(federation):
    with federation.serving() as port:
        findings = examine_line(federation.line(port), now=datetime.now(UTC))
    assert [(f.name, f.verdict) for f in findings] == [
        ("fleet-port", "ok"),
        ("fleet-tls", "ok"),
        ("fleet-answer", "ok"),
        ("clock", "ok"),
    ]
    assert not any(finding.next_step for finding in findings)


def test_a_closed_port_is_told_from_a_name_that_is_not_known(federation, closed_port):
    refused = examine_line(federation.line(closed_port), now=NOW)
    unknown = examine_line(federation.line(closed_port, host="no-such-host.invalid"), now=NOW)
    assert [len(refused), len(unknown)] == [1, 1]
    assert refused[0].verdict == unknown[0].verdict == "fail"
    assert f"port {closed_port} of localhost refuses connections" in refused[0].what
    assert "no-such-host.invalid cannot be resolved" in unknown[0].what
    assert "DNS" in unknown[0].next_step


def test_a_port_whose_packets_are_dropped_is_called_a_firewall():
    with socket.socket() as listener:  # a full backlog drops the next handshake, as a firewall does
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        try:
            with pytest.raises(FedrotoError, match=r"does not answer within 0\.3 s: a firewall drops"):
                dial("127.0.0.1", port, timeout_s=0.3)
        finally:
            for one in waiting:
                one.close()


def test_interception_shows_the_issuer_that_was_found(federation):
    box = certificates.create_authority("x", now=NOW)
    name = certificates.x509.Name(
        [certificates.x509.NameAttribute(certificates.NameOID.COMMON_NAME, "Zephyr Inspection Box")]
    )
    box = certificates.Authority(_renamed(box, name), box.key)
    with federation.serving(federation.certificate(authority=box)) as port:
        finding = last(examine_line(federation.line(port), now=NOW))
    assert (finding.name, finding.verdict) == ("fleet-tls", "fail")
    assert "TLS is intercepted" in finding.what
    assert "CN=Zephyr Inspection Box" in finding.what
    assert f"exempt localhost:{port}" in finding.next_step


def _renamed(authority, name):
    builder = certificates._builder(name, name, authority.key.public_key(), NOW, NOW + timedelta(days=9))
    builder = builder.add_extension(certificates.x509.BasicConstraints(ca=True, path_length=0), critical=True)
    return builder.sign(authority.key, certificates.hashes.SHA256())


@pytest.mark.parametrize(
    ("name", "words"), [("north", "another key"), ("south", "of another federation (CN=fedroto CA of south)")]
)
def test_another_federations_authority_is_a_wrong_ca_not_an_interception(federation, name, words):
    other = certificates.create_authority(name, now=NOW)
    with federation.serving(federation.certificate(authority=other)) as port:
        finding = last(examine_line(federation.line(port), now=NOW))
    assert finding.verdict == "fail"
    assert finding.what.startswith("wrong CA")
    assert words in finding.what
    assert "join kit" in finding.next_step


def test_an_expired_certificate_is_called_expired_where_the_clock_is_right(federation):
    expired = federation.certificate(now=NOW - timedelta(days=20), days=10)
    with federation.serving(expired) as port:
        finding = last(examine_line(federation.line(port), now=datetime.now(UTC)))
    assert (finding.name, finding.verdict) == ("fleet-tls", "fail")
    assert "has expired" in finding.what
    assert "renew-certificate" in finding.next_step


def test_a_clock_that_makes_a_good_certificate_look_expired_is_called_a_clock(federation):
    # OpenSSL judges by this machine's clock, so what is off is the server's: its certificate and its Date are
    # 20 days in the past, and both agree.
    past = federation.certificate(now=NOW - timedelta(days=20), days=10)
    with federation.serving(past, ahead_s=-15 * 86400) as port:
        finding = last(examine_line(federation.line(port), now=datetime.now(UTC)))
    assert finding.verdict == "fail"
    assert re.search(r"clock is off by -129600[0-9] s", finding.what)
    assert finding.next_step == "set the clock (NTP)"


def test_a_certificate_that_ends_soon_is_a_warning(federation):
    with federation.serving(federation.certificate(days=9)) as port:
        findings = by_name(examine_line(federation.line(port), now=datetime.now(UTC)))
    assert findings["fleet-tls"].verdict == "warn"
    assert "8 more days" in findings["fleet-tls"].what
    assert findings["fleet-answer"].verdict == "ok"


def test_a_certificate_for_another_host_says_which_it_names(federation):
    with federation.serving(federation.certificate(hosts=["fed.example.org"]), host="127.0.0.2") as port:
        line = federation.line(port, host="127.0.0.2")
        finding = last(examine_line(line, now=NOW))
    assert finding.verdict == "fail"
    assert "fed.example.org" in finding.what
    assert "127.0.0.2" in finding.next_step


@pytest.mark.parametrize(
    ("ahead_s", "verdict"), [(0, "ok"), (90, "warn"), (-90, "warn"), (400, "fail"), (-400, "fail")]
)
def test_a_wrong_clock_is_found_by_the_servers_date(federation, ahead_s, verdict):
    with federation.serving(ahead_s=ahead_s) as port:
        clock = by_name(examine_line(federation.line(port), now=datetime.now(UTC)))["clock"]
    assert clock.verdict == verdict
    assert (clock.next_step is None) == (verdict == "ok")


@pytest.mark.parametrize(
    ("status", "verdict"), [(200, "ok"), (502, "warn"), (503, "warn"), (404, "fail"), (403, "fail")]
)
def test_health_tells_a_superlink_that_is_down_from_a_foreign_server(federation, status, verdict):
    with federation.serving(status=status) as port:
        answer = by_name(examine_line(federation.line(port), now=datetime.now(UTC)))["fleet-answer"]
    assert answer.verdict == verdict


def test_a_port_without_tls_is_said_to_have_none(federation):
    with _speaking(lambda connection: connection.sendall(b"220 mail.example.org\r\n")) as port:
        finding = last(examine_line(federation.line(port), now=NOW))
    assert (finding.name, finding.verdict) == ("fleet-tls", "fail")
    assert "speaks no TLS" in finding.what


def test_a_release_port_that_speaks_no_grpc_is_found(federation):
    with federation.serving() as port:
        finding = last(examine_line(federation.line(port, speaks="grpc"), now=NOW))
    assert (finding.name, finding.verdict) == ("fleet-answer", "fail")
    assert "does not answer gRPC" in finding.what


def test_a_web_proxy_that_forbids_the_way_is_named_with_its_answer(federation, monkeypatch):
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)

    def forbid(connection):
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 403 Forbidden by policy\r\n\r\n")

    with _speaking(forbid) as proxy_port:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy_port}")
        line = federation.line(9443, host="fed.example.org", proxied=True)
        finding = last(examine_line(line, now=NOW))
    assert finding.name == "fleet-port"
    assert f"web proxy 127.0.0.1:{proxy_port}" in finding.what
    assert "403 Forbidden by policy" in finding.what
    assert "fed.example.org:9443" in finding.next_step


def test_a_web_proxy_that_lets_through_is_used_as_the_uplink_uses_it(federation, monkeypatch):
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    asked = []
    with federation.serving(federation.certificate(hosts=["fed.example.org"])) as port:

        def tunnel(connection):
            asked.append(connection.recv(4096).split(b"\r\n")[0])
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            _join(connection, port)

        with _speaking(tunnel) as proxy_port:
            monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy_port}")
            line = federation.line(9443, host="fed.example.org", proxied=True)
            findings = examine_line(line, now=datetime.now(UTC))
    assert {finding.verdict for finding in findings} == {"ok"}
    assert set(asked) == {b"CONNECT fed.example.org:9443 HTTP/1.1"}


def test_an_ipv6_address_is_split_without_its_brackets():
    assert split_address("[::1]:9443") == ("::1", 9443)
    assert split_address("fed.example.org:9443") == ("fed.example.org", 9443)


@contextmanager
def _speaking(answer):
    """A TCP server that lets ``answer`` handle each connection in a thread."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=handle, args=(connection,), daemon=True).start()

        def handle(connection):
            with connection:
                try:
                    answer(connection)
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def _join(connection, port):
    with socket.create_connection(("127.0.0.1", port)) as upstream:

        def copy(source, target):
            try:
                while data := source.recv(65536):
                    target.sendall(data)
                target.shutdown(socket.SHUT_WR)
            except OSError:
                return

        back = threading.Thread(target=copy, args=(upstream, connection), daemon=True)
        back.start()
        copy(connection, upstream)
        back.join(5)
