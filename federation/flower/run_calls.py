"""Calls with the token of the coordinator's run, and the error of a run that is dead."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from federation.errors import FlowerError
from federation.flower.transport import AnsweredError, translated


class RunLostError(FlowerError):
    """The run's token is dead (its heartbeat lapsed, or somebody stopped it): open a new run."""


@contextlib.contextmanager
def calling(what: str) -> Iterator[None]:
    """Turn whatever a call raises into our errors.

    Raises:
        RunLostError: the token is refused.
        FlowerError: see :func:`~federation.flower.transport.translated`.
    """
    try:
        with translated(what):
            yield
    except AnsweredError as error:
        if error.status in (401, 403):
            raise RunLostError(str(error)) from error
        raise
