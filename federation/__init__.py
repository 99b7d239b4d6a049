"""What the parties agree on, and all that crosses the wire.

Importing it switches Flower's telemetry off in this process, before anything can load flwr: flwr reads the switch once.
"""

import federation.flower  # noqa: F401
