"""Work shared by processes: they start afresh, end with their parent, and hear an interruption from it alone."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from typing import TypeVar

from federation.child_process import die_with_parent

Item = TypeVar("Item")
Result = TypeVar("Result")
_stopping: Event | None = None  # in a worker process: set when its parent was interrupted


def usable_cores() -> int:
    """How many processor cores this process may use."""
    return len(os.sched_getaffinity(0))


def in_processes(
    work: Callable[[Item], Result], items: Iterable[Item], *, workers: int | None = None
) -> Iterator[Result]:
    """Yield ``work(item)`` for every item, in their order.

    Args:
        work: can be pickled; long work calls `stop_if_asked` where it may end.
        items: what to work on.
        workers: processes, never more than items; None: one a usable core. With one, the work is done here.

    Raises:
        Exception: whatever ``work`` raises, where its result is due; what is not begun is not done then.
    """
    items = list(items)
    workers = min(workers or usable_cores(), len(items))
    if workers <= 1:
        yield from map(work, items)
        return
    # Processes start afresh: one that has imported torch or gRPC cannot be forked safely.
    context = get_context("spawn")
    stopping = context.Event()
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(stopping,))
    try:
        yield from pool.map(work, items)
    finally:
        stopping.set()
        pool.shutdown(cancel_futures=True)


def stop_if_asked() -> None:
    """End the work in a worker process whose parent was interrupted.

    Raises:
        KeyboardInterrupt: it was.
    """
    if _stopping is not None and _stopping.is_set():
        raise KeyboardInterrupt


def _begin(stopping: Event) -> None:
    global _stopping
    _stopping = stopping
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent()
