import numpy as np
import pytest

from federation.errors import PlanError
from federation.model_spec import (
    base_model_spec,
    frozen_digest,
    pack_trainable,
    packed_digest,
    with_trained,
)
from model.weights import base_path, load


def tensors():
    return dict(load(base_path()).tensors) | {"matcher.a": np.zeros((2, 3), np.float32)}


def test_packing_and_putting_back_is_the_identity():
    base = tensors()
    spec = base_model_spec(base)
    packed = pack_trainable(base, spec)
    assert packed.shape == (spec.parameters,)
    back = with_trained(base, spec, packed)
    assert set(back) == set(base)
    assert all(np.array_equal(back[name], base[name]) for name in base)


def test_a_trained_array_changes_only_trainable_tensors():
    base = tensors()
    spec = base_model_spec(base)
    changed = with_trained(base, spec, pack_trainable(base, spec) + np.float32(1))
    for name in base:
        assert np.array_equal(changed[name], base[name]) != name.startswith("fusion.")


def test_the_order_is_the_networks_own():
    import torch

    from model.network import RotoModel
    from model.weights import pack

    with torch.no_grad():
        model = RotoModel.from_tensors({k: v for k, v in tensors().items() if k.startswith("fusion.")})
    np.testing.assert_array_equal(pack(model.fusion), pack_trainable(tensors(), base_model_spec(tensors())))


def test_the_frozen_digest_sees_values_names_and_shapes_but_not_trained_weights():
    base = tensors()
    name = base_model_spec(base).trainable[0].name
    assert frozen_digest(base) == frozen_digest(base | {name: base[name] + 1})
    others = [
        {"matcher.a": np.ones((2, 3), np.float32)},
        {"matcher.a": np.zeros((3, 2), np.float32)},
        {"matcher.a": np.zeros((2, 3), np.float32), "matcher.b": np.zeros(1, np.float32)},
    ]
    assert len({frozen_digest(base), *(frozen_digest(base | other) for other in others)}) == 4


def test_other_tensors_than_the_plans_are_refused():
    base = tensors()
    spec = base_model_spec(base)
    name = spec.trainable[0].name
    for wrong, match in (
        ({k: v for k, v in base.items() if k != name}, name),
        (base | {"fusion.more": np.zeros(1, np.float32)}, r"fusion\.more"),
        (base | {name: base[name].ravel()[:-1]}, name),
        (base | {name: base[name].astype(np.float64)}, "float64"),
    ):
        with pytest.raises(PlanError, match=match):
            pack_trainable(wrong, spec)
    with pytest.raises(PlanError, match="packed weights"):
        with_trained(base, spec, np.zeros(3, np.float32))


def test_a_packed_digest_is_of_the_bytes():
    assert packed_digest(np.zeros(1, np.float32)) != packed_digest(np.float32([-0.0]))
