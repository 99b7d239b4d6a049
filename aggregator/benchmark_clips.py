"""The public benchmark's clips, their evidence gathered once and kept in the home, for rounds and for releases."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from federation.documents import digest
from federation.durable import make_private_dir, read_bounded, write_atomic
from federation.errors import FedrotoError
from federation.flower.bundle import build_bundle, bundle_digest
from federation.worker_pool import in_processes

if TYPE_CHECKING:
    from model.matcher import Matcher
    from model.public_benchmark import BenchmarkClip

EVIDENCE_FOLDER = "benchmark"
FILE_BYTES_MAX = 256 << 20


def evidence_file(home: Path, frozen_digest: str) -> Path:
    """Where the evidence for these frozen weights lies; another release of fedroto gathers its own."""
    key = digest(f"{frozen_digest} {bundle_digest(build_bundle())}".encode())
    return home / EVIDENCE_FOLDER / f"{key}.evidence"


def kept_clips(
    home: Path,
    frozen_digest: str,
    matcher: Callable[[], Matcher | None],
    tell: Callable[[str], None],
    *,
    workers: int = 1,
) -> list[BenchmarkClip]:
    """Return the benchmark's clips, gathering their evidence if it is not there or damaged.

    Args:
        home: the coordinator's.
        frozen_digest: of the weights that are not trained, the matcher among them.
        matcher: loads it.
        tell: told one sentence at a time while evidence is gathered, which takes one process a minute or two.
        workers: processes that gather it.
    """
    from model.benchmark_evidence import dumps, loads
    from model.errors import PredictionError
    from model.public_benchmark import build_clips

    file = evidence_file(home, frozen_digest)
    try:
        stated, _, data = read_bounded(file, FILE_BYTES_MAX).partition(b"\n")
        if stated.decode() == digest(data):
            return loads(data)
    except (FedrotoError, PredictionError, UnicodeDecodeError):
        pass  # gathered anew below
    clips = build_clips(
        matcher(),
        progress=lambda done, of: tell(f"public benchmark: clip {done} of {of}"),
        spread=partial(in_processes, workers=workers),
    )
    make_private_dir(file.parent)
    for old in file.parent.glob("*.evidence"):
        old.unlink()  # of another release or other frozen weights
    data = dumps(clips)
    write_atomic(file, digest(data).encode() + b"\n" + data, mode=0o600)
    return clips
