"""The federation's own certificate authority and the coordinator's server certificate.

One CA per federation signs one server certificate, which the fleet proxy, the SuperLink on loopback and the gRPC
service share. Studios hold the CA's certificate from their join kit and trust nothing else; there are no client
certificates (nodes authenticate with their node key).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from federation.errors import IdentityError
from federation.keys import private_pem

AUTHORITY_DAYS = 3650
SERVER_DAYS = 397
CLOCK_SLACK = timedelta(hours=1)
"""Certificates begin this much before they are made: a studio's clock may be behind."""
LOOPBACK = ("localhost", "127.0.0.1")
"""Always in a server certificate: the fleet proxy reaches the SuperLink there."""


@dataclass(frozen=True)
class Authority:
    """A certificate authority: its certificate and its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def certificate_pem(self) -> bytes:
        """What studios receive as ``ca.crt``."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """The private key, to be stored 0600."""
        return private_pem(self.key)

    @classmethod
    def from_pem(cls, certificate_pem: bytes, key_pem: bytes) -> Authority:
        """Read an authority back from its two files.

        Raises:
            IdentityError: not PEM, or the key is not the certificate's.
        """
        certificate = read_certificate(certificate_pem)
        try:
            key = serialization.load_pem_private_key(key_pem, password=None)
        except (ValueError, TypeError) as error:
            raise IdentityError(f"the authority's key is not an unencrypted PEM: {error}") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise IdentityError("the authority's key does not belong to its certificate")
        return cls(certificate, key)


@dataclass(frozen=True)
class ServerCertificate:
    """A server's certificate and key, both PEM."""

    certificate_pem: bytes
    key_pem: bytes


def create_authority(federation: str, *, now: datetime, days: int = AUTHORITY_DAYS) -> Authority:
    """Make a federation's certificate authority.

    Args:
        federation: its name, for the subject.
        now: time of issue, with a time zone.
        days: how long it is valid.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"fedroto CA of {federation}"[:64])])
    builder = _builder(name, name, key.public_key(), now, now + timedelta(days=days)).add_extension(
        x509.BasicConstraints(ca=True, path_length=0), critical=True
    )
    builder = builder.add_extension(_key_usage(certificates=True), critical=True)
    return Authority(builder.sign(key, hashes.SHA256()), key)


def issue_server_certificate(
    authority: Authority,
    hosts: Sequence[str],
    *,
    now: datetime,
    days: int = SERVER_DAYS,
    key: ec.EllipticCurvePrivateKey | None = None,
) -> ServerCertificate:
    """Issue the coordinator's server certificate.

    Args:
        authority: who signs.
        hosts: DNS names and IP addresses that studios dial; loopback is always added.
        now: time of issue, with a time zone.
        days: how long it is valid; never beyond the authority.
        key: the server's key when a certificate is renewed; None makes a new one.

    Raises:
        IdentityError: no hosts, or a host that is neither a DNS name nor an address.
    """
    if not hosts:
        raise IdentityError("a server certificate needs at least one host name or address that studios dial")
    names = [_general_name(host) for host in dict.fromkeys((*hosts, *LOOPBACK))]
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0][:64])])
    issuer = authority.certificate.subject
    not_after = min(now + timedelta(days=days), authority.certificate.not_valid_after_utc)
    builder = (
        _builder(subject, issuer, key.public_key(), now, not_after)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False
        )
    )
    certificate = builder.sign(authority.key, hashes.SHA256())
    return ServerCertificate(certificate.public_bytes(serialization.Encoding.PEM), private_pem(key))


def read_certificate(pem: bytes) -> x509.Certificate:
    """Read one PEM certificate.

    Raises:
        IdentityError: not PEM.
    """
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise IdentityError(f"not a certificate in PEM: {error}") from error


def days_left(certificate_pem: bytes, *, now: datetime) -> int:
    """Return for how many whole days from ``now`` a certificate holds.

    Raises:
        IdentityError: not PEM, expired, or not yet valid (says when, and hints at the clock).
    """
    certificate = read_certificate(certificate_pem)
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    name = certificate.subject.rfc4514_string()
    if now > ends:
        raise IdentityError(
            f"the certificate {name} expired on {ends:%Y-%m-%d %H:%M} UTC",
            hint="renew it with: fedroto coordinator renew-certificate, or check this machine's clock",
        )
    if now < begins:
        raise IdentityError(
            f"the certificate {name} is valid only from {begins:%Y-%m-%d %H:%M} UTC, and it is "
            f"{now:%Y-%m-%d %H:%M} here",
            hint="check this machine's clock",
        )
    return (ends - now).days


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    now: datetime,
    not_after: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SLACK)
        .not_valid_after(not_after)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _key_usage(*, certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=certificates,
        crl_sign=certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    labels = host.split(".")
    if len(host) > 253 or not all(_is_dns_label(label) for label in labels):
        raise IdentityError(f"{host!r} is neither a DNS name nor an IP address (no scheme, no port)")
    return x509.DNSName(host)


def _is_dns_label(label: str) -> bool:
    return (
        0 < len(label) <= 63
        and label.isascii()
        and label.replace("-", "").isalnum()
        and not label.startswith("-")
        and not label.endswith("-")
    )
