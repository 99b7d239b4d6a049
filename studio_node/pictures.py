"""One picture file through OpenImageIO: what it holds, its pixels inside the display window, and writing our own.

OpenCV's wheels read neither EXR nor DPX, and OpenImageIO reports a damaged file not by an exception but by None, or
by a partial picture and a pending error text: every read here checks both.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import OpenImageIO as oiio
from numpy.typing import NDArray

from federation.durable import temporary_beside
from model.errors import PlateError

PIXELS_MAX = 16_384 * 16_384
"""Largest data or display window that is read; a header that claims more is damaged or hostile."""
PARTS_MAX = 64
BAND_ROWS = 256
"""Rows that are developed at a time: a multiple of what any EXR compression packs together."""
Sample = Literal["float32", "float16", "uint8"]
Develop = Callable[[NDArray[Any]], NDArray[Any]]
HALF_MAX = 65_504.0
"""Largest finite half float; brighter pixels, and infinite ones, become this."""


@dataclass(frozen=True)
class PictureHeader:
    """What a picture file says about itself.

    Attributes:
        width: of the display window, pixels.
        height: of the display window, pixels.
        linear: True for float files (scene-linear light), False for integer files (display- or log-coded).
        part: which part (subimage) of the file holds the picture.
        channels: indices of red, green and blue in that part; all the same for a grey picture.
    """

    width: int
    height: int
    linear: bool
    part: int
    channels: tuple[int, int, int]


def set_read_threads(threads: int) -> None:
    """Limit the threads that OpenImageIO and OpenEXR use in this process (0: as many as there are cores)."""
    oiio.attribute("threads", threads)
    oiio.attribute("exr_threads", threads)


def read_header(path: Path) -> PictureHeader:
    """Read what a picture file says about itself, without its pixels.

    Raises:
        PlateError: the file cannot be opened, is deep or too large, or has no red, green and blue and is not grey.
    """
    with _opened(path) as file:
        return _header(path, file)


def read_pixels(
    path: Path, *, sample: Sample | None = None, develop: Develop | None = None
) -> tuple[PictureHeader, NDArray[Any]]:
    """Read a picture inside its display window.

    Pixels of the data window outside the display window (overscan) are left out; where the display window reaches
    beyond the data window the picture is black, as the EXR standard has it.

    Args:
        path: the file.
        sample: what a pixel is to be; None for float32 where the file is ``linear``, else uint8.
        develop: turns rows [h, W, 3] into what is wanted of them; it is given a band at a time, so that the whole
            picture as it is stored is never in memory, and must leave black black.

    Returns:
        The header, and [H, W, 3] RGB, or what that was developed into. ``float32``: integer files from 0 to 1; never
        NaN, infinite or negative. ``float16``: of a ``linear`` file, halves exactly as they are stored and floats
        rounded to them. ``uint8``: of an integer file, 16 bits rounded.

    Raises:
        PlateError: as :func:`read_header`, or the pixels are truncated or corrupt.
    """
    with _opened(path) as file:
        header = _header(path, file)
        data = _data_window(path, file, header, sample or ("float32" if header.linear else "uint8"), develop)
        spec = file.spec()
    picture = _in_display_window(data, header, (spec.x - spec.full_x, spec.y - spec.full_y))
    if picture.dtype == np.float32:
        if not np.isfinite(picture).all():  # looking costs a tenth of mending
            np.nan_to_num(picture, copy=False, nan=0.0, posinf=HALF_MAX, neginf=0.0)
        np.maximum(picture, 0.0, out=picture)
    return header, picture


def _in_display_window(data: NDArray[Any], header: PictureHeader, corner: tuple[int, int]) -> NDArray[Any]:
    """Place the data window, whose top-left corner lies at ``corner`` of the display window, into the latter."""
    height, width = data.shape[:2]
    left, top = corner
    if (left, top, width, height) == (0, 0, header.width, header.height):
        return data
    picture = np.zeros((header.height, header.width, 3), data.dtype)
    x0, x1 = max(left, 0), min(left + width, header.width)
    y0, y1 = max(top, 0), min(top + height, header.height)
    if x0 < x1 and y0 < y1:
        picture[y0:y1, x0:x1] = data[y0 - top : y1 - top, x0 - left : x1 - left]
    return picture


def write_exr(path: Path, linear: NDArray[np.float32], *, half: bool = True) -> None:
    """Write a scene-linear picture [H, W, 3] as a zip-compressed EXR that appears whole or not at all.

    Raises:
        PlateError: another shape or type, or the disk refused.
    """
    if linear.dtype != np.float32:
        raise PlateError(f"an EXR is written from float32, not {linear.dtype}; convert it first")
    pixels = np.clip(linear, -HALF_MAX, HALF_MAX) if half else linear
    _write(path, pixels, "openexr", oiio.HALF if half else oiio.FLOAT, "zip")


def write_png(path: Path, display: NDArray[np.uint8]) -> None:
    """Write a display-referred picture uint8 [H, W, 3] as a PNG that appears whole or not at all.

    Raises:
        PlateError: another shape or type, or the disk refused.
    """
    _write(path, _uint8(display), "png", oiio.UINT8, "")


def write_matte(path: Path, matte: NDArray[np.float32]) -> None:
    """Write a matte [H, W], 0..1, that appears whole or not at all: half float EXR (channel A) or 16-bit grey PNG.

    Raises:
        PlateError: another ending, shape or type, or the disk refused.
    """
    if matte.dtype != np.float32 or matte.ndim != 2:
        raise PlateError(f"a matte is float32 [height, width], not {matte.dtype} {matte.shape}")
    if path.suffix.lower() == ".exr":
        _write(path, matte[..., None], "openexr", oiio.HALF, "zip")
    elif path.suffix.lower() == ".png":
        _write(path, matte[..., None], "png", oiio.UINT16, "")
    else:
        raise PlateError(f"{path.name}: mattes are written as .exr or .png")


def write_jpg(path: Path, display: NDArray[np.uint8], *, quality: int = 95) -> None:
    """Write a display-referred picture uint8 [H, W, 3] as a JPEG that appears whole or not at all.

    Raises:
        PlateError: another shape or type, or the disk refused.
    """
    _write(path, _uint8(display), "jpeg", oiio.UINT8, f"jpeg:{quality}")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    oiio.geterror()  # forget what an earlier call left behind
    options = oiio.ImageSpec()
    options.attribute(
        "oiio:UnassociatedAlpha", 1
    )  # leave RGB as it is stored; alpha is not ours to multiply in
    file = oiio.ImageInput.open(str(path), options)
    if file is None:
        raise PlateError(f"{path.name} cannot be opened: {_first_line(oiio.geterror())}")
    try:
        yield file
    finally:
        file.close()


def _header(path: Path, file: Any) -> PictureHeader:
    """Choose the first part that has colour, or is grey, and seek to it."""
    seen = []
    for part in range(PARTS_MAX):
        if not file.seek_subimage(part, 0):
            break
        spec = file.spec()
        channels = rgb_channels(spec.channelnames)
        if channels is None or spec.deep:
            seen.append(("deep " if spec.deep else "") + ", ".join(spec.channelnames[:12]))
            continue
        for width, height in ((spec.width, spec.height), (spec.full_width, spec.full_height)):
            if not 0 < width * height <= PIXELS_MAX:
                raise PlateError(f"{path.name} claims {width}x{height} pixels; the header is damaged")
        kind = oiio.TypeDesc(str(spec.format)).basetype
        linear = kind in (oiio.HALF, oiio.FLOAT, oiio.DOUBLE)
        return PictureHeader(spec.full_width, spec.full_height, linear, part, channels)
    raise PlateError(
        f"{path.name} has no colour picture (channels: {'; '.join(seen) or 'none'}); a plate needs R, G and B, or "
        "one grey channel"
    )


def rgb_channels(names: Sequence[str]) -> tuple[int, int, int] | None:
    """Find red, green and blue among a file's channel names.

    Plain ``R``, ``G``, ``B`` win over a layer's (``beauty.R``, in file order); a lone luminance channel is grey.
    """
    index = {name.lower(): position for position, name in reversed(list(enumerate(names)))}
    layers = [""] + [name[:-1].lower() for name in names if name.lower().endswith((".r", "_r"))]
    for layer in layers:
        found = [index.get(layer + colour) for colour in "rgb"]
        if None not in found:
            return (found[0] or 0, found[1] or 0, found[2] or 0)
    if {"red", "green", "blue"} <= index.keys():
        return (index["red"], index["green"], index["blue"])
    colours = [name for name in index if name not in ("a", "alpha")]
    if len(colours) == 1 and colours[0] in ("y", "l", "i", "gray", "grey", "luminance", "intensity"):
        return (index[colours[0]],) * 3
    return None


def _data_window(
    path: Path, file: Any, header: PictureHeader, sample: Sample, develop: Develop | None
) -> NDArray[Any]:
    """All pixels that the file has."""
    kind = {"float32": oiio.FLOAT, "float16": oiio.HALF, "uint8": oiio.UINT8}[sample]
    spec, part = file.spec(), header.part
    if develop is None or spec.tile_width:
        whole = _channels(path, file, header, partial(file.read_image, part, 0), kind)
        return whole if develop is None else develop(whole)
    bottom = spec.y + spec.height
    bands = []
    for top in range(spec.y, bottom, BAND_ROWS):
        read = partial(file.read_scanlines, part, 0, top, min(top + BAND_ROWS, bottom), 0)
        bands.append(develop(_channels(path, file, header, read, kind)))
    return np.concatenate(bands)


def _channels(
    path: Path, file: Any, header: PictureHeader, read: Callable[..., Any], kind: Any
) -> NDArray[Any]:
    """Red, green and blue of what ``read`` gives for a range of channels."""
    red, green, blue = header.channels
    if (green, blue) == (red + 1, red + 2):
        pieces = [read(red, blue + 1, kind)]
    else:
        pieces = [read(channel, channel + 1, kind) for channel in header.channels]
    error = file.geterror()
    if error or any(piece is None for piece in pieces):
        raise PlateError(f"{path.name} is truncated or corrupt: {_first_line(error)}")
    shaped = [piece.reshape(piece.shape[0], piece.shape[1], -1) for piece in pieces]
    return np.concatenate(shaped, axis=2) if len(shaped) > 1 else shaped[0]


def _write(path: Path, pixels: NDArray[Any], kind: str, sample: Any, compression: str) -> None:
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3):
        raise PlateError(f"{path.name}: a picture is [height, width, 3], not {pixels.shape}")
    spec = oiio.ImageSpec(pixels.shape[1], pixels.shape[0], pixels.shape[2], sample)
    if pixels.shape[2] == 1:
        spec.channelnames = ("A" if kind == "openexr" else "Y",)
    if compression:
        spec.attribute("Compression", compression)
    temporary = temporary_beside(path)
    oiio.geterror()
    file: Any = oiio.ImageOutput.create(kind)
    try:
        good = file.open(str(temporary), spec) and file.write_image(np.ascontiguousarray(pixels))
        good = bool(file.close()) and good
        if not good:
            raise PlateError(
                f"cannot write {path}: {_first_line(file.geterror())}; check the folder and the disk"
            )
        temporary.replace(path)
    except OSError as error:
        raise PlateError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _uint8(display: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if display.dtype != np.uint8:
        raise PlateError(f"a PNG or JPEG is written from uint8, not {display.dtype}; convert it first")
    return display


def _first_line(error: str) -> str:
    lines = [line for line in (error or "").splitlines() if line.strip()]
    return lines[0].strip() if lines else "no reason given"
