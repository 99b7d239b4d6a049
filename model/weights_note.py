"""The note in a weights file: text metadata that is read without its tensors, and the mark of private weights.

Weights that were tuned on someone's own shots carry the mark. They are for the one who made them: whatever signs,
publishes, packs into a plan or builds on weights asks `require_public` or `require_public_file` first.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from model.errors import PrivateWeightsError, WeightsError

NOTE_KEY: Final = "fedroto"
PRIVATE_KEY: Final = "private"
PRIVATE_NOTE: Final = {
    PRIVATE_KEY: "tuned on private shots without noise: stays where it was made, no command sends it"
}
HEADER_BYTES_MAX: Final = 1 << 20


def note_of(data: bytes, *, source: str) -> dict[str, str]:
    """The note of a safetensors file, from its bytes or its first ones.

    Args:
        data: at least the whole header.
        source: what the file is called in errors.

    Raises:
        WeightsError: the header is damaged, or its note is no JSON object.
    """
    try:
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        note = json.loads((header.get("__metadata__") or {}).get(NOTE_KEY, "{}"))
        return {str(key): str(value) for key, value in note.items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise WeightsError(f"{source} has metadata that is not a JSON object: {error}") from error


def read_note(path: Path) -> dict[str, str]:
    """The note of a weights file, its tensors unread.

    Raises:
        WeightsError: it cannot be read or is damaged.
    """
    try:
        with path.open("rb") as file:
            size = file.read(8)
            length = int.from_bytes(size, "little")
            if len(size) < 8 or length > HEADER_BYTES_MAX:
                raise WeightsError(f"{path} is not a safetensors file")
            return note_of(size + file.read(length), source=str(path))
    except OSError as error:
        raise WeightsError(f"weights {path} cannot be read: {error.strerror}; check the path") from error


def require_public(note: dict[str, str], *, source: str) -> None:
    """Refuse weights that are marked as private.

    Args:
        note: from `note_of` or `read_note`.
        source: what the file is called in the error.

    Raises:
        PrivateWeightsError: they are.
    """
    if PRIVATE_KEY in note:
        raise PrivateWeightsError(
            f"{source} was tuned on private shots without noise; it stays where it was made and is never sent, "
            "published or built upon"
        )


def require_public_file(path: Path) -> None:
    """Refuse a file that holds weights marked as private; what holds no weights is left to whoever reads it.

    Raises:
        PrivateWeightsError: it does.
    """
    try:
        note = read_note(path)
    except WeightsError:
        return
    require_public(note, source=str(path))
