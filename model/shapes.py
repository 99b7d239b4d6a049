"""Roto shapes, and the one coordinate convention of the product.

**Plate pixels**: x right, y down, (0, 0) the top-left *corner* of the display window, so the first pixel's
centre is (0.5, 0.5). Every format converts at its own border (``model.formats``). OpenCV counts pixel
centres at integers: subtract 0.5 when handing points to it. Points may lie outside the picture and are
never clamped. Frames are plate frame numbers, ``first_frame`` and ``last_frame`` both inclusive.

A point is three vectors, in this order: in-tangent (offset from the centre), centre (absolute),
out-tangent (offset from the centre). Arrays of controls are ``[..., N, 3, 2]``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from model.errors import ShapeError
from model.keyframes import FloatArray, Keyed, default_slopes, evaluate, frozen_array
from model.transforms import AnyTransform, combined

ShapeKind = Literal["bezier", "bspline", "polygon"]
PREDICTION_LAYER = "fedroto_pred"  # the layer of a shape file that holds predicted shapes
KeySource = Literal["artist", "predicted", "baked"]


@dataclass(frozen=True)
class Lifetime:
    """When a shape exists.

    Attributes:
        first: first frame of life, or None where it has no beginning.
        last: last frame of life (inclusive), or None where it has no end.
        visibility: keyed on/off (1 or 0), held from key to key; None means always on.
    """

    first: float | None = None
    last: float | None = None
    visibility: Keyed | None = None

    def __post_init__(self) -> None:
        if self.first is not None and self.last is not None and self.first > self.last:
            raise ShapeError(f"lifetime ends at {self.last:g} before it begins at {self.first:g}")
        if self.visibility is not None and self.visibility.values.ndim != 1:
            raise ShapeError("visibility takes one number per key")

    def contains(self, frame: float) -> bool:
        """True where the shape lives and is visible at ``frame``."""
        if self.first is not None and frame < self.first:
            return False
        if self.last is not None and frame > self.last:
            return False
        if self.visibility is None:
            return True
        key = max(int(np.searchsorted(self.visibility.frames, frame, side="right")) - 1, 0)
        return bool(self.visibility.values[key] >= 0.5)


ALWAYS = Lifetime()


@dataclass(frozen=True, eq=False, kw_only=True)
class Shape:
    """One animated spline with the artist's own points and keys.

    Attributes:
        name: the shape's own name.
        kind: ``bezier``, ``bspline`` (uniform cubic, points off the curve) or ``polygon``.
        closed: False for an open spline.
        frames: key times [K], strictly increasing: the union of the key times of all its points.
        controls: [K, N, 3, 2], **local** space, plate convention (y down).
        slopes_in: stored slope on the left of each key, px per frame, as read and never recomputed; [K, N, 3, 2].
        slopes_out: the same on the right of each key.
        feather: feather points, own keys, values [K', N, 3, 2]: in-tangent, centre as an offset from
            the shape's centre, out-tangent; None where the shape has none.
        transforms: how local goes to the screen, outermost first; empty means local is the screen.
        lifetime: when it exists.
        opacity: values [K], 0..1.
        key_sources: who made each key, K times ``artist``, ``predicted`` or, where only a change of format or the
            loss of a transform needed it, ``baked``; () means all by the artist.
        key_confidence: 0..1 per key [K] for predictions, or None.
        attributes: further attributes by their name in the file (blend mode, colour...), kept for rewriting.
        read_only_reason: why the shape must not be rewritten or trained on (its numbers depend on
            something that only its program can compute), or None.
        path: where it sits in its file, unique there, as ``Group1.Roto1:Layer1/Bezier1``.

    Raises:
        ShapeError: at birth, for arrays of the wrong shape.
        KeyframeError: at birth, for keys out of order or not finite.
    """

    name: str
    frames: FloatArray
    controls: FloatArray
    slopes_in: FloatArray
    slopes_out: FloatArray
    kind: ShapeKind = "bezier"
    closed: bool = True
    feather: Keyed | None = None
    transforms: tuple[AnyTransform, ...] = ()
    lifetime: Lifetime = ALWAYS
    opacity: Keyed = field(default_factory=lambda: Keyed.constant(1.0))
    key_sources: tuple[KeySource, ...] = ()
    key_confidence: FloatArray | None = None
    attributes: tuple[tuple[str, Keyed], ...] = ()
    read_only_reason: str | None = None
    path: str = ""

    def __post_init__(self) -> None:
        keyed = Keyed(self.frames, self.controls, self.slopes_in, self.slopes_out)
        for name in ("frames", "slopes_in", "slopes_out"):
            object.__setattr__(self, name, getattr(keyed, name))
        object.__setattr__(self, "controls", keyed.values)
        self._check_arrays()
        keys = len(self.frames)
        object.__setattr__(self, "key_sources", self.key_sources or ("artist",) * keys)
        if len(self.key_sources) != keys or not set(self.key_sources) <= set(get_args(KeySource)):
            raise ShapeError(
                f"shape {self.name!r} needs {keys} key sources, each one of {get_args(KeySource)}"
            )
        if self.key_confidence is not None:
            object.__setattr__(self, "key_confidence", frozen_array(self.key_confidence))
            shown = self.key_confidence
            if shown.shape != (keys,) or not ((shown >= 0) & (shown <= 1)).all():
                raise ShapeError(f"shape {self.name!r} needs {keys} confidences between 0 and 1")
        object.__setattr__(self, "path", self.path or self.name)

    def _check_arrays(self) -> None:
        if not self.name:
            raise ShapeError("a shape needs a name")
        if self.kind not in get_args(ShapeKind):
            raise ShapeError(
                f"shape {self.name!r} is of kind {self.kind!r}; use one of {get_args(ShapeKind)}"
            )
        if self.controls.ndim != 4 or self.controls.shape[1] == 0 or self.controls.shape[2:] != (3, 2):
            raise ShapeError(
                f"shape {self.name!r} has controls of shape {self.controls.shape}; they are [keys, points, 3, 2]: "
                "in-tangent offset, centre, out-tangent offset, each (x, y)"
            )
        if self.feather is not None and self.feather.values.shape[1:] != self.controls.shape[1:]:
            raise ShapeError(
                f"shape {self.name!r} has feather of shape {self.feather.values.shape[1:]} per key, "
                f"controls {self.controls.shape[1:]}; give one feather point per point"
            )
        if self.opacity.values.ndim != 1:
            raise ShapeError(f"shape {self.name!r}: opacity takes one number per key")

    @classmethod
    def from_keys(
        cls,
        name: str,
        frames: ArrayLike,
        controls: ArrayLike,
        *,
        kind: ShapeKind = "bezier",
        closed: bool = True,
        lifetime: Lifetime = ALWAYS,
    ) -> Shape:
        """A shape from key times [K] and controls [K, N, 3, 2], with the slopes Nuke would give new keys."""
        slopes_in, slopes_out = default_slopes(frames, controls)
        return cls(
            name=name,
            frames=np.asarray(frames, dtype=np.float64),
            controls=np.asarray(controls, dtype=np.float64),
            slopes_in=slopes_in,
            slopes_out=slopes_out,
            kind=kind,
            closed=closed,
            lifetime=lifetime,
        )

    @property
    def points(self) -> int:
        """How many points the shape has, the same at every frame."""
        return int(self.controls.shape[1])

    @property
    def key_frames(self) -> tuple[int, ...]:
        """Whole frames that carry a key, baked ones apart; one between two frames (a retime) counts for the nearer."""
        made = np.array([source != "baked" for source in self.key_sources])
        frames = self.frames[made] if made.any() else self.frames
        return tuple(int(f) for f in np.unique(np.rint(frames)))

    @property
    def keyed(self) -> Keyed:
        """Keys, values and slopes of the controls as one curve, local space."""
        return Keyed(self.frames, self.controls, self.slopes_in, self.slopes_out)

    def matrix(self, frame: float) -> FloatArray:
        """The 3x3 matrix from local space to plate pixels at ``frame``."""
        return combined(self.transforms, frame)

    def at(self, frame: float) -> FloatArray:
        """Controls at ``frame`` on screen, [N, 3, 2] plate px, interpolated from the stored slopes as Nuke does."""
        local: FloatArray = evaluate(self.frames, self.controls, self.slopes_in, self.slopes_out, [frame])[0][
            0
        ]
        if not self.transforms:
            return local
        matrix = self.matrix(frame)
        screen = local @ matrix[:2, :2].T
        screen[:, 1] += matrix[:2, 2]
        return screen

    def feather_at(self, frame: float) -> FloatArray | None:
        """Feather offsets at ``frame`` on screen, [N, 3, 2] px, or None where the shape has no feather."""
        if self.feather is None:
            return None
        return np.asarray(self.feather.at(frame) @ self.matrix(frame)[:2, :2].T)

    @property
    def has_soft_edge(self) -> bool:
        """True where the feather differs from the outline at any of its keys."""
        if self.feather is None:
            return False
        outline = self.keyed.sample(self.feather.frames)
        tangents = np.allclose(self.feather.values[:, :, ::2], outline[:, :, ::2], rtol=1e-6, atol=1e-3)
        return bool(self.feather.values[:, :, 1].any() or not tangents)

    def is_alive(self, frame: float) -> bool:
        """True where the shape lives and is visible at ``frame``; elsewhere its points mean nothing."""
        return self.lifetime.contains(frame)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Shape):
            return NotImplemented
        return all(_same(getattr(self, n), getattr(other, n)) for n in self.__dataclass_fields__)

    __hash__ = None  # type: ignore[assignment]  # equal by content, and arrays do not hash


def _same(one: object, other: object) -> bool:
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return np.array_equal(one, other)
    return bool(one == other)


@dataclass(frozen=True)
class ShapeSet:
    """The shapes of one plate.

    Attributes:
        shapes: in drawing order, paths unique.
        width: display window, px.
        height: display window, px.
        first_frame: first frame of the plate (inclusive), if known.
        last_frame: last frame of the plate (inclusive), if known.
        pixel_aspect: width of a pixel over its height.

    Raises:
        ShapeError: at birth, for a size or range that cannot be, or two shapes with one path.
    """

    shapes: tuple[Shape, ...]
    width: int
    height: int
    first_frame: int | None = None
    last_frame: int | None = None
    pixel_aspect: float = 1.0

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise ShapeError(
                f"a format of {self.width}x{self.height} px has no picture; give the plate's size"
            )
        if not (np.isfinite(self.pixel_aspect) and self.pixel_aspect > 0):
            raise ShapeError(f"a pixel aspect of {self.pixel_aspect} cannot be; 1 is square")
        if (
            self.first_frame is not None
            and self.last_frame is not None
            and self.first_frame > self.last_frame
        ):
            raise ShapeError(f"the range {self.first_frame}-{self.last_frame} runs backwards")
        seen: set[str] = set()
        for shape in self.shapes:
            if shape.path in seen:
                raise ShapeError(f"two shapes have the path {shape.path!r}; rename one of them")
            seen.add(shape.path)

    def find(self, name: str) -> Shape:
        """The shape with this path, or with this name where only one has it.

        Raises:
            ShapeError: none or several; the message lists what there is.
        """
        for shape in self.shapes:
            if shape.path == name:
                return shape
        named = [s for s in self.shapes if s.name == name]
        if len(named) == 1:
            return named[0]
        listed = ", ".join(s.path for s in self.shapes) or "none at all"
        problem = "several shapes are" if named else "no shape is"
        raise ShapeError(f"{problem} called {name!r}; choose one of: {listed}")
