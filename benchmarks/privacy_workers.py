"""Jobs of a benchmark in several processes, until a time that is given."""

from __future__ import annotations

import multiprocessing
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def worked(jobs: Sequence[Callable[[], T]], processes: int, until: float) -> Iterator[T]:
    """Results of jobs as they come, begun in order; one that ends in an error is told of and left out.

    Processes are forked, so they share what this one has loaded; let torch have one thread here.

    Args:
        jobs: pickled each.
        processes: how many at once.
        until: by `time.monotonic`; what is not done then is stopped.
    """
    with multiprocessing.get_context("fork").Pool(min(processes, max(len(jobs), 1))) as pool:
        results = pool.imap_unordered(_tried, jobs)
        for _ in jobs:
            try:
                found, error = results.next(timeout=max(until - time.monotonic(), 0))
            except multiprocessing.TimeoutError:
                return
            if error:
                print(error, flush=True)
            yield from found


def _tried(job: Callable[[], T]) -> tuple[list[T], str]:
    try:
        return [job()], ""
    except Exception:
        return [], traceback.format_exc()
