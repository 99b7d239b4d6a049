"""The public benchmark's clips with their evidence, in a file: gathering it takes a minute, weighing it a second."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from model.draft import SpanReference
from model.errors import PredictionError
from model.evidence import SpanEvidence
from model.public_benchmark import RECIPE, BenchmarkClip

SCHEMA: Final = "fedroto.benchmark-evidence/1"
_EVIDENCE: Final = tuple(field.name for field in fields(SpanEvidence))


def dumps(clips: list[BenchmarkClip]) -> bytes:
    """Write clips as a safetensors file."""
    tensors: dict[str, NDArray[Any]] = {}
    for clip in clips:
        tensors |= {f"{clip.name}/{name}": getattr(clip, name) for name in ("key_frames", "truth", "visible")}
        tensors |= {f"{clip.name}/baseline/{name}": points for name, points in clip.baselines.items()}
        for row, (first, evidence, reference) in enumerate(clip.spans):
            place = f"{clip.name}/span{row}"
            tensors |= {f"{place}/{name}": getattr(evidence, name) for name in _EVIDENCE}
            tensors[f"{place}/reference"] = np.array([*reference.origin, reference.size])
            tensors[f"{place}/first"] = np.array([first])
    about = {
        "schema": SCHEMA,
        "recipe": RECIPE,
        "clips": [[clip.name, len(clip.spans), clip.width, clip.height] for clip in clips],
    }
    return safetensors.numpy.save(
        {name: np.ascontiguousarray(array) for name, array in tensors.items()},
        metadata={"fedroto": json.dumps(about, sort_keys=True)},
    )


def loads(data: bytes) -> list[BenchmarkClip]:
    """Read what :func:`dumps` wrote.

    Raises:
        PredictionError: it is damaged, or of another recipe.
    """
    try:
        tensors = safetensors.numpy.load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        about = json.loads(header["__metadata__"]["fedroto"])
        if (about["schema"], about["recipe"]) != (SCHEMA, RECIPE):
            raise PredictionError(f"the evidence is {about['schema']} of {about['recipe']}, not {RECIPE}")
        return [_clip(tensors, *entry) for entry in about["clips"]]
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError) as error:
        raise PredictionError(
            f"the benchmark's evidence is damaged: {type(error).__name__}: {error}"
        ) from error


def _clip(
    tensors: Mapping[str, NDArray[Any]], name: str, spans: int, width: int, height: int
) -> BenchmarkClip:
    found = []
    for row in range(spans):
        place = f"{name}/span{row}"
        evidence = SpanEvidence(**{field: tensors[f"{place}/{field}"] for field in _EVIDENCE})
        *origin, size = tensors[f"{place}/reference"]
        found.append(
            (int(tensors[f"{place}/first"][0]), evidence, SpanReference(np.array(origin), float(size)))
        )
    key_frames, truth, visible = (tensors[f"{name}/{field}"] for field in ("key_frames", "truth", "visible"))
    place = f"{name}/baseline/"
    baselines = {key.removeprefix(place): points for key, points in tensors.items() if key.startswith(place)}
    return BenchmarkClip(name, key_frames, truth, visible, tuple(found), baselines, width, height)
