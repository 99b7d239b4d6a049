"""Many shots predicted in one process, as a farm runs it: one bad shot ends none of the others.

What is finished is noted in a journal beside the list, durable before the next shot begins: the same command again
goes on where it was ended. A shot is done anew when its plate, keys, weights or settings are not those of the journal;
an output that somebody has changed since is never overwritten unasked.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from federation.documents import digest
from federation.durable import read_bounded
from federation.errors import ConfigError, FedrotoError
from model.errors import ModelError
from model.weights import base_path
from studio_node.movies import FIRST_FRAME
from studio_node.predict_shot import RELEASE_WEIGHTS, PredictionReport, predict_shot
from studio_node.sequences import find_sequence
from studio_node.shape_files import SHAPE_BYTES_MAX

LIST_BYTES_MAX: Final = 16 * 2**20
JOURNAL_SUFFIX: Final = ".done"
Progress = Callable[[str], None]


class Job(BaseModel):
    """One shot of a list; places are relative to the list's folder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    plate: str = Field(min_length=1)
    shapes: Path
    output: Path
    only: tuple[str, ...] = ()


@dataclass(frozen=True)
class JobReport:
    """What became of one shot.

    Attributes:
        output: the file that the job names.
        state: ``unchanged`` where the journal says that it was predicted before, from the same files.
        result: shapes with every frame's confidence, as `PredictionReport` has them, as JSON values; None if it failed.
        error: why it failed.
        seconds: that it took.
    """

    output: str
    state: Literal["predicted", "unchanged", "failed"]
    result: dict[str, Any] | None
    error: str | None
    seconds: float

    @property
    def whole(self) -> bool:
        """Whether every shape of the shot was predicted."""
        return self.result is not None and not self.result["rejected"]


def read_jobs(path: Path) -> tuple[Job, ...]:
    """Read a list of shots: a JSON array, or one JSON object a line.

    Raises:
        ConfigError: it is no such list, is empty, or two jobs write the same file.
    """
    text = read_bounded(path, LIST_BYTES_MAX).decode("utf-8", "replace").strip()
    try:
        listed = json.loads(text) if text.startswith("[") else list(map(json.loads, text.splitlines()))
        jobs = TypeAdapter(tuple[Job, ...]).validate_python(listed)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ConfigError(f"{path}: job {where}: {first['msg']}", hint=_FORM) from error
    except ValueError as error:
        raise ConfigError(
            f"{path} is neither a JSON array nor one object a line: {error}", hint=_FORM
        ) from error
    folder = path.parent
    placed = tuple(
        job.model_copy(
            update={
                "plate": str(folder / job.plate),
                "shapes": folder / job.shapes,
                "output": folder / job.output,
            }
        )
        for job in jobs
    )
    outputs = [job.output for job in placed]
    twice = next((str(output) for output in outputs if outputs.count(output) > 1), None)
    if twice is not None or not placed:
        raise ConfigError(f"{path}: two jobs write {twice}" if twice else f"{path} lists no job", hint=_FORM)
    return placed


def predict_batch(
    jobs: Sequence[Job],
    journal: Path,
    *,
    weights: Path | None = None,
    overwrite: bool = False,
    progress: Progress = lambda line: None,
    on_report: Callable[[JobReport], None] = lambda report: None,
    **settings: Any,
) -> list[JobReport]:
    """Predict shots one after the other.

    Args:
        jobs: from `read_jobs`.
        journal: file of what is finished; made where it is missing.
        weights: see `predict_shot`.
        overwrite: do all shots again, and replace whatever is there.
        progress: called with a line for people.
        on_report: called as each shot ends.
        **settings: of `predict_shot`, the same for all.

    Returns:
        A report for every job, in order. Errors of a shot are in its report.
    """
    done = {} if overwrite else _read_journal(journal)
    used = _weights_digest(weights)
    reports = []
    for number, job in enumerate(jobs, 1):
        name = f"shot {number} of {len(jobs)}, {job.output.name}"

        def tell(shape: str, frames: int, of: int, name: str = name) -> None:
            progress(f"{name}: {shape}: {frames} of {of} frames")

        began = time.monotonic()
        key = str(job.output.resolve())
        try:
            made_from = _fingerprint(job, used, settings)
            former = done.get(key)
            if former is not None and _still_there(job.output, former, overwrite=overwrite) == made_from:
                report = JobReport(str(job.output), "unchanged", former["result"], None, 0.0)
            else:
                found = predict_shot(
                    job.plate, job.shapes, job.output, shapes=job.only, weights=weights, overwrite=overwrite,
                    progress=tell, **settings,
                )  # fmt: skip
                report = JobReport(
                    str(job.output), "predicted", _values(found), None, time.monotonic() - began
                )
                _note(journal, {"output": key, "made_from": made_from, "result": report.result})
        except (ModelError, FedrotoError) as error:
            report = JobReport(str(job.output), "failed", None, str(error), time.monotonic() - began)
        reports.append(report)
        progress(f"{name}: {report.error or report.state}")
        on_report(report)
    return reports


def journal_of(jobs_file: Path) -> Path:
    """The journal beside a list."""
    return jobs_file.with_name(jobs_file.name + JOURNAL_SUFFIX)


def _values(report: PredictionReport) -> dict[str, Any]:
    return dict(json.loads(json.dumps(asdict(report), default=str)))


def _fingerprint(job: Job, weights: str, settings: dict[str, Any]) -> str:
    """What a prediction depends on, as a name: file times and sizes of the plate, content of the rest."""
    plate = find_sequence(job.plate, movie_start=settings.get("movie_start", FIRST_FRAME))
    frames = [
        [frame, str(path), path.stat().st_size, path.stat().st_mtime_ns]
        for frame, path in sorted(plate.files.items())
    ]
    shapes = digest(read_bounded(job.shapes, SHAPE_BYTES_MAX))
    facts = [version("fedroto"), frames, shapes, list(job.only), weights, sorted(settings.items())]
    return digest(json.dumps(facts, default=str).encode())


def _weights_digest(weights: Path | None) -> str:
    path = base_path() if weights is None else weights
    return digest((path / RELEASE_WEIGHTS if path.is_dir() else path).read_bytes())


def _still_there(output: Path, former: dict[str, Any], *, overwrite: bool) -> str | None:
    """What the output was made from, if it is as it was written; None if it is gone."""
    if not output.exists():
        return None
    if digest(read_bounded(output, SHAPE_BYTES_MAX)) != former["written"] and not overwrite:
        raise ConfigError(f"{output} was changed since it was predicted; move it away, or say --overwrite")
    return str(former["made_from"])


def _read_journal(journal: Path) -> dict[str, dict[str, Any]]:
    """The newest entry of every output; a line that a kill cut short counts as not there."""
    found: dict[str, dict[str, Any]] = {}
    if journal.exists():
        for line in journal.read_text("utf-8").splitlines():
            try:
                entry = json.loads(line)
                found[entry["output"]] = entry
            except (ValueError, KeyError, TypeError):
                continue
    return found


def _note(journal: Path, entry: dict[str, Any]) -> None:
    written = digest(Path(entry["output"]).read_bytes())
    line = json.dumps({**entry, "written": written})
    try:
        with journal.open("a", encoding="utf-8") as file:
            file.write(f"\n{line}\n")  # a line end first: what a kill cut short stays a line of its own
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise FedrotoError(
            f"{journal} cannot be written: {error.strerror}; the shot is predicted, but the next run will not know"
        ) from error


_FORM: Final = 'a job is {"plate": "sh010.####.exr", "shapes": "sh010.nk", "output": "sh010_fedroto.nk"}'
