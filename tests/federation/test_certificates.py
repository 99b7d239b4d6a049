import shutil
import socket
import ssl
import subprocess
import threading
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from federation import certificates
from federation.errors import IdentityError

NOW = datetime(2026, 11, 2, 12, tzinfo=UTC)


def handshake(tmp_path, issued, ca_pem, server_name):
    """Run one TLS handshake on loopback; returns what the client's verification said."""
    (tmp_path / "server.pem").write_bytes(issued.certificate_pem)
    (tmp_path / "server.key").write_bytes(issued.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    ours, theirs = socket.socketpair()

    def serve():
        try:
            context.wrap_socket(theirs, server_side=True).close()
        except (ssl.SSLError, OSError):
            theirs.close()

    thread = threading.Thread(target=serve)
    thread.start()
    client = ssl.create_default_context(cadata=ca_pem.decode())
    try:
        client.wrap_socket(ours, server_hostname=server_name).close()
    finally:
        ours.close()
        thread.join(5)


@pytest.mark.parametrize("name", ["agg.example.org", "10.1.2.3", "localhost", "127.0.0.1"])
def test_a_client_that_trusts_the_authority_accepts_every_name_that_studios_dial(tmp_path, name):
    now = datetime.now(UTC)
    authority = certificates.create_authority("north", now=now)
    issued = certificates.issue_server_certificate(authority, ["agg.example.org", "10.1.2.3"], now=now)
    handshake(tmp_path, issued, authority.certificate_pem, name)


def test_another_name_and_another_authority_are_refused(tmp_path):
    now = datetime.now(UTC)
    authority, other = (certificates.create_authority("north", now=now) for _ in range(2))
    issued = certificates.issue_server_certificate(authority, ["agg.example.org"], now=now)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(tmp_path, issued, authority.certificate_pem, "evil.example.org")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(tmp_path, issued, other.certificate_pem, "agg.example.org")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_openssl_accepts_the_chain_under_strict_rules(tmp_path):
    now = datetime.now(UTC)
    authority = certificates.create_authority("north", now=now)
    issued = certificates.issue_server_certificate(authority, ["agg.example.org"], now=now)
    (tmp_path / "ca.crt").write_bytes(authority.certificate_pem)
    (tmp_path / "server.pem").write_bytes(issued.certificate_pem)
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile"]
    subprocess.run([*command, tmp_path / "ca.crt", tmp_path / "server.pem"], check=True, capture_output=True)


def test_an_expired_certificate_says_when_and_what_to_do():
    authority = certificates.create_authority("north", now=NOW, days=30)
    assert certificates.days_left(authority.certificate_pem, now=NOW + timedelta(days=10)) == 20
    with pytest.raises(IdentityError, match="expired on 2026-12-02") as raised:
        certificates.days_left(authority.certificate_pem, now=NOW + timedelta(days=31))
    assert "clock" in raised.value.hint
    with pytest.raises(IdentityError, match="valid only from"):
        certificates.days_left(authority.certificate_pem, now=NOW - timedelta(days=2))


def test_a_clock_that_is_a_little_behind_is_forgiven():
    authority = certificates.create_authority("north", now=NOW)
    assert certificates.days_left(authority.certificate_pem, now=NOW - timedelta(minutes=55)) > 0


def test_a_server_certificate_never_outlives_its_authority():
    authority = certificates.create_authority("north", now=NOW, days=100)
    issued = certificates.issue_server_certificate(authority, ["a"], now=NOW)
    certificate = x509.load_pem_x509_certificate(issued.certificate_pem)
    assert certificate.not_valid_after_utc == authority.certificate.not_valid_after_utc


def test_a_renewed_certificate_may_keep_its_key():
    authority = certificates.create_authority("north", now=NOW)
    first = certificates.issue_server_certificate(authority, ["a"], now=NOW)
    again = certificates.issue_server_certificate(
        authority, ["a"], now=NOW + timedelta(days=1), key=load_pem_private_key(first.key_pem, None)
    )
    assert again.key_pem == first.key_pem
    assert again.certificate_pem != first.certificate_pem


@pytest.mark.parametrize("host", ["https://a", "a:443", "", "a b", "-a", "a-", "a" * 64, "a..b", "ä.example"])
def test_what_is_no_host_is_refused(host):
    authority = certificates.create_authority("north", now=NOW)
    with pytest.raises(IdentityError, match="neither a DNS name nor"):
        certificates.issue_server_certificate(authority, [host], now=NOW)


def test_an_authority_reads_back_and_a_foreign_key_is_refused():
    authority, other = (certificates.create_authority("north", now=NOW) for _ in range(2))
    back = certificates.Authority.from_pem(authority.certificate_pem, authority.key_pem)
    assert back.certificate == authority.certificate
    with pytest.raises(IdentityError, match="does not belong"):
        certificates.Authority.from_pem(authority.certificate_pem, other.key_pem)
    with pytest.raises(IdentityError, match="PEM"):
        certificates.Authority.from_pem(authority.certificate_pem, b"rubbish")
    with pytest.raises(IdentityError, match="PEM"):
        certificates.read_certificate(b"rubbish")
    with pytest.raises(IdentityError, match="at least one host"):
        certificates.issue_server_certificate(authority, [], now=NOW)
