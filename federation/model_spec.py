"""Which tensors of a weights file a plan trains, and the way between a file's tensors and the one packed array.

Both sides use these functions, so that a plan's :class:`~federation.plan.ModelSpec` means the same to each: the
trainable tensors are ``fusion.*`` in the network's own order, everything else is frozen and named by one digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from federation.documents import digest
from federation.errors import PlanError
from federation.messages import PackedWeights, packed_bytes
from federation.plan import ModelSpec, TensorEntry

ARCHITECTURE: Final = "fusion-1"
TRAINABLE_PREFIX: Final = "fusion."
Tensors = Mapping[str, npt.NDArray[np.float32]]


def base_model_spec(tensors: Tensors) -> ModelSpec:
    """Describe the weights that a training starts from.

    Args:
        tensors: all tensors of a base weights file (``model.weights.load``).

    Raises:
        PlanError: the trainable tensors are not those of this version's network.
    """
    from model.network import RotoModel  # imports torch, which a reader of plans does not need

    spec = RotoModel.trainable_spec()
    entries = tuple(
        TensorEntry(name=f"{TRAINABLE_PREFIX}{name}", shape=shape)
        for name, shape in zip(spec.names, spec.shapes, strict=True)
    )
    model = ModelSpec(architecture=ARCHITECTURE, trainable=entries, frozen_digest=frozen_digest(tensors))
    _require_trainable(tensors, model)
    return model


def frozen_digest(tensors: Tensors) -> str:
    """Name the tensors that are not trained by the SHA-256 over their names, shapes and little-endian bytes."""
    whole = hashlib.sha256(b"fedroto:frozen\0")
    for name in sorted(tensors):
        if not name.startswith(TRAINABLE_PREFIX):
            array = np.ascontiguousarray(tensors[name], dtype="<f4")
            whole.update(f"{name}{list(array.shape)}\0".encode() + array.tobytes())
    return whole.hexdigest()


def pack_trainable(tensors: Tensors, model: ModelSpec) -> PackedWeights:
    """Flatten the trainable tensors into one float32 array [P], in the plan's order.

    Raises:
        PlanError: they are not exactly those that the plan names, or not float32.
    """
    _require_trainable(tensors, model)
    return np.concatenate([np.ravel(tensors[entry.name]) for entry in model.trainable])


def with_trained(
    tensors: Tensors, model: ModelSpec, packed: PackedWeights
) -> dict[str, npt.NDArray[np.float32]]:
    """Return all tensors, the trainable ones views of a packed array.

    Raises:
        PlanError: the array has another length than the plan's, or the tensors are not the plan's.
    """
    _require_trainable(tensors, model)
    if packed.shape != (model.parameters,) or packed.dtype != np.float32:
        raise PlanError(
            f"the packed weights are {packed.dtype}{list(packed.shape)}, the plan says float32[{model.parameters}]"
        )
    replaced = dict(tensors)
    start = 0
    for entry in model.trainable:
        replaced[entry.name] = packed[start : start + entry.size].reshape(entry.shape)
        start += entry.size
    return replaced


def packed_digest(packed: PackedWeights) -> str:
    """Name packed weights by the SHA-256 of their little-endian float32 bytes (``base_digest`` of an instruction)."""
    return digest(packed_bytes(packed))


def _require_trainable(tensors: Tensors, model: ModelSpec) -> None:
    """Check that the trainable tensors are exactly those that the plan names.

    Raises:
        PlanError: they are not, or not float32.
    """
    found = {name for name in tensors if name.startswith(TRAINABLE_PREFIX)}
    named = {entry.name for entry in model.trainable}
    if found != named:
        raise PlanError(
            f"the weights and the plan name other trainable tensors: {', '.join(sorted(found ^ named)[:3])}"
        )
    for entry in model.trainable:
        array = tensors[entry.name]
        if array.shape != entry.shape or array.dtype != np.float32:
            raise PlanError(
                f"tensor {entry.name} is {array.dtype}{list(array.shape)}, "
                f"the plan says float32{list(entry.shape)}"
            )
