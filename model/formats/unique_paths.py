"""Paths of shapes, unique in their file."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class UniquePaths:
    """Gives out paths; one that was given already gets a number."""

    given: dict[str, int] = field(default_factory=dict)

    def take(self, path: str) -> str:
        """The path, or with ``#2``, ``#3``... behind it."""
        while path in self.given:
            self.given[path] += 1
            path = f"{path}#{self.given[path]}"
        self.given[path] = 1
        return path
