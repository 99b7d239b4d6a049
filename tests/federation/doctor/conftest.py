"""A coordinator's port for the doctor: real sockets, real TLS, faults that are really there."""

import http.server
import socket
import ssl
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from federation import certificates
from federation.doctor.line import Line

NOW = datetime.now(UTC)


class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response_only(self.server.status)
        self.send_header("Date", format_datetime(datetime.now(UTC) + self.server.ahead, usegmt=True))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Quiet(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """A handshake that the other side breaks off is what these tests are about."""


class Federation:
    """A federation's authority, and servers with certificates of any kind."""

    def __init__(self, folder):
        self.folder = folder
        self.authority = certificates.create_authority("north", now=NOW)

    def certificate(self, *, authority=None, hosts=("localhost",), now=NOW, days=90):
        return certificates.issue_server_certificate(
            authority or self.authority, list(hosts), now=now, days=days
        )

    def line(self, port, *, host="localhost", speaks="http", proxied=False):
        return Line("fleet", f"{host}:{port}", self.authority.certificate_pem, speaks, proxied)

    @contextmanager
    def serving(self, certificate=None, *, status=200, ahead_s=0.0, host="127.0.0.1"):
        """Serve health over TLS on a free port; gives the port."""
        issued = certificate or self.certificate()
        pair = self.folder / f"pair-{issued.key_pem[60:70].hex()}.pem"
        pair.write_bytes(issued.certificate_pem + issued.key_pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair)
        server = Quiet((host, 0), Health)
        server.status, server.ahead = status, timedelta(seconds=ahead_s)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


@pytest.fixture
def federation(tmp_path):
    return Federation(tmp_path)


@pytest.fixture
def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
