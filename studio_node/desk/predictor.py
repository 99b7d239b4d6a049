"""Predicts spans of shapes behind the artist's back, the most urgent first, and remembers them.

One thread owns the pictures and the network. What it is asked for changes with every edit: only the latest wish list
counts, and spans that are in the memory are never predicted again, so undo shows its prediction at once.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from federation.errors import FedrotoError
from model.errors import ModelError
from model.frames import FrameSource
from model.keyframes import FloatArray
from model.methods import CLASSICAL
from model.network import RotoModel
from model.pictures import Pictures
from model.predict import ShapePrediction, SpanMemory, predict_shape
from model.shapes import Shape
from studio_node.desk.background import step_back
from studio_node.desk.document import DeskShape, anchored, controls_over, span_shape, spans_of

SPANS_KEPT: Final = 2000
COMPARISONS_KEPT: Final = 100
LONGEST_JOIN_S: Final = 30.0
ROUGH_STEPS: Final = (64, 16, 4)
"""First, rough predictions look at every n-th picture only: reading a 2K plate takes longer than all the rest. A long
span begins with few pictures and gets more, so that something is there at once."""
Key = tuple[int, int, bytes]
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Wish:
    """A span of a shape that is to be predicted."""

    shape_id: int
    first: int
    last: int
    key: Key
    shape: Shape


@dataclass(frozen=True)
class Failure:
    """Why a span cannot be predicted."""

    reason: str


def span_key(shape: Shape, first: int, last: int) -> Key:
    """What a span's prediction depends on, as a name: its frames and the shape's own course between them."""
    frames = np.arange(first, last + 1)
    digest = hashlib.blake2b(controls_over(shape, frames).tobytes(), digest_size=16)
    digest.update(f"{shape.kind}{shape.closed}".encode())
    if shape.feather is not None:
        digest.update(shape.feather.sample(frames).tobytes())
    return first, last, digest.digest()


def wishes_of(one: DeskShape) -> list[Wish]:
    """All spans of a shape, as they are to be predicted."""
    if one.shape.points < 2 or (one.shape.kind == "polygon" and one.shape.points < 3):
        return []
    whole = anchored(one)
    return [
        Wish(one.shape_id, first, last, span_key(whole, first, last), span_shape(whole, first, last))
        for first, last in spans_of(one.anchors)
    ]


class SparseFrames:
    """A plate of which only keys and every n-th frame are looked at; the others count as missing."""

    def __init__(self, plate: FrameSource, step: int) -> None:
        self._plate, self._step = plate, step
        self.first_frame, self.last_frame = plate.first_frame, plate.last_frame
        self.width, self.height = plate.width, plate.height
        self.keys: frozenset[int] = frozenset()

    def working(self, frame: int) -> NDArray[np.uint8] | None:
        """The working image, or None where it is not looked at."""
        if (frame - self.first_frame) % self._step and frame not in self.keys:
            return None
        return self._plate.working(frame)


class Predictor:
    """The thread, its wish list and its memory."""

    def __init__(
        self, model: RotoModel, pictures: Pictures, on_result: Callable[[int], None] = lambda shape_id: None
    ) -> None:
        """Make it; ``start`` sets it to work.

        Args:
            model: the weights.
            pictures: the shot; used by the thread alone.
            on_result: called on the thread with a shape's number when one of its spans is done.
        """
        self._model, self._pictures, self.on_result = model, pictures, on_result
        self._memory = SpanMemory()
        self._rough: dict[Key, tuple[int, ShapePrediction]] = {}  # with the step it was made at
        self._seen: set[int] = set()
        self._results: OrderedDict[Key, ShapePrediction | Failure] = OrderedDict()
        self._compared: OrderedDict[tuple[str, Key], FloatArray] = OrderedDict()
        self._wishes: list[Wish] = []
        self._comparisons: list[tuple[DeskShape, str]] = []
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name="desk-predictor", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self) -> None:
        """Stop after the span in hand."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join(LONGEST_JOIN_S)

    def want(self, wishes: Sequence[Wish]) -> None:
        """Replace the wish list; the first not yet in memory is predicted first."""
        with self._changed:
            self._wishes = list(wishes)
            self._changed.notify_all()

    @property
    def left(self) -> int:
        """How many wishes are not fulfilled yet."""
        with self._changed:
            return sum(wish.key not in self._results for wish in self._wishes)

    def result(self, key: Key) -> ShapePrediction | None:
        """A span's final prediction, or None where there is none (yet)."""
        with self._changed:
            found = self._results.get(key)
            if found is None:
                return None
            self._results.move_to_end(key)
            return found if isinstance(found, ShapePrediction) else None

    def rough(self, key: Key) -> ShapePrediction | None:
        """A span's first, rough prediction, or None."""
        with self._changed:
            found = self._rough.get(key)
            return None if found is None else found[1]

    def failure(self, key: Key) -> str | None:
        """Why a span could not be predicted, or None."""
        with self._changed:
            found = self._results.get(key)
            return found.reason if isinstance(found, Failure) else None

    def remember(self, key: Key, prediction: ShapePrediction) -> None:
        """Keep a prediction that is known already, as a piece of a longer one."""
        with self._changed:
            self._keep(key, prediction)

    def frames_needed(self) -> list[int]:
        """Frames that the next predictions will look at, the most urgent first."""
        with self._changed:
            wishes = [wish for wish in self._wishes if wish.key not in self._results]
            rough = [(wish, step) for step in ROUGH_STEPS for wish in wishes if self._wants_rough(wish, step)]
        first = self._pictures.frames.first_frame
        found = [
            frame
            for wish, step in rough
            for frame in range(wish.first, wish.last + 1)
            if frame in (wish.first, wish.last) or (frame - first) % step == 0
        ]
        return found + [frame for wish in wishes for frame in range(wish.first, wish.last + 1)]

    def compared(self, one: DeskShape, method: str) -> FloatArray | None:
        """What a method makes of a shape from its first anchor to its last [T, N, 3, 2], or None (yet)."""
        with self._changed:
            return self._compared.get(_comparison_key(one, method))

    def want_compared(self, method: str, shapes: Sequence[DeskShape]) -> None:
        """Work a method out for shapes when nothing is left to predict; ``on_result`` tells of each."""
        fit = [one for one in shapes if len(one.anchors) > 1 and one.shape.points > 2]
        with self._changed:
            self._comparisons = [(one, method) for one in fit]
            self._changed.notify_all()

    def _keep(self, key: Key, result: ShapePrediction | Failure) -> None:
        self._results[key] = result
        while len(self._results) > SPANS_KEPT:
            self._results.popitem(last=False)

    def _work(self) -> None:
        step_back()
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._stopping or self._next() is not None or self._comparisons
                )
                if self._stopping:
                    return
                rough, wish = self._next_rough(), self._next()
                compare = self._comparisons.pop(0) if wish is None else None
            if rough is not None:
                self._predict_roughly(*rough)
                self.on_result(rough[0].shape_id)
            elif wish is not None:
                result = self._predicted(wish)
                with self._changed:
                    self._keep(wish.key, result)
                    self._rough.pop(wish.key, None)
                self.on_result(wish.shape_id)
            elif compare is not None:
                self._compare(*compare)
                self.on_result(compare[0].shape_id)

    def _next_rough(self) -> tuple[Wish, int] | None:
        """The next span to predict roughly, and at which step."""
        return next(
            (
                (wish, step)
                for step in ROUGH_STEPS
                for wish in self._wishes
                if wish.key not in self._results and self._wants_rough(wish, step) and self._is_new(wish)
            ),
            None,
        )

    def _wants_rough(self, wish: Wish, step: int) -> bool:
        """Whether a span is much longer than the step and has no prediction as fine as that."""
        made_at = self._rough[wish.key][0] if wish.key in self._rough else ROUGH_STEPS[0] + 1
        return wish.last - wish.first >= 2 * step and step < made_at

    def _is_new(self, wish: Wish) -> bool:
        seen = sum(frame in self._seen for frame in range(wish.first, wish.last + 1))
        return seen < (wish.last - wish.first) // 2

    def _predict_roughly(self, wish: Wish, step: int) -> None:
        sparse = SparseFrames(self._pictures.frames, step)
        sparse.keys = frozenset({wish.first, wish.last})
        try:
            found = predict_shape(self._model, Pictures(sparse), wish.shape)
        except (ModelError, FedrotoError) as error:
            with self._changed:
                self._keep(wish.key, Failure(str(error)))
            return
        with self._changed:
            self._rough[wish.key] = step, found

    def _next(self) -> Wish | None:
        return next((wish for wish in self._wishes if wish.key not in self._results), None)

    def _predicted(self, wish: Wish) -> ShapePrediction | Failure:
        try:
            found = predict_shape(self._model, self._pictures, wish.shape, memory=self._memory)
            self._seen.update(range(wish.first, wish.last + 1))
            return found
        except (ModelError, FedrotoError) as error:
            return Failure(str(error))
        except Exception:  # the artist's page must outlive a bug of the prediction, which the log keeps
            _log.exception(
                "shape %d, frames %d-%d could not be predicted", wish.shape_id, wish.first, wish.last
            )
            return Failure("an error of the program, see its log")

    def _compare(self, one: DeskShape, method: str) -> None:
        try:
            found = predict_shape(CLASSICAL[method], self._pictures, anchored(one)).controls
        except ModelError:
            _log.exception("shape %s could not be predicted by %s", one.shape.name, method)
            return
        with self._changed:
            self._compared[_comparison_key(one, method)] = found
            while len(self._compared) > COMPARISONS_KEPT:
                self._compared.popitem(last=False)


def _comparison_key(one: DeskShape, method: str) -> tuple[str, Key]:
    return method, span_key(anchored(one), one.anchors[0], one.anchors[-1])


def piece_of(prediction: ShapePrediction, first: int, last: int) -> ShapePrediction:
    """The frames from ``first`` to ``last``, inclusive, of a longer prediction."""
    start = int(prediction.frames[0])
    rows = slice(first - start, last - start + 1)
    return replace(
        prediction,
        frames=prediction.frames[rows],
        controls=prediction.controls[rows],
        feather=None if prediction.feather is None else prediction.feather[rows],
        confidence=prediction.confidence[rows],
        next_key=None,
    )


def keep_pieces(predictor: Predictor, before: DeskShape, after: DeskShape) -> None:
    """Where an anchor was added exactly on a prediction, its two halves stay as they are and need no new work."""
    old = wishes_of(before)
    for wish in wishes_of(after):
        if predictor.result(wish.key) is not None:
            continue
        for longer in old:
            inside = longer.first <= wish.first and wish.last <= longer.last
            known = predictor.result(longer.key) if inside else None
            if known is None:
                continue
            piece = piece_of(known, wish.first, wish.last)
            ends = np.stack([after.anchor(wish.first), after.anchor(wish.last)])
            if np.allclose(piece.controls[[0, -1]], ends, rtol=0, atol=1e-6):
                predictor.remember(wish.key, piece)
                break
