"""What a coordinator runs: it never sees pixels."""
