"""The properties of one of Silhouette's objects: words, numbers and keys by their name."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from model.formats.key_tracks import Interpolation, Track
from model.formats.tcl import Warnings
from model.formats.xml_tree import Element
from model.keyframes import FloatArray

FRAME_MAX = 10_000_000


@dataclass
class Properties:
    """What stands in an object's ``Properties``; keys come in plate frames.

    Attributes:
        element: the object.
        start_frame: of the session, which key frames count from.
        warnings: takes what is read otherwise than it is written.
    """

    element: Element
    start_frame: int
    warnings: Warnings
    by_name: dict[str, Element] = field(init=False)

    def __post_init__(self) -> None:
        holder = self.element.first("Properties")
        listed = () if holder is None else holder.all("Property")
        self.by_name = {one.attributes.get("id", ""): one for one in listed}

    def text(self, name: str) -> str:
        """The value as it stands, "" where there is none."""
        value = self.by_name[name].first("Value") if name in self.by_name else None
        return "" if value is None else value.text.strip()

    def word(self, name: str, default: str) -> str:
        """The value in lower case, or the default where there is none."""
        return self.text(name).lower() or default

    def numbers(self, name: str) -> list[float]:
        """The numbers of the value, none where there is none."""
        value = self.by_name[name].first("Value") if name in self.by_name else None
        return [] if value is None or not value.text.strip() else numbers_of(value)

    def track(self, name: str, default: tuple[float, ...]) -> Track:
        """A property of so many numbers as keys [K, n]; its default where it is not there or empty.

        Raises:
            FormatError: fewer numbers, or none.
        """
        element = self.by_name.get(name)
        keys = [] if element is None else [k for k in element.all("Key") if k.text.strip()]
        rows = [numbers_of(k) for k in keys] or [self.numbers(name) or list(default)]
        if element is not None and any(len(row) < len(default) for row in rows):
            raise element.fail(f"{name} has not the {len(default)} numbers it needs")
        values = np.array([row[: len(default)] for row in rows])
        return self.keys(keys, values) if keys else Track(np.zeros(1), values, ("linear",))

    def opacity(self) -> Track:
        """Opacity 0..1, [K]."""
        track = self.track("opacity", (100.0,))
        return replace(track, values=track.values[:, 0] / 100)

    def keys(self, keys: list[Element], values: FloatArray) -> Track:
        """Keys with these values, in order of time."""
        frames = np.array([_frame(k) for k in keys]) + self.start_frame
        order = np.argsort(frames, kind="stable")
        return Track(frames[order], values[order], tuple(self._interpolation(keys[i]) for i in order))

    def _interpolation(self, key: Element) -> Interpolation:
        word = key.attributes.get("interp", "linear").lower()
        if word == "hold":
            return "hold"
        if word == "catmullrom":
            return "catmullrom"
        if word != "linear":
            self.warnings.add_at(key.line, f"keys of kind {word:.40} are not known; read as linear")
        return "linear"


def numbers_of(element: Element) -> list[float]:
    """Numbers such as ``(1,2),(3,4)``, ``(1,2,3)`` or ``4``.

    Raises:
        FormatError: anything else, or a number that is not finite.
    """
    words = element.text.replace("(", " ").replace(")", " ").replace(",", " ").split()
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        raise element.fail(f"numbers are expected, not {element.text.strip()!r:.60}") from None
    if not numbers or not all(math.isfinite(n) for n in numbers):
        raise element.fail(f"finite numbers are expected, not {element.text.strip()!r:.60}")
    return numbers


def _frame(key: Element) -> float:
    word = key.attributes.get("frame", "")
    try:
        frame = (
            float(word) if key.name == "Key" else 0.0
        )  # a value without keys stands at the session's start
    except ValueError:
        raise key.fail(f"a key's frame is a number, not {word!r:.40}") from None
    if not abs(frame) <= FRAME_MAX:
        raise key.fail(f"a key at frame {word:.40} cannot be")
    return frame
