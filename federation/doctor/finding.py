"""What an examination found: one value for each point that was looked at, in the order of looking."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from federation.errors import FedrotoError
from model.errors import ModelError

Verdict = Literal["ok", "warn", "fail"]
"""How a point stands: in order; works now, but not as it should or not for ever; nothing works before it is mended."""


@dataclass(frozen=True)
class Finding:
    """One point that was looked at.

    Attributes:
        name: stable, for programs ("clock").
        verdict: how it stands.
        what: what was found, with the values.
        next_step: what to do; None where there is nothing to do.
    """

    name: str
    verdict: Verdict
    what: str
    next_step: str | None = None

    def __post_init__(self) -> None:
        if self.verdict == "fail" and not self.next_step:
            raise ValueError(f"the finding {self.name!r} fails and says no next step")


@dataclass(frozen=True)
class Examination:
    """Everything that was found at one home."""

    side: Literal["studio", "coordinator"]
    home: Path
    findings: tuple[Finding, ...]

    @property
    def exit_code(self) -> int:
        """1 if anything fails, else 0."""
        return int(any(finding.verdict == "fail" for finding in self.findings))


def ok(name: str, what: str) -> Finding:
    """Say that a point is in order."""
    return Finding(name, "ok", what)


def warn(name: str, what: str, next_step: str | None = None) -> Finding:
    """Say that a point works but is not as it should be."""
    return Finding(name, "warn", what, next_step)


def fail(name: str, what: str, next_step: str) -> Finding:
    """Say that a point has to be mended."""
    return Finding(name, "fail", what, next_step)


def found(name: str, look: Callable[[], Finding | Iterable[Finding]]) -> tuple[Finding, ...]:
    """Look at a point; an error raised on purpose, or by the disk, is what was found."""
    try:
        result = look()
        return (result,) if isinstance(result, Finding) else tuple(result)
    except (FedrotoError, ModelError) as error:
        hint = getattr(error, "hint", None)
        return (fail(name, str(error), hint or "mend what the sentence names, then look again"),)
    except OSError as error:
        return (
            fail(name, f"{name} cannot be looked at: {error}", "check the folder's owner, mode and disk"),
        )
