"""The fusion network: weighs the candidates of every point, corrects their blend and says how sure it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.edge_network import EdgeNetwork
from model.errors import WeightsError
from model.evidence import CANDIDATES, LEFT, PATH, RIGHT, SpanEvidence
from model.matcher import Matcher
from model.weights import TensorSpec

CHANNELS: Final = 48
BLOCKS: Final = 4
FEATURES: Final = len(CANDIDATES) * 9 + 6
SCALE_FLOOR: Final = 1e-4
"""Smallest predicted error, in outline sizes: a hundredth of a pixel on an object of 100 pixels."""
PATH_LEAD: Final = 7.0
"""Added to the path's logit: it has already weighed the others, which would count twice otherwise."""


@dataclass(frozen=True)
class EvidenceTensors:
    """A batch of spans as tensors: the fields of `SpanEvidence` with a batch axis B in front."""

    time: Tensor
    points: Tensor
    log_scale: Tensor
    drift: Tensor
    appearance: Tensor
    available: Tensor
    miss: Tensor
    keys: Tensor
    context: Tensor

    @classmethod
    def stack(cls, spans: Sequence[SpanEvidence]) -> EvidenceTensors:
        """Batch spans of one sample count; shorter spans are padded at their end by repeating their last frame."""
        frames = max(span.time.shape[0] for span in spans)

        def padded(name: str) -> Tensor:
            rows = []
            for span in spans:
                array = getattr(span, name)
                missing = frames - array.shape[0]
                rows.append(
                    np.concatenate([array, np.repeat(array[-1:], missing, axis=0)]) if missing else array
                )
            return torch.from_numpy(np.stack(rows))

        def plain(name: str) -> Tensor:
            return torch.from_numpy(np.stack([getattr(span, name) for span in spans]))

        timed = {
            name: padded(name) for name in ("time", "points", "log_scale", "drift", "appearance", "available")
        }
        return cls(**timed, miss=plain("miss"), keys=plain("keys"), context=plain("context"))

    def to(self, device: torch.device) -> EvidenceTensors:
        """The same batch on another device."""
        return EvidenceTensors(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})


@dataclass(frozen=True)
class Blend:
    """The hand-weighted blend that an untrained network returns, and the frame in which the network sees."""

    points: Tensor  # [B, T, M, 2]
    logits: Tensor  # [B, T, M, C]
    log_scale: Tensor  # [B, T, M]
    spread: Tensor  # [B, T, M]
    tangent: Tensor  # [B, T, M, 2]


@dataclass(frozen=True)
class FusionOutput:
    """Prediction in the evidence's units.

    Attributes:
        points: [B, T, M, 2].
        log_scale: [B, T, M] log of their expected error.
        departure: [B, T, M] how far the network went from the hand blend: mean square of what it added to the logits
            and of its correction as a share of its reach.
    """

    points: Tensor
    log_scale: Tensor
    departure: Tensor


class ContourBlock(nn.Module):
    """Circular convolution along the contour, a global contour mean, and an MLP, each with a residual.

    Written with rolls and `Linear` on [B, T, M, channels] only: convolutions on permuted tensors give silently wrong
    per-sample gradients, and folding time into the batch gives too many of them.
    """

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.before = nn.LayerNorm(channels)
        self.along = nn.Linear(5 * channels, channels)
        self.whole = nn.Linear(channels, channels)
        self.between = nn.LayerNorm(channels)
        self.widen = nn.Linear(channels, 2 * channels)
        self.narrow = nn.Linear(2 * channels, channels)

    def forward(self, hidden: Tensor) -> Tensor:
        """[B, T, M, channels] to the same."""
        seen = self.before(hidden)
        around = torch.cat(
            [torch.roll(seen, step * self.dilation, dims=2) for step in (-2, -1, 0, 1, 2)], dim=-1
        )
        mixed = self.along(around) + self.whole(seen.mean(dim=2, keepdim=True))
        hidden = hidden + nn.functional.gelu(mixed)
        update: Tensor = self.narrow(nn.functional.gelu(self.widen(self.between(hidden))))
        return hidden + update


class Fusion(nn.Module):
    """Weights the candidates per point and frame; about 120k weights, the part that a federation trains.

    Nothing mixes spans of a batch (LayerNorm over channels only, no dropout), so per-shot gradients are exact.
    The last layer starts at zero: an untrained network returns the inverse-variance blend of the candidates.
    """

    def __init__(self, channels: int = CHANNELS, blocks: int = BLOCKS) -> None:
        super().__init__()
        self.enter = nn.Linear(FEATURES, channels)
        self.blocks = nn.ModuleList(ContourBlock(channels, dilation) for dilation in (1, 2, 4, 8)[:blocks])
        self.leave = nn.LayerNorm(channels)
        self.head = nn.Linear(channels, len(CANDIDATES) + 3)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, evidence: EvidenceTensors) -> FusionOutput:
        """Predict the in-between outlines of a batch of spans."""
        blend = blend_candidates(evidence)
        hidden = self.enter(features(evidence, blend))
        for block in self.blocks:
            hidden = block(hidden)
        out = self.head(self.leave(hidden))
        choice, shift, scale = out.split([len(CANDIDATES), 2, 1], dim=-1)
        choice = 4.0 * torch.tanh(choice / 4.0)
        weights = torch.softmax(blend.logits + choice, dim=-1)
        points = (weights[..., None] * evidence.points).sum(dim=-2)
        window = torch.sqrt(4.0 * evidence.time * (1.0 - evidence.time))[:, :, None, None]
        reach = (0.002 + blend.spread[..., None]) * window
        share = torch.tanh(shift)
        points = points + from_local(reach * share, blend.tangent)
        departure = (choice**2).mean(dim=-1) + (share**2).mean(dim=-1)
        log_scale = blend.log_scale + 3.0 * torch.tanh(scale[..., 0] / 3.0)
        return FusionOutput(points, log_scale.clamp(min=float(np.log(SCALE_FLOOR)), max=2.0), departure)


def blend_candidates(evidence: EvidenceTensors) -> Blend:
    """Blend the available candidates by inverse variance and nearness of their key in time.

    Source: the hand-weighted blend of LK, DIS and matcher, the best unlearned combination in trials.
    """
    time = evidence.time.clamp(1e-3, 1.0 - 1e-3)[:, :, None]
    near = torch.zeros_like(evidence.log_scale)
    near[..., list(LEFT)] = torch.log(1.0 - time)[..., None]
    near[..., list(RIGHT)] = torch.log(time)[..., None]
    near[..., PATH] = PATH_LEAD
    absent = (evidence.available < 0.5)[:, :, None, :]
    logits = (near - 2.0 * evidence.log_scale).masked_fill(absent, -1e4)
    weights = torch.softmax(logits, dim=-1)
    points = (weights[..., None] * evidence.points).sum(dim=-2)
    apart = ((evidence.points - points[..., None, :]) ** 2).sum(dim=-1)
    spread = torch.sqrt((weights * apart).sum(dim=-1) + 1e-8)
    expected = (weights * evidence.log_scale).sum(dim=-1)
    log_scale = 0.5 * torch.log(torch.exp(2.0 * expected) + spread**2)
    along = torch.roll(points, -2, dims=2) - torch.roll(points, 2, dims=2)
    tangent = along / (along.norm(dim=-1, keepdim=True) + 1e-6)
    tangent = tangent * orientation(evidence.keys)[:, None, None, None]
    return Blend(points, logits, log_scale, spread, tangent)


def orientation(keys: Tensor) -> Tensor:
    """1 or -1 per span [B]: with it the inside lies on the same hand of the tangent, however the artist drew."""
    following = torch.roll(keys, -1, dims=2)
    area = (keys[..., 0] * following[..., 1] - keys[..., 1] * following[..., 0]).sum(dim=(1, 2))
    return torch.where(area < 0, -1.0, 1.0)


def features(evidence: EvidenceTensors, blend: Blend) -> Tensor:
    """What the network sees [B, T, M, FEATURES]: the same whatever the position, turn and size of the outline."""
    present = evidence.available[:, :, None, :]
    offsets = to_local(evidence.points - blend.points[..., None, :], blend.tangent[..., None, :])
    frames = evidence.time.shape[1]
    miss = torch.log(evidence.miss + 1e-3)[:, None].expand(-1, frames, -1, -1)
    overall = miss.mean(dim=2, keepdim=True).expand_as(miss)
    per_candidate = torch.stack(
        [
            torch.asinh(40.0 * offsets[..., 0]),
            torch.asinh(40.0 * offsets[..., 1]),
            0.7 * (evidence.log_scale + 4.0),
            0.5 * (miss + 4.5),
            0.5 * (overall + 4.5),
            0.5 * (torch.log(evidence.drift + 1e-3) + 5.0),
            8.0 * evidence.appearance[..., 0],
            8.0 * evidence.appearance[..., 1],
            torch.ones_like(evidence.log_scale),
        ],
        dim=-1,
    )
    per_candidate = per_candidate * present[..., None]
    time = evidence.time[:, :, None].expand_as(blend.spread)
    moved = (evidence.keys[:, 1] - evidence.keys[:, 0]).norm(dim=-1)[:, None].expand_as(blend.spread)
    gap, size = (torch.log(evidence.context[:, i])[:, None, None].expand_as(blend.spread) for i in (0, 1))
    common = torch.stack(
        [
            2.0 * time - 1.0,
            4.0 * time * (1.0 - time),
            torch.log(blend.spread + 1e-3) + 4.5,
            torch.log(moved + 1e-2) + 2.0,
            gap - 2.3,
            0.5 * (size - 4.5),
        ],
        dim=-1,
    )
    return torch.cat([per_candidate.flatten(start_dim=-2), common], dim=-1)


def to_local(offsets: Tensor, tangent: Tensor) -> Tensor:
    """Plate offsets [..., 2] as (along the contour, across it)."""
    along = (offsets * tangent).sum(dim=-1)
    across = offsets[..., 1] * tangent[..., 0] - offsets[..., 0] * tangent[..., 1]
    return torch.stack([along, across], dim=-1)


def from_local(local: Tensor, tangent: Tensor) -> Tensor:
    """(Along, across) offsets back to plate directions."""
    x = local[..., 0] * tangent[..., 0] - local[..., 1] * tangent[..., 1]
    y = local[..., 0] * tangent[..., 1] + local[..., 1] * tangent[..., 0]
    return torch.stack([x, y], dim=-1)


class RotoModel:
    """What predicts: the trainable fusion network and, where its weights are given, the frozen public matcher."""

    def __init__(self, fusion: Fusion, matcher: Matcher | None = None) -> None:
        self.fusion = fusion.eval()
        self.matcher = None if matcher is None else matcher.eval().requires_grad_(False)

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return next(self.fusion.parameters()).device

    def to(self, device: torch.device) -> RotoModel:
        """The model itself, moved to a device."""
        self.fusion.to(device)
        if self.matcher is not None:
            self.matcher.to(device)
        return self

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[np.float32]]) -> RotoModel:
        """Build the model from named arrays: ``fusion.*`` and, optionally, ``matcher.*``.

        Raises:
            WeightsError: names or shapes are not those of this network.
        """
        groups: dict[str, dict[str, NDArray[np.float32]]] = {"fusion": {}, "matcher": {}}
        for name, array in tensors.items():
            part, _, rest = name.partition(".")
            if part not in groups:
                raise WeightsError(f"unknown tensor '{name}'; weights hold fusion.* and matcher.* only")
            groups[part][rest] = array
        fusion = Fusion()
        TensorSpec.of(fusion).require(groups["fusion"])
        fusion.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in groups["fusion"].items()})
        matcher = matcher_of(groups["matcher"]) if groups["matcher"] else None
        return cls(fusion, matcher)

    @classmethod
    def base(cls) -> RotoModel:
        """The model with the weights that ship in the package."""
        from model.weights import base_path, load

        return cls.from_tensors(load(base_path()).tensors)

    @staticmethod
    def trainable_spec() -> TensorSpec:
        """Names and shapes of what a federation trains: the fusion network."""
        return TensorSpec.of(Fusion())

    def to_tensors(self) -> dict[str, NDArray[np.float32]]:
        """All weights under the names that `from_tensors` reads."""
        arrays = {f"fusion.{k}": v.numpy().copy() for k, v in self.fusion.state_dict().items()}
        if self.matcher is not None:
            arrays |= {f"matcher.{k}": v.numpy().copy() for k, v in self.matcher.state_dict().items()}
        return arrays


def matcher_of(tensors: Mapping[str, NDArray[np.float32]]) -> Matcher:
    """A matcher with these weights, named as in its own pretraining's file (or with ``matcher.`` in front).

    Raises:
        WeightsError: names or shapes are not those of the matcher.
    """
    named = {name.removeprefix("matcher."): array for name, array in tensors.items()}
    matcher = Matcher(EdgeNetwork() if any(name.startswith("edges.") for name in named) else None)
    TensorSpec.of(matcher).require(named)
    matcher.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in named.items()})
    return matcher
