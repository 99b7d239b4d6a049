"""The gRPC service of a coordinator: ``coordinator.proto`` and the Python files generated from it."""
