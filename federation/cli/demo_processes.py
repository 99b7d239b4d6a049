"""The demo's processes: real ``fedroto`` commands, each in its own process group, all stopped whatever happens."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from federation import child_process
from federation.errors import FedrotoError

Command = Sequence[str]


def command(words: str, *arguments: object, **options: object) -> list[str]:
    """Write a command line: ``command("studio join", kit, home=folder)`` is ``studio join KIT --home FOLDER``."""
    flags = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    return [*words.split(), *map(str, arguments), *flags]


@dataclass
class DemoProcesses:
    """Runs commands of ``fedroto`` for the demo.

    Attributes:
        logs: folder that gets one log file a process.
        progress: told one line at a time what happens.
    """

    logs: Path
    progress: Callable[[str], None]
    _standing: dict[str, child_process.Child] = field(default_factory=dict)
    _running: dict[str, child_process.Child] = field(default_factory=dict)
    _open_logs: list[IO[bytes]] = field(default_factory=list)

    def __enter__(self) -> Self:
        self.logs.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop_all()

    def run(self, name: str, command: Command, *, statuses: Sequence[int] = (0,)) -> dict[str, Any]:
        """Run a command to its end and return its ``--json`` result.

        Raises:
            FedrotoError: it ended with another status than these; carries its error and the log's path.
        """
        return self.run_side_by_side({name: command}, statuses=statuses)[name]

    def run_side_by_side(
        self, commands: Mapping[str, Command], *, at_once: int = 2, statuses: Sequence[int] = (0,)
    ) -> dict[str, dict[str, Any]]:
        """Run commands to their ends, a few at once, and return their results by name; see :meth:`run`."""
        waiting = list(commands.items())
        active: dict[str, tuple[child_process.Child, threading.Thread]] = {}
        results: dict[str, dict[str, Any]] = {}
        while waiting or active:
            while waiting and len(active) < at_once:
                name, command = waiting.pop(0)
                process = self._start(name, [*command, "--json"], stdout_file=self.logs / f"{name}.json")
                reader = threading.Thread(target=self._relay, args=(name, process), daemon=True)
                reader.start()
                active[name] = (process, reader)
            for name, (process, reader) in list(active.items()):
                if process.poll() is not None:
                    reader.join(child_process.STOP_S)
                    del active[name]
                    results[name] = self._result(name, process.returncode, statuses)
            self.check_alive()
            time.sleep(0.02)
        return {name: results[name] for name in commands}

    def start(self, name: str, command: Command) -> None:
        """Start a command that runs until the demo ends."""
        self._standing[name] = self._start(name, command, stdout_file=self.logs / f"{name}.log")

    def check_alive(self) -> None:
        """Raise if a process that should run until the end has ended."""
        for name, process in self._standing.items():
            if process.poll() is not None:
                raise FedrotoError(
                    f"the demo's process {name} ended with status {process.returncode}",
                    hint=f"its log: {self.logs / name}.log",
                )

    def stop_all(self) -> None:
        """Stop every process that was started: asked first, then killed, group by group."""
        child_process.stop([*self._running.values(), *reversed(self._standing.values())])
        self._running.clear()
        self._standing.clear()
        for log in self._open_logs:
            log.close()

    def _start(self, name: str, command: Command, *, stdout_file: Path) -> child_process.Child:
        stdout = stdout_file.open("wb")
        self._open_logs.append(stdout)
        to_end = stdout_file.suffix == ".json"
        process = child_process.start(
            [sys.executable, "-m", "federation.cli", *command],
            stdout=stdout,
            stderr=subprocess.PIPE if to_end else subprocess.STDOUT,
            environment={"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"},
        )
        if to_end:
            self._running[name] = process
        return process

    def _relay(self, name: str, process: child_process.Child) -> None:
        if process.stderr is None:
            return
        with (self.logs / f"{name}.log").open("wb") as log:
            for line in process.stderr:
                log.write(line)
                log.flush()
                self.progress(f"  {name}: {line.decode(errors='replace').rstrip()}")

    def _result(self, name: str, status: int, statuses: Sequence[int]) -> dict[str, Any]:
        self._running.pop(name, None)
        out, log = self.logs / f"{name}.json", self.logs / f"{name}.log"
        try:
            result = json.loads(out.read_text(errors="replace"))
        except ValueError:
            said = log.read_text(errors="replace").splitlines() if log.exists() else []
            result = {"error": said[-1] if said else "it printed nothing"}
        if "error" in result:
            raise FedrotoError(
                f"{name} ended with status {status}: {result['error']}",
                hint=result.get("hint") or f"its log: {log}",
            )
        if status not in statuses:
            raise FedrotoError(f"{name} ended with status {status}", hint=f"why: {out}")
        return dict(result)


def free_ports(count: int) -> list[int]:
    """Return loopback ports that nothing listens on at present."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
