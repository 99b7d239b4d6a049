"""Real clips as test cases: keys, evidence and truth of every span, gathered once, and the evaluation's own measure.

The evidence of a span does not depend on the fusion network, so all weights that share a matcher are compared on the
same evidence. It is kept in a scratch folder, under a digest of the matcher and of the code that gathers it.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import ModuleType

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

import model
from model.candidates import span_evidence, with_smooth
from model.draft import SpanReference
from model.evidence import SpanEvidence, column
from model.frames import ArrayFrames
from model.matcher import Matcher
from model.network import RotoModel
from model.pictures import Pictures
from model.predict import fuse
from model.trackers import smooth

CENTRE = 0.5
"""The evaluation counts pixel centres at integers, the product at halves."""
BASELINES = ("smooth", "lk_closed", "dis_closed", "planar_closed")
_EVIDENCE_CODE = (
    "candidates draft evidence path trackers trackers_lk trackers_dis trackers_planar tracks rigid appearance pictures "
    "matcher matcher_crops matcher_network keyframes"
)


@dataclass(frozen=True)
class ClipCase:
    """One clip at one key distance.

    Attributes:
        clip: its name.
        gap: wanted distance of keys, frames.
        keys: [K] indices of the frames with keys; the first and last always.
        spans: index of each span's left key, its evidence and its units.
        baselines: per classical method [T, N, 2], plate pixels.
    """

    clip: str
    gap: int
    keys: NDArray[np.int64]
    spans: tuple[tuple[int, SpanEvidence, SpanReference], ...]
    baselines: dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class CaseScore:
    """Mean over a clip's in-between frames: boundary distance in % of the mask's size, intersection over union."""

    boundary: float
    iou: float


def load_measure(folder: Path, name: str = "eval_baselines") -> ModuleType:
    """Import one of the evaluation scripts, which are not part of this project.

    Raises:
        SystemExit: they are not there.
    """
    if not (folder / f"{name}.py").is_file():
        raise SystemExit(f"{folder} has no {name}.py; name the evaluation's folder with --eval")
    sys.path.insert(0, str(folder))
    return importlib.import_module(name)


def evidence_digest(frozen_digest: str) -> str:
    """Name the evidence: the frozen weights and the code that it comes from."""
    folder = Path(model.__file__).parent
    code = b"".join((folder / f"{name}.py").read_bytes() for name in _EVIDENCE_CODE.split())
    return hashlib.sha256(frozen_digest.encode() + code).hexdigest()[:12]


def clip_cases(
    measure: ModuleType, clip: Path, gaps: Sequence[int], matcher: Matcher | None, cache: Path
) -> list[ClipCase]:
    """Gather a clip's cases, or read those that an earlier run has gathered.

    Args:
        measure: from `load_measure`.
        clip: the clip's folder.
        gaps: wanted distances of keys; those that the clip is too short for are left out.
        matcher: the frozen matcher.
        cache: folder for this matcher's evidence.
    """
    cache.mkdir(parents=True, exist_ok=True)
    cases = []
    pictures: Pictures | None = None
    loaded = None
    for gap in gaps:
        file = cache / f"{clip.name}-{gap}.safetensors"
        if not file.exists():
            loaded = loaded or measure.load(str(clip))
            frames, _, points = loaded
            keys = measure.keys_for(len(frames), gap)
            if keys is None or max(np.diff(keys)) > 1.5 * gap:
                continue
            pictures = pictures or Pictures(
                ArrayFrames([np.ascontiguousarray(f[..., ::-1]) for f in frames]), cache_bytes=2**30
            )
            _write(file, _gather(clip.name, gap, pictures, keys, points + CENTRE, matcher))
        cases.append(_read(file, clip.name, gap))
    return cases


def predict(model: RotoModel, case: ClipCase) -> NDArray[np.float64]:
    """What `model.predict.predict_outline` gives on this case's in-between frames (elsewhere: the smooth baseline)."""
    points = case.baselines["smooth"].copy()
    for first, evidence, reference in case.spans:
        points[first + 1 : first + 1 + len(evidence.time)] = fuse(model, evidence, reference)[0]
    return points


class ClipTruth:
    """Masks and reference outlines of one clip, in memory."""

    def __init__(self, measure: ModuleType, clip: Path) -> None:
        self._score: Callable[..., tuple[float, float, float, float]] = measure.score
        _, self._masks, self._points = measure.load(str(clip))

    def score(self, case: ClipCase, points: NDArray[np.float64]) -> CaseScore:
        """Score a prediction [T, N, 2] in plate pixels by the evaluation's measure, on in-between frames only."""
        rows = np.setdiff1d(np.arange(len(points)), case.keys)
        found = np.array(
            [self._score(points[t] - CENTRE, self._masks[t], self._points[t]) for t in rows], np.float64
        )
        overlap, _, boundary, _ = found.mean(axis=0)
        return CaseScore(float(boundary), float(overlap))


def _gather(
    name: str,
    gap: int,
    pictures: Pictures,
    keys: NDArray[np.int64],
    truth: NDArray[np.float64],
    matcher: Matcher | None,
) -> ClipCase:
    points = truth[keys]
    shown = smooth(keys, points)
    baselines = {method: shown.copy() for method in BASELINES}
    spans = []
    for row, (first, last) in enumerate(zip(keys[:-1].tolist(), keys[1:].tolist(), strict=True)):
        if last - first < 2:
            continue
        ends, between = points[row : row + 2], slice(first + 1, last)
        evidence, reference = span_evidence(pictures, first, last, ends, matcher=matcher)
        evidence = with_smooth(evidence, reference, pictures, first, ends, shown[between])
        spans.append((first, evidence, reference))
        share = evidence.time[:, None, None].astype(np.float64)
        for method in ("lk", "dis", "planar"):
            left, right = (evidence.points[:, :, column(f"{method}_{side}")] for side in ("left", "right"))
            mixed = (1 - share) * left + share * right
            baselines[f"{method}_closed"][between] = mixed * reference.size + reference.origin
    return ClipCase(name, gap, keys, tuple(spans), baselines)


def _write(file: Path, case: ClipCase) -> None:
    arrays: dict[str, NDArray[np.generic]] = {"keys": np.asarray(case.keys, np.int64)}
    arrays |= {f"baseline.{name}": points for name, points in case.baselines.items()}
    for first, evidence, reference in case.spans:
        arrays[f"span.{first:05d}.reference"] = np.array([*reference.origin, reference.size])
        arrays |= {
            f"span.{first:05d}.{field.name}": getattr(evidence, field.name) for field in fields(SpanEvidence)
        }
    temporary = file.with_suffix(".part")
    temporary.write_bytes(
        safetensors.numpy.save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    )
    temporary.replace(file)


def _read(file: Path, clip: str, gap: int) -> ClipCase:
    arrays = safetensors.numpy.load(file.read_bytes())
    spans = []
    for first in sorted({name.split(".")[1] for name in arrays if name.startswith("span.")}):
        found = {field.name: arrays[f"span.{first}.{field.name}"] for field in fields(SpanEvidence)}
        x, y, size = arrays[f"span.{first}.reference"]
        spans.append((int(first), SpanEvidence(**found), SpanReference(np.array([x, y]), float(size))))
    baselines = {name: arrays[f"baseline.{name}"] for name in BASELINES}
    return ClipCase(clip, gap, arrays["keys"], tuple(spans), baselines)


def save_json(path: Path, value: object) -> None:
    """Write JSON that appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")
    temporary.replace(path)
