"""Measures packed weights on the public benchmark: what a campaign's rounds are checked with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from aggregator.benchmark_clips import evidence_file, kept_clips
from aggregator.round_check import Errors
from federation.messages import PackedWeights
from federation.model_spec import Tensors, with_trained
from federation.plan import ModelSpec

if TYPE_CHECKING:
    from model.matcher import Matcher
    from model.public_benchmark import BenchmarkClip


class PublicMeasure:
    """A campaign's ``Measure``: torch and the evidence are loaded when the first round is over."""

    def __init__(
        self, home: Path, spec: ModelSpec, tensors: Callable[[], Tensors], tell: Callable[[str], None]
    ) -> None:
        """Prepare; gathers the evidence now if it was never gathered for these frozen weights and this release.

        Args:
            home: the coordinator's.
            spec: of the campaign's plan.
            tensors: reads all weights that the campaign started from.
            tell: told one sentence at a time.
        """
        self._home, self._spec, self._tensors, self._tell = home, spec, tensors, tell
        self._clips: list[BenchmarkClip] | None = None
        if not evidence_file(home, spec.frozen_digest).exists():
            self._clips = self._kept()

    def __call__(self, weights: PackedWeights) -> Errors:
        """Return the boundary error on each clip, percent of the outline's size."""
        from model.network import RotoModel
        from model.public_benchmark import boundary_error, predict_clip

        if self._clips is None:
            self._clips = self._kept()
        model = RotoModel.from_tensors(with_trained(self._tensors(), self._spec, weights))
        return tuple(boundary_error(clip, predict_clip(model, clip)) for clip in self._clips)

    def _kept(self) -> list[BenchmarkClip]:
        from model.network import RotoModel

        def matcher() -> Matcher | None:
            return RotoModel.from_tensors(self._tensors()).matcher

        return kept_clips(self._home, self._spec.frozen_digest, matcher, self._tell)
