"""Windows for a tuning: what is learned from, what is kept aside and only judged by, and a folder that keeps both.

Reading shots takes the longest; a tuning that was stopped finds their windows again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from federation.durable import make_private_dir
from federation.model_spec import frozen_digest
from model.errors import WeightsError
from model.frames import FrameSource
from model.network import RotoModel
from model.shapes import ShapeSet
from model.training_work import TrainingWork, discard
from model.windows import Window
from studio_node.file_stamps import read_content
from studio_node.plates import PlateSequence
from studio_node.shape_files import read_shapes
from studio_node.shot_folders import ShotFolder
from studio_node.shot_windows import CutRecipe, windows_of_shot

SHOTS_FOR_WHOLE: Final = 5
"""From so many shots on, one in five is kept aside whole."""
LEARNED_SHARE: Final = 0.75
"""With fewer shots, the first part of each is learned from and the rest is kept aside."""


class Part:
    """The frames of a plate from one to another, inclusive."""

    def __init__(self, plate: FrameSource, first_frame: int, last_frame: int) -> None:
        self._plate, self.first_frame, self.last_frame = plate, first_frame, last_frame
        self.width, self.height = plate.width, plate.height

    def working(self, frame: int) -> NDArray[np.uint8] | None:
        """The working image of a frame inside the part."""
        return self._plate.working(frame)


@dataclass(frozen=True)
class CutShot:
    """A shot's windows: of its first part and of the rest, or all of them."""

    epoch: str
    name: str
    first: list[Window]
    rest: list[Window]


class Cutter:
    """Cuts the windows of shots, and keeps those of every shot until the tuning is done: reading takes the longest."""

    def __init__(
        self, model: RotoModel, recipe: CutRecipe, whole: bool, trust_plate_size: bool, folder: Path
    ) -> None:
        self._matcher, self._how, self._whole, self._trust = model.matcher, recipe, whole, trust_plate_size
        self.recipe = {
            "cut": recipe.text,
            "matcher": frozen_digest(model.to_tensors()),
            "learned_share": 1.0 if whole else LEARNED_SHARE,
            "trust_plate_size": trust_plate_size,
        }
        self._folder = folder
        self._work = resumed(folder / "shots", self.recipe)

    def cut(self, shot: ShotFolder) -> CutShot:
        """The windows of a shot: cut now, or kept from a tuning that was stopped."""
        epoch = read_content(shot.files(), {}).epoch
        names = [f"{epoch}-{part}" for part in range(1 if self._whole else 2)]
        kept = [self._work.windows(name) for name in names]
        windows = [part for part in kept if part is not None]
        if len(windows) < len(names):
            windows = self._cut(shot, epoch)
            for name, part in zip(names, windows, strict=True):
                self._work.keep_windows(name, part)
        return CutShot(epoch, shot.name, windows[0], [] if self._whole else windows[1])

    def finish(self) -> None:
        """Remove what was kept."""
        self._work.finish()
        if not any(self._folder.iterdir()):
            self._folder.rmdir()

    def _cut(self, shot: ShotFolder, epoch: str) -> list[list[Window]]:
        plate = PlateSequence(shot.sequence())
        drawn = read_shapes(
            shot.shapes_file, width=plate.width, height=plate.height, trust_plate_size=self._trust
        )
        parts: tuple[FrameSource, ...] = (plate,) if self._whole else _parted(plate, drawn)
        return [
            windows_of_shot(part, drawn, matcher=self._matcher, recipe=self._how, epoch=epoch)[0]
            for part in parts
        ]


def resumed(folder: Path, recipe: dict[str, Any]) -> TrainingWork:
    """What a tuning that was stopped left in a folder, or a new start where its recipe was another."""
    make_private_dir(folder)
    text = json.dumps({**recipe, "torch": torch.__version__}, sort_keys=True)
    try:
        return TrainingWork(folder, text)
    except WeightsError:
        discard(folder)
        make_private_dir(folder)
        return TrainingWork(folder, text)


def _parted(plate: FrameSource, drawn: ShapeSet) -> tuple[FrameSource, FrameSource]:
    """The first part of the frames that shapes are keyed on, and the rest; they share the frame between them."""
    keys = [frame for shape in drawn.shapes for frame in shape.key_frames]
    first = max(min(keys, default=plate.first_frame), plate.first_frame)
    last = min(max(keys, default=plate.last_frame), plate.last_frame)
    middle = first + round(LEARNED_SHARE * (last - first))
    return Part(plate, first, middle), Part(plate, middle, last)


def divided(cut: Sequence[CutShot], *, whole: bool) -> tuple[list[Window], list[Window], str]:
    """Windows to learn from, windows to judge by, and in words what the latter are."""
    if not whole:
        learned = [window for one in cut for window in one.first]
        aside = [window for one in cut for window in one.rest]
        return learned, aside, f"the last {1 - LEARNED_SHARE:.0%} of every shot"
    # Chosen by content: the same shots are kept aside whatever folder they lie in.
    kept = {one.name for one in sorted(cut, key=lambda one: one.epoch)[: -(-len(cut) // SHOTS_FOR_WHOLE)]}
    learned = [window for one in cut if one.name not in kept for window in one.first]
    aside = [window for one in cut if one.name in kept for window in one.first]
    return learned, aside, f"of {len(cut)} shots: {', '.join(sorted(kept))}"
