"""Which weights of the fusion network are trained: the fine-tuning subsets that are compared under noise."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Final, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from model.network import Fusion

Subset = Literal["full", "bias_norm_head", "lora", "head"]
LORA_RANK: Final = 2


class LowRank(nn.Module):
    """A weight plus a product of two thin matrices, zero at the start.

    Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models" (2021).
    """

    def __init__(self, rows: int, columns: int, generator: torch.Generator) -> None:
        super().__init__()
        first = torch.randn(LORA_RANK, columns, generator=generator) / columns**0.5
        self.inner = nn.Parameter(first)
        self.outer = nn.Parameter(torch.zeros(rows, LORA_RANK))

    def forward(self, weight: Tensor) -> Tensor:
        """[rows, columns] to the same."""
        return weight + self.outer @ self.inner


def fusion_with(subset: Subset, base: Fusion) -> Fusion:
    """A copy of the base fusion network, of which only the subset requires gradients."""
    fusion = deepcopy(base).train()
    fusion.requires_grad_(subset == "full")
    if subset == "lora":
        generator = torch.Generator().manual_seed(1)  # public first weights, the same for everybody
        for module in [m for m in fusion.modules() if isinstance(m, nn.Linear)]:
            low_rank = LowRank(module.out_features, module.in_features, generator)
            parametrize.register_parametrization(module, "weight", low_rank)
            module.parametrizations.weight.original.requires_grad_(False)  # type: ignore[union-attr]
    chosen: dict[Subset, Callable[[str], bool]] = {
        "full": lambda name: True,
        "bias_norm_head": lambda name: name.startswith("head.") or name.endswith(".bias") or _is_norm(name),
        "lora": lambda name: name.startswith("head.bias") or name.rpartition(".")[2] in ("inner", "outer"),
        "head": lambda name: name.startswith("head."),
    }
    for name, parameter in fusion.named_parameters():
        parameter.requires_grad_(chosen[subset](name))
    return fusion


def plain(fusion: Fusion) -> Fusion:
    """The same network with low-rank matrices, if any, added to the weights that they belong to."""
    for module in [m for m in fusion.modules() if parametrize.is_parametrized(m)]:
        parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
    return fusion


def trainable(fusion: Fusion) -> list[nn.Parameter]:
    """What the subset trains, in the network's own order."""
    return [parameter for parameter in fusion.parameters() if parameter.requires_grad]


def packed(fusion: Fusion) -> Tensor:
    """The trained values as one float64 vector [P]."""
    return torch.cat([parameter.detach().double().ravel() for parameter in trainable(fusion)])


def unpacked(fusion: Fusion, values: Tensor) -> None:
    """Set the trained values from a float64 vector [P]."""
    parameters = trainable(fusion)
    parts = values.split([parameter.numel() for parameter in parameters])
    with torch.no_grad():
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.copy_(part.view_as(parameter))


def _is_norm(name: str) -> bool:
    return any(part in ("before", "between", "leave") for part in name.split("."))
