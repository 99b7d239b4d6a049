"""Mattes of a shape file, frame by frame, on disk; a shape or a frame that cannot be drawn does not stop the others."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from federation.errors import ConfigError, FedrotoError
from model.errors import ModelError
from model.mattes import Shutter, combined_matte, matte
from model.rasteriser import FloatImage
from model.screen_space import on_screen
from model.shapes import Shape, ShapeSet
from studio_node.pictures import write_matte
from studio_node.shot_folders import Rejected

MATTE_SUFFIXES = (".exr", ".png")
SIDE_MAX = 16_384  # px
FRAMES_MAX = 200_000
_TOKEN = re.compile(r"#+|%0?(\d*)d")
_UNSAFE = re.compile(r"[^\w.\-]+")


@dataclass(frozen=True)
class MattePlan:
    """What to draw and where to.

    Attributes:
        pattern: of the files: ``matte.####.exr`` or ``matte.%04d.png``.
        first_frame: first frame, inclusive.
        last_frame: last frame, inclusive.
        width: of the pictures, pixels.
        height: of the pictures, pixels; shapes are scaled where this is not their own size.
        per_shape: one picture a shape, ``matte_<shape>.####.exr``, instead of one for all of them.
        shutter: motion blur.
        overwrite: draw frames again that are there.
        resume: leave frames that are there as they are.

    Raises:
        ConfigError: at birth, for a pattern, range or size that cannot be.
    """

    pattern: Path
    first_frame: int
    last_frame: int
    width: int
    height: int
    per_shape: bool = False
    shutter: Shutter = field(default_factory=Shutter)
    overwrite: bool = False
    resume: bool = False

    def __post_init__(self) -> None:
        if self.pattern.suffix.lower() not in MATTE_SUFFIXES or len(_TOKEN.findall(self.pattern.name)) != 1:
            raise ConfigError(
                f"{self.pattern.name!r} is no name for a sequence of mattes",
                hint="write matte.####.exr or matte.%04d.png",
            )
        if not (1 <= self.width <= SIDE_MAX and 1 <= self.height <= SIDE_MAX):
            raise ConfigError(
                f"mattes of {self.width}x{self.height} px cannot be drawn; up to {SIDE_MAX} a side can"
            )
        if not 0 <= self.last_frame - self.first_frame < FRAMES_MAX:
            raise ConfigError(
                f"the range {self.first_frame}-{self.last_frame} cannot be drawn; give up to {FRAMES_MAX} frames, "
                "the first first"
            )

    def file(self, frame: int, shape_name: str | None = None) -> Path:
        """The file of one frame, of one shape where ``per_shape`` asks for it."""
        token = next(_TOKEN.finditer(self.pattern.name))
        before, after = self.pattern.name[: token.start()], self.pattern.name[token.end() :]
        stem = before.rstrip("._-")
        joint = before[len(stem) :]
        if shape_name is not None:
            stem, joint = "_".join(part for part in (stem, shape_name) if part), joint or "."
        digits = len(token[0]) if token[0].startswith("#") else int(token[1] or 1)
        return self.pattern.with_name(f"{stem}{joint}{frame:0{digits}d}{after}")


@dataclass(frozen=True)
class MatteReport:
    """What was drawn.

    Attributes:
        written: how many files.
        kept: how many were there already and were left as they are.
        shapes: paths of the shapes that were drawn.
        rejected: shapes, and frames of them, that could not be drawn, each with the reason.
    """

    written: int
    kept: int
    shapes: tuple[str, ...]
    rejected: tuple[Rejected, ...]


def draw_mattes(
    shapes: ShapeSet, plan: MattePlan, progress: Callable[[int, int], None] = lambda done, total: None
) -> MatteReport:
    """Draw and write mattes.

    Each file appears whole or not at all; a shape that fails on a frame is left out of that frame, and told once.

    Raises:
        ConfigError: no shapes, or files that are there and neither ``overwrite`` nor ``resume`` was said.
        FedrotoError: the folder is not there, or the disk refused.
    """
    drawn = _ready(shapes, plan)
    if not drawn:
        raise ConfigError("there is no shape to draw; choose another file or other shapes")
    names = _file_names(drawn) if plan.per_shape else {}
    frames = range(plan.first_frame, plan.last_frame + 1)
    _check_there(plan, [*names.values()], frames)
    written, kept = 0, 0
    failed: dict[str, Rejected] = {}
    for done, frame in enumerate(frames, 1):
        if plan.resume and all(file.exists() for file in _files(plan, [*names.values()], frame)):
            kept += len(names) or 1
        else:
            for file, picture in _pictures(drawn, names, frame, plan, failed):
                write_matte(file, picture)
                written += 1
        progress(done, len(frames))
    return MatteReport(written, kept, tuple(s.path for s in drawn), tuple(failed.values()))


def _pictures(
    shapes: list[Shape], names: dict[str, str], frame: int, plan: MattePlan, failed: dict[str, Rejected]
) -> Iterator[tuple[Path, FloatImage]]:
    """The files of one frame with what is in them."""
    mattes: list[tuple[Shape, FloatImage]] = []
    for shape in shapes:
        try:
            picture = matte(shape, frame, plan.height, plan.width, shutter=plan.shutter)
        except ModelError as error:
            failed.setdefault(shape.path, Rejected(f"{shape.path} on frame {frame}", str(error)))
            continue
        if plan.per_shape:
            yield plan.file(frame, names[shape.path]), picture
        else:
            mattes.append((shape, picture))
    if not plan.per_shape:
        yield plan.file(frame), combined_matte(mattes, frame, plan.height, plan.width)


def _ready(shapes: ShapeSet, plan: MattePlan) -> list[Shape]:
    """The shapes at the size they are drawn in."""
    factor = np.array([plan.width / shapes.width, plan.height / shapes.height])
    if (factor == 1).all():
        return list(shapes.shapes)
    return [_scaled(on_screen(shape), factor) for shape in shapes.shapes]


def _scaled(shape: Shape, factor: np.ndarray) -> Shape:
    curves = shape.keyed.scaled(factor)
    across = float(np.sqrt(factor.prod()))
    sizes = {"fx": float(factor[0]), "fy": float(factor[1]), "osw": across}
    return replace(
        shape,
        controls=curves.values,
        slopes_in=curves.slopes_in,
        slopes_out=curves.slopes_out,
        feather=None if shape.feather is None else shape.feather.scaled(factor),
        attributes=tuple((name, curve.scaled(sizes.get(name, 1.0))) for name, curve in shape.attributes),
    )


def _file_names(shapes: list[Shape]) -> dict[str, str]:
    """A file name for each shape's path, unique and without signs that a file system dislikes."""
    given: set[str] = set()
    names = {}
    for shape in shapes:
        base = _UNSAFE.sub("_", shape.path).strip("._") or "shape"
        name, number = base[:100], 1
        while name.lower() in given:
            number += 1
            name = f"{base[:100]}_{number}"
        given.add(name.lower())
        names[shape.path] = name
    return names


def _files(plan: MattePlan, names: list[str], frame: int) -> list[Path]:
    return [plan.file(frame, name) for name in names] or [plan.file(frame)]


def _check_there(plan: MattePlan, names: list[str], frames: range) -> None:
    if not plan.pattern.parent.is_dir():
        raise FedrotoError(f"the folder {plan.pattern.parent} does not exist; make it or name another")
    if plan.overwrite or plan.resume:
        return
    there = next((file for frame in frames for file in _files(plan, names, frame) if file.exists()), None)
    if there is not None:
        raise ConfigError(
            f"{there} is there already",
            hint="name another, or say --overwrite, or --resume to draw only what is missing",
        )
