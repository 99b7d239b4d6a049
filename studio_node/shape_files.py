"""A shape file on disk as shapes in a plate's pixels, whichever of our formats it is in."""

from __future__ import annotations

from pathlib import Path

from federation.durable import read_bounded
from federation.errors import IngestError
from model.formats import nuke, registry
from model.formats.registry import NUKE_FAMILY, READABLE, ShapeFile
from model.shapes import ShapeSet

SHAPE_BYTES_MAX = 256 * 2**20


def read_shapes(path: Path, *, width: int, height: int, trust_plate_size: bool = False) -> ShapeSet:
    """Read the shapes of a Nuke script or gizmo, of a Silhouette shape file or of our own JSON, for a plate.

    Args:
        path: the file; its ending says what it is.
        width: of the plate, pixels.
        height: of the plate, pixels; a Nuke script counts y from the bottom, so it decides where shapes lie.
        trust_plate_size: take the shapes as drawn on this plate even where a Nuke script's own format has another
            size (a composition whose output is not of the plate's size).

    Raises:
        IngestError: another ending, or drawn for pictures of another size.
        FormatError: the text cannot be read (carries the line), or there is no roto in it.
        FedrotoError: the file is missing, unreadable or too large.
    """
    if path.suffix.lower() not in READABLE:
        raise IngestError(f"{path} has none of the endings of shape files: {', '.join(READABLE)}")
    data = read_bounded(path, SHAPE_BYTES_MAX)
    if path.suffix.lower() in NUKE_FAMILY:
        own = nuke.own_size(data)
        if own is not None and not trust_plate_size:
            _same_size(path, own, (width, height))
    found = registry.loads(data, path, width=width, height=height)
    _same_size(path, (found.shapes.width, found.shapes.height), (width, height))
    return found.shapes


def read_shape_file(path: Path, *, width: int | None = None, height: int | None = None) -> ShapeFile:
    """Read a shape file by itself, without a plate.

    Args:
        path: the file; its ending says what it is.
        width: of the plate, pixels, where a Nuke script has no format of its own.
        height: of the plate, pixels, likewise.

    Raises:
        FormatError: another ending, or the text cannot be read.
        FedrotoError: the file is missing, unreadable or too large.
    """
    registry.format_of(path, reading=True)
    return registry.loads(read_bounded(path, SHAPE_BYTES_MAX), path, width=width, height=height)


def _same_size(path: Path, drawn: tuple[int, int], plate: tuple[int, int]) -> None:
    if drawn != plate:
        raise IngestError(
            f"{path.name} is for pictures of {drawn[0]}x{drawn[1]}, the plate has {plate[0]}x{plate[1]}; choose the "
            "plate that the shapes were drawn on",
            hint="if a script's root format is only its output's, say so with --trust-plate-size",
        )
