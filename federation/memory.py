"""Memory that is let go of goes back to the system, and at once.

After the first large block was freed, glibc keeps blocks of up to 32 MB in heaps of its own, one a thread: a model of
50 MB that comes and goes in pieces of 4 MiB leaves twice its size behind. With a fixed threshold large blocks are the
system's again as soon as they are freed.
"""

from __future__ import annotations

import contextlib
import ctypes

import httpx

LARGE_BYTES = 1 << 20
_M_MMAP_THRESHOLD = -3  # malloc.h


def return_large_blocks() -> None:
    """Have this process give back every freed block of a megabyte and more; does nothing where libc is not glibc."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)


def untied(response: httpx.Response) -> httpx.Response:
    """Let a response that has been read go as soon as nobody holds it, and return it.

    httpx (0.28) ties a response and its stream in a circle, so the bodies of request and response would stay until the
    collector comes by: at 4 MiB each, a model of 50 MB stood twice in memory.
    """
    if response.is_closed:
        response.stream = httpx.ByteStream(b"")
    return response
