"""Packs: the training windows of one shot in one file, written once, opened only after the charge.

A pack is a safetensors file whose tensors are the arrays of its windows (``w00007.points``) and whose one metadata
entry says what it is. Packs are plates in another form: private to their user, in a private folder, one file per shot
so that withdrawing a shot is deleting its file. Reading maps the file into memory and copies one window at a time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self, overload

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError, safe_open

from federation.durable import make_private_dir, write_atomic
from federation.errors import IngestError, LedgerError
from model.errors import ShapeError
from model.windows import Window
from studio_node.ledger import Reservation

PACK_SCHEMA = "fedroto.pack/1"
METADATA_KEY = "fedroto"
WINDOWS_MAX = 4096
PACK_BYTES_MAX = 2**31


@dataclass(frozen=True)
class PackHeader:
    """What a pack says about itself.

    Attributes:
        shot: the shot's id.
        show: its show.
        epoch: SHA-256 over the shot's files at ingest.
        recipe: how the windows were cut.
        frozen_digest: of the frozen public weights that they were cut with.
        windows: how many.
        schema: of the file.
    """

    shot: str
    show: str
    epoch: str
    recipe: str
    frozen_digest: str
    windows: int
    schema: str = PACK_SCHEMA


def write_pack(path: Path, windows: Sequence[Window], header: PackHeader) -> int:
    """Write a pack that appears whole or not at all, readable by its user only.

    Args:
        path: in the packs folder, which is made private.
        windows: at least one.
        header: what to say about them.

    Returns:
        The file's size in bytes. The same windows and header give the same bytes.

    Raises:
        IngestError: no window, too many, or another number than the header says.
        FedrotoError: the disk refused.
    """
    if not 0 < len(windows) <= WINDOWS_MAX or len(windows) != header.windows:
        raise IngestError(
            f"a pack of shot {header.shot!r} cannot hold {len(windows)} windows (its header says {header.windows}); "
            f"give 1 to {WINDOWS_MAX}"
        )
    tensors = {
        _name(index, field): np.ascontiguousarray(array)
        for index, window in enumerate(windows)
        for field, array in sorted(window.to_tensors().items())
    }
    # One entry: safetensors keeps several in an unordered map, which would make the bytes differ.
    data = safetensors.numpy.save(tensors, {METADATA_KEY: json.dumps(asdict(header), sort_keys=True)})
    if len(data) > PACK_BYTES_MAX:
        raise IngestError(f"the pack of shot {header.shot!r} has {len(data)} bytes; at most {PACK_BYTES_MAX}")
    make_private_dir(path.parent)
    write_atomic(path, data, mode=0o600)
    return len(data)


class PackReader(Sequence[Window]):
    """An open pack: a sequence of windows, each copied out of the mapped file when it is asked for."""

    def __init__(self, path: Path, file: Any, header: PackHeader) -> None:
        self._path = path
        self._file = file
        self.header = header
        self._fields: dict[int, list[str]] = {}
        for name in file.keys():  # noqa: SIM118 # the safetensors handle is no dict
            index, field = _parse_name(name, path)
            self._fields.setdefault(index, []).append(field)
        if sorted(self._fields) != list(range(header.windows)):
            raise _damaged(path, f"it says {header.windows} windows and holds {len(self._fields)}")

    @classmethod
    def open(cls, path: Path, reservation: Reservation, *, show: str, frozen_digest: str) -> Self:
        """Open a pack for training.

        Args:
            path: the pack file.
            reservation: the ledger's proof that this round is charged; it notes that data were touched.
            show: the show that the catalogue has the shot in; it must be among those charged.
            frozen_digest: the plan's ``model.frozen_digest``.

        Raises:
            LedgerError: no reservation, or it does not include the show, or it is closed.
            IngestError: missing, damaged, of another show, or cut with other frozen weights than the plan's.
        """
        if not isinstance(reservation, Reservation):
            raise LedgerError(
                f"a pack is opened with a reservation of the ledger, not with {type(reservation).__name__}; "
                "charge the round first"
            )
        reservation.touch(show)
        try:
            file: Any = safe_open(path, framework="numpy")
            header = _read_header(path, file.metadata())
        except (OSError, SafetensorError) as error:
            raise _damaged(path, str(error)) from error
        if header.show != show:
            raise _damaged(path, f"it is of show {header.show!r}, the catalogue says {show!r}")
        if header.frozen_digest != frozen_digest:
            raise IngestError(
                f"the pack of shot {header.shot!r} was cut with frozen weights {header.frozen_digest[:12]}, the plan "
                f"asks for {frozen_digest[:12]}",
                hint="ingest the show again with the base release that the plan names",
            )
        return cls(path, file, header)

    def __len__(self) -> int:
        return self.header.windows

    @overload
    def __getitem__(self, index: int) -> Window: ...
    @overload
    def __getitem__(self, index: slice) -> list[Window]: ...
    def __getitem__(self, index: int | slice) -> Window | list[Window]:
        """Copy a window out of the file.

        Raises:
            IngestError: the window's arrays are not those of a window.
        """
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        position = range(len(self))[index]
        try:
            return Window.from_tensors(
                {field: self._file.get_tensor(_name(position, field)) for field in self._fields[position]}
            )
        except (ShapeError, SafetensorError, OSError) as error:
            raise _damaged(self._path, str(error)) from error

    def __iter__(self) -> Iterator[Window]:
        return (self[index] for index in range(len(self)))


def _name(index: int, field: str) -> str:
    return f"w{index:05d}.{field}"


def _parse_name(name: str, path: Path) -> tuple[int, str]:
    number, dot, field = name.partition(".")
    if not (dot and number[:1] == "w" and number[1:].isdecimal()):
        raise _damaged(path, f"it holds a tensor {name[:40]!r}")
    return int(number[1:]), field


def _read_header(path: Path, metadata: dict[str, str] | None) -> PackHeader:
    try:
        header = PackHeader(**json.loads((metadata or {})[METADATA_KEY]))
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path, f"its header is not that of a pack ({error})") from error
    if header.schema != PACK_SCHEMA:
        raise _damaged(path, f"its schema is {header.schema!r}, not {PACK_SCHEMA!r}")
    if type(header.windows) is not int or not 0 < header.windows <= WINDOWS_MAX:
        raise _damaged(path, f"it says {header.windows!r} windows")
    return header


def _damaged(path: Path, why: str) -> IngestError:
    return IngestError(f"pack {path} cannot be used: {why}", hint="ingest its shot again with --force")
