"""The coordinator's console: a read-only page over the round state, with metrics, exports and reports."""
