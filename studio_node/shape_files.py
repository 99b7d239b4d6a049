"""A shape file on disk as shapes in a plate's pixels, whichever of our formats it is in."""

from __future__ import annotations

from pathlib import Path

from federation.durable import read_bounded
from federation.errors import IngestError
from model.errors import FormatError
from model.formats import nuke, roto_json
from model.formats.nuke_script import read_script
from model.shapes import ShapeSet

SHAPE_BYTES_MAX = 256 * 2**20


def read_shapes(path: Path, *, width: int, height: int, trust_plate_size: bool = False) -> ShapeSet:
    """Read the shapes of a Nuke script (``.nk``) or of our own JSON (``.json``).

    Args:
        path: the file.
        width: of the plate, pixels.
        height: of the plate, pixels; a Nuke script counts y from the bottom, so it decides where shapes lie.
        trust_plate_size: take the shapes as drawn on this plate even where a Nuke script's own format has another
            size (a composition whose output is not of the plate's size).

    Raises:
        IngestError: neither kind, or drawn for pictures of another size.
        FormatError: the text cannot be read (carries the line), or there is no roto in it.
        FedrotoError: the file is missing, unreadable or too large.
    """
    kind = path.suffix.lower()
    if kind not in (".nk", ".json"):
        raise IngestError(f"{path} is neither a Nuke script (.nk) nor fedroto's own shapes (.json)")
    data = read_bounded(path, SHAPE_BYTES_MAX)
    if kind == ".nk":
        script = read_script(data)
        if script.width is not None and script.height is not None and not trust_plate_size:
            _same_size(path, (script.width, script.height), (width, height))
        return nuke.loads(data, height=height, width=width).shapes
    try:
        shapes = roto_json.loads(data.decode())
    except UnicodeDecodeError as error:
        raise FormatError(f"{path.name} is not UTF-8 text: {error}") from error
    _same_size(path, (shapes.width, shapes.height), (width, height))
    return shapes


def _same_size(path: Path, drawn: tuple[int, int], plate: tuple[int, int]) -> None:
    if drawn != plate:
        raise IngestError(
            f"{path.name} is for pictures of {drawn[0]}x{drawn[1]}, the plate has {plate[0]}x{plate[1]}; choose the "
            "plate that the shapes were drawn on",
            hint="if a script's root format is only its output's, say so with --trust-plate-size",
        )
