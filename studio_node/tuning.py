"""An artist's own weights: approved shots in, weights that know them better out, and nothing leaves the machine.

What was kept aside decides: whole shots where there are enough, else the last part of every shot. Weights that do no
better there are not written, and the report says so. What has been read and learned is kept in a private folder beside
the output until the end: the same command goes on where it was stopped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2

from federation.durable import make_private_dir
from federation.errors import ConfigError, FedrotoError
from model.errors import ModelError, PredictionError
from model.network import RotoModel
from model.tuning import STEPS, CurvePoint, tune
from model.weights import pack, save
from model.weights_note import PRIVATE_KEY, PRIVATE_NOTE, read_note
from model.windows import GAPS
from studio_node.predict_shot import load_model
from studio_node.sequences import find_sequence
from studio_node.shot_folders import Rejected, ShotFolder
from studio_node.shot_windows import CutRecipe
from studio_node.tuning_windows import LEARNED_SHARE, SHOTS_FOR_WHOLE, CutShot, Cutter, divided, resumed

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

    What is done is kept in ``<output>.tuning`` until the end; the same call goes on from there to the same weights.

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
    folder = output.with_name(f"{output.name}.tuning")
    make_private_dir(folder)  # windows are plates in another form
    cutter = Cutter(model, CutRecipe(windows=windows), whole, trust_plate_size, folder)
    cut: list[CutShot] = []
    rejected: list[Rejected] = []
    for number, shot in enumerate(shots, 1):
        say(f"{shot.name}: reading, shot {number} of {len(shots)}")
        try:
            cut.append(cutter.cut(shot))
        except (ModelError, FedrotoError) as error:
            rejected.append(Rejected.because(shot.name, error))
    learned, aside, kept_aside = divided(cut, whole=whole)
    if not learned or not aside:
        cutter.finish()
        reasons = "; ".join(f"{one.where}: {one.reason}" for one in rejected[:5])
        raise PredictionError(
            f"{len(learned)} windows to learn from and {len(aside)} to judge by ({kept_aside}) are not enough; a shot "
            f"needs approved shapes over {round(GAPS[0] / (1 - LEARNED_SHARE))} frames or more. {reasons}".strip()
        )
    epochs = [one.epoch for one in cut]
    begun = hashlib.sha256(pack(model.fusion).tobytes()).hexdigest()
    recipe = cutter.recipe | {"shots": epochs, "begun": begun, "steps": steps, "seed": seed}
    training = resumed(folder / "training", recipe)
    tuned = tune(model.fusion, learned, aside, seed=seed, steps=steps, work=training, progress=on_point)
    if tuned.improved:
        note = {**PRIVATE_NOTE, "kind": "tuned", "seed": str(seed), "steps": str(tuned.best.step)}
        save(output, RotoModel(tuned.fusion, model.matcher).to_tensors(), note)
        output.chmod(0o600)
    training.finish()
    cutter.finish()
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


def _check_output(output: Path) -> None:
    if output.suffix.lower() != ".safetensors":
        raise ConfigError(f"{output} is no .safetensors file; weights are written as one")
    if not output.parent.is_dir():
        raise ConfigError(f"the folder {output.parent} does not exist; make it or name another")
    if output.exists() and PRIVATE_KEY not in read_note(output):
        raise ConfigError(f"{output} is there and holds no tuned weights of yours; name another output")
