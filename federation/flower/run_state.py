"""What a coordinator keeps on disk of its run, and what it hands out as a question's id."""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from federation.errors import FlowerError, MessageError


@dataclass(frozen=True)
class QuestionId:
    """A question's id: opaque to callers, it carries the run and the node that it is good for."""

    run_id: int
    node_id: int
    message_id: str

    def __str__(self) -> str:
        return f"{self.run_id}.{self.node_id}.{self.message_id}"

    @classmethod
    def parse(cls, text: str) -> QuestionId:
        """Read an id back.

        Raises:
            MessageError: it is none.
        """
        parts = text.split(".")
        if len(parts) != 3 or not (parts[0].isdigit() and parts[1].isdigit()):
            raise MessageError(f"{text!r} is not a question's id")
        return cls(int(parts[0]), int(parts[1]), parts[2])


@dataclass(frozen=True)
class RunState:
    """What a restarted coordinator needs to continue the run; an empty token is not claimed yet."""

    run_id: int
    token: str
    bundle_digest: str

    def to_bytes(self) -> bytes:
        """Encode as JSON."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def read(cls, path: Path) -> RunState | None:
        """Return the persisted state; None if there is none or it is not readable (a new run is always right)."""
        try:
            fields = json.loads(path.read_bytes())
            return cls(int(fields["run_id"]), str(fields["token"]), str(fields["bundle_digest"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None


def lock_exclusively(path: Path, process: str) -> int:
    """Hold a lock file until its descriptor is closed or the process ends.

    Args:
        path: the lock file.
        process: what holds it, for people.

    Raises:
        FlowerError: another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise FlowerError(
            f"another {process} holds {path}",
            hint=f"only one {process} at a time works here; stop the other one",
        ) from error
    return descriptor
