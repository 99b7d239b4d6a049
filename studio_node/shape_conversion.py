"""Shape files turned into one another: what was written, and what got lost on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from federation.durable import read_bounded, write_atomic
from federation.errors import ConfigError
from model.formats.nuke_editing import replace_shapes
from model.formats.registry import JSON, NUKE_FAMILY, ShapeFormat, format_of
from model.shapes import Shape, ShapeSet
from studio_node.shape_files import SHAPE_BYTES_MAX, read_shape_file


@dataclass(frozen=True)
class Conversion:
    """What a conversion did.

    Attributes:
        output: the file written.
        shapes: how many it holds.
        keys: how many keys they have.
        warnings: what of the input was left out or not read.
        losses: what the output cannot say, and the paths of the shapes of which it cannot.
    """

    output: Path
    shapes: int
    keys: int
    warnings: tuple[str, ...]
    losses: Mapping[str, tuple[str, ...]]


def convert(
    source: Path,
    output: Path,
    *,
    width: int | None = None,
    height: int | None = None,
    shapes: Sequence[str] = (),
    overwrite: bool = False,
) -> Conversion:
    """Write a shape file in another format, or the same one anew.

    Args:
        source: the file to read.
        output: the file to write; its ending says in which format.
        width: of the plate, pixels, where a Nuke script has no format of its own.
        height: of the plate, pixels, likewise.
        shapes: paths or names of the shapes to write; none for all.
        overwrite: replace an output that is there.

    Raises:
        ConfigError: the output is the input, or is there already.
        ModelError: the input cannot be read, or the shapes cannot be written in this format.
        FedrotoError: the disk refused; nothing half-written is left.
    """
    format_of(source, reading=True)
    written = format_of(output, reading=False)
    _check_output(output, (source,), overwrite)
    found = read_shape_file(source, width=width, height=height)
    chosen = _chosen(found.shapes, shapes)
    write_atomic(output, written.dumps(chosen, "Roto1"))
    keys = sum(len(s.frames) for s in chosen.shapes)
    return Conversion(output, len(chosen.shapes), keys, found.warnings, _losses(written, chosen))


def put_back(
    source: Path,
    script: Path,
    output: Path,
    *,
    width: int | None = None,
    height: int | None = None,
    shapes: Sequence[str] = (),
    overwrite: bool = False,
) -> Conversion:
    """Write corrected shapes into a copy of the Nuke script they came from; no byte beside their points changes.

    Args:
        source: the corrected shapes, with the paths that they have in the script.
        script: the artist's script, which is never written to.
        output: the copy to write.
        width: of the plate, pixels, where the script has no format of its own.
        height: of the plate, pixels, likewise.
        shapes: paths or names of the shapes to put back; none for all.
        overwrite: replace an output that is there.

    Raises:
        ConfigError: the output is an input, is there already, or one of them is no Nuke script.
        ModelError: a shape that the script does not have or that cannot be changed there.
        FedrotoError: the disk refused; nothing half-written is left.
    """
    for path in (script, output):
        if path.suffix.lower() not in NUKE_FAMILY:
            raise ConfigError(
                f"{path} is no Nuke script; shapes are put back into {' and '.join(NUKE_FAMILY)}"
            )
    _check_output(output, (source, script), overwrite)
    found = read_shape_file(source, width=width, height=height)
    chosen = _chosen(found.shapes, shapes)
    data = read_bounded(script, SHAPE_BYTES_MAX)
    size = (
        {"width": chosen.width, "height": chosen.height}
        if width is None
        else {"width": width, "height": height}
    )
    write_atomic(output, replace_shapes(data, chosen.shapes, **size))
    keys = sum(len(s.frames) for s in chosen.shapes)
    return Conversion(output, len(chosen.shapes), keys, found.warnings, {})


def _losses(written: ShapeFormat, shapes: ShapeSet) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for shape in shapes.shapes:
        for lost in (*written.losses(shape), *_frozen(written, shape)):
            found[lost] = (*found.get(lost, ()), shape.path)
    return found


def _frozen(written: ShapeFormat, shape: Shape) -> tuple[str, ...]:
    """Our own format keeps the reason; elsewhere a shape that only its program can compute is a shape like any."""
    if shape.read_only_reason is None or written is JSON:
        return ()
    return (f"what drives it, so its last numbers stand for all frames ({shape.read_only_reason})",)


def _chosen(found: ShapeSet, names: Sequence[str]) -> ShapeSet:
    picked: tuple[Shape, ...] = tuple(found.find(name) for name in names) if names else found.shapes
    return replace(found, shapes=picked)


def _check_output(output: Path, inputs: Sequence[Path], overwrite: bool) -> None:
    if not output.parent.is_dir():
        raise ConfigError(f"the folder {output.parent} does not exist; make it or name another")
    if not output.exists():
        return
    if any(path.exists() and output.samefile(path) for path in inputs):
        raise ConfigError(f"{output} is an input and is never written to; name another output")
    if not overwrite:
        raise ConfigError(f"{output} is there already", hint="name another, or say --overwrite")
