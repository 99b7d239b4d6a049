"""Formatting, lint, strict types and import directions hold for the whole tree."""

import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("check", CHECKS)
def test_static_check_passes(check):
    result = subprocess.run(CHECKS[check], cwd=ROOT, capture_output=True, text=True, timeout=230, check=False)
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-2000:]
