"""An artist's prediction: plates and sparse keys in, the same shapes with every in-between out, in a new file.

The artist's file is never written to and the artist's keys are never moved: predicted keys go to a new Roto node
beside the original (Nuke) or are marked as predicted (JSON). A shape that cannot be predicted is reported and the
rest goes on; a frame whose picture is missing is predicted without it, with lower confidence, and named.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from federation.durable import read_bounded, write_atomic
from federation.errors import ConfigError, FedrotoError
from model.device import chosen_device
from model.errors import ModelError, PlateError, PredictionError
from model.formats import nuke, roto_json, silhouette
from model.formats.registry import JSON, NUKE_FAMILY, SILHOUETTE, WRITABLE, format_of
from model.frames import FrameSource
from model.keyframes import Keyed, default_slopes
from model.methods import CLASSICAL, Method, method_named
from model.network import RotoModel
from model.pictures import Pictures
from model.predict import ShapePrediction, predict_shape
from model.shapes import Shape, ShapeSet
from model.weights import base_path, load
from model.weights_note import PRIVATE_KEY
from studio_node.movies import FIRST_FRAME
from studio_node.own_trackers import load_tracker
from studio_node.plates import PlateSequence
from studio_node.shape_files import SHAPE_BYTES_MAX, read_shapes
from studio_node.shot_folders import Rejected
from studio_node.shot_windows import is_prediction

Progress = Callable[[str, int, int], None]
"""Called with a shape's path, frames done and frames in all."""
RELEASE_WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class PredictedShape:
    """What was predicted for one shape.

    Attributes:
        path: of the shape in its file.
        frames: [T] plate frames from the first to the last key, inclusive.
        confidence: [T] 0..1, 1 at the artist's keys.
        artist_keys: frames that the artist keyed.
        missing: frames among them without a picture.
        next_key: the frame most worth a key, or None where every frame has one.
        method: what placed the frames between the keys.
        key_errors: with ``best``, each method's error at keys left out in turn, outline sizes; else empty.
        seconds: that it took.
    """

    path: str
    frames: tuple[int, ...]
    confidence: tuple[float, ...]
    artist_keys: tuple[int, ...]
    missing: tuple[int, ...]
    next_key: int | None
    method: str
    key_errors: Mapping[str, float]
    seconds: float


@dataclass(frozen=True)
class PredictionReport:
    """What an artist's prediction did.

    Attributes:
        output: the file written.
        shapes: those that were predicted.
        rejected: those that were not, each with the reason.
        problems: frames of the plate that are missing or damaged.
        method: the one asked for.
        weights: where the weights came from; None for a method that needs none.
    """

    output: Path
    shapes: tuple[PredictedShape, ...]
    rejected: tuple[Rejected, ...]
    problems: tuple[str, ...]
    method: Method
    weights: str | None


def predict_shot(
    plates: str | Path,
    shapes_file: Path,
    output: Path,
    *,
    method: Method = "model",
    tracker: str | None = None,
    weights: Path | None = None,
    shapes: Sequence[str] = (),
    every: int = 1,
    trust_plate_size: bool = False,
    colour_space: str | None = None,
    movie_start: int = FIRST_FRAME,
    overwrite: bool = False,
    device: str = "cpu",
    progress: Progress | None = None,
) -> PredictionReport:
    """Predict the in-betweens of an artist's shapes and write them to a new file.

    Args:
        plates: the plate: a pattern, a folder or a file (``find_sequence``).
        shapes_file: the artist's keys, in any format that is read.
        output: the file to write, in any format. A Nuke script from a Nuke script is the artist's, byte by byte, with
            new Roto nodes added; a Silhouette file from one likewise, with a new layer.
        method: how to place the frames between the keys, see ``model.methods``.
        tracker: one of the studio's own, see ``studio_node.own_trackers``.
        weights: a release's folder, a weights file, or None for the base weights of the package.
        shapes: paths or names of the shapes to predict; none for all.
        every: write a predicted key on every n-th frame after a key of the artist's; 1 on each.
        trust_plate_size: see ``read_shapes``.
        colour_space: what the plate's files hold (see ``PlateSequence``); None: as they are.
        movie_start: frame number of a movie's first picture.
        overwrite: replace an output that fedroto did not write.
        device: where the networks run, see ``model.device``.
        progress: called as each shape goes on.

    Raises:
        ConfigError: the output is the input, of another kind, or a file that is not ours; ``every`` below 1.
        PlateError: the plate cannot be found or opened.
        FormatError, IngestError: the shapes cannot be read, or are for pictures of another size; or there is no such
            tracker.
        PredictionError: not one shape could be predicted (says why for each); nothing is written. Or there is no
            such device.
        WeightsError: the weights cannot be used.
        FedrotoError: the disk refused; nothing half-written is left.
    """
    _check_output(output, shapes_file, every, overwrite)
    plate = PlateSequence.open(plates, movie_start=movie_start, colour_space=colour_space)
    drawn = read_shapes(
        shapes_file, width=plate.width, height=plate.height, trust_plate_size=trust_plate_size
    )
    wanted = [drawn.find(name) for name in shapes] if shapes else list(drawn.shapes)
    own = None if tracker is None else load_tracker(tracker)
    needs_weights = method not in (*CLASSICAL, "tracker")
    model, source = load_model(weights, device) if needs_weights else (None, None)
    place = method_named(method, model, tracker=own)
    pictures = Pictures(Beyond.around(plate, wanted))
    predicted, reports, rejected = [], [], []
    for shape in wanted:
        started = time.monotonic()
        try:
            keyed = _artists_own(shape, plate)
            prediction = predict_shape(place, pictures, keyed, _told(progress, shape.path))
        except (ModelError, FedrotoError) as error:
            rejected.append(Rejected.because(shape.path, error))
            continue
        predicted.append(predicted_keys(keyed, prediction, every=every))
        reports.append(_report(keyed, prediction, pictures, time.monotonic() - started))
    if not predicted:
        reasons = "; ".join(f"{one.where}: {one.reason}" for one in rejected[:5])
        raise PredictionError(
            f"no shape of {shapes_file.name} can be predicted: {reasons or 'it has no shapes'}"
        )
    write_atomic(output, _written(output, shapes_file, drawn, predicted))
    problems = tuple(str(problem) for problem in plate.problems)
    return PredictionReport(output, tuple(reports), tuple(rejected), problems, method, source)


def load_model(weights: Path | None, device: str = "cpu") -> tuple[RotoModel, str]:
    """Load the weights to predict with: a release's folder, a weights file, or None for the package's own.

    Raises:
        WeightsError: missing, damaged or of another network.
        PredictionError: there is no such device.
    """
    path = base_path() if weights is None else weights
    if path.is_dir():
        path = path / RELEASE_WEIGHTS
    found = load(path)
    mark = " (private)" if PRIVATE_KEY in found.metadata else ""
    model = RotoModel.from_tensors(found.tensors).to(chosen_device(device))
    return model, "base weights" if weights is None else f"{path}{mark}"


class Beyond:
    """A plate whose range is widened to the keys of shapes; frames outside the plate are missing ones."""

    def __init__(self, plate: FrameSource, first_frame: int, last_frame: int) -> None:
        self.plate = plate
        self.first_frame = min(first_frame, plate.first_frame)
        self.last_frame = max(last_frame, plate.last_frame)
        self.width, self.height = plate.width, plate.height

    @classmethod
    def around(cls, plate: FrameSource, shapes: Sequence[Shape]) -> Beyond:
        """Widen a plate to the keys of all the shapes."""
        keys = [frame for shape in shapes for frame in shape.key_frames] or [plate.first_frame]
        return cls(plate, min(keys), max(keys))

    def working(self, frame: int) -> NDArray[np.uint8] | None:
        """The working image, or None outside the plate and where the plate has none."""
        if not self.plate.first_frame <= frame <= self.plate.last_frame:
            return None
        return self.plate.working(frame)


def predicted_keys(shape: Shape, prediction: ShapePrediction, *, every: int) -> Shape:
    """Return the shape on screen with the artist's keys and predicted ones, each marked.

    Args:
        shape: with the artist's keys.
        prediction: of it, all frames.
        every: keep a predicted key on every n-th frame after an artist's key.
    """
    keys = np.array(shape.key_frames)
    since_key = prediction.frames - keys[np.searchsorted(keys, prediction.frames, side="right") - 1]
    kept = since_key % every == 0
    frames = prediction.frames[kept].astype(np.float64)
    controls = prediction.controls[kept]
    slopes_in, slopes_out = default_slopes(frames, controls)
    feather = None if prediction.feather is None else Keyed.smooth(frames, prediction.feather[kept])
    artist = set(shape.key_frames)
    return replace(
        shape,
        frames=frames,
        controls=controls,
        slopes_in=slopes_in,
        slopes_out=slopes_out,
        feather=feather,
        transforms=(),
        key_sources=tuple("artist" if frame in artist else "predicted" for frame in frames),
        key_confidence=prediction.confidence[kept],
    )


def _artists_own(shape: Shape, plate: FrameSource) -> Shape:
    """The shape with the artist's keys only; refuse what cannot be predicted."""
    if shape.read_only_reason is not None:
        raise PredictionError(f"shape '{shape.name}' cannot be predicted: {shape.read_only_reason}")
    if is_prediction(shape):
        raise PredictionError(f"shape '{shape.name}' is a prediction itself; predict the artist's own shape")
    if "predicted" in shape.key_sources:
        if "artist" not in shape.key_sources:
            raise PredictionError(f"shape '{shape.name}' has predicted keys only; set keys of your own first")
        shape = artist_keys_only(shape)
    keys = shape.key_frames
    if len(keys) > 1 and (keys[-1] < plate.first_frame or keys[0] > plate.last_frame):
        raise PlateError(
            f"shape '{shape.name}' has keys on {keys[0]}-{keys[-1]}, the plate has frames "
            f"{plate.first_frame}-{plate.last_frame}; choose the plate that the shape was drawn on"
        )
    return shape


def artist_keys_only(shape: Shape) -> Shape:
    """The shape without its predicted keys; it has some of the artist's."""
    own = np.array([source == "artist" for source in shape.key_sources])
    # The stored slopes run between predicted keys; between the artist's alone, Nuke's own rule holds again.
    frames, controls = shape.frames[own], shape.controls[own]
    slopes_in, slopes_out = default_slopes(frames, controls)
    return replace(
        shape,
        frames=frames,
        controls=controls,
        slopes_in=slopes_in,
        slopes_out=slopes_out,
        key_sources=(),
        key_confidence=None,
    )


def _report(shape: Shape, prediction: ShapePrediction, pictures: Pictures, seconds: float) -> PredictedShape:
    frames = tuple(int(frame) for frame in prediction.frames)
    return PredictedShape(
        path=shape.path,
        frames=frames,
        confidence=tuple(float(value) for value in prediction.confidence),
        artist_keys=shape.key_frames,
        missing=tuple(frame for frame in frames if not pictures.has(frame)),
        next_key=prediction.next_key,
        method=prediction.method,
        key_errors=prediction.key_errors,
        seconds=seconds,
    )


def _told(progress: Progress | None, path: str) -> Callable[[int, int], None] | None:
    return None if progress is None else lambda done, total: progress(path, done, total)


def _check_output(output: Path, shapes_file: Path, every: int, overwrite: bool) -> None:
    if every < 1:
        raise ConfigError(f"a predicted key on every {every}th frame cannot be; give 1 or more")
    if output.suffix.lower() not in WRITABLE:
        raise ConfigError(f"{output} has none of the endings of shape files: {', '.join(WRITABLE)}")
    if not output.parent.is_dir():
        raise ConfigError(f"the folder {output.parent} does not exist; make it or name another")
    if not output.exists():
        return
    if shapes_file.exists() and output.samefile(shapes_file):
        raise ConfigError(f"{output} is the artist's own file and is never written to; name another output")
    if not overwrite and not _is_ours(output):
        raise ConfigError(
            f"{output} is there and was not written by a prediction", hint="name another, or say --overwrite"
        )


def _is_ours(path: Path) -> bool:
    """Whether a file is a former prediction, which may be replaced."""
    data = read_bounded(path, SHAPE_BYTES_MAX)
    signs = (nuke.ARTIST_KEYS_KNOB, '"predicted"', silhouette.PREDICTED_NOTE)
    return any(sign.encode() in data for sign in signs)


def _written(output: Path, shapes_file: Path, drawn: ShapeSet, predicted: list[Shape]) -> bytes:
    """The bytes of the output file."""
    kind, source = output.suffix.lower(), shapes_file.suffix.lower()
    if kind in JSON.suffixes:
        by_path = {shape.path: shape for shape in predicted}
        every_shape = tuple(by_path.get(shape.path, shape) for shape in drawn.shapes)
        return roto_json.dumps(replace(drawn, shapes=every_shape)).encode()
    if kind in NUKE_FAMILY and source in NUKE_FAMILY:
        data = read_bounded(shapes_file, SHAPE_BYTES_MAX)
        return nuke.add_prediction(data, predicted, height=drawn.height, width=drawn.width)
    if kind in SILHOUETTE.suffixes and source in SILHOUETTE.suffixes:
        return silhouette.add_prediction(read_bounded(shapes_file, SHAPE_BYTES_MAX), predicted)
    name = f"Roto1{nuke.PREDICTION_SUFFIX}"
    return format_of(output, reading=False).dumps(replace(drawn, shapes=tuple(predicted)), name)
