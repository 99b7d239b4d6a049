"""What ``fedroto doctor`` looks at in a coordinator's home."""

from __future__ import annotations

import ctypes
import socket
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from aggregator.enrolment import ENROLMENT_FILE, Enrolment
from aggregator.registry import Registry
from federation import certificates, keys
from federation.config import FederationConfig, address, load_federation_config
from federation.doctor import disk, files, installation
from federation.doctor.finding import Examination, Finding, fail, found, ok, warn
from federation.doctor.line import Line, examine_line
from federation.durable import read_bounded
from federation.errors import ConfigError
from federation.homes import CoordinatorHome

SERVER_WARN_DAYS, CA_WARN_DAYS = 30, 90
RENEW = "renew it: fedroto coordinator renew-certificate"
LISTENING = "0A"  # TCP_LISTEN in /proc/net/tcp
TIME_ERROR = 5  # adjtimex: the clock is not synchronised
_TIMEX_BYTES = 512


def examine_coordinator(home: Path, *, now: datetime, dial: bool = True) -> Examination:
    """Look at everything that a coordinator's standing processes need, and at what studios would reach.

    Args:
        home: the coordinator's.
        now: the current time, with a time zone.
        dial: False looks at nothing that listens.
    """
    places = CoordinatorHome(home)
    findings = [
        *found("opencv", installation.one_opencv),
        *found("flower", installation.flower),
        *found("telemetry", installation.telemetry_off),
        *found("disk", lambda: disk.free_space(home)),
        *found("file-system", lambda: disk.local_file_system(home)),
        *found("sqlite", lambda: disk.sqlite_locks(home)),
        *found("clock", clock_synchronised),
        *found("key-files", lambda: files.private("key-files", _private_paths(places))),
        *found(
            "authority",
            lambda: files.certificate(
                "authority",
                places.ca,
                now=now,
                warn_days=CA_WARN_DAYS,
                remedy="set up a new federation in time: every studio has to join it anew",
            ),
        ),
        *found(
            "certificate",
            lambda: files.certificate(
                "certificate", places.server_certificate, now=now, warn_days=SERVER_WARN_DAYS, remedy=RENEW
            ),
        ),
    ]
    try:
        config = load_federation_config(places.config)
    except ConfigError as error:
        findings.append(fail("settings", str(error), error.hint or "mend federation.toml"))
        return Examination("coordinator", home, tuple(findings))
    findings += [
        ok("settings", f"federation {config.name} at {', '.join(config.hosts)}"),
        *found("certificate-fit", lambda: _certificate_fits(places, config)),
        *found("studios", lambda: _studios(home)),
        *found("releases", lambda: _releases(places, config)),
        *found("exposure", lambda: superlink_on_loopback(config.superlink_port)),
    ]
    if dial:
        findings += _standing(places, config, now)
    return Examination("coordinator", home, tuple(findings))


def clock_synchronised() -> Finding:
    """Ask the kernel whether something keeps its clock in step."""
    libc = ctypes.CDLL(None, use_errno=True)
    state = libc.adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))  # all zero: reads only
    if state == TIME_ERROR:
        what = "the kernel says that nothing keeps this machine's clock in step"
        return warn("clock", what, "run an NTP client: studios more than five minutes away are refused")
    if state < 0:
        return warn(
            "clock", "the kernel does not tell whether its clock is kept in step", "run an NTP client"
        )
    return ok("clock", "this machine's clock is kept in step")


def superlink_on_loopback(
    port: int, tables: tuple[Path, ...] = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
) -> Finding:
    """Look whether the SuperLink's port, which also carries the control API without login, is on loopback only."""
    exposed = sorted(
        {where for table in tables if table.exists() for where in _listening(table.read_text(), port)}
    )
    if exposed:
        return fail(
            "exposure",
            f"port {port} (superlink_port) listens beyond loopback ({', '.join(exposed)}): Flower's control API has no "
            "login",
            "stop what listens there, or firewall the port now",
        )
    return ok("exposure", f"nothing listens on port {port} beyond loopback")


def _listening(table: str, port: int) -> Iterator[str]:
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 4 or fields[3] != LISTENING:
            continue
        host, _, hexadecimal = fields[1].partition(":")
        if int(hexadecimal, 16) != port:
            continue
        # The kernel writes each 32-bit word in the machine's own byte order, which is little-endian here.
        raw = b"".join(bytes.fromhex(host[i : i + 8])[::-1] for i in range(0, len(host), 8))
        text = socket.inet_ntop(socket.AF_INET if len(raw) == 4 else socket.AF_INET6, raw)
        if not (text.startswith("127.") or text == "::1" or text.startswith("::ffff:127.")):
            yield text


def _private_paths(places: CoordinatorHome) -> Iterator[Path]:
    yield places.keys
    yield from (
        places.keys / name
        for name in ("ca.key", "server.key", keys.PLAN_KEY, keys.RELEASE_KEY, "superlink.secret")
    )
    yield places.root / "superlink"


def _certificate_fits(places: CoordinatorHome, config: FederationConfig) -> Finding:
    """Look whether the server's certificate is the authority's, its key's, and names every host."""
    name = "certificate-fit"
    server = certificates.read_certificate(read_bounded(places.server_certificate, keys.KEY_FILE_BYTES_MAX))
    authority = certificates.read_certificate(read_bounded(places.ca, keys.KEY_FILE_BYTES_MAX))
    key = load_pem_private_key(keys.read_private(places.keys / "server.key"), password=None)
    if key.public_key() != server.public_key():
        return fail(name, "server.pem is not of keys/server.key", RENEW)
    try:
        server.verify_directly_issued_by(authority)
    except Exception as error:
        return fail(name, f"server.pem is not signed by the authority in ca.crt: {error}", RENEW)
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    named = {str(one.value) for one in names}
    missing = [host for host in config.hosts if host not in named]
    if missing:
        return fail(name, f"server.pem does not name {', '.join(missing)}, which federation.toml does", RENEW)
    return ok(name, f"server.pem is the authority's and names {', '.join(config.hosts)}")


def _studios(home: Path) -> Finding:
    if not (home / ENROLMENT_FILE).exists():
        return warn("studios", "no studio is enrolled", "fedroto coordinator admit REQUEST")
    with Enrolment(home) as enrolment:
        admitted = [studio.name for studio in enrolment.studios() if studio.is_admitted]
    if not admitted:
        return warn("studios", "no studio is admitted", "fedroto coordinator admit REQUEST")
    return ok("studios", f"{len(admitted)} studios are admitted: {', '.join(admitted[:10])}")


def _releases(places: CoordinatorHome, config: FederationConfig) -> Finding:
    release_key = read_bounded(places.release_key, keys.KEY_FILE_BYTES_MAX)
    newest = Registry(places.releases, federation=config.name, release_key_pem=release_key).latest()
    if newest is None:
        what = "no release is published: no campaign can begin"
        return warn("releases", what, "fedroto coordinator release --base")
    return ok("releases", f"release {newest.manifest.number} is the newest, and its signature holds")


def _standing(places: CoordinatorHome, config: FederationConfig, now: datetime) -> list[Finding]:
    """Look at the three ports as somebody on this machine reaches them."""
    ca_pem = read_bounded(places.ca, keys.KEY_FILE_BYTES_MAX)
    ports = (
        ("superlink", config.superlink_port, "http"),
        ("fleet", config.fleet_port, "http"),
        ("releases", config.service_port, "grpc"),
    )
    findings: list[Finding] = []
    for name, port, speaks in ports:
        line = Line(
            name, address("127.0.0.1", port), ca_pem, "grpc" if speaks == "grpc" else "http", proxied=False
        )
        looked = examine_line(line, now=now)
        if looked[0].verdict == "fail":  # down is a state here, not a fault
            looked = (warn(looked[0].name, looked[0].what, "start it: fedroto coordinator serve"),)
        findings += [finding for finding in looked if finding.name != "clock"]
    return findings
