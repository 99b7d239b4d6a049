"""From a plate's declared colour space to scene-linear light, by the OCIO that OpenImageIO has built in.

Only a person knows what a log plate holds (a DPX file says "undefined"), so nothing is converted that was not declared.
The configuration is the one that ``$OCIO`` names, as in every other program of a studio, else OCIO's built-in one.
"""

from __future__ import annotations

import difflib

import numpy as np
import OpenImageIO as oiio
from numpy.typing import NDArray

from model.errors import PlateError

SCENE_LINEAR = "scene_linear"


def require_colour_space(name: str) -> None:
    """Check that the OCIO configuration has a colour space and can bring it to scene-linear light.

    Raises:
        PlateError: it has not (says which names are near).
    """
    config = oiio.ColorConfig()
    if config.getColorSpaceIndex(name) < 0 and name not in config.getRoles():
        names = [*config.getColorSpaceNames(), *config.getRoles()]
        near = difflib.get_close_matches(name, names, n=4, cutoff=0.4) or names[:8]
        raise PlateError(
            f"the OCIO configuration {config.configname()} has no colour space {name!r}; near it: {', '.join(near)}"
        )
    scene_linear(np.full((1, 1, 3), 0.5, np.float32), name)


def scene_linear(pixels: NDArray[np.float32], colour_space: str) -> NDArray[np.float32]:
    """Convert pixels [H, W, 3] to scene-linear light; nothing is clipped at 1.

    Raises:
        PlateError: the configuration cannot.
    """
    buffer = oiio.ImageBuf(np.ascontiguousarray(pixels))
    converted = oiio.ImageBufAlgo.colorconvert(buffer, colour_space, SCENE_LINEAR, False, nthreads=1)
    if converted.has_error:
        raise PlateError(f"colour space {colour_space!r} cannot be made scene-linear: {converted.geterror()}")
    return np.asarray(converted.get_pixels(oiio.FLOAT), np.float32)
