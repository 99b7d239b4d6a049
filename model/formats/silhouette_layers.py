"""How Silhouette's layers move what is in them: a matrix, around position, turn and scale."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from model.errors import FormatError
from model.formats.silhouette_properties import Properties
from model.formats.silhouette_space import Space
from model.keyframes import Keyed
from model.transforms import Affine, AnyTransform, Transform

_AT_REST = {"position": (0.0, 0.0), "anchor": (0.0, 0.0), "scale": (1.0, 1.0), "rotate": (0.0,)}
_CORNERS = {"ul": (0.0, 0.0), "ur": (1.0, 0.0), "lr": (1.0, 1.0), "ll": (0.0, 1.0)}


@dataclass(frozen=True)
class LayerMotion:
    """What a layer does to its shapes.

    Attributes:
        transforms: outermost first.
        reason: why shapes below it must not be rewritten, or None.
    """

    transforms: tuple[AnyTransform, ...]
    reason: str | None


def layer_motion(properties: Properties, space: Space) -> LayerMotion:
    """How a layer moves.

    Raises:
        FormatError: corner pins or perspective, which our transforms do not have, or numbers that are none.
    """
    for corner, place in _CORNERS.items():
        for kind in ("pin", "surface"):
            if (properties.track(f"transform.{kind}_{corner}", place).values != place).any():
                raise FormatError("it is pinned by its corners, which is not read; bake it in Silhouette")
    parts = {n: properties.track(f"transform.{n}", v).keyed() for n, v in _AT_REST.items()}
    anchor, turn, scale = parts["anchor"], parts["rotate"], parts["scale"]
    own = Transform(
        pivot=Keyed(
            anchor.frames,
            space.to_plate(anchor.values),
            space.offset_to_plate(anchor.slopes_in),
            space.offset_to_plate(anchor.slopes_out),
        ),
        translate=parts["position"].scaled(space.offset_to_plate(np.ones(2))),
        rotate_deg=Keyed(turn.frames, turn.values[:, 0], turn.slopes_in[:, 0], turn.slopes_out[:, 0]),
        scale=scale,
    )
    reason = None
    if anchor.values.any() and (turn.values.any() or (scale.values != 1).any()):
        reason = "turns or scales about an anchor, which has not been compared with Silhouette"
    elif turn.values.any() and space.pixel_aspect != 1:
        reason = "turns pixels that are not square, which has not been compared with Silhouette"
    return LayerMotion(_matrix(properties, space) + (() if own.is_identity else (own,)), reason)


def _matrix(properties: Properties, space: Space) -> tuple[AnyTransform, ...]:
    track = properties.track("transform.matrix", tuple(np.eye(4).ravel()))
    matrices = track.values.reshape(-1, 4, 4)
    if matrices[:, [0, 1], 3].any() or not matrices[:, 3, 3].all():
        raise FormatError("its matrix has perspective, which is not read; bake it in Silhouette")
    if (matrices == np.eye(4)).all():
        return ()
    return (Affine(replace(track, values=space.affine_to_plate(matrices / matrices[:, 3:, 3:])).keyed()),)
