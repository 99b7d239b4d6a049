"""How the SuperLink is started; the running one is in tests/end_to_end/test_wire.py."""

import itertools
import socket
from datetime import UTC, datetime

import pytest

from aggregator import superlink
from aggregator.superlink import SuperLinkSettings, is_healthy, serve, wait_until_healthy
from federation import certificates, keys
from federation.errors import ConfigError, FlowerError, IdentityError


@pytest.fixture
def settings(tmp_path):
    keys.create_secret(tmp_path / "superlink.secret")
    (tmp_path / "ca.crt").write_bytes(b"authority")
    return SuperLinkSettings(
        port=19100,
        ca_certificate=tmp_path / "ca.crt",
        certificate=tmp_path / "server.pem",
        key=tmp_path / "server.key",
        secret=tmp_path / "superlink.secret",
        folder=tmp_path / "superlink",
    )


def test_it_listens_on_loopback_with_tls_node_authentication_and_a_database(settings):
    options = settings.arguments()
    pairs = dict(itertools.pairwise(options))
    assert pairs["--host"] == "127.0.0.1"
    assert pairs["--isolation"] == "process"
    assert pairs["--database"] == str(settings.folder / "state.db")
    assert pairs["--superexec-auth-secret-file"] == str(settings.secret)
    assert {"--enable-supernode-auth", "--disable-runtime-dependency-installation"} <= set(options)
    assert {"--ssl-ca-certfile", "--ssl-certfile", "--ssl-keyfile"} <= set(options)
    assert "--insecure" not in options


def test_its_folder_is_private_and_holds_its_own_flower_home(settings, monkeypatch):
    served = []
    monkeypatch.setattr(superlink, "become_superlink", lambda *arguments: served.append(arguments))
    serve(settings)
    assert served == [(settings.arguments(), settings.folder / "flower_home")]
    assert settings.folder.stat().st_mode & 0o777 == 0o700


def test_a_secret_that_others_can_read_is_refused(settings):
    settings.secret.chmod(0o644)
    with pytest.raises(IdentityError, match="0644"):
        serve(settings)
    with pytest.raises(IdentityError):
        settings.access()


def test_access_is_to_loopback_only(settings):
    access = settings.access()
    assert access.address == "127.0.0.1:19100"
    assert len(access.secret) == 32


def test_a_home_without_settings_says_so(tmp_path):
    with pytest.raises(ConfigError):
        SuperLinkSettings.of_home(tmp_path)


def test_nobody_there_is_not_healthy_and_waiting_for_it_ends():
    authority = certificates.create_authority("x", now=datetime.now(UTC)).certificate_pem
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        server = f"127.0.0.1:{probe.getsockname()[1]}"
    assert not is_healthy(server, authority)
    with pytest.raises(FlowerError, match="does not answer"):
        wait_until_healthy(server, authority, 0.2)
