"""What an artist has made: shapes with their keys, which points of a key were placed by hand, and accepted frames.

Everything is in plate pixels on screen (``model.shapes``); a shape that lies under transforms of its file keeps them,
and keys set here are taken back through them. Values only: nothing here reads, predicts or writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from model.errors import KeyframeError, ShapeError
from model.keyframes import FloatArray, Keyed, default_slopes, evaluate
from model.shapes import Shape
from studio_node.predict_shot import artist_keys_only


@dataclass(frozen=True, eq=False)
class DeskShape:
    """One shape on the desk.

    Attributes:
        shape_id: its number, never used again for another shape of the document.
        shape: with the artist's keys only.
        placed: for a key that began as the correction of a prediction, the points that the artist put there by hand;
            a key that is not listed was drawn as a whole.
        accepted: predicted frames that the artist took as they are: frame -> controls on screen [N, 3, 2] px.
        shown: drawn on the desk.
        locked: cannot be edited.

    Raises:
        ShapeError: at birth, for accepted controls of another shape.
    """

    shape_id: int
    shape: Shape
    placed: Mapping[int, frozenset[int]] = field(default_factory=dict)
    accepted: Mapping[int, FloatArray] = field(default_factory=dict)
    shown: bool = True
    locked: bool = False

    def __post_init__(self) -> None:
        expected = self.shape.controls.shape[1:]
        for frame, controls in self.accepted.items():
            if controls.shape != expected:
                raise ShapeError(
                    f"frame {frame} of shape {self.shape.name!r} was accepted with controls of shape "
                    f"{controls.shape}; the shape has {expected}"
                )

    @classmethod
    def imported(cls, shape_id: int, shape: Shape) -> DeskShape:
        """A shape from a file; keys that a prediction wrote there stay as they are, as accepted frames."""
        if not {"artist", "predicted"} <= set(shape.key_sources):
            return cls(shape_id, shape)
        predicted = [
            frame
            for frame, source in zip(
                np.rint(shape.frames).astype(int).tolist(), shape.key_sources, strict=True
            )
            if source == "predicted"
        ]
        accepted = {frame: np.array(shape.at(frame), np.float64) for frame in predicted}
        return cls(shape_id, artist_keys_only(shape), accepted=accepted)

    @property
    def editable(self) -> bool:
        """Whether the artist may change it here."""
        return not self.locked and self.shape.read_only_reason is None

    @property
    def anchors(self) -> tuple[int, ...]:
        """Frames that no prediction moves: the artist's keys and the accepted frames."""
        return tuple(sorted({*self.shape.key_frames, *self.accepted}))

    def anchor(self, frame: int) -> FloatArray:
        """Controls on screen [N, 3, 2] at an anchor."""
        if frame in self.shape.key_frames or frame not in self.accepted:
            return self.shape.at(frame)
        return self.accepted[frame]

    def free_points(self, frame: int) -> NDArray[np.bool_]:
        """Points [N] that follow their neighbours when one is dragged at ``frame``: those that nobody placed there."""
        free = np.ones(self.shape.points, np.bool_)
        if frame in self.shape.key_frames:
            free[list(self.placed.get(frame, range(self.shape.points)))] = False
        return free

    def with_key(
        self,
        frame: int,
        controls: FloatArray,
        *,
        placed: Iterable[int] | None = None,
        feather: FloatArray | None = None,
    ) -> DeskShape:
        """Set the artist's key at a frame.

        Args:
            frame: a plate frame.
            controls: [N, 3, 2] on screen.
            placed: points put there by hand; None for all.
            feather: offsets on screen [N, 3, 2]; None keeps what the shape has there.
        """
        by_hand = None if placed is None else frozenset(placed)
        known = dict(self.placed)
        known.pop(frame, None)
        if by_hand is not None and len(by_hand) < self.shape.points:
            known[frame] = by_hand
        accepted = {f: kept for f, kept in self.accepted.items() if f != frame}
        return replace(
            self, shape=_keyed(self.shape, frame, controls, feather), placed=known, accepted=accepted
        )

    def with_feather_key(self, frame: int, controls: FloatArray, feather: FloatArray) -> DeskShape:
        """Set the artist's key at a frame with feather offsets [N, 3, 2] on screen; the shape may have had none."""
        one = self
        if one.shape.feather is None:
            one = replace(
                one, shape=replace(one.shape, feather=Keyed.constant(np.zeros_like(controls), frame))
            )
        return one.with_key(frame, controls, placed=one.placed.get(frame), feather=feather)

    def without_key(self, frame: int) -> DeskShape:
        """Take the artist's key at a frame away.

        Raises:
            KeyframeError: there is none, or it is the last one.
        """
        if frame not in self.shape.key_frames:
            raise KeyframeError(
                f"shape {self.shape.name!r} has no key at frame {frame}; step onto one of its keys"
            )
        if len(self.shape.key_frames) == 1:
            raise KeyframeError(
                f"the key at {frame} is the only one of {self.shape.name!r}; delete the shape instead"
            )
        known = {f: points for f, points in self.placed.items() if f != frame}
        return replace(self, shape=_rows(self.shape, np.rint(self.shape.frames) != frame), placed=known)

    def with_moved_key(self, frame: int, to: int) -> DeskShape:
        """Put the key of one frame onto another frame, in place of what is keyed there.

        Raises:
            KeyframeError: there is no key at ``frame``.
        """
        if frame not in self.shape.key_frames:
            raise KeyframeError(
                f"shape {self.shape.name!r} has no key at frame {frame}; step onto one of its keys"
            )
        controls, feather = self.shape.at(frame), self.shape.feather_at(frame)
        moved = self.with_key(to, controls, placed=self.placed.get(frame), feather=feather)
        return moved if to == frame else moved.without_key(frame)

    def with_accepted(self, controls: Mapping[int, FloatArray]) -> DeskShape:
        """Accept frames as they are; the artist's keys need no acceptance and stay what they are."""
        keys = set(self.shape.key_frames)
        taken = {f: np.array(c, np.float64) for f, c in controls.items() if f not in keys}
        return replace(self, accepted={**self.accepted, **taken})

    def without_accepted(self, first: int, last: int) -> DeskShape:
        """Give the accepted frames of a range (inclusive) back to the prediction."""
        return replace(self, accepted={f: c for f, c in self.accepted.items() if not first <= f <= last})


@dataclass(frozen=True, eq=False)
class Document:
    """All shapes on the desk in drawing order, and the number for the next new one."""

    shapes: tuple[DeskShape, ...] = ()
    next_id: int = 1

    def find(self, shape_id: int) -> DeskShape:
        """The shape with a number.

        Raises:
            ShapeError: there is none.
        """
        for one in self.shapes:
            if one.shape_id == shape_id:
                return one
        raise ShapeError(f"no shape has the number {shape_id}; it was deleted or never drawn")

    def with_shapes(self, changed: Iterable[DeskShape]) -> Document:
        """Put changed shapes in the place of their former selves; new ones go on top."""
        new = {one.shape_id: one for one in changed}
        kept = [new.pop(one.shape_id, one) for one in self.shapes]
        shapes = (*kept, *new.values())
        return Document(shapes, max([self.next_id, *(one.shape_id + 1 for one in shapes)]))

    def without(self, shape_ids: Iterable[int]) -> Document:
        """Delete shapes."""
        gone = set(shape_ids)
        return replace(self, shapes=tuple(one for one in self.shapes if one.shape_id not in gone))

    def ordered(self, order: Iterable[int]) -> Document:
        """The same shapes in another drawing order; those not named stay on top."""
        places = {shape_id: place for place, shape_id in enumerate(order)}
        return replace(
            self, shapes=tuple(sorted(self.shapes, key=lambda one: places.get(one.shape_id, len(places))))
        )

    def free_name(self, name: str) -> str:
        """The name, with a number where another shape has it."""
        taken = {one.shape.name for one in self.shapes} | {one.shape.path for one in self.shapes}
        number, free = 1, name
        while free in taken:
            number += 1
            free = f"{name}{number}"
        return free


def controls_over(shape: Shape, frames: NDArray[np.int64]) -> FloatArray:
    """Controls on screen [T, N, 3, 2] at many frames: what the application itself shows, without any picture."""
    local = evaluate(shape.frames, shape.controls, shape.slopes_in, shape.slopes_out, frames)[0]
    if not shape.transforms:
        return local
    return np.stack([shape.at(float(frame)) for frame in frames])


def anchored(one: DeskShape) -> Shape:
    """The shape as the prediction is to see it: keyed at every anchor.

    Without accepted frames this is the artist's own shape with its stored slopes; with them it is a shape on screen,
    keyed at artist's keys and accepted frames, smooth as Nuke makes new keys.
    """
    if not one.accepted:
        return one.shape
    frames = np.array(one.anchors, np.float64)
    controls = np.stack([one.anchor(frame) for frame in one.anchors])
    slopes_in, slopes_out = default_slopes(frames, controls)
    feather = None
    if one.shape.feather is not None:
        feather = Keyed.smooth(
            frames, np.stack([np.asarray(one.shape.feather_at(frame)) for frame in one.anchors])
        )
    return replace(
        one.shape,
        frames=frames,
        controls=controls,
        slopes_in=slopes_in,
        slopes_out=slopes_out,
        feather=feather,
        transforms=(),
        key_sources=(),
        key_confidence=None,
    )


def spans_of(anchors: Iterable[int]) -> list[tuple[int, int]]:
    """Neighbouring anchors with at least one frame between them."""
    return [(first, last) for first, last in pairwise(anchors) if last - first > 1]


def span_shape(shape: Shape, first: int, last: int) -> Shape:
    """The part of a shape between two of its key frames; between them it is the same to the last bit."""
    whole = np.rint(shape.frames)
    return _rows(shape, (whole >= first) & (whole <= last))


def _keyed(shape: Shape, frame: int, controls: FloatArray, feather: FloatArray | None) -> Shape:
    """The shape with a key at ``frame``; slopes are made anew for that key and its two neighbours, as Nuke does."""
    back = np.linalg.inv(shape.matrix(frame))
    local = np.array(controls, np.float64) @ back[:2, :2].T
    local[:, 1] += back[:2, 2]
    keep = np.rint(shape.frames) != frame
    frames = np.append(shape.frames[keep], frame)
    order = np.argsort(frames, kind="stable")
    row = int(np.flatnonzero(order == len(frames) - 1)[0])

    def block(old: FloatArray) -> FloatArray:
        return np.concatenate([old[keep], local[None]])[order]

    values = block(shape.controls)
    slopes_in, slopes_out = block(shape.slopes_in), block(shape.slopes_out)
    new_in, new_out = default_slopes(frames[order], values)
    near = slice(max(row - 1, 0), row + 2)
    slopes_in[near], slopes_out[near] = new_in[near], new_out[near]
    own = shape.feather
    if own is not None:
        offsets = shape.feather_at(frame) if feather is None else feather
        own = _with_feather(own, frame, np.asarray(offsets) @ back[:2, :2].T)
    return replace(
        shape,
        frames=frames[order],
        controls=values,
        slopes_in=slopes_in,
        slopes_out=slopes_out,
        feather=own,
        key_sources=(),
        key_confidence=None,
    )


def _with_feather(feather: Keyed, frame: int, offsets: FloatArray) -> Keyed:
    keep = np.rint(feather.frames) != frame
    frames = np.append(feather.frames[keep], frame)
    order = np.argsort(frames, kind="stable")
    return Keyed.smooth(frames[order], np.concatenate([feather.values[keep], offsets[None]])[order])


def _rows(shape: Shape, keep: NDArray[np.bool_]) -> Shape:
    return replace(
        shape,
        frames=shape.frames[keep],
        controls=shape.controls[keep],
        slopes_in=shape.slopes_in[keep],
        slopes_out=shape.slopes_out[keep],
        key_sources=(),
        key_confidence=None,
    )
