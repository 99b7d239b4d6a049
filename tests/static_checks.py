"""The checks of the whole tree, started when the tests are collected: they use a core that the tests leave idle."""

import atexit
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parent.parent
CHECKS = {
    "ruff format": [sys.executable, "-m", "ruff", "format", "--check", "."],
    "ruff check": [sys.executable, "-m", "ruff", "check", "."],
    "mypy --strict": [sys.executable, "-m", "mypy"],
    "import-linter": [
        sys.executable,
        "-c",
        "from importlinter.cli import lint_imports_command as run; run()",
    ],
}


class RunningCheck:
    """One check in a process of its own; what it prints goes to a file, so that it never waits for a reader."""

    def __init__(self, name: str) -> None:
        self._output = tempfile.TemporaryFile("w+")  # noqa: SIM115 - open as long as the process
        self._process = subprocess.Popen(
            CHECKS[name], cwd=ROOT, stdout=self._output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
        )
        atexit.register(self._process.kill)

    def finished(self, timeout_s: float) -> tuple[int, str]:
        """Wait for the exit code and what was printed."""
        code = self._process.wait(timeout_s)
        self._output.seek(0)
        return code, self._output.read()


running: dict[str, RunningCheck] = {}


def start(names: Iterable[str]) -> None:
    """Start the checks of these names that were not started yet."""
    for name in names:
        if name not in running:
            running[name] = RunningCheck(name)
