"""Children start, and end with their parent, whatever the process that starts them has loaded."""

import subprocess
import sys

BESIDE_GRPC = """
import federation, grpc
from concurrent.futures import ThreadPoolExecutor
from federation import child_process
server = grpc.server(ThreadPoolExecutor(2))
port = server.add_insecure_port("127.0.0.1:0")
server.start()
channel = grpc.insecure_channel(f"127.0.0.1:{port}")
grpc.channel_ready_future(channel).result(20)
print([status for _ in range(100) if (status := child_process.start(["true"]).wait())])
"""


def test_children_start_beside_an_open_grpc_server_and_channel():
    """With gRPC's fork handlers about one in fourteen is aborted."""
    done = subprocess.run(
        (sys.executable, "-c", BESIDE_GRPC), capture_output=True, text=True, timeout=60, check=True
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")
