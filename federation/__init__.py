"""What the parties agree on, and all that crosses the wire."""
