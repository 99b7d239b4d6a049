"""What a shot's files were when they were last ingested, as a value, as JSON and as a row of the catalogue."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from studio_node.file_stamps import Stamps, stamps_of
from studio_node.fingerprints import Hashes


@dataclass(frozen=True)
class Delivery:
    """A shot's files.

    Attributes:
        stamps: of every file, so that an unchanged one is not read again.
        fingerprints: of every frame of the plate, [T, views]; in one list where they come from the catalogue.
        problems: frames that count as missing, each with the reason.
        reading: how the files were taken, where that was not the usual way.
    """

    stamps: Stamps
    fingerprints: Hashes
    problems: tuple[str, ...] = ()
    reading: str = ""

    def to_fields(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return {
            "stamps": self.stamps,
            "fingerprints": self.fingerprints.tolist(),
            "problems": self.problems,
            "reading": self.reading,
        }

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        """Return the delivery that ``to_fields`` wrote."""
        hashes = np.array(fields["fingerprints"], np.uint64)
        return cls(stamps_of(fields["stamps"]), hashes, tuple(fields["problems"]), fields["reading"])

    def to_row(self) -> tuple[str, str, bytes, str]:
        """Return the columns reading, stamps, fingerprints, problems."""
        return (
            self.reading, json.dumps(self.stamps), self.fingerprints.tobytes(), json.dumps(self.problems)
        )  # fmt: skip

    @classmethod
    def from_row(cls, reading: str, stamps: str, fingerprints: bytes, problems: str) -> Self:
        """Return the delivery that ``to_row`` wrote."""
        hashes = np.frombuffer(fingerprints, np.uint64)
        return cls(stamps_of(json.loads(stamps)), hashes, tuple(json.loads(problems)), reading)
