"""What the parties agree on, and all that crosses the wire.

Importing it sets two switches of this process, before anything can load what reads them once: Flower's telemetry is
off, and so are gRPC's fork handlers, which abort children that are started while a gRPC server and a channel are open
(one in fourteen with grpcio 1.85) although these become another program at once.
"""

import os

import federation.flower  # noqa: F401

os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
