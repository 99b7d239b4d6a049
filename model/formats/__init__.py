"""Shape files as text: ``loads`` and ``dumps`` side by side; each converts coordinates at its own border."""
