"""A packed array as a safetensors file, read and written in place: the library's own ways hold the array twice."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np

from federation.durable import open_bounded, write_atomic
from federation.messages import PACKED_BYTES_MAX, PackedWeights, packed_bytes

TENSOR: Final = "packed"
NOTE_KEY: Final = "fedroto"
HEADER_BYTES_MAX: Final = 64 * 1024


def save_packed(path: Path, packed: PackedWeights, note: Mapping[str, object]) -> None:
    """Write a packed array and a note; durable, all or nothing.

    Args:
        path: where the file is to be, 0600.
        packed: float32 [P].
        note: small JSON values.

    Raises:
        FedrotoError: the disk refused.
    """
    entry = {"dtype": "F32", "shape": [packed.size], "data_offsets": [0, 4 * packed.size]}
    head = json.dumps({"__metadata__": {NOTE_KEY: json.dumps(note, sort_keys=True)}, TENSOR: entry}).encode()
    head += b" " * (-len(head) % 8)
    write_atomic(path, (len(head).to_bytes(8, "little"), head, packed_bytes(packed)), mode=0o600)


def load_packed(path: Path) -> tuple[PackedWeights, dict[str, object]]:
    """Read a packed array, float32 [P], and its note.

    Raises:
        ValueError: the file holds something else, or the array does not fill it.
        FedrotoError: the file is missing, unreadable or too large.
    """
    with open_bounded(path, PACKED_BYTES_MAX + HEADER_BYTES_MAX) as file:
        length = int.from_bytes(file.read(8), "little")
        if length > HEADER_BYTES_MAX:
            raise ValueError(f"its header has {length} bytes")
        try:
            header = json.loads(file.read(length))
            note, entry = json.loads(header["__metadata__"][NOTE_KEY]), header[TENSOR]
            (parameters,) = entry["shape"]
            stated = (set(header), entry["dtype"], entry["data_offsets"])
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError("it holds no packed float32 array") from error
        packed = np.fromfile(file, "<f4")
        rest = file.read(1)
    if rest or stated != ({"__metadata__", TENSOR}, "F32", [0, packed.nbytes]) or parameters != packed.size:
        raise ValueError("it holds no packed float32 array, or more than one")
    return packed.astype(np.float32, copy=False), note
