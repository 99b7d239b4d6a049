"""The fedroto process that predicts: started once, asked over its standard streams, ended to cancel.

Runs inside Nuke's Python (3.7 and later): standard library only.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import IO, Any, Callable, Mapping

COMMAND_VARIABLE = "FEDROTO_COMMAND"
PROTOCOL = 1
POLL_S = 0.1
FOREIGN = ("PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "QT_PLUGIN_PATH")
"""Variables by which Nuke's libraries would get into a process that has its own."""


class Cancelled(Exception):
    """The artist cancelled."""


class PredictionFailed(Exception):
    """fedroto cannot predict this; the text says why and what to do."""


def find_command(variables: Mapping[str, str] = os.environ) -> str:
    """The fedroto executable: named by FEDROTO_COMMAND, of the environment this file lies in, or on the PATH."""
    named = variables.get(COMMAND_VARIABLE)
    if named:
        return named
    for folder in Path(__file__).resolve().parents:
        for place in ("bin/fedroto", ".venv/bin/fedroto", "Scripts/fedroto.exe"):
            if (folder / place).is_file():
                return str(folder / place)
    found = shutil.which("fedroto")
    if found is None:
        raise PredictionFailed(
            f"fedroto was not found; set the variable {COMMAND_VARIABLE} to its executable"
        )
    return found


def own_environment(variables: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment for fedroto: Nuke's, without what would lead to Nuke's libraries."""
    return {name: value for name, value in variables.items() if name not in FOREIGN}


class FedrotoProcess:
    """One fedroto process; it is started when it is first asked, and again after it was ended."""

    def __init__(self, command: str | None = None) -> None:
        self._command = command
        self._process: Any = None
        self._answers: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._errors: Any = None
        self._asked = 0

    def predict(
        self,
        request: Mapping[str, Any],
        on_progress: Callable[[str, int], None],
        is_cancelled: Callable[[], bool],
    ) -> dict[str, Any]:
        """Ask for a prediction and wait for it.

        Args:
            request: a dict with ``plate``, ``script`` and, if wanted, ``every``, ``method``, ``weights``.
            on_progress: called with a text and a percentage.
            is_cancelled: asked ten times a second.

        Returns:
            The answer's ``result``.

        Raises:
            Cancelled: the artist cancelled; the process was ended.
            PredictionFailed: with the reason.
        """
        on_progress("fedroto starts", 0)
        self._start()
        self._asked += 1
        number = self._asked
        self._send(dict(request, id=number))
        while True:
            answer = self._next(is_cancelled)
            if answer.get("id") not in (number, None):
                continue  # of a request before this one
            if "progress" in answer:
                told = answer["progress"]
                text = "{}: frame {} of {}".format(told["shape"], told["done"], told["of"])
                on_progress(text, int(100 * told["done"] / max(told["of"], 1)))
            elif "error" in answer:
                hint = answer.get("hint")
                raise PredictionFailed(answer["error"] + ("\n" + hint if hint else ""))
            elif "result" in answer:
                result: dict[str, Any] = answer["result"]
                return result
            elif answer.get("ready", PROTOCOL) != PROTOCOL:
                self.close()
                raise PredictionFailed(
                    "this panel and the fedroto installed are of different versions; update both"
                )

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for stream in (self._process.stdin, self._process.stdout, self._errors):
                with contextlib.suppress(OSError):  # a request half written to a process that is gone
                    stream.close()
        self._process = None

    def _start(self) -> None:
        if self._process is not None and self._process.poll() is None:
            return
        self.close()
        command = self._command or find_command()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the process
        try:
            self._process = subprocess.Popen(
                [command, "bridge"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=own_environment(),
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        except OSError as error:
            raise PredictionFailed(f"{command} cannot be started: {error.strerror}") from error
        self._answers = queue.Queue()
        arguments = (self._process.stdout, self._answers)
        threading.Thread(target=_read, args=arguments, name="fedroto-answers", daemon=True).start()

    def _send(self, request: Mapping[str, Any]) -> None:
        try:
            self._process.stdin.write((json.dumps(request) + "\n").encode("ascii"))
            self._process.stdin.flush()
        except OSError as error:
            raise PredictionFailed(self._last_words()) from error

    def _next(self, is_cancelled: Callable[[], bool]) -> dict[str, Any]:
        while True:
            if is_cancelled():
                self.close()
                raise Cancelled()
            try:
                answer = self._answers.get(timeout=POLL_S)
            except queue.Empty:
                continue
            if answer is None:
                raise PredictionFailed(self._last_words())
            return answer

    def _last_words(self) -> str:
        self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        self.close()
        return "fedroto ended: " + (" / ".join(lines[-3:]) if lines else "it said nothing")


def _read(stream: IO[bytes], answers: queue.Queue[dict[str, Any] | None]) -> None:
    """Hand each line of the process on; None when there are no more."""
    for line in stream:
        try:
            answers.put(json.loads(line.decode("ascii")))
        except ValueError:
            continue
    answers.put(None)
