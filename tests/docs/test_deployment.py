"""The deployment page and its units say what the code does."""

import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from aggregator.fleet_proxy import FLEET_CALLS, KEEP_ALIVE_S, ROUTES, ProxyLimits
from federation.cli.main import app
from federation.config import FederationConfig

DOCS = Path(__file__).parent.parent.parent / "docs"
PAGE = (DOCS / "deployment.md").read_text()
UNITS = sorted((DOCS / "systemd").iterdir())
NGINX = re.search(r"<!-- nginx -->\n```\n(.+?)\n```", PAGE, re.DOTALL).group(1)
systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")


class Unit(dict):
    """A unit file's settings; one that is given several times keeps every value."""

    def __setitem__(self, key, value):
        if isinstance(value, list) and key in self:
            self[key].extend(value)
        else:
            super().__setitem__(key, value)


def read(name, section="Service"):
    parser = configparser.RawConfigParser(strict=False, dict_type=Unit, interpolation=None)
    parser.optionxform = str
    parser.read(DOCS / "systemd" / name)
    return {key: " ".join(value.split("\n")) for key, value in parser[section].items()}


def test_nginx_lets_exactly_the_fleet_proxys_paths_through():
    calls = re.search(r"location ~ \^/v1/fleet/\(([a-z|-]+)\)\$", NGINX).group(1).split("|")
    assert set(calls) == set(FLEET_CALLS)
    assert len(calls) == len(FLEET_CALLS)
    open_locations = re.findall(r"location (=|~) (\S+)", NGINX)
    assert open_locations[0] == ("=", "/health")
    assert len(open_locations) == 2  # health and the fleet calls
    assert len(ROUTES) == len(FLEET_CALLS) + 1
    assert "location / { return 404; }" in NGINX


def test_nginx_has_the_fleet_proxys_limits_and_never_says_stop():
    limits = ProxyLimits()
    assert f"client_max_body_size {limits.body_bytes_max >> 20}m;" in NGINX
    assert f"rate={limits.requests_per_s:g}r/s" in NGINX
    assert f"burst={limits.requests_burst} " in NGINX
    assert f"client_body_timeout {limits.body_timeout_s:g}s;" in NGINX
    assert f"proxy_read_timeout {limits.upstream_timeout_s:g}s;" in NGINX
    assert f"keepalive_timeout {KEEP_ALIVE_S}s;" in NGINX
    code = re.sub(r"#.*", "", NGINX)
    assert not re.search(r"\b40[13]\b", code)


def test_the_firewall_table_names_the_ports_that_are_the_default():
    config = FederationConfig.from_fields({"name": "north", "hosts": ["fed.example.org"]})
    table = PAGE.split("## Firewall")[1].split("\n\n")[1]
    assert re.findall(r"`(\d+)`/tcp.*?`(\w+)`", table) == [
        (str(config.fleet_port), "fleet_port"),
        (str(config.service_port), "service_port"),
        (str(config.superlink_port), "superlink_port"),
    ]
    assert f"server 127.0.0.1:{config.superlink_port};" in NGINX
    assert f"listen {config.fleet_port} ssl;" in NGINX


def test_the_runner_has_no_network_and_the_uplink_no_plates():
    runner, door, uplink = (read(f"fedroto-{name}.service") for name in ("runner", "runner-door", "uplink"))
    for sealed in (runner, door):
        assert (sealed["PrivateNetwork"], sealed["RestrictAddressFamilies"]) == ("yes", "AF_UNIX")
        assert sealed["IPAddressDeny"] == "any"
    assert uplink["User"] != runner["User"] == door["User"]
    hidden = {path.lstrip("-") for path in uplink["InaccessiblePaths"].split()}
    assert {"/plates", f"/var/lib/{runner['StateDirectory']}"} <= hidden
    assert f"/var/lib/{uplink['StateDirectory']}" in runner["InaccessiblePaths"]
    socket = read("fedroto-runner-door.socket", "Socket")
    assert (socket["SocketUser"], socket["SocketMode"]) == (uplink["User"], "0600")
    assert socket["ListenStream"] in PAGE


@pytest.mark.parametrize(
    "unit", [path for path in UNITS if path.suffix == ".service"], ids=lambda path: path.name
)
def test_units_start_commands_that_exist_and_keep_state_private(unit):
    settings = read(unit.name)
    words = settings["ExecStart"].split()
    assert settings["NoNewPrivileges"] == settings["PrivateTmp"] == "yes"
    assert settings["ProtectSystem"] == "strict"
    assert settings["LimitCORE"] == "0"  # a crash dump would hold plates or keys
    if not words[0].endswith("/fedroto"):
        return
    assert settings["StateDirectoryMode"] == "0700"
    assert "FLWR_TELEMETRY_ENABLED=0" in settings["Environment"]
    assert f"/var/lib/{settings['StateDirectory']}" == words[words.index("--home") + 1]
    command = get_command(app)
    for word in words[1:3]:
        command = command.commands[word]


@systemd
def test_systemd_understands_every_unit(tmp_path):
    for unit in UNITS:  # the program that is to be started has to be there for systemd
        (tmp_path / unit.name).write_text(
            unit.read_text().replace("/opt/fedroto/bin/fedroto", sys.executable)
        )
    names = [str(path) for path in sorted(tmp_path.iterdir())]
    result = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *names], capture_output=True, text=True, check=False
    )
    about_ours = [line for line in result.stderr.splitlines() if "fedroto" in line]
    assert (result.returncode, about_ours) == (0, []), result.stderr


@systemd
@pytest.mark.parametrize(
    ("unit", "most"), [("runner", 8), ("runner-door", 8), ("uplink", 15), ("coordinator", 15)]
)
def test_exposure_stays_as_low_as_the_page_says(unit, most):
    result = subprocess.run(
        [
            "systemd-analyze",
            "security",
            "--offline=yes",
            f"--threshold={most}",
            DOCS / f"systemd/fedroto-{unit}.service",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if "Unknown" in result.stderr or "unrecognized" in result.stderr:
        pytest.skip("this systemd cannot look at unit files offline")
    assert result.returncode == 0, result.stdout[-300:] + result.stderr
