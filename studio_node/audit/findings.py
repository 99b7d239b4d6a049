"""One thing that the audit asked, what it measured, and whether that contradicts what is claimed."""

from __future__ import annotations

from dataclasses import dataclass

LABEL = "lower bound, not proof"
"""Stands on everything that the audit says: it can show that a claim is false, never that one is true."""


@dataclass(frozen=True)
class Finding:
    """The outcome of one check.

    Attributes:
        name: of the check, one or two words.
        question: what was asked, for a reader who is no programmer.
        measured: the number that decides.
        limit: the largest that an honest implementation reaches, up to the false alarms that the check allows.
        holds: False means that the claim is contradicted.
        detail: how it was measured.
    """

    name: str
    question: str
    measured: float
    limit: float
    holds: bool
    detail: str

    @classmethod
    def below(cls, name: str, question: str, measured: float, limit: float, detail: str) -> Finding:
        """Make the finding of a check that holds while ``measured`` is at most ``limit``; NaN never holds."""
        return cls(name, question, float(measured), float(limit), bool(measured <= limit), detail)
