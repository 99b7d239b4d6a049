"""What passes between the page and its server: one binary message, a small JSON head and Float32 numbers behind it.

``[uint32 length of the head, little-endian][head: JSON, UTF-8, padded with blanks to a multiple of 4][float32 ...]``.
Positions lose at most 0.0002 px at 2K; the document keeps float64.
"""

from __future__ import annotations

import json
import struct
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from federation.errors import MessageError

HEAD_BYTES_MAX: Final = 1 << 16
MESSAGE_BYTES_MAX: Final = 1 << 22
"""Most bytes of one message from the page."""


def encode(head: dict[str, Any], *arrays: ArrayLike) -> bytes:
    """One message; the arrays follow each other flat."""
    text = json.dumps(head, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-len(text) % 4)
    flat = [np.ascontiguousarray(array, np.dtype("<f4")).tobytes() for array in arrays]
    return b"".join([struct.pack("<I", len(text)), text, *flat])


def decode(data: bytes) -> tuple[dict[str, Any], NDArray[np.float64]]:
    """Head and numbers of a message.

    Raises:
        MessageError: anything but a well-formed message with finite numbers.
    """
    if not 4 <= len(data) <= MESSAGE_BYTES_MAX:
        raise MessageError(f"a message of {len(data)} bytes; they have 4 to {MESSAGE_BYTES_MAX}")
    (length,) = struct.unpack_from("<I", data)
    if length > min(HEAD_BYTES_MAX, len(data) - 4) or (len(data) - 4 - length) % 4:
        raise MessageError(f"a message's head claims {length} bytes of {len(data)}")
    try:
        head = json.loads(data[4 : 4 + length])
    except (ValueError, RecursionError) as error:
        raise MessageError(f"a message's head is not JSON: {error}") from error
    if not isinstance(head, dict) or not isinstance(head.get("op"), str):
        raise MessageError("a message's head names no operation")
    numbers = np.frombuffer(data, np.dtype("<f4"), offset=4 + length).astype(np.float64)
    if not np.isfinite(numbers).all() or (np.abs(numbers) > 1e6).any():
        raise MessageError("a message holds numbers that are not finite or beyond a million pixels")
    return head, numbers
