"""What a coordinator runs: it never sees pixels."""

import federation  # noqa: F401 - switches Flower's telemetry off before a module here loads flwr
