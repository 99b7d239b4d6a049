"""Runs methods over clips for ``fedroto model``: a clip that fails is named, and the rest goes on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from federation.cli.output import progress, table

if TYPE_CHECKING:
    from model.evaluation import EvaluationClip, MethodScore
    from model.network import RotoModel
    from model.played_artist import KeyRule, PlayedArtist
    from model.predict import OutlineMethod
    from model.reliability import Reliability

CASES = "procedural"
GAPS = (5, 10, 20)
RULES: tuple[KeyRule, ...] = ("suggested", "halving")
"""Ways to choose the next key that need no hindsight; the method named ``model`` is counted by them too."""


@dataclass(frozen=True)
class Measured:
    """What was measured.

    Attributes:
        scores: of every method on every clip and gap.
        clips: by name, for pictures.
        skipped: clips that failed or were too short, with the reason.
    """

    scores: list[MethodScore] = field(default_factory=list)
    clips: dict[str, EvaluationClip] = field(default_factory=dict, repr=False)
    skipped: dict[str, str] = field(default_factory=dict)


def measure_clips(
    source: str, gaps: Sequence[int], methods: Mapping[str, OutlineMethod], *, per_case: int = 4
) -> Measured:
    """Score methods on a folder of clips, or on the procedural cases.

    Args:
        source: a folder, or ``procedural``.
        gaps: wanted distances of keys; the procedural cases have their own.
        methods: by name.
        per_case: clips of each procedural case.
    """
    from federation.errors import FedrotoError
    from model.errors import ModelError
    from model.evaluation import measure
    from model.hard_cases import case_gap

    found = Measured()
    for name, clip in _clips(source, per_case, found.skipped):
        wanted = [case_gap(clip.group)] if source == CASES else gaps
        for gap in wanted:
            progress(f"{name}: keys every {gap} frames")
            try:
                scores = measure(clip, gap, methods)
            except (ModelError, FedrotoError) as error:
                found.skipped[name] = str(error)
                continue
            if scores:
                found.scores.extend(scores)
                found.clips[clip.name] = clip
            else:
                found.skipped[f"{name} at gap {gap}"] = "too short, or nothing is seen between its keys"
    return found


def play_artists(
    measured: Measured, methods: Mapping[str, OutlineMethod], *, pixels: float, percent: float
) -> dict[str, dict[str, PlayedArtist]]:
    """Per measured clip and method: an artist who sets keys on the worst frames; by the model, also without hindsight.

    Args:
        measured: the clips.
        methods: by name.
        pixels: what a frame's outline may be off on average.
        percent: the same in percent of its size; the larger of both counts.
    """
    from model.played_artist import play_artist

    played: dict[str, dict[str, PlayedArtist]] = {}
    for name, clip in measured.clips.items():
        progress(f"{name}: playing the artist")
        ways: list[tuple[str, OutlineMethod, KeyRule]] = [
            *((method, place, "worst") for method, place in methods.items()),
            *((f"model, {rule}", methods["model"], rule) for rule in RULES),
        ]
        played[name] = {
            way: play_artist(clip, place, tolerance_px=pixels, tolerance_percent=percent, rule=rule)
            for way, place, rule in ways
        }
    return played


def keys_text(played: Mapping[str, Mapping[str, PlayedArtist]], classical: Sequence[str]) -> str:
    """A table of keys added per clip, their sums, and the best classical method per clip with hindsight."""
    best = "best classical"
    found = {
        clip: {**{way: one.added for way, one in own.items()}, best: min(own[n].added for n in classical)}
        for clip, own in played.items()
    }
    names = list(next(iter(found.values())))
    rows = [[clip, *own.values()] for clip, own in found.items()]
    sums = [sum(own[name] for own in found.values()) for name in names]
    looks = [sum(own[name].looks for own in played.values()) if name != best else "" for name in names]
    return table(["keys added", *names], [*rows, ["in all", *sums], ["frames looked at", *looks]])


def reliability_text(found: Sequence[Reliability]) -> str:
    """Whether the confidence orders the frames, and whether errors are as large as it says: a table of each."""
    orders = [
        [
            one.gap,
            one.truth,
            f"{one.within_spans:.3f}",
            f"{one.time_alone:.3f}",
            "-" if one.gain is None else f"{one.gain.mean:+.3f} [{one.gain.low:+.3f}, {one.gain.high:+.3f}]",
            f"{one.over_frames:.3f}",
        ]
        for one in found
    ]
    bands = [
        [
            one.gap,
            one.truth,
            band.frames,
            f"{band.expected:.2f}",
            f"{band.found:.2f}",
            f"{band.within:.0%}",
            f"{band.within_twice:.0%}",
        ]
        for one in found
        for band in one.bands
    ]
    return "\n\n".join(
        [
            table(["confidence: gap", "truth", "rank in spans", "time alone", "gain", "over frames"], orders),
            table(["gap", "truth", "frames", "expected %", "found %", "within", "within twice"], bands),
        ]
    )


def models_as_methods(models: Mapping[str, RotoModel]) -> dict[str, OutlineMethod]:
    """Models as methods that share tracking and matching where their matchers are the same."""
    from model.predict import SpanMemory, predict_outline
    from model.public_benchmark import same_matcher

    first = next(iter(models.values()))
    shared = SpanMemory()
    return {
        name: partial(predict_outline, model, memory=shared if same_matcher(first, model) else SpanMemory())
        for name, model in models.items()
    }


def means_text(scores: Sequence[MethodScore]) -> str:
    """Tables of means: one per group, methods down, gaps across."""
    from model.evaluation import groups_of, means

    gaps = sorted({score.gap for score in scores})
    lines = []
    for group in groups_of(scores):
        at = {gap: means(scores, group, gap) for gap in gaps}
        used = [gap for gap in gaps if at[gap]]
        names = list(dict.fromkeys(name for gap in used for name in at[gap]))
        clips = max(count for gap in used for _, _, count in at[gap].values())
        headings = [f"{group}, {clips} clips", *(f"gap {gap}: IoU  boundary %" for gap in used)]
        rows = [[name, *(_mean_cell(at[gap].get(name)) for gap in used)] for name in names]
        lines += [table(headings, rows), ""]
    return "\n".join(lines).rstrip()


def _mean_cell(found: tuple[float, float, int] | None) -> str:
    return "-" if found is None else f"{found[1]:.4f}  {found[0]:.3f}"


def _clips(source: str, per_case: int, skipped: dict[str, str]) -> Iterator[tuple[str, EvaluationClip]]:
    from federation.errors import ConfigError, FedrotoError
    from model.errors import ModelError
    from model.hard_cases import CASES as HARD_CASES
    from model.hard_cases import case_clips
    from studio_node.clip_folders import clip_names, read_clips

    if source == CASES:
        for case in HARD_CASES:
            yield from ((clip.name, clip) for clip in case_clips(case, per_case))
        return
    folder = Path(source)
    names = clip_names(folder)
    if not names:
        raise ConfigError(
            f"{folder} has no clips (folders with shapes.json or truth.json)",
            hint=f"name a folder of clips, make some with: fedroto plates make, or say '{CASES}'",
        )
    for name in names:
        try:
            yield from ((clip.name, clip) for clip in read_clips(folder, [name]))
        except (ModelError, FedrotoError) as error:
            skipped[name] = str(error)
