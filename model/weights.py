"""Weights as files and as one flat array: fixed names and shapes, float32, safetensors, nothing executable."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import safetensors.numpy
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import nn

from model.errors import WeightsError
from model.weights_note import NOTE_KEY, note_of, require_public

FILE_BYTES_MAX: Final = 64 * 2**20
TENSORS_MAX: Final = 512
Arrays = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class TensorSpec:
    """The ordered names and shapes of a set of float32 tensors: what an update must look like, exactly."""

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        if len(self.names) != len(self.shapes) or len(set(self.names)) != len(self.names):
            raise WeightsError(
                f"a spec needs one shape per distinct name, got {len(self.names)} and {len(self.shapes)}"
            )

    @classmethod
    def of(cls, module: nn.Module) -> TensorSpec:
        """The spec of a module's state, in the module's own order."""
        state = module.state_dict()
        return cls(tuple(state), tuple(tuple(tensor.shape) for tensor in state.values()))

    @property
    def size(self) -> int:
        """Number of float32 values in all."""
        return sum(int(np.prod(shape)) for shape in self.shapes)

    def digest(self) -> str:
        """SHA-256 (hex) over names and shapes: two sides with the same digest mean the same array layout."""
        text = json.dumps([self.names, self.shapes], separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def require(self, arrays: Arrays) -> None:
        """Refuse arrays that are not exactly this spec: names, shapes, float32, finite.

        Raises:
            WeightsError: says the first difference.
        """
        if set(arrays) != set(self.names):
            wrong = sorted(set(arrays) ^ set(self.names))
            raise WeightsError(
                f"weights have other names than this network ({len(wrong)} differ, first '{wrong[0]}'); "
                "they were made for another version"
            )
        for name, shape in zip(self.names, self.shapes, strict=True):
            require_tensor(name, arrays[name], shape)


def require_tensor(name: str, array: NDArray[np.float32], shape: tuple[int, ...]) -> None:
    """Refuse an array of another shape or type, or with NaN or infinity in it."""
    if tuple(array.shape) != shape:
        raise WeightsError(f"tensor '{name}' has shape {tuple(array.shape)}, expected {shape}")
    if array.dtype != np.float32:
        raise WeightsError(f"tensor '{name}' is {array.dtype}, expected float32")
    if not np.isfinite(array).all():
        raise WeightsError(f"tensor '{name}' holds NaN or infinity; the file or update is damaged")


def spec_digest(module: nn.Module) -> str:
    """Digest of a module's spec, see `TensorSpec.digest`."""
    return TensorSpec.of(module).digest()


def pack(module: nn.Module) -> NDArray[np.float32]:
    """All weights of a module as one flat float32 array [P], in the order of its spec."""
    return np.concatenate([tensor.detach().numpy().ravel() for tensor in module.state_dict().values()])


def unpack(module: nn.Module, packed: NDArray[np.float32]) -> None:
    """Load a flat array made by `pack` into a module of the same spec.

    Raises:
        WeightsError: wrong length or type, NaN or infinity.
    """
    spec = TensorSpec.of(module)
    require_tensor("packed weights", packed, (spec.size,))
    state: dict[str, torch.Tensor] = {}
    start = 0
    for name, shape in zip(spec.names, spec.shapes, strict=True):
        count = int(np.prod(shape))
        state[name] = torch.from_numpy(packed[start : start + count].reshape(shape).copy())
        start += count
    module.load_state_dict(state)


@dataclass(frozen=True)
class Weights:
    """A weights file read back: named arrays and the text metadata stored with them."""

    tensors: dict[str, NDArray[np.float32]]
    metadata: dict[str, str]


def save(path: Path, tensors: Arrays, metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file, durable and all or nothing; the same content gives the same bytes.

    Raises:
        WeightsError: an array is not finite float32, or the file would be too large.
    """
    for name, array in tensors.items():
        require_tensor(name, array, tuple(array.shape))
    ordered = {name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)}
    # One metadata entry: safetensors keeps several in an unordered map, which would make the bytes differ.
    note = {NOTE_KEY: json.dumps(dict(metadata or {}), sort_keys=True)}
    data = safetensors.numpy.save(ordered, metadata=note)
    if len(data) > FILE_BYTES_MAX:
        raise WeightsError(f"weights of {len(data)} bytes are over the limit of {FILE_BYTES_MAX}")
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def load(path: Path) -> Weights:
    """Read a safetensors file of float32 tensors.

    Raises:
        WeightsError: missing, too large, not safetensors, another type, too many tensors, NaN or infinity.
    """
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise WeightsError(f"weights {path} cannot be read: {error.strerror}; check the path") from error
    if len(data) > FILE_BYTES_MAX:
        raise WeightsError(f"weights {path} are larger than the limit of {FILE_BYTES_MAX} bytes")
    return loads(data, source=str(path))


def load_public(path: Path) -> Weights:
    """Read weights that may be sent, published or built upon; the rules of `load`.

    Raises:
        PrivateWeightsError: they are marked as private.
        WeightsError: see `load`.
    """
    found = load(path)
    require_public(found.metadata, source=str(path))
    return found


def loads(data: bytes, *, source: str = "weights") -> Weights:
    """Read the bytes of a safetensors file; the rules of `load`."""
    try:
        tensors = safetensors.numpy.load(data)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{source} is not a safetensors file of float32 tensors: {error}") from error
    if len(tensors) > TENSORS_MAX:
        raise WeightsError(f"{source} holds {len(tensors)} tensors, the limit is {TENSORS_MAX}")
    for name, array in tensors.items():
        require_tensor(name, array, tuple(array.shape))
    return Weights(dict(tensors), note_of(data, source=source))


def base_path() -> Path:
    """The base weights that ship in the package, made by ``fedroto model pretrain``."""
    return Path(__file__).parent / "base" / "base.safetensors"
