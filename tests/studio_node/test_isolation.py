"""Whether a runner says the truth about its network: in a real network namespace, and where sockets are forbidden."""

import shutil
import socket
import subprocess
import sys

import pytest

from studio_node.isolation import isolation_here

LOOK = "from studio_node.isolation import isolation_here; print(isolation_here().isolated)"
FORBIDDEN = (
    "import socket; socket.if_nameindex = lambda: (_ for _ in ()).throw(OSError(97, 'forbidden')); " + LOOK
)


def in_a_namespace_of_its_own(code):
    if shutil.which("unshare") is None:
        pytest.skip("no unshare here")
    command = ["unshare", "--net", "--map-root-user", sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if "unshare" in result.stderr:
        pytest.skip(f"no namespaces here: {result.stderr.strip()}")
    return result.stdout.strip()


@pytest.mark.parametrize("code", [LOOK, FORBIDDEN], ids=["sockets", "no-sockets"])
def test_a_network_namespace_of_its_own_is_isolated(code):
    assert in_a_namespace_of_its_own(code) == "True"


def test_a_machine_with_a_network_is_not_isolated_even_where_sockets_are_forbidden(monkeypatch, tmp_path):
    def forbid():
        raise OSError(97, "Address family not supported by protocol")

    monkeypatch.setattr(socket, "if_nameindex", forbid)
    table = tmp_path / "dev"
    table.write_text("Inter-|\n face |\n    lo: 0 0\n  eth0: 5 5\n")
    monkeypatch.setattr("studio_node.isolation.INTERFACES", table)
    assert isolation_here().text == "not isolated here: there is lo, eth0"
    table.unlink()
    assert not isolation_here().isolated
