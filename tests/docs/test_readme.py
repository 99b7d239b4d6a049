"""The README's commands are the ones that run, and every command of the program is documented."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text()


def block_after(marker):
    match = re.search(rf"<!-- {marker} -->\n```\n(.+?)\n```", README, re.DOTALL)
    assert match, f"README.md has no block after <!-- {marker} -->"
    return match.group(1)


def test_ci_runs_exactly_the_readme_test_command():
    assert block_after("test command") in (ROOT / ".ci/run").read_text().splitlines()


def test_readme_demo_command_exists():
    command = re.search(r"fedroto (\w+)", block_after("demo command"))
    result = subprocess.run(
        [sys.executable, "-m", "federation.cli", command.group(1), "--help"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr


def test_every_command_that_the_documents_name_exists():
    texts = [README, *(path.read_text() for path in (ROOT / "docs").rglob("*.md"))]
    code = [part for text in texts for part in re.findall(r"```.*?```|`[^`]+`", text, re.DOTALL)]
    groups = "studio|coordinator|ledger|egress|plates|model|round|shapes"
    named = {
        tuple(match.split())
        for part in code
        for match in re.findall(rf"fedroto ((?:(?:{groups}) )?[a-z][a-z-]+)", part)
    }
    assert named
    from typer.main import get_command

    from federation.cli.main import app

    for words in sorted(named):
        command = get_command(app)
        for word in words:
            known = getattr(command, "commands", None)
            if known is None:
                break
            assert word in known, f"`fedroto {' '.join(words)}` is documented but there is no such command"
            command = known[word]
