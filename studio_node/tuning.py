"""An artist's own weights: approved shots in, weights that know them better out, and nothing leaves the machine.

What was kept aside decides: whole shots where there are enough, else the last part of every shot. Weights that do no
better there are not written, and the report says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from federation.errors import ConfigError, FedrotoError
from model.errors import ModelError, PredictionError
from model.frames import FrameSource
from model.matcher import Matcher
from model.network import RotoModel
from model.shapes import ShapeSet
from model.tuning import STEPS, CurvePoint, tune
from model.weights import save
from model.weights_note import PRIVATE_KEY, PRIVATE_NOTE, read_note
from model.windows import GAPS, Window
from studio_node.file_stamps import read_content
from studio_node.plates import PlateSequence
from studio_node.predict_shot import load_model
from studio_node.sequences import find_sequence
from studio_node.shape_files import read_shapes
from studio_node.shot_folders import Rejected, ShotFolder
from studio_node.shot_windows import CutRecipe, windows_of_shot

SHOTS_FOR_WHOLE: Final = 5
"""From so many shots on, one in five is kept aside whole."""
LEARNED_SHARE: Final = 0.75
"""With fewer shots, the first part of each is learned from and the rest is kept aside."""
Progress = Callable[[str], None]


@dataclass(frozen=True)
class TuningReport:
    """What a tuning did.

    Attributes:
        output: the weights written; None where they would have been no better than those it began with.
        began_with: where the first weights came from.
        shots: that were learned from or judged by.
        learned: windows learned from.
        aside: windows judged by.
        kept_aside: in words, what these are.
        curve: the losses.
        error_before: mean distance to the approved outlines kept aside, percent of their size, by the first weights.
        error_after: by the weights kept.
        best_step: that the weights kept are from.
        rejected: shots that could not be used, each with the reason.
    """

    output: Path | None
    began_with: str
    shots: tuple[str, ...]
    learned: int
    aside: int
    kept_aside: str
    curve: tuple[CurvePoint, ...]
    error_before: float
    error_after: float
    best_step: int
    rejected: tuple[Rejected, ...]


class Part:
    """The frames of a plate from one to another, inclusive."""

    def __init__(self, plate: FrameSource, first_frame: int, last_frame: int) -> None:
        self._plate, self.first_frame, self.last_frame = plate, first_frame, last_frame
        self.width, self.height = plate.width, plate.height

    def working(self, frame: int) -> NDArray[np.uint8] | None:
        """The working image of a frame inside the part."""
        return self._plate.working(frame)


def single_shot(plate: str | Path, shapes_file: Path) -> ShotFolder:
    """A shot from a plate and its approved shapes, wherever they lie.

    Raises:
        PlateError: the plate cannot be found.
    """
    files = find_sequence(plate)
    frames = files.last_frame - files.first_frame + 1
    return ShotFolder(Path(files.pattern).name, str(plate), frames, shapes_file)


def tune_on_shots(
    shots: Sequence[ShotFolder],
    output: Path,
    *,
    weights: Path | None = None,
    windows: int = CutRecipe().windows,
    steps: int = STEPS,
    seed: int = 1,
    trust_plate_size: bool = False,
    progress: Progress | None = None,
    on_point: Callable[[CurvePoint], None] | None = None,
) -> TuningReport:
    """Fine-tune on approved shots and write the weights, marked as private.

    Args:
        shots: from ``find_shots`` or `single_shot`; what they show counts as approved on every frame between keys.
        output: the ``.safetensors`` file to write; one that is there is replaced if it is private weights too.
        weights: to begin with, as ``load_model`` takes them.
        windows: at most so many are cut from a shot.
        steps: of training.
        seed: order; the same seed gives the same weights on the same machine.
        trust_plate_size: see ``read_shapes``.
        progress: called with a line for people as each shot is read.
        on_point: called at every point of the curve.

    Raises:
        ConfigError: the output cannot be.
        PredictionError: there is too little to learn from or to judge by.
        WeightsError: the first weights cannot be used.
    """
    _check_output(output)
    cv2.setNumThreads(1)  # dense flow depends on the number of threads; the same seed gives the same weights
    say = progress or (lambda line: None)
    model, began_with = load_model(weights)
    whole = len(shots) >= SHOTS_FOR_WHOLE
    cut: list[_CutShot] = []
    rejected: list[Rejected] = []
    for number, shot in enumerate(shots, 1):
        say(f"{shot.name}: reading, shot {number} of {len(shots)}")
        try:
            cut.append(_cut_shot(shot, model.matcher, CutRecipe(windows=windows), whole, trust_plate_size))
        except (ModelError, FedrotoError) as error:
            rejected.append(Rejected.because(shot.name, error))
    learned, aside, kept_aside = _divided(cut, whole=whole)
    if not learned or not aside:
        reasons = "; ".join(f"{one.where}: {one.reason}" for one in rejected[:5])
        raise PredictionError(
            f"{len(learned)} windows to learn from and {len(aside)} to judge by ({kept_aside}) are not enough; a shot "
            f"needs approved shapes over {round(GAPS[0] / (1 - LEARNED_SHARE))} frames or more. {reasons}".strip()
        )
    tuned = tune(model.fusion, learned, aside, seed=seed, steps=steps, progress=on_point)
    if tuned.improved:
        note = {**PRIVATE_NOTE, "kind": "tuned", "seed": str(seed), "steps": str(tuned.best.step)}
        save(output, RotoModel(tuned.fusion, model.matcher).to_tensors(), note)
        output.chmod(0o600)
    return TuningReport(
        output=output if tuned.improved else None,
        began_with=began_with,
        shots=tuple(one.name for one in cut),
        learned=len(learned),
        aside=len(aside),
        kept_aside=kept_aside,
        curve=tuned.curve,
        error_before=tuned.curve[0].aside_error,
        error_after=tuned.best.aside_error,
        best_step=tuned.best.step,
        rejected=tuple(rejected),
    )


@dataclass(frozen=True)
class _CutShot:
    """A shot's windows: of its first part and of the rest, or all of them."""

    epoch: str
    name: str
    first: list[Window]
    rest: list[Window]


def _cut_shot(
    shot: ShotFolder, matcher: Matcher | None, recipe: CutRecipe, whole: bool, trust_plate_size: bool
) -> _CutShot:
    epoch = read_content(shot.files(), {}).epoch
    plate = PlateSequence(shot.sequence())
    drawn = read_shapes(
        shot.shapes_file, width=plate.width, height=plate.height, trust_plate_size=trust_plate_size
    )
    parts: tuple[FrameSource, ...] = (plate,) if whole else _parted(plate, drawn)
    cut = [windows_of_shot(part, drawn, matcher=matcher, recipe=recipe, epoch=epoch)[0] for part in parts]
    return _CutShot(epoch, shot.name, cut[0], [] if whole else cut[1])


def _parted(plate: FrameSource, drawn: ShapeSet) -> tuple[FrameSource, FrameSource]:
    """The first part of the frames that shapes are keyed on, and the rest; they share the frame between them."""
    keys = [frame for shape in drawn.shapes for frame in shape.key_frames]
    first = max(min(keys, default=plate.first_frame), plate.first_frame)
    last = min(max(keys, default=plate.last_frame), plate.last_frame)
    middle = first + round(LEARNED_SHARE * (last - first))
    return Part(plate, first, middle), Part(plate, middle, last)


def _divided(cut: Sequence[_CutShot], *, whole: bool) -> tuple[list[Window], list[Window], str]:
    """Windows to learn from, windows to judge by, and in words what the latter are."""
    if not whole:
        learned = [window for one in cut for window in one.first]
        aside = [window for one in cut for window in one.rest]
        return learned, aside, f"the last {1 - LEARNED_SHARE:.0%} of every shot"
    # Chosen by content: the same shots are kept aside whatever folder they lie in.
    kept = {one.name for one in sorted(cut, key=lambda one: one.epoch)[: -(-len(cut) // SHOTS_FOR_WHOLE)]}
    learned = [window for one in cut if one.name not in kept for window in one.first]
    aside = [window for one in cut if one.name in kept for window in one.first]
    return learned, aside, f"of {len(cut)} shots: {', '.join(sorted(kept))}"


def _check_output(output: Path) -> None:
    if output.suffix.lower() != ".safetensors":
        raise ConfigError(f"{output} is no .safetensors file; weights are written as one")
    if not output.parent.is_dir():
        raise ConfigError(f"the folder {output.parent} does not exist; make it or name another")
    if output.exists() and PRIVATE_KEY not in read_note(output):
        raise ConfigError(f"{output} is there and holds no tuned weights of yours; name another output")
