"""The doctor in a coordinator's home: each fault is made, then found by its name."""

import http.server
import socket
import threading
from datetime import UTC, datetime, timedelta

import pytest

from aggregator.doctor import clock_synchronised, examine_coordinator, superlink_on_loopback
from aggregator.service import serving
from federation import certificates, keys, set_up
from federation.config import FederationConfig
from federation.durable import write_atomic
from federation.homes import CoordinatorHome

NOW = datetime.now(UTC)


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture
def home(tmp_path):
    fleet, service, superlink = free_ports(3)
    config = FederationConfig.from_fields(
        {
            "name": "north",
            "hosts": ["fed.example.org"],
            "fleet_port": fleet,
            "service_port": service,
            "superlink_port": superlink,
        }
    )
    set_up.init_coordinator(tmp_path / "fed", config, now=NOW)
    return tmp_path / "fed"


def findings(home, *, now=NOW, dial=False):
    examined = examine_coordinator(home, now=now, dial=dial)
    return {finding.name: finding for finding in examined.findings}


def test_a_fresh_coordinator_fails_nowhere_and_is_told_what_is_missing(home):
    examined = examine_coordinator(home, now=NOW, dial=True)
    failed = {finding.name for finding in examined.findings if finding.verdict == "fail"}
    assert failed <= {"telemetry"}  # another test of this process may have loaded flwr before fedroto could
    by_name = {finding.name: finding for finding in examined.findings}
    assert "release --base" in by_name["releases"].next_step
    assert "admit" in by_name["studios"].next_step
    assert by_name["fleet-port"].next_step == "start it: fedroto coordinator serve"


def test_a_release_service_that_is_up_is_ok(home):
    from federation.config import load_federation_config

    port = load_federation_config(home / "federation.toml").service_port
    with serving(home, host="127.0.0.1", port=port):
        by_name = findings(home, dial=True)
    assert by_name["releases-tls"].verdict == "ok"
    assert by_name["releases-answer"].verdict == "ok"


@pytest.mark.parametrize("name", ["ca.key", "plan_key", "superlink.secret"])
def test_a_key_that_others_can_read_is_found(home, name):
    (home / "keys" / name).chmod(0o644)
    finding = findings(home)["key-files"]
    assert finding.verdict == "fail"
    assert finding.next_step == f"chmod 600 {home / 'keys' / name}"


def test_certificates_are_measured_against_the_clock(home):
    assert findings(home, now=NOW + timedelta(days=380))["certificate"].verdict == "warn"
    expired = findings(home, now=NOW + timedelta(days=400))["certificate"]
    assert (expired.verdict, "renew-certificate" in expired.next_step) == ("fail", True)
    assert findings(home, now=NOW + timedelta(days=3640))["authority"].verdict == "warn"


def test_a_host_that_the_certificate_does_not_name_is_found(home):
    path = home / "federation.toml"
    path.write_text(path.read_text().replace('"fed.example.org"', '"fed.example.org", "new.example.org"'))
    finding = findings(home)["certificate-fit"]
    assert finding.verdict == "fail"
    assert "new.example.org" in finding.what


def test_a_certificate_of_another_authority_or_key_is_found(home):
    places = CoordinatorHome(home)
    key = keys.load_release_key(places.keys / "server.key")
    other = certificates.create_authority("north", now=NOW)
    issued = certificates.issue_server_certificate(other, ["fed.example.org"], now=NOW, key=key)
    write_atomic(places.server_certificate, issued.certificate_pem)
    assert "not signed by the authority" in findings(home)["certificate-fit"].what
    own = certificates.Authority.from_pem(places.ca.read_bytes(), keys.read_private(places.keys / "ca.key"))
    issued = certificates.issue_server_certificate(own, ["fed.example.org"], now=NOW)
    write_atomic(places.server_certificate, issued.certificate_pem)
    assert findings(home)["certificate-fit"].what == "server.pem is not of keys/server.key"


def test_a_wrong_setting_is_found_and_ends_the_looking(home):
    path = home / "federation.toml"
    path.write_text(path.read_text().replace("fleet_port", "fleet_prot"))
    finding = findings(home)["settings"]
    assert finding.verdict == "fail"
    assert "fleet_prot" in finding.what


def test_another_server_on_the_fleet_port_is_found(home):
    from federation.config import load_federation_config

    port = load_federation_config(home / "federation.toml").fleet_port
    server = http.server.HTTPServer(("127.0.0.1", port), http.server.BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        assert findings(home, dial=True)["fleet-tls"].verdict == "fail"
    finally:
        server.shutdown()
        server.server_close()


def test_a_superlink_beyond_loopback_is_found():
    with socket.create_server(("0.0.0.0", 0)) as listener:
        finding = superlink_on_loopback(listener.getsockname()[1])
    assert finding.verdict == "fail"
    assert "0.0.0.0" in finding.what
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert superlink_on_loopback(listener.getsockname()[1]).verdict == "ok"


def test_a_kernels_table_of_ipv6_listeners_is_understood(tmp_path):
    table = tmp_path / "tcp6"
    head = "  sl  local_address remote_address st\n"
    table.write_text(head + f"   0: {'0' * 32}:238C {'0' * 32}:0000 0A 0:0\n")
    assert "::" in superlink_on_loopback(9100, (table,)).what
    table.write_text(head + f"   0: {'0' * 24}01000000:238C {'0' * 32}:0000 0A 0:0\n")
    assert superlink_on_loopback(9100, (table,)).verdict == "ok"


def test_the_kernel_is_asked_about_its_clock():
    assert clock_synchronised().verdict in ("ok", "warn")
