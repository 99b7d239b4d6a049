"""Shots cut side by side, one worker process a core; a worker that dies takes only the shot in its hands with it."""

from __future__ import annotations

import contextlib
import json
import selectors
import subprocess
import sys
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Self, cast

from federation import child_process
from federation.errors import FedrotoError
from model.errors import ModelError
from studio_node.cutting import CutShot, CutTask, ShotCutter
from studio_node.shot_folders import Rejected

Outcome = CutShot | Rejected


def cut_all(
    tasks: Iterable[CutTask], cutter: ShotCutter, *, workers: int
) -> Generator[tuple[CutTask, Outcome], None, None]:
    """Cut shots, each in the next free worker, and yield what came of each as it is ready.

    Args:
        tasks: taken one by one as workers become free.
        cutter: with the public parts; each worker loads the same.
        workers: how many processes; fewer than two cut here, in this process.
    """
    if workers < 2:
        for task in tasks:
            yield task, _attempt(cutter, task)
        return
    pool = _Pool(cutter)
    try:
        yield from pool.run(iter(tasks), workers)
    finally:
        pool.stop()


def _attempt(cutter: ShotCutter, task: CutTask) -> Outcome:
    try:
        return cutter.cut(task)
    except (FedrotoError, ModelError) as error:
        return Rejected.because(task.shot.shapes_file.parent, error)


@dataclass(frozen=True)
class _Worker:
    child: child_process.Child
    tasks: IO[bytes]
    answers: IO[bytes]

    @classmethod
    def start(cls, command: list[str]) -> Self:
        child = child_process.start(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return cls(child, cast(IO[bytes], child.stdin), cast(IO[bytes], child.stdout))

    def close(self) -> None:
        for pipe in (self.tasks, self.answers):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


class _Pool:
    def __init__(self, cutter: ShotCutter) -> None:
        recipe = cutter.recipe
        self._command = [
            sys.executable, "-P", "-m", "studio_node.cutting", str(cutter.weights),
            str(recipe.windows), str(recipe.gaps[0]), str(recipe.gaps[1]),
        ]  # fmt: skip
        self._workers: list[_Worker] = []
        self._busy = selectors.DefaultSelector()

    def run(self, tasks: Iterator[CutTask], workers: int) -> Iterator[tuple[CutTask, Outcome]]:
        for _ in range(workers):
            self._hand_out(tasks, None)
        while self._busy.get_map():
            for key, _ in self._busy.select():
                worker, task = key.data
                self._busy.unregister(key.fileobj)
                outcome = self._answer(worker, task)
                self._hand_out(tasks, worker if worker in self._workers else None)
                yield task, outcome

    def stop(self) -> None:
        child_process.stop(worker.child for worker in self._workers)
        for worker in self._workers:
            worker.close()
        self._busy.close()

    def _hand_out(self, tasks: Iterator[CutTask], worker: _Worker | None) -> None:
        task = next(tasks, None)
        if task is None:
            return
        if worker is None:
            worker = _Worker.start(self._command)
            self._workers.append(worker)
        with contextlib.suppress(BrokenPipeError):  # it died: reading its answer says so
            worker.tasks.write(task.to_json().encode() + b"\n")
            worker.tasks.flush()
        self._busy.register(worker.answers, selectors.EVENT_READ, (worker, task))

    def _answer(self, worker: _Worker, task: CutTask) -> Outcome:
        line = worker.answers.readline()
        if line.endswith(b"\n"):
            fields = json.loads(line)
            rejected = fields.get("rejected")
            return Rejected(**rejected) if rejected else CutShot.from_json(fields)
        status = worker.child.wait()
        worker.close()
        self._workers.remove(worker)
        ended = (
            f"was killed by signal {-status}, often for memory"
            if status < 0
            else f"ended with status {status}"
        )
        return Rejected(str(task.shot.shapes_file.parent), f"the process that read this shot {ended}")
